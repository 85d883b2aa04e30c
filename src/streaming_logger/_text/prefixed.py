"""Version 1 of the Vercel AI SDK's data stream: lines of a letter or digit, a colon and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from streaming_logger._text.events import whole_call
from streaming_logger._text.frames import MAX_FRAME, Frame, raw
from streaming_logger._text.parts import ANSWER, ERROR, REASONING, Part, failure, words
from streaming_logger._text.readers import Reader, call, nothing

__all__ = ["PrefixedLines", "prefixed"]

_PREFIXED = re.compile(r"([0-9a-z]):(.*)", re.DOTALL)


class PrefixedLines:
    """The lines of such a stream.

    >>> [(f.name, f.data) for f in PrefixedLines().feed('0:"Hel"\\n0:"lo"\\n')]
    [('0', '"Hel"'), ('0', '"lo"')]
    """

    def __init__(self) -> None:
        self.broken = False
        self._pieces: list[str] = []
        self.held = 0

    def feed(self, text: str) -> Iterator[Frame]:
        *ended, rest = text.split("\n")
        for number, line in enumerate(ended):
            self._pieces.append(line)
            yield from self._line("".join(self._pieces), "\n")
            self._pieces, self.held = [], 0
            if self.broken:
                yield from raw("\n".join([*ended[number + 1 :], rest]))
                return
        if rest:
            self._pieces.append(rest)
            self.held += len(rest)
            if self.held > MAX_FRAME or not (len(self._pieces) > 2 or self._may_begin("".join(self._pieces))):
                yield from self.finish()

    def finish(self) -> Iterator[Frame]:
        rest = "".join(self._pieces)
        self._pieces, self.held = [], 0
        if rest:
            yield from self._line(rest, "")

    @staticmethod
    def _may_begin(line: str) -> bool:
        return len(line) == 1 or line[1] == ":"

    def _line(self, line: str, end: str) -> Iterator[Frame]:
        if self.broken:
            yield from raw(line + end)
            return
        found = _PREFIXED.fullmatch(line.rstrip("\r"))
        if found is not None:
            try:
                document = json.loads(found[2])
            except (ValueError, RecursionError):
                found = None
        if found is None:
            if line or end != "\n":
                self.broken = True
                yield from raw(line + end)
        else:
            yield Frame(found[1], found[2], document)


#: By the letter before a line's JSON.
_PREFIXES: dict[str, Reader] = {
    "0": lambda value: (Part(ANSWER, words(value)),),
    "g": lambda value: (Part(REASONING, words(value)),),
    "3": lambda value: (Part(ERROR, failure(value)),),
    "9": whole_call,
    "b": call("toolName", "", "toolCallId"),
    "c": call("", "argsTextDelta", "toolCallId"),
}


def prefixed(name: str, value: Any) -> Iterable[Part]:
    """What such a line has."""
    return _PREFIXES.get(name, nothing)(value)
