"""JSON documents: one a line, one after the other, or the items of one array."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator

from streaming_logger._text.frames import MAX_FRAME, Frame, parsed, raw

__all__ = ["Documents"]

_STRING_END = re.compile(r'["\\\n]')
_STRUCTURE = re.compile(r'["{}\[\]\n]')
_GAP = re.compile(r"[\s,\x1e\ufeff]*")


class Documents:
    """JSON documents: one a line, cut anywhere, without line ends, spread over lines, or the items of one array.

    >>> documents = Documents()
    >>> [f.document for f in documents.feed('{"response": "a"}\\n{"resp')]
    [{'response': 'a'}]
    >>> [f.document for f in documents.feed('onse": "b"}')]
    [{'response': 'b'}]
    """

    def __init__(self, *, guessed: bool = False) -> None:
        self.broken = False
        self._guessed = guessed
        self._pieces: list[str] = []  # of the document or line that has begun
        self.held = 0
        self._depth = 0
        self._in_string = self._escaped = self._in_array = self._in_line = False
        self._is_suspect = False  # a line ended where JSON does not end one
        self._is_compact = False  # each document so far stands on one line

    def feed(self, text: str) -> Iterator[Frame]:
        position = 0
        while position < len(text):
            if self.broken:
                yield from raw(text[position:])
                return
            if self._depth:
                position = yield from self._scan(text, position)
            elif self._in_line:
                position = yield from self._scan_line(text, position)
            else:
                position = self._begin(text, position)

    def finish(self) -> Iterator[Frame]:
        rest, in_line = self._taken(), self._in_line
        self._in_line = False
        if rest:
            yield from self._scalar(rest) if in_line else raw(rest)

    def _begin(self, text: str, start: int) -> int:
        """Between two documents."""
        gap = _GAP.match(text, start)
        position = gap.end() if gap else start
        if position == len(text):
            return position
        if text[position] == "{":
            self._depth = 1
        elif text[position] == "[" and not self._in_array:
            self._in_array = True
            return position + 1
        elif text[position] == "]" and self._in_array:
            self._in_array = False
            return position + 1
        else:
            self._in_line = True
            return position
        self._pieces.append("{")
        self.held = 1
        return position + 1

    def _scan(self, text: str, start: int) -> Generator[Frame, None, int]:
        """Inside a document, up to its end or the text's."""
        position = start
        while position < len(text):
            if self._escaped:
                self._escaped = False
                position += 1
                continue
            if self._is_suspect and text[position] == "{":  # the line before it was cut, and this is a new one
                self._pieces.append(text[start:position])
                yield Frame("", self._taken())
                return position
            self._is_suspect = False
            found = (_STRING_END if self._in_string else _STRUCTURE).search(text, position)
            if found is None:
                position = len(text)
                break
            position, mark = found.end(), found[0]
            if mark == "\\":
                self._escaped = True
            elif mark == '"':
                self._in_string = not self._in_string
            elif mark in "{[":
                self._depth += 1
            elif mark in "}]":
                self._depth -= 1
                if not self._depth:
                    self._pieces.append(text[start:position])
                    data = self._taken()
                    self._is_compact = "\n" not in data
                    yield Frame("", data, parsed(data))
                    return position
            elif not self._in_string:
                before = text[start : position - 1].rstrip() or (self._pieces[-1].rstrip() if self._pieces else "")
                self._is_suspect = self._is_compact or before[-1:] not in (",", ":", "[", "{", "")
            else:  # a line's end inside a string is not JSON: the line was cut
                self._pieces.append(text[start:position])
                yield Frame("", self._taken())
                return position
        self._pieces.append(text[start:position])
        self.held += position - start
        if self.held > MAX_FRAME:
            yield from raw(self._taken())
            self.broken = self._guessed
        return position

    def _scan_line(self, text: str, start: int) -> Generator[Frame, None, int]:
        """A line that is not an object: a JSON string, a number, or not JSON at all."""
        if self._guessed:
            self.broken = True
            return start
        end = text.find("\n", start)
        stop = len(text) if end < 0 else end + 1
        self._pieces.append(text[start:stop])
        self.held += stop - start
        if end >= 0 or self.held > MAX_FRAME:
            self._in_line = False
            yield from self._scalar(self._taken())
        return stop

    def _scalar(self, line: str) -> Iterator[Frame]:
        try:
            value = json.loads(line)
        except ValueError:
            yield from raw(line)
        else:
            yield Frame("", line.strip(), None) if isinstance(value, str) else Frame("", line, None, True)

    def _taken(self) -> str:
        """What is held, which is then held no longer."""
        text = "".join(self._pieces)
        self._pieces, self.held, self._depth = [], 0, 0
        self._in_string = self._escaped = self._is_suspect = False
        return text
