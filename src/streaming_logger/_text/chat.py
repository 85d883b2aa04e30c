"""OpenAI's chat completions, and all that speak like them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from streaming_logger._text.messages import blocks, calls
from streaming_logger._text.parts import ANSWER, CHOICE, ERROR, FINAL, REASONING, Part, at, failure, get, words

__all__ = ["chat", "delta_parts", "everyday_text"]


def everyday_text(chunk: Any) -> str | None:
    """The answer's text of an ordinary chunk of OpenAI's, at once; None: the tables have to be asked.

    >>> everyday_text({"choices": [{"index": 0, "delta": {"content": "Hi"}}]}), everyday_text({"text": "Hi"})
    ('Hi', None)
    """
    try:
        if type(chunk) is dict:
            choices = chunk["choices"]
            choice = choices[0]
            index, content = choice.get("index"), choice["delta"]["content"]
        else:
            choices = chunk.choices
            choice = choices[0]
            index, content = choice.index, choice.delta.content
    except (AttributeError, KeyError, IndexError, TypeError):
        return None
    return content if content and not index and type(content) is str and len(choices) == 1 else None


def chat(chunk: Any) -> Iterable[Part]:
    """OpenAI's chunks, as LiteLLM and most servers have them, too."""
    return _whole_chat(chunk, get(chunk, "choices"))


def _whole_chat(chunk: Any, choices: Any) -> Iterator[Part]:
    if error := get(chunk, "error"):
        yield Part(ERROR, failure(error))
    if choices is not None and not hasattr(choices, "__len__"):
        raise TypeError(f"choices must be a list, not {type(choices).__name__}")
    for choice in sorted(choices, key=_index) if choices and len(choices) > 1 else choices or ():
        index = _index(choice)
        for part in _choice(choice):
            if not index:
                yield part
            elif part.kind in (ANSWER, FINAL):
                yield Part(CHOICE, part.text, index)


def _index(choice: Any) -> int:
    index = get(choice, "index")
    if not isinstance(index, int):
        index = at(choice, "proto.index")  # xAI's
    return index if isinstance(index, int) else 0


def _choice(choice: Any) -> Iterator[Part]:
    if (error := get(choice, "error")) or get(choice, "finish_reason") == "error":
        yield Part(ERROR, failure(error or "finish_reason: error"))
    delta = get(choice, "delta")
    if delta is None and (whole := get(choice, "message")) is not None:
        for part in delta_parts(whole):  # some servers send pieces by this name
            yield Part(FINAL, part.text, part.kind, "choice") if part.kind in (ANSWER, REASONING) else part
    elif delta is None:
        yield Part(ANSWER, words(get(choice, "text")))
        if isinstance(get(choice, "content"), str):  # xAI's
            yield from delta_parts(choice)
    else:
        yield from delta_parts(delta)


def delta_parts(delta: Any) -> Iterator[Part]:
    yield Part(REASONING, _thoughts(delta))
    content = get(delta, "content")
    if isinstance(content, str):
        yield Part(ANSWER, content)
    elif isinstance(content, (list, tuple)) or get(content, "type"):
        yield from blocks(content)
    else:
        yield Part(ANSWER, "")
    yield Part(ANSWER, words(get(delta, "refusal")) or words(at(delta, "audio.transcript")))
    yield from calls(get(delta, "tool_calls"))
    if (function := get(delta, "function_call")) is not None:
        yield from calls([function])


def _thoughts(delta: Any) -> str:
    """Reasoning under one of its names. Some servers send it under two at once."""
    for name in ("reasoning_content", "reasoning", "thinking"):
        if text := words(get(delta, name)):
            return text
    details = get(delta, "reasoning_details")
    if isinstance(details, (list, tuple)):
        return "".join(words(get(detail, "text")) or words(get(detail, "summary")) for detail in details)
    return ""
