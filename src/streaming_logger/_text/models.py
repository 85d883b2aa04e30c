"""The chunks of model APIs that are told by their attributes: what is in each, by provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from streaming_logger._text.messages import blocks, calls
from streaming_logger._text.parts import (
    ANSWER,
    CHOICE,
    CUMULATIVE,
    ERROR,
    FINAL,
    FRAME,
    REASONING,
    TOOL_CALL,
    TOOL_NAME,
    Part,
    at,
    failure,
    get,
    shown,
    words,
)

__all__ = [
    "bedrock",
    "claude_message",
    "claude_result",
    "cumulative",
    "dashscope",
    "gemini",
    "json_bytes",
    "llama_index",
    "llama_index_call",
    "ollama",
    "pydantic_ai",
    "pydantic_ai_response",
    "tgi",
    "vllm_output",
]


def gemini(chunk: Any) -> Iterator[Part]:
    if reason := at(chunk, "prompt_feedback.block_reason") or at(chunk, "promptFeedback.blockReason"):
        yield Part(ERROR, f"prompt blocked: {getattr(reason, 'value', reason)}")
    candidates = get(chunk, "candidates")
    for candidate in candidates if isinstance(candidates, (list, tuple)) else ():
        index = get(candidate, "index") or 0
        for number, part in enumerate(get(get(candidate, "content"), "parts") or ()):
            text = words(get(part, "text"))
            if index:
                yield Part(CHOICE, "" if get(part, "thought") else text, index)
                continue
            yield Part(REASONING if get(part, "thought") else ANSWER, text)
            call = get(part, "function_call") or get(part, "functionCall")
            if call is not None and get(call, "name"):
                which = get(call, "id") or f"call {number}"
                yield Part(TOOL_NAME, shown(get(call, "name")), which)
                yield Part(TOOL_CALL, shown(get(call, "args")), which)


def ollama(chunk: Any) -> Iterator[Part]:
    inner = get(chunk, "message")
    if inner is None:
        inner = chunk
    yield Part(REASONING, words(get(inner, "thinking")))
    text = get(chunk, "response")
    yield Part(ANSWER, words(text if isinstance(text, str) else get(inner, "content")))
    yield from calls(get(inner, "tool_calls"))


def pydantic_ai(event: Any) -> Iterator[Part]:
    kind = get(event, "event_kind")
    piece = get(event, "part") if kind == "part_start" else get(event, "delta") if kind == "part_delta" else None
    kind = get(piece, "part_kind") or get(piece, "part_delta_kind")
    if kind in ("text", "thinking"):
        text = words(get(piece, "content") or get(piece, "content_delta"))
        yield Part(REASONING if kind == "thinking" else ANSWER, text)
    elif kind in ("tool-call", "builtin-tool-call", "tool_call"):
        which = get(event, "index")
        if name := get(piece, "tool_name") or get(piece, "tool_name_delta"):
            yield Part(TOOL_NAME, shown(name), which)
        if given := get(piece, "args") or get(piece, "args_delta"):
            yield Part(TOOL_CALL, shown(given), which)


def llama_index(event: Any) -> Iterator[Part]:
    thoughts = get(event, "thinking_delta") or get(get(event, "additional_kwargs"), "thinking_delta")
    yield Part(REASONING, words(thoughts))
    yield Part(ANSWER, words(get(event, "delta")))


def llama_index_call(event: Any) -> Iterator[Part]:
    """An agent's tool call; with an output it is the call's result."""
    if get(event, "tool_output") is None:
        yield Part(TOOL_NAME, shown(get(event, "tool_name")), get(event, "tool_id"))
        yield Part(TOOL_CALL, shown(get(event, "tool_kwargs")), get(event, "tool_id"))


def pydantic_ai_response(item: Any) -> Iterator[Part]:
    """A response as it is so far, again and again."""
    for kind, name in ((REASONING, "thinking"), (ANSWER, "text")):
        texts = [words(get(part, "content")) for part in get(item, "parts") if get(part, "part_kind") == name]
        yield Part(CUMULATIVE, "".join(texts), kind)


def bedrock(event: Any) -> Iterator[Part]:
    delta = at(event, "contentBlockDelta.delta")
    which = at(event, "contentBlockDelta.contentBlockIndex")
    yield Part(REASONING, words(at(delta, "reasoningContent.text")))
    yield Part(ANSWER, words(get(delta, "text")))
    if given := at(delta, "toolUse.input"):
        yield Part(TOOL_CALL, shown(given), which)


def json_bytes(event: Any) -> Iterable[Part]:
    """Bedrock's `invoke_model_with_response_stream`: the model's own JSON."""
    data = at(event, "chunk.bytes")
    return (Part(FRAME, data.decode("utf-8", "backslashreplace") if isinstance(data, bytes) else words(data), ""),)


def dashscope(event: Any) -> Iterator[Part]:
    status = get(event, "status_code")
    if (status not in (None, 200) or not get(event, "output")) and get(event, "code"):
        yield Part(ERROR, failure(event))
    output = get(event, "output")
    inner = at(output, "choices.message")
    yield Part(CUMULATIVE, words(get(inner, "reasoning_content")), REASONING)
    content = get(inner, "content") if inner is not None else get(output, "text")
    if isinstance(content, (list, tuple)):
        content = "".join(words(get(block, "text")) for block in content)
    yield Part(CUMULATIVE, words(content), ANSWER)
    yield from calls(get(inner, "tool_calls"))


def cumulative(event: Any) -> Iterable[Part]:
    text = get(event, "text")
    return (Part(CUMULATIVE, words(text[0] if isinstance(text, list) and text else text), ANSWER),)


def claude_message(item: Any) -> Iterator[Part]:
    """A message of the Claude Agent SDK, whole, after its pieces or in their place."""
    if problem := get(item, "error"):
        yield Part(ERROR, shown(problem))
    for part in blocks(get(item, "content")):
        yield Part(FINAL, part.text, part.kind if part.kind in (ANSWER, REASONING) else (part.kind, part.key))


def claude_result(item: Any) -> Iterable[Part]:
    if get(item, "is_error"):
        return (Part(ERROR, shown(get(item, "result")) or shown(get(item, "subtype"))),)
    return (Part(FINAL, words(get(item, "result")), ANSWER),)


def tgi(chunk: Any) -> Iterable[Part]:
    token = get(chunk, "token")
    return () if get(token, "special") else (Part(ANSWER, words(get(token, "text"))),)


def vllm_output(item: Any) -> Iterable[Part]:
    """vLLM's own engine: all text so far, unless it is told to yield pieces."""
    return (Part(CUMULATIVE, words(at(item, "outputs.text")), ANSWER),)
