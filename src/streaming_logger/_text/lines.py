"""Server-sent events and lines of JSON, in text that is cut anywhere: the JSON documents and words in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["EventLines", "JsonLines", "is_event_stream", "may_become_event_stream"]

_FIELD = re.compile(r"(data|event|id|retry|):")
#: A line that has its field's name and the beginning of its value.
_LINE = re.compile(r"(data|event|id|retry): ?\S")
_FIELDS = ("data:", "event:", "id:", "retry:")
_LONG_COMMENT = 200
#: An event that has begun and whose JSON may still be incomplete.
_OPEN_JSON = re.compile(r'data: ?[{\["]')


def is_event_stream(first: str) -> bool:
    """Whether a stream that begins with this is one of server-sent events.

    A model's own words may begin with "data:", so a whole line or JSON must follow. An HTTP client's
    `iter_lines()` yields lines without their ends.

    >>> is_event_stream('data: {"choices"'), is_event_stream("data: the plural of datum")
    (True, False)
    """
    line, end, _ = first.lstrip("\ufeff\r\n").partition("\n")
    if not _FIELD.match(line):
        return False
    return bool(end or _OPEN_JSON.match(line) or re.fullmatch(r"event: ?[\w.\-]+", line))


def may_become_event_stream(first: str) -> bool:
    """Whether more text is needed to tell.

    >>> may_become_event_stream("da"), may_become_event_stream("data: "), may_become_event_stream("Dear")
    (True, True, False)
    """
    first = first.lstrip("\ufeff\r\n")
    if first.startswith(":"):  # a comment, if its line ends soon
        return len(first) < _LONG_COMMENT
    return any(field.startswith(first) or re.fullmatch(f"{field} ?", first) for field in _FIELDS)


def parsed(text: str) -> Any:
    """A JSON document; the text itself where it is none, and None for the mark that ends OpenAI's streams."""
    if text.strip() == "[DONE]":
        return None
    if text[:1] in ("{", "[", '"'):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    return text


class EventLines:
    """The data of server-sent events, parsed.

    >>> events = EventLines()
    >>> list(events.feed('event: delta\\ndata: {"text": "o')), list(events.feed('ne"}\\n\\ndata: two\\n\\n'))
    ([], [{'text': 'one'}, 'two'])
    """

    def __init__(self) -> None:
        self._rest = ""  # a line that has begun
        self._data: list[str] = []  # the lines of an event that has begun

    def feed(self, text: str) -> Iterator[Any]:
        """The events that this piece ends."""
        if not text or (_LINE.match(text) and _LINE.match(self._rest) and not _OPEN_JSON.match(self._rest)):
            text = "\n" + text  # lines without their ends
        *lines, self._rest = (self._rest + text).replace("\r\n", "\n").split("\n")
        for line in lines:
            if line:
                self._add(line)
            else:
                yield from self._event()
        if self._has_whole_document():
            yield from self.finish()

    def finish(self) -> Iterator[Any]:
        """What the stream's end leaves: an event whose blank line never came."""
        self._add(self._rest)
        self._rest = ""
        yield from self._event()

    def _has_whole_document(self) -> bool:
        """A JSON document ends its event: the end of its line need not be waited for."""
        if self._rest[-1:] not in ("}", "]") or not _OPEN_JSON.match(self._rest):
            return False
        return not isinstance(parsed(self._rest[5:].strip()), str)

    def _add(self, line: str) -> None:
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))

    def _event(self) -> Iterator[Any]:
        data, self._data = self._data, []
        if data:
            yield parsed("\n".join(data))


class JsonLines:
    """JSON documents, one a line (Ollama, application/x-ndjson).

    >>> lines = JsonLines()
    >>> list(lines.feed('{"response": "a"}\\n{"resp')), list(lines.feed('onse": "b"}')), list(lines.finish())
    ([{'response': 'a'}], [], [{'response': 'b'}])
    """

    def __init__(self) -> None:
        self._rest = ""

    @staticmethod
    def begins(first: str) -> dict[str, Any] | None:
        """The first line's document, if it is one."""
        document = parsed(first.partition("\n")[0].strip()) if first[:1] == "{" else None
        return document if isinstance(document, dict) else None

    def feed(self, text: str) -> Iterator[Any]:
        """The lines that this piece ends."""
        *lines, self._rest = (self._rest + text).split("\n")
        yield from (parsed(line.strip()) for line in lines if line.strip())

    def finish(self) -> Iterator[Any]:
        """A last line without its end."""
        rest, self._rest = self._rest.strip(), ""
        if rest:
            yield parsed(rest)
