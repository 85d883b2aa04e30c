"""Server-sent events."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from streaming_logger._text.frames import MAX_FRAME, Frame, parsed, raw

__all__ = ["Events"]

_FIELDS = ("data:", "event:", "id:", "retry:", "error:", "message:")
_LINE_END = re.compile(r"\r\n|\n|\r")
#: How a piece begins that is a line, where an HTTP client has taken the lines' ends away.
_BEGINS_LINE = re.compile(r"(?:data|event|id|retry)?:|\Z")


class Events:
    """Server-sent events. `guessed`: a line that is not of their grammar ends them; else it is logged as it stands.

    >>> events = Events()
    >>> list(events.feed('event: delta\\ndata: {"text": "o')), [f.document for f in events.feed('ne"}\\n\\n')]
    ([], [{'text': 'one'}])
    """

    def __init__(self, *, guessed: bool = False) -> None:
        self.broken = False
        self._guessed = guessed
        self._begun = False
        self._has_ends = False  # some HTTP clients take the lines' ends away
        self._has_blanks = False
        self._ended_cr = False
        # The line that has begun: its pieces, their size, and whether it is known to be of the grammar.
        self._line: list[str] = []
        self._line_size = 0
        self._is_field = self._is_foreign = False
        # The event that has begun.
        self._name = ""
        self._data: list[str] = []
        self._lines: list[str] = []
        self._event_size = 0

    @property
    def held(self) -> int:
        return self._line_size + self._event_size

    def feed(self, text: str) -> Iterator[Frame]:
        if (frame := self.whole(text)) is not None:
            yield frame
            return
        if self.broken:
            yield from raw(text)
            return
        if not self._begun and text:
            self._begun = True
            text = text.removeprefix("\ufeff")
        if not self._has_ends and self._is_whole_line(text):
            yield from self._ended_line("".join(self._line), "")
            if not text:
                self._has_blanks = True
                yield from self._dispatched()
        if self._ended_cr and text:
            text = text.removeprefix("\n")
            self._ended_cr = False
        end = 0
        for found in _LINE_END.finditer(text):
            self._has_ends = True
            line = text[end : found.start()]
            end = found.end()
            yield from self._ended_line("".join((*self._line, line)), found[0])
            if self.broken:
                yield from raw(text[end:])
                return
        if end:
            self._ended_cr = text.endswith("\r")
        yield from self._begun_line(text[end:])
        if self.held > MAX_FRAME:
            yield from self._break("".join(self._line))

    def whole(self, text: str) -> Frame | None:
        """The frame of a piece that is exactly one event, the everyday case; None for whatever else."""
        if self._line or self._data or not text.startswith("data: {") or text.find("\n") != len(text) - 2:
            return None
        document = parsed(text[6:-2]) if text.endswith("\n\n") else None
        if document is None:
            return None
        self._begun = self._has_ends = True
        self._ended_cr = False
        return self._found(text[6:-2], document)

    def _found(self, data: str, document: Any) -> Frame:
        """A document that ends its event."""
        frame = Frame(self._name, data, document)
        self._forget_event()
        return frame

    def finish(self) -> Iterator[Frame]:
        line = "".join(self._line)
        if line.startswith(("data: {", "data:{")) and not self._data and parsed(line[5:].strip()) is None:
            yield from raw(line)  # the stream ended inside its event
            self._forget_line()
        elif line:
            yield from self._ended_line(line, "")
        yield from self._dispatched()

    def _is_whole_line(self, text: str) -> bool:
        """Whether the piece before this one was a line without its end."""
        if len(self._line) != 1:
            return not text and not self._line
        line = self._line[0]
        if not line.startswith((":", *_FIELDS)) or not _BEGINS_LINE.match(text):
            return False
        data = line[5:].strip() if line.startswith("data:") else ""
        return not text or data[:1] not in ("{", "[") or parsed(data) is not None

    def _begun_line(self, piece: str) -> Iterator[Frame]:
        if not piece:
            return
        if self._is_foreign:
            yield from raw(piece)
            return
        self._line.append(piece)
        self._line_size += len(piece)
        if not self._is_field:
            line = "".join(self._line)
            self._is_field = line.startswith((":", *_FIELDS))
            if not self._is_field and not any(field.startswith(line) for field in _FIELDS):
                yield from self._break(line)
                self._is_foreign = not self.broken
                return
        if not self._has_ends and len(self._line) == 1 and not self._data and piece[-1] in "}]":
            data = piece[5:].strip() if piece.startswith("data:") else ""
            document = parsed(data)
            if document is not None:  # no line ends so far: waiting for the next item shows it later, and no better
                self._forget_line()
                yield self._found(data, document)

    def _ended_line(self, line: str, end: str) -> Iterator[Frame]:
        is_foreign = self._is_foreign
        self._forget_line()
        if is_foreign:
            yield from raw(line + end)
        elif not line:
            yield from self._dispatched()
        elif line.startswith("data:"):
            value = line[5:].removeprefix(" ")
            document = parsed(value) if not self._data else None
            if document is not None:
                yield self._found(value, document)  # some servers send no blank lines
                return
            if not self._has_ends and not self._has_blanks:
                yield from self._dispatched()  # neither line ends nor blank lines: each line is an event
            self._data.append(value)
            self._keep(line, end)
        elif line.startswith("event:"):
            self._name = line[6:].strip()
            self._keep(line, end)
        elif line.startswith((":", "id:", "retry:")) or line.strip() == "message:":  # Flowise's
            self._keep(line, end)
        elif line.startswith("error:"):  # llama.cpp's
            value = line[6:].strip()
            yield Frame("error", value, parsed(value))
        else:
            yield from self._break(line + end)

    def _keep(self, line: str, end: str) -> None:
        self._lines += (line, end)
        self._event_size += len(line) + len(end)

    def _dispatched(self) -> Iterator[Frame]:
        """The event that ends here, if it has data."""
        name, lines, data = self._name, self._data, "\n".join(self._data)
        self._forget_event()
        if not lines:
            return
        documents = [parsed(line) for line in lines]
        document = documents[0] if len(lines) == 1 else parsed(data)
        if document is None and any(one is not None for one in documents):  # events without blank lines, one cut
            yield from (Frame(name, *one) for one in zip(lines, documents, strict=True))
        else:
            yield Frame(name, data, document)

    def _break(self, text: str) -> Iterator[Frame]:
        """This is not of the grammar."""
        if self._guessed:
            self.broken = True
            text = "".join((*self._lines, text))
            self._forget_event()
        else:
            yield from self._dispatched()
        self._forget_line()
        yield from raw(text)

    def _forget_line(self) -> None:
        self._line, self._line_size = [], 0
        self._is_field = self._is_foreign = False

    def _forget_event(self) -> None:
        self._name = ""
        if self._lines:
            self._data, self._lines, self._event_size = [], [], 0
