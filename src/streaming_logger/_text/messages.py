"""Messages and content blocks, as LangChain, Anthropic, OpenAI and Mistral have them, whole or in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from streaming_logger._text.parts import (
    ANSWER,
    FINAL,
    ITEM,
    REASONING,
    TOOL_CALL,
    TOOL_NAME,
    Part,
    at,
    get,
    shown,
    words,
)

__all__ = ["blocks", "calls", "graph_mode", "is_echo", "message", "messages_in"]

#: Whose messages are not the model's.
_ECHOES = {"human", "user", "system", "developer", "tool", "function", "HumanMessageChunk", "ToolMessageChunk"}


def is_echo(item: Any) -> bool:
    """Whether a message is not the model's own: the user's, a tool's output."""
    return (
        get(item, "type") in _ECHOES
        or get(item, "role") in _ECHOES
        or any(get(item, name) is not None for name in ("tool_call_id", "tool_use_id"))
    )


def message(item: Any, *, is_whole: bool = False) -> Iterator[Part]:
    """A message or a chunk of one. One that is whole repeats the chunks before it, if there were any."""
    if isinstance(item, str):
        yield Part(FINAL, item, ANSWER) if is_whole else Part(ANSWER, item)
        return
    if item is None or is_echo(item):
        return
    is_whole = is_whole or get(item, "type") == "ai"
    inner = get(item, "message")
    if inner is not None and get(item, "content") is None:
        item = inner  # LangChain's ChatGenerationChunk
    parts = [Part(REASONING, words(get(get(item, "additional_kwargs"), "reasoning_content")))]
    content = get(item, "content")
    if content is None:
        content = get(item, "text")
    parts += (Part(ANSWER, content),) if isinstance(content, str) else blocks(content, with_calls=False)
    for part in parts:
        yield Part(FINAL, part.text, part.kind) if is_whole and part.kind in (ANSWER, REASONING) else part
    if is_whole:
        for part in calls(get(item, "tool_calls")):
            yield Part(FINAL, part.text, (part.kind, part.key))
    else:
        yield from calls(get(item, "tool_call_chunks"))


def messages_in(item: Any) -> list[Any]:
    """The messages of a LangGraph state, or of the updates of its nodes.

    >>> messages_in({"agent": {"messages": ["Hi"]}}), messages_in({"messages": ["Hi"]}), messages_in({"a": 1})
    (['Hi'], ['Hi'], [])
    """
    if not isinstance(item, dict):
        return []
    found = item.get("messages")
    if isinstance(found, (list, tuple)):
        return list(found)
    if not item or not all(value is None or isinstance(value, dict) for value in item.values()):
        return []
    return [one for value in item.values() if value for one in messages_in(value)]


def blocks(content: Any, *, with_calls: bool = True) -> Iterator[Part]:
    """Content that is a list of blocks, one block, or a string."""
    if isinstance(content, str):
        yield Part(ANSWER, content)
        return
    for block in content if isinstance(content, (list, tuple)) else () if content is None else (content,):
        if isinstance(block, str):
            yield Part(ANSWER, block)
            continue
        kind = get(block, "type")
        if kind in ("reasoning", "thinking", "reasoning_content") or isinstance(get(block, "thinking"), (str, list)):
            yield Part(REASONING, _thoughts(block))
        elif kind in ("tool_use", "function_call", "tool_call") or (
            get(block, "input") is not None and get(block, "name")
        ):
            if with_calls:
                which = get(block, "id")
                yield Part(TOOL_NAME, shown(get(block, "name")), which)
                yield Part(
                    TOOL_CALL, shown(get(block, "input") or get(block, "arguments") or get(block, "args")), which
                )
        elif kind in ("text", "output_text", "text_delta", "text_chunk", "refusal", None):
            text = get(block, "text")
            value = text if isinstance(text, str) else get(text, "value")
            yield Part(ANSWER, words(value) or words(get(block, "refusal")))


def _thoughts(block: Any) -> str:
    for name in ("thinking", "reasoning", "reasoning_content", "summary", "text", "content"):
        value = get(block, name)
        if isinstance(value, str):
            return value
        if isinstance(value, (list, tuple)):
            return "".join(words(piece if isinstance(piece, str) else get(piece, "text")) for piece in value)
        if isinstance(found := at(value, "text"), str):
            return found
    return ""


def calls(found: Any) -> Iterator[Part]:
    """Tool calls, or pieces of them: the name comes once. Told apart by index, or else by id."""
    for call in found if isinstance(found, Iterable) and not isinstance(found, (str, bytes, dict)) else ():
        function = get(call, "function")
        function = call if function is None else function
        name = get(function, "name")
        given = get(function, "arguments")
        given = get(function, "args") if given is None else given
        index = get(call, "index")
        which = index if isinstance(index, int) else get(call, "id") or None
        if name:
            yield Part(TOOL_NAME, shown(name), which, get(call, "id"))
        if given:
            yield Part(TOOL_CALL, shown(given), which)


def graph_mode(mode: Any, data: Any) -> Iterator[Part]:
    """What LangGraph streams in one of its modes; `updates` and `values` have messages that are whole."""
    if mode == "messages" and isinstance(data, (list, tuple)) and data:
        yield from message(data[0])
    elif mode in ("updates", "values"):
        for found in messages_in(data):
            yield from message(found, is_whole=True)
    elif mode == "custom":
        yield Part(ITEM, "", data)
