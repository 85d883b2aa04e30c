"""Replaces counters in a stream of text, so that a loop in which only a number grows becomes a plain repetition."""

from __future__ import annotations

import re
import string
from functools import lru_cache

__all__ = ["COUNTER", "CounterFolder"]

#: Stands for one value of a counter.
COUNTER = "\0"

_VALUE = re.compile(r"(\d+|\b[A-Za-z]\b)")
#: A value that the end of a step may have cut in two.
_UNFINISHED = re.compile(r"\w{1,16}\Z")
_MAX_UNFINISHED = 16
#: Punctuation; with that of Chinese and Japanese.
_BETWEEN = string.whitespace + string.punctuation.replace("_", "") + "\u3001\u3002\uff08\uff09\uff0c\uff1a\uff1b"
_CONTEXT = 8
#: The values on a line are told apart up to this one.
_MAX_COLUMN = 6
#: A loop uses few contexts; those of ordinary text come and go.
_MAX_CONTEXTS = 16
#: Longer runs of digits are data, and converting them would not take constant time.
_MAX_DIGITS = 15


class CounterFolder:
    r"""Replaces each value that continues a count by one `COUNTER` character.

    A value is a run of digits or a single letter. It continues a count if it is one or two above the value that
    last stood in the same context, or counts down by one. A product or another column of data rarely does: a table
    is no loop because its rows are numbered.

    >>> folder = CounterFolder()
    >>> folder.fold("row 7\nrow 8\nrow 9\nrow 10\n")
    'row 7\nrow 8\nrow \x00\nrow \x00\n'
    >>> list(folder.widths), list(folder.values)
    ([1, 2], [9, 10])
    """

    __slots__ = ("_column", "_known", "_since", "_unfinished", "values", "widths")

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[int, int]] = {}
        """The last value and the last step of each context, the one not seen for longest first."""
        self._since = ""
        self._column = 0
        self._unfinished = ""
        self.widths = bytearray()
        """How many characters each `COUNTER` stands for, in order, as far as the caller keeps them."""
        self.values = bytearray()
        """The low byte of each value."""

    def fold(self, text: str) -> str:
        """The text with its counters replaced. A word at its end is kept back until the next call."""
        text = self._unfinished + text.replace(COUNTER, " ")
        found = _UNFINISHED.search(text, max(0, len(text) - _MAX_UNFINISHED))
        self._unfinished = found[0] if found else ""
        text = text[: len(text) - len(self._unfinished)]
        parts = _VALUE.split(text)
        since, column = (self._since + parts[0])[-_CONTEXT:], self._column
        if "\n" in parts[0]:
            column = 0
        for i in range(1, len(parts), 2):
            if self._continues((column, _context(since)), parts[i]):
                parts[i] = COUNTER
            piece = parts[i + 1]
            since = piece[-_CONTEXT:]
            column = 0 if "\n" in piece else min(column + 1, _MAX_COLUMN)
        self._since, self._column = since, column
        return "".join(parts)

    def forget(self, count: int) -> None:
        """Drops the oldest widths and values."""
        del self.widths[:count]
        del self.values[:count]

    def unfolded(self, folded: str) -> int:
        """How many characters the latest of the folded text had before."""
        counters = folded.count(COUNTER)
        return len(folded) - counters + sum(self.widths[len(self.widths) - counters :])

    def repeats_values(self, counters: int) -> bool:
        """Whether the last so many counter values equal those before them."""
        return self.values[-counters:] == self.values[-2 * counters : -counters]

    @property
    def kept_back(self) -> int:
        """How many characters the next call will fold first."""
        return len(self._unfinished)

    def _continues(self, context: tuple[int, str], text: str) -> bool:
        if len(text) > _MAX_DIGITS:
            return False
        value = int(text) if text.isdecimal() else ord(text)
        known = self._known
        last, step = known.pop(context, (value, 0))
        if len(known) == _MAX_CONTEXTS:
            del known[next(iter(known))]
        delta = value - last
        known[context] = (value, delta)
        if delta in (1, 2) or delta == step == -1:
            self.widths.append(len(text))
            self.values.append(value & 0xFF)
            return True
        return False


@lru_cache(maxsize=1024)
def _context(since: str) -> str:
    """By what a counter is known: the start of its line, or the punctuation before it, or else the last characters."""
    separator = since[len(since.rstrip(_BETWEEN)) :]
    separator = separator[max(0, separator.rfind("\n")) :]
    return separator if separator.strip(" ") else since
