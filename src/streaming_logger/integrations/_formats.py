"""The content types that can hold a stream of text, and how each is read."""

from __future__ import annotations

from typing import Literal

__all__ = ["Format", "format_of", "is_declared_stream"]

#: As in `StreamingLogger.wrap`.
Format = Literal["auto", "text", "sse", "jsonl"]

#: What frameworks send unless they are told otherwise: it says nothing of the body. Gemini's REST API streams
#: one JSON array, so application/json need not hold lines.
_DEFAULTS = {"", "text/html", "application/json", "application/octet-stream"}
#: Subtypes for one JSON document a line, with and without "x-" before them.
_JSON_LINES = {"ndjson", "jsonl", "jsonlines", "json-lines", "json-seq", "json-stream", "jsonstream", "ldjson"}
_JSON_LINES |= {"stream+json", "nd-json", "line-delimited-json", "json-l"}


def format_of(content_type: str) -> Format | None:
    """How a body of this content type is read, without parameters and in lower case; None: it is not text.

    >>> format_of("text/event-stream"), format_of("application/x-ndjson"), format_of("text/markdown")
    ('sse', 'jsonl', 'text')
    >>> format_of(""), format_of("application/json"), format_of("image/png")
    ('auto', 'auto', None)
    """
    if content_type in _DEFAULTS:
        return "auto"
    if content_type == "text/event-stream":
        return "sse"
    kind, _, subtype = content_type.partition("/")
    subtype = subtype.removeprefix("x-")
    if kind in ("application", "text") and (subtype in _JSON_LINES or subtype.rpartition("+")[2] in _JSON_LINES):
        return "jsonl"
    return "text" if kind == "text" else None


def is_declared_stream(content_type: str) -> bool:
    """Whether the server has said that this is a stream, or plain text: not what any page or API answer is.

    >>> is_declared_stream("text/plain"), is_declared_stream("application/json"), is_declared_stream("image/png")
    (True, False, False)
    """
    return format_of(content_type) not in (None, "auto")
