"""What the shapes find in an item: parts, each a kind of text. And the one way to read dicts and objects alike."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

__all__ = [
    "ANSWER",
    "CHOICE",
    "CUMULATIVE",
    "ERROR",
    "FINAL",
    "FRAME",
    "ITEM",
    "REASONING",
    "TOOL_CALL",
    "TOOL_NAME",
    "Part",
]

ANSWER = "answer"
REASONING = "reasoning"
#: The beginning of a tool call, and a piece of its arguments. `Part.key` tells parallel calls apart.
TOOL_NAME = "tool name"
TOOL_CALL = "tool call"
#: A piece of an answer beside the first; `Part.key` is its index.
CHOICE = "choice"
#: Text that the pieces before it have brought already, as a rule; `Part.key` is its kind.
FINAL = "final"
#: All text so far, again in each item; `Part.key` is its kind.
CUMULATIVE = "cumulative"
#: What a failed stream says of its failure: for the ledger, not for the file.
ERROR = "error"
#: Another item inside this one: `Part.key`.
ITEM = "item"
#: The data of a server-sent event, not parsed yet; `Part.key` is the event's name.
FRAME = "frame"


class Part(NamedTuple):
    """One piece of text and what it is."""

    kind: str
    text: str
    key: Any = None
    id: Any = None
    """The id of a tool call that `key` tells by its index."""


def get(chunk: Any, name: str) -> Any:
    """A dict's value or an object's attribute; None where it is missing."""
    return chunk.get(name) if isinstance(chunk, dict) else getattr(chunk, name, None)


def at(chunk: Any, path: str) -> Any:
    """What a dotted path leads to, through dicts, objects and the first items of lists; None where it ends early.

    >>> at({"delta": {"content": [{"text": "Hi"}]}}, "delta.content.text")
    'Hi'
    """
    for name in path.split("."):
        chunk = get(chunk, name)
        if isinstance(chunk, (list, tuple)):
            chunk = chunk[0] if chunk else None
        if chunk is None:
            return None
    return chunk


def words(value: object) -> str:
    """A string; "" for whatever else stands in its place."""
    return value if isinstance(value, str) else ""


def shown(value: object) -> str:
    """Arguments of a tool call or the details of an error, as text."""
    if isinstance(value, str) or value is None:
        return value or ""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def failure(value: Any) -> str:
    """The text of an error: its message, with its type or code before it.

    >>> failure({"type": "overloaded_error", "message": "Overloaded"}), failure("no such model")
    ('overloaded_error: Overloaded', 'no such model')
    """
    if isinstance(value, str):
        return value
    message = get(value, "message") or get(value, "errorText") or get(value, "detail")
    kind = get(value, "type") or get(value, "code") or get(value, "status")
    if not message:
        return shown(value) or "error"
    return shown(message) if not kind or kind == "error" else f"{shown(kind)}: {shown(message)}"
