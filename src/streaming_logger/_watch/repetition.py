"""Measures how the end of a text repeats what stands before it. Each takes constant time for a bounded text."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator

__all__ = ["has_letter", "is_padding", "items", "new_words", "novelty", "periods", "recurring"]

_LETTER = re.compile(r"[^\W\d_]|[\U00010000-\U0010ffff]")
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"\w+")
#: The end of the text that must occur once more, for a period to be looked at. Shorter is slower: more occur by chance.
_TAIL = 64
_MAX_PERIODS = 8
#: Recurrence is sampled: so long a piece in each stretch of so many characters.
_PIECE = 12
_STRIDE = 40
#: A line of padding is longer. A shorter unit of two characters is a loop of bullets or of emojis.
_LINE = 16
#: A piece of fewer different characters is padding or a ruler, which recurs in ordinary text.
_MIN_DISTINCT = 5


def periods(text: str, longest: int) -> Iterator[tuple[int, int]]:
    """Periods of the text's end, shortest first, each with how many characters equal those one period before.

    >>> list(periods("so on, " + "and on, " * 20, longest=100))
    [(8, 157)]
    """
    end = len(text)
    tail = text[-_TAIL:]
    before = end - 1
    covered, shortest = 0, 1
    for _ in range(_MAX_PERIODS):
        at = text.rfind(tail, max(0, end - _TAIL - longest), before)
        if at < 0:
            return
        period = end - _TAIL - at
        before = at + _TAIL - 1
        if covered >= period and period % shortest == 0:
            continue  # a multiple
        low, high = _TAIL, end - period
        while low < high:
            middle = (low + high + 1) // 2
            if text.endswith(text[end - period - middle : end - period]):
                low = middle
            else:
                high = middle - 1
        if low > covered:
            covered, shortest = low, period
        yield period, low


def recurring(text: str, length: int, times: int, max_missed: float) -> bool:
    """Whether pieces all over the last `length` characters occur so many times in the whole text."""
    end = len(text)
    left = max_missed * (length // _STRIDE)
    for stop in range(end, end - length, -_STRIDE):
        piece = text[stop - _PIECE : stop]
        if text.count(piece) < times or len(set(piece)) < _MIN_DISTINCT:
            left -= 1
            if left < 0:
                return False
    return True


def recurring_since(text: str, length: int, times: int) -> int:
    """Where the stretch of such pieces begins, in steps of `_STRIDE`, that includes the last `length` characters."""
    start = len(text) - length
    while start >= _PIECE and text.count(text[start - _PIECE : start]) >= times:
        start -= _STRIDE
    return max(0, start)


def novelty(text: str, length: int) -> float:
    """How many bytes a byte of the last `length` characters takes when it is compressed by what stands before.

    About 0.4 for prose, 0.2 for a table, below 0.1 for a loop.
    """
    new = text[-length:].encode("utf-8", "replace")
    known = text[:-length].encode("utf-8", "replace")
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=known)
    return len(compressor.compress(new) + compressor.flush()) / len(new)


def new_words(text: str, length: int) -> float:
    """The share of the words among the last `length` characters that occur nowhere else in the text."""
    counts = Counter(_WORD.findall(text))
    words = _WORD.findall(text[-length:])
    return sum(counts[word] == 1 for word in words) / max(1, len(words))


def items(text: str, separator: str, length: int, times: int) -> tuple[float, int, int]:
    """The share of list items that recur, of those in the last `length` characters; the letters of such items up to
    the end of the text; and where they begin.

    An item stands between two separators. It recurs if it occurs so many times in the whole text. Only those with
    letters, a line break and no digits count: the rows of a table do not.
    """
    pieces = text.split(separator)[:-1]
    first = len(pieces) - text.count(separator, len(text) - length) + 1
    if not any(map(_is_item, pieces[-3:])):
        return 0.0, 0, len(text)
    counts = Counter(pieces)
    recurring_items = {piece for piece, count in counts.items() if count >= times and _is_item(piece)}
    share = sum(piece in recurring_items for piece in pieces[first:]) / max(1, len(pieces) - first)
    while first > 0 and pieces[first - 1] in recurring_items:
        first -= 1
    letters = sum(map(str.isalpha, "".join(filter(recurring_items.__contains__, pieces[first:]))))
    return share, letters, sum(map(len, pieces[:first])) + first


def _is_item(piece: str) -> bool:
    return "\n" in piece and has_letter(piece) and _DIGIT.search(piece) is None


def has_letter(text: str) -> bool:
    """Whether a letter of any script or an emoji is in the text."""
    return _LETTER.search(text) is not None


def is_padding(unit: str) -> bool:
    """Whether a text that repeats is a run of one character, or lines of it: a ruler, zeros in base64."""
    return len(set(unit)) <= 2 and not 1 < len(unit) <= _LINE
