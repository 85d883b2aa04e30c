"""Text in items of no known shape: what the usual keys hold, and what the names around it say of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from streaming_logger._text.messages import is_echo
from streaming_logger._text.parts import ANSWER, ERROR, FINAL, REASONING, TOOL_CALL, Part, failure, get, words

__all__ = ["search"]

#: Where items have their text, in the order in which they are looked at.
_KEYS = (
    "delta",
    "content",
    "text",
    "token",
    "answer",
    "response",
    "output_text",
    "outputText",
    "generated_text",
    "generation",
    "completion",
    "output",
    "outputs",
    "results",
    "message",
    "data",
    "chunk",
    "value",
    "part",
    "parts",
)
_DEPTH = 6
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def search(item: Any) -> Iterable[Part]:
    """The parts of an item of no known shape.

    >>> [(part.kind, part.text) for part in search({"type": "thinking", "content": "Hm"})]
    [('reasoning', 'Hm')]
    """
    name = get(item, "type") or get(item, "event") or get(item, "kind")
    named = {word.lower() for word in _WORD.findall(name)} if isinstance(name, str) else set()
    if named & {"error", "exception", "failed", "failure"}:
        return (Part(ERROR, failure(get(item, "error") or get(item, "data") or get(item, "content") or item)),)
    if is_echo(item) or (named & {"tool", "function"} and named & {"result", "results", "output", "response", "end"}):
        return ()
    if named & {"ping", "heartbeat", "keepalive", "usage"}:
        return ()
    text = _text(item, _DEPTH)
    if named & {"reasoning", "thinking", "thought", "thoughts"}:
        return (Part(REASONING, text or words(get(item, "thinking")) or words(get(item, "reasoning"))),)
    if named & {"tool", "function"}:
        return (Part(TOOL_CALL, text, get(item, "id") or get(item, "index")),)
    if named & {"done", "end", "final", "complete", "completed", "finish", "finished", "stop", "snapshot", "result"}:
        return (Part(FINAL, text, ANSWER),)
    thoughts = words(get(item, "thinking")) or words(get(item, "reasoning")) or words(get(item, "reasoning_content"))
    return (Part(REASONING, thoughts), Part(ANSWER, text)) if thoughts else (Part(ANSWER, text),)


def _text(item: Any, depth: int) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, (list, tuple)):
        return "".join(_text(one, depth - 1) for one in item) if depth else ""
    if item is None or not depth or isinstance(item, (bytes, int, float)) or is_echo(item):
        return ""
    for key in _KEYS:
        value = get(item, key)
        if value is None or callable(value):
            continue
        if found := _text(value, depth - 1):
            return found
    return ""
