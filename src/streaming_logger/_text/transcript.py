"""What goes into a session's file: the parts of a stream's items as one text, each thing once and in order."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from streaming_logger._text.calls import ToolCalls
from streaming_logger._text.parts import ANSWER, CHOICE, CUMULATIVE, ERROR, FINAL, REASONING, TOOL_CALL, TOOL_NAME, Part

__all__ = ["Transcript"]

#: Characters of another choice that wait for the first one's beginning, or for the end of their line.
_MAX_WAITING = 500
#: Whole messages that are remembered, against repetitions.
_MAX_FINALS = 1000


class Transcript:
    """The kinds that are asked for. Where the kind changes, a line names it.

    >>> transcript = Transcript({ANSWER, REASONING})
    >>> transcript.add([Part(REASONING, "Hm."), Part(ANSWER, "Yes")])
    '[streaming_logger: reasoning]\\nHm.\\n[streaming_logger: answer]\\nYes'
    """

    def __init__(self, kinds: set[str]) -> None:
        self.error: str | None = None
        """What the stream said of its own failure."""
        self._kinds = kinds
        self._is_simple = kinds == {ANSWER}
        self._has_text = False
        self._kind = ANSWER
        self._begun = False
        self._surrogate = ""
        self._calls = ToolCalls()
        self._skipped_call: object = None
        # The choice that is the answer; others before it is known; others' unfinished lines.
        self._choice: int | None = None
        self._early: list[Part] = []
        self._choices: dict[int, list[str]] = {}
        # Against repetitions: kinds that came in pieces since the last whole message; whole texts; all so far.
        self._pieces: set[str] = set()
        self._has_pieces = False  # of the answer, by `answer`
        self._finals: set[tuple[object, int]] = set()
        self._sums: dict[str, tuple[int, int]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no text of any kind has come, asked for or not."""
        return not (self._has_text or self._has_pieces)

    @property
    def held(self) -> int:
        """Characters that wait for more."""
        choices = sum(len(piece) for pieces in self._choices.values() for piece in pieces)
        return self._calls.held + len(self._surrogate) + choices + sum(len(part.text) for part in self._early)

    def answer(self, text: str) -> str:
        """A piece of the answer that needs no other treatment: where nothing else is asked for."""
        self._choice = 0
        self._has_pieces = True
        if not self._surrogate and not "\ud800" <= text[-1:] <= "\udbff":
            return text
        return self._whole(text)

    def add(self, parts: Iterable[Part]) -> str:
        """The text of the kinds that are asked for; where the kind changes, a line names it."""
        found = []
        for part in parts:
            kind, text = part.kind, part.text
            if kind == FINAL:
                kind, text = self._final(part)
            elif kind == CUMULATIVE:
                kind, text = part.key, self._new_text(part)
            elif kind == CHOICE:
                kind, text = self._of_choice(part)
            elif kind == ANSWER and self._choice is None:
                self._choice = 0
                for early in self._early:
                    self._choices.setdefault(early.key, []).append(early.text)
                self._early = []
            if not text:
                continue
            if kind == ERROR:
                self.error = self.error or text
                self._has_text = True
                continue
            self._has_text = True
            if part.kind not in (FINAL, CUMULATIVE, CHOICE):
                self._pieces.add(kind)
                if kind in (ANSWER, REASONING):
                    self._add_up(kind, text)
            found.append(self._logged(kind, text, part))
        return self._whole("".join(found)) if found else ""

    def finish(self) -> str:
        """What still waits, at the stream's end."""
        early, self._early = self._early, []
        if early and self._choice is None:
            self._choice = min(part.key for part in early)
        text = self.add(early) + self.add(
            [Part(CHOICE, "\n", index) for index in self._choices if self._choices[index]]
        )
        text += self._shown(TOOL_CALL, self._calls.finish())
        surrogate, self._surrogate = self._surrogate, ""
        return text + surrogate

    def _logged(self, kind: str, text: str, part: Part) -> str:
        if kind in (TOOL_NAME, TOOL_CALL):
            if TOOL_CALL not in self._kinds:
                return ""
            begins = kind == TOOL_NAME
            key = part.key[1] if part.kind == FINAL else part.key
            text = self._calls.begin(text, key, part.id) if begins else self._calls.add(text, key)
            return self._shown(TOOL_CALL, text)
        if kind == CHOICE:
            return self._shown(f"{CHOICE} {part.key}", text) if CHOICE in self._kinds else ""
        if kind not in self._kinds:
            return ""
        waiting = self._calls.finish() if self._calls.held else ""
        return self._shown(TOOL_CALL, waiting) + self._shown(kind, text)

    def _shown(self, kind: str, text: str) -> str:
        if not text or (kind == self._kind and (kind != ANSWER or self._begun or self._is_simple)):
            return text
        if kind == self._kind:
            self._begun = True
            return text
        begun = "\n" if self._begun else ""
        self._kind, self._begun = kind, True
        return f"{begun}[streaming_logger: {kind}]\n{text.lstrip(chr(10))}"

    def _whole(self, text: str) -> str:
        """A character that JSON cuts into two surrogates is put together."""
        if not self._surrogate and not "\ud800" <= text[-1:] <= "\udbff":
            return text
        text = self._surrogate + text
        self._surrogate = ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._surrogate = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

    def _of_choice(self, part: Part) -> tuple[str, str]:
        """The choice with the lowest index is the answer; of the others whole lines are shown."""
        if not part.text:
            return CHOICE, ""
        if self._choice is None:
            # A lower one may still come; but not for ever.
            self._early.append(part)
            if sum(len(early.text) for early in self._early) < _MAX_WAITING:
                return CHOICE, ""
            early, self._early = self._early, []
            self._choice = min(one.key for one in early)
            return ANSWER, "".join(one.text for one in early if one.key == self._choice)
        if part.key == self._choice:
            return ANSWER, part.text
        if CHOICE not in self._kinds:
            return CHOICE, part.text
        pieces = self._choices.setdefault(part.key, [])
        pieces.append(part.text)
        if not part.text.endswith("\n") and sum(map(len, pieces)) < _MAX_WAITING:
            return CHOICE, ""
        self._choices[part.key] = []
        return CHOICE, "".join(pieces)

    def _final(self, part: Part) -> tuple[str, str]:
        """A whole message, if its text did not come in pieces before."""
        if isinstance(part.key, tuple):
            kind, which = part.key
            if kind == TOOL_NAME:
                self._skipped_call = which if self._calls.knows(which) else None
            return kind, "" if self._skipped_call is not None and self._skipped_call == which else part.text
        kind, text = part.key, part.text
        if kind in self._pieces or (self._has_pieces and kind == ANSWER):
            if part.id != "choice":
                self._pieces.discard(kind)
                self._has_pieces = self._has_pieces and kind != ANSWER
                self._finals.add((kind, hash(text)))
            return kind, ""
        if part.id == "choice":
            return kind, text
        mark = (kind, hash(text))
        if mark in self._finals or self._sums.get(kind, (0, 0)) == _sum(text, 0, 0):
            return kind, ""
        if len(self._finals) < _MAX_FINALS:
            self._finals.add(mark)
        self._add_up(kind, text)
        return kind, text

    def _new_text(self, part: Part) -> str:
        """What an item that has all text so far adds to the one before it."""
        text = part.text.rstrip("\ufffd")  # the rest of a character is still to come
        size, checked = self._sums.get(part.key, (0, 0))
        if len(text) >= size and _sum(text[:size], 0, 0)[1] == checked:
            text = text[size:]
        self._add_up(part.key, text)
        self._pieces.add(part.key)
        return text

    def _add_up(self, kind: str, text: str) -> None:
        self._sums[kind] = _sum(text, *self._sums.get(kind, (0, 0)))


def _sum(text: str, size: int, checked: int) -> tuple[int, int]:
    """Length and checksum of a text that continues one with these."""
    return size + len(text), zlib.crc32(text.encode("utf-8", "surrogatepass"), checked)
