"""Judges text that repeats exactly, but for its fields: kinds `periodic`, `counting` and `varying`."""

from __future__ import annotations

import math

from streaming_logger._watch.fields import Variation, variation
from streaming_logger._watch.findings import Kind, Loop, LoopSettings
from streaming_logger._watch.history import History
from streaming_logger._watch.units import is_blank, is_padding, letters, words_in_a_row

__all__ = ["ExactRepetition"]

#: Length of the text's end that must occur before. A shorter one is slower: more occur by chance.
_TAIL = 64
_MAX_CANDIDATES = 8
#: Periods up to this are searched for in each block, longer ones in every fourth.
_SHORT = 1024
_LONG_SEARCH = 4
#: Beyond one copy, half of the period must repeat, and at most this.
_MAX_OVERLAP = 320
#: A repetition with a longer period is a block: its copies may differ here and there.
_MAX_LINE = 640
#: Share by which their lengths may differ, and share of their text.
_SLACK = 0.02
_MAX_MISSED = 0.2
#: Blocks that differ, or with a larger share of fields than this, need two more copies.
_MAX_FIELDS = 0.02
_MORE_COPIES = 2
#: Less than this is data: letters in a unit; words in a row where numbers count, and where they vary at random.
_MIN_LETTERS = 2
_COUNTING_WORDS = 2
_VARYING_WORDS = 3
_KINDS: dict[Variation, Kind] = {"same": "periodic", "counting": "counting", "ids": "varying", "numbers": "varying"}


class ExactRepetition:
    """Follows one repetition, also beyond what the history holds. Lengths are without fields."""

    __slots__ = ("_length", "_missed", "_period", "_searches", "_settings", "_span", "_wanted")

    def __init__(self, settings: LoopSettings) -> None:
        self._settings = settings
        self._period = 0
        self._length = 0
        """How many characters equal those one period before."""
        self._missed = 0
        """How many of them were not compared, or differ."""
        self._span = 0
        """The characters of the stream, with fields, from the first copy to the last."""
        self._searches = 0
        self._wanted = 0.0
        """The length at which to judge again."""

    def judge(self, history: History) -> Loop | None:
        """The loop that the text's end is in, if it is long enough. To be called once for each block.

        Short periods are searched for in each block, long ones now and then.
        """
        text, new = history.text, history.new
        if self._continues(text, new) or self._misses(new):
            self._length += new
            self._span += history.new_raw
        else:
            self._missed, self._wanted = 0, 0.0
            self._searches += 1
            self._period, self._length = _repetition(text, _SHORT if self._searches % _LONG_SEARCH else len(text))
            self._span = history.raw_length(self._period + self._length) if self._period else 0
        least = max(self._wanted, self._settings.periodic + _overlap(self._period))
        return self._judged(history) if self._length >= least else None

    @property
    def is_followed(self) -> bool:
        """Whether the text repeats exactly, long enough for a loop or not."""
        return self._length >= max(self._period, 2 * _TAIL)

    @property
    def is_open(self) -> bool:
        """Whether a repetition is followed that was not judged yet: worth a closer look."""
        return self.is_followed and not self._wanted

    def _continues(self, text: bytes, new: int) -> bool:
        end, period = len(text), self._period
        if not period or end < period + new:
            return False
        if text.endswith(text[end - period - new : end - period]):
            return True
        if period <= _MAX_LINE:
            return False
        slack = int(period * _SLACK)
        at = text.rfind(text[-_TAIL:], max(0, end - _TAIL - period - slack), end - period + slack)
        if at >= 0:
            self._period = end - _TAIL - at
            self._missed += new // 4  # it differs somewhere
        return at >= 0

    def _misses(self, new: int) -> bool:
        """Whether the block counts as one that differs from its copy."""
        if self._period <= _MAX_LINE or self._missed + new > _MAX_MISSED * (self._length + new):
            return False
        self._missed += new
        return True

    def _judged(self, history: History) -> Loop | None:
        period = self._period
        how: Variation = "same"
        if period <= _MAX_LINE and not history.lacks_fields(period + self._length):
            how = variation(history.raw, period, period + self._length)
        raw_period = history.raw_length(period)
        is_in_raw = how == "same" and raw_period <= len(history.raw)
        unit = history.raw[-raw_period:] if is_in_raw else history.text[-period:]
        needed, is_weak = self._needed(unit, how, period)
        if period > _MAX_LINE and (self._missed or history.share_of_fields > _MAX_FIELDS):
            needed += _MORE_COPIES * period
        if self._length < needed:
            self._wanted = min(needed, 2 * self._length)  # what varies may turn out to count
            return None
        return Loop("near" if self._missed else _KINDS[how], self._span, raw_period, is_weak)

    def _needed(self, unit: bytes, how: Variation, period: int) -> tuple[float, bool]:
        """How many characters must equal those one period before, and whether ordinary answers may do so."""
        settings = self._settings
        if how == "same":
            weight = settings.blank if is_blank(unit) else settings.weak if is_padding(unit) else 1
            return settings.periodic * weight + _overlap(period), weight > 1
        if letters(unit) < _MIN_LETTERS:
            return math.inf, True
        words = words_in_a_row(unit)
        if how == "counting":
            is_data = words < _COUNTING_WORDS
            return settings.rows * period if is_data else settings.counting + 5 * period, is_data
        if how == "numbers" and words < _VARYING_WORDS:
            return math.inf, True  # a table, a log, the points of a drawing
        return max(settings.varying, settings.calls * period), True


def _overlap(period: int) -> int:
    return period + min(period // 2, _MAX_OVERLAP)


def _repetition(text: bytes, reach: int) -> tuple[int, int]:
    """The period of the text's end, and how many characters equal those one period before; zeros if it has none.

    >>> _repetition(b"so on, " + b"and on, " * 20, reach=100)
    (8, 157)
    """
    end = before = len(text)
    first = max(0, end - _TAIL - reach)
    tail = text[-_TAIL:]
    period = length = 0
    for _ in range(_MAX_CANDIDATES):
        at = text.rfind(tail, first, before - 1)
        if at < 0:
            break
        before = at + _TAIL
        candidate = end - before
        if text.endswith(text[max(0, before - 2 * _TAIL) : before]):
            found = _matched(text, candidate)
            if found > length:
                period, length = candidate, found
            if found >= candidate:
                break
    return period, length


def _matched(text: bytes, period: int) -> int:
    end = len(text)
    low, high = _TAIL, end - period
    while low < high:
        middle = (low + high + 1) // 2
        if text.endswith(text[end - period - middle : end - period]):
            low = middle
        else:
            high = middle - 1
    return low
