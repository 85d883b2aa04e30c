"""What a stream of strings holds, where nobody says: plain text, server-sent events, or JSON documents.

Plain text is the rule. A protocol is believed only after a complete event or document that can
hardly be a model's own words. Until then text that may be its beginning is held: 4 kB at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from streaming_logger._text.documents import Documents
from streaming_logger._text.frames import Frame, Framer
from streaming_logger._text.parts import ANSWER, CUMULATIVE, FINAL, FRAME, ITEM
from streaming_logger._text.prefixed import PrefixedLines
from streaming_logger._text.shapes import is_protocol, read
from streaming_logger._text.sse import Events

__all__ = ["Guess"]

#: Characters that are held at most.
_MAX_HELD = 4096
#: One line, or one event with the blank line that ends it.
_ONE_LINE = re.compile(r"(?:(?:data|event|id|retry)?:[^\r\n]*)?(?:\r\n|\n|\r)?")
_ONE_EVENT = re.compile(r"(?:(?:data|event|id|retry)?:[^\r\n]*(?:\r\n|\n|\r))+(?:\r\n|\n|\r)")
#: Keys of documents that are lines of a stream. With others, JSON may well be a model's answer.
_STREAM_KEYS = frozenset(
    [
        "response",
        "text",
        "content",
        "token",
        "delta",
        "answer",
        "data",
        "thinking",
        "reasoning",
        "role",
        "model",
        "type",
        "event",
        "id",
        "index",
        "object",
        "created",
        "created_at",
        "done",
        "finish_reason",
        "done_reason",
        "usage",
    ]
)


class Guess:
    """Takes the first items of a stream until it is known what they are.

    `framer` is None while that is open and for plain text; `frames` are those of the items so far.

    >>> guess = Guess()
    >>> guess.add("data"), guess.add(": [1"), guess.add("]\\nname: x")
    (False, False, True)
    >>> guess.framer, guess.text
    (None, 'data: [1]\\nname: x')
    """

    def __init__(self) -> None:
        self.framer: Framer | None = None
        self.frames: list[Frame] = []
        self.held = 0
        self._items: list[str] = []
        self._candidates: list[_Candidate] | None = None

    @property
    def text(self) -> str:
        """The items as they came."""
        return "".join(self._items)

    def add(self, item: str) -> bool:
        """Whether it is known now what the stream holds."""
        self._items.append(item)
        self.held += len(item)
        if self._candidates is None:
            first = self.text.lstrip("\ufeff\r\n\t ")[:1]
            if not first:
                return self.held > _MAX_HELD
            self._candidates = [_Candidate(make()) for starts, make in _FRAMERS if first in starts]
            fed = self._items
        else:
            fed = [item]
        for candidate in list(self._candidates):
            for piece in fed:
                candidate.feed(piece)
            if candidate.is_certain:
                return self._adopt(candidate)
            if candidate.is_wrong:
                self._candidates.remove(candidate)
        return not self._candidates or (self.held > _MAX_HELD and self.settle())

    def settle(self, *, at_end: bool = False) -> bool:
        """Decides by what has come so far; always True. `at_end`: nothing comes any more."""
        for candidate in self._candidates or ():
            if candidate.is_likely(at_end=at_end):
                return self._adopt(candidate)
        return True

    def _adopt(self, candidate: _Candidate) -> bool:
        self.framer, self.frames = candidate.framer, candidate.frames
        return True


class _Candidate:
    """One protocol that the text may be of."""

    def __init__(self, framer: Framer) -> None:
        self.framer = framer
        self.frames: list[Frame] = []
        self.is_certain = self.is_wrong = False
        self._is_aligned = self._is_plain = True
        self._events = self._texts = 0

    def feed(self, item: str) -> None:
        found = list(self.framer.feed(item))
        self.frames += found
        is_events = isinstance(self.framer, Events)
        if self._is_aligned and item:
            if is_events:
                self._is_aligned = bool(_ONE_LINE.fullmatch(item) or _ONE_EVENT.fullmatch(item))
            else:
                self._is_aligned = len(found) == 1 and not self.framer.held
        for frame in found:
            self._events += 1
            if is_protocol(frame.document) or (frame.name == "f" and isinstance(self.framer, PrefixedLines)):
                self.is_certain = True
            elif _has_text(frame):
                self._texts += 1
                self._is_plain &= isinstance(frame.document, dict) and frame.document.keys() <= _STREAM_KEYS
                # JSON behind "data:" is no model's own; JSON alone may be its answer.
                self.is_certain |= is_events and isinstance(frame.document, dict)
            self.is_wrong |= isinstance(self.framer, Documents) and frame.document is None
        self.is_wrong |= self.framer.broken
        if not is_events:
            self.is_certain |= self._texts > 1 and (self._is_aligned or self._is_plain)

    def is_likely(self, *, at_end: bool) -> bool:
        if isinstance(self.framer, Documents):
            return self._is_plain and self._texts > 0 and self.framer.held > 1 and not at_end
        if not isinstance(self.framer, Events) or not self._is_aligned:
            return isinstance(self.framer, PrefixedLines) and self._texts > 1
        pending = list(self.framer.finish()) if at_end else []
        if self._events + len(pending) > (1 if pending else 0):
            self.frames += pending
            return True
        return False


def _has_text(frame: Frame) -> bool:
    if frame.name and isinstance(frame.document, str):
        return True  # a prefixed line
    if not isinstance(frame.document, dict):
        return False
    return any(
        part.kind in (ITEM, FRAME) or (part.text and part.kind in (ANSWER, FINAL, CUMULATIVE))
        for part in read(frame.document)
    )


_FRAMERS: tuple[tuple[str, Callable[[], Framer]], ...] = (
    (":deirm", lambda: Events(guessed=True)),
    ("{[", lambda: Documents(guessed=True)),
    ("02389fg", PrefixedLines),
)
