"""Judges text that repeats with changes: in any order, with other words here and there. Kind `near`."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from itertools import pairwise

from streaming_logger._watch.findings import Loop, LoopSettings
from streaming_logger._watch.history import History

__all__ = ["find_flood", "find_near_loop", "goes_on", "may_be_near_loop"]

_WINDOW = 2048
#: Recurrence is sampled: a piece of 12 characters in each stretch of 40.
_PIECE = 12
_STRIDE = 40
#: Occurrences in the window that make a piece recurring; share of the pieces that need not be.
_TIMES = 5
_MAX_MISSED = 0.25
#: A piece of fewer different characters is padding or a ruler, which recurs in ordinary text.
_MIN_DISTINCT = 5
#: Text with numbers must recur over a longer stretch by this factor: tables recur over shorter ones.
_TABLE = 2.7
#: Length of the text's end that is compressed by what stands before it.
_COMPRESSED = 480
#: Limits of a loop: compressed bytes for each byte, and share of words that occur once.
_MAX_NOVELTY = 0.05
_MAX_NEW_WORDS = 0.1
_WORD = re.compile(r"\w+")

#: A text of few words: minimum of words, maximum share and number of different ones among them.
_NAME = re.compile(rb"[A-Za-z]{2,}")
_MIN_WORDS = 120
_MAX_VOCABULARY = 0.13
_MAX_KINDS = 60
#: Code and markup have a larger share of these signs.
_SIGNS = b"<>={}[]\\_;|"
_MAX_SIGNS = 0.02

#: A flood: at most twelve different characters in a thousand.
_FLOOD = 1024
_MAX_CHARACTERS = 12

#: A loop goes on while this share of the pieces occurred before.
_MIN_ECHOES = 0.5

#: An item of a numbered list: its number and its text.
_ITEM = re.compile(rb"^[^\w\n]*([0-9]{1,15})[^\w\n]+([^\n]*[A-Za-z\x80-\xff]{3}[^\n]*)$", re.MULTILINE)
_SINGLE_LETTER = re.compile(rb"\b[A-Za-z]\b")
_MIN_ITEMS = 12
_MIN_ITEM_LETTERS = 140
_MAX_MISSED_ITEMS = 0.25


def may_be_near_loop(text: bytes, new: int) -> bool:
    """Whether the end and the middle of the last `new` characters occurred before. Cheap; false for most prose."""
    end = len(text)
    start = max(0, end - _WINDOW)
    if text.rfind(text[-_PIECE:], start, end - 1) < 0:
        return False
    middle = end - new // 2
    return text.rfind(text[middle - _PIECE : middle], start, middle - 1) >= 0


def find_near_loop(history: History, settings: LoopSettings) -> Loop | None:
    """The loop that the text's end is in. Takes some 10 µs for ordinary text that passed the gate."""
    window = history.text[-_WINDOW:]
    loop = _list_of_items(history.raw) or _recurring_text(history, window, settings) or _few_words(history, window)
    return loop._replace(kind="counting") if loop and _letters_count(history.raw) else loop


def find_flood(history: History, block: str) -> Loop | None:
    """White space, a few characters of another script, or emojis, in any order; or words repeated in place."""
    if _is_flood(history.text):
        strange = sum(not character.isascii() and (character.isalpha() or character > "\uffff") for character in block)
        return Loop("near", _FLOOD) if 2 * strange > len(block) or not block.strip() else None
    if len(history.raw) >= _FLOOD and _stutters(history.raw[-_FLOOD // 8 :]) and _stutters(history.raw[-_FLOOD:]):
        return Loop("near", _FLOOD)
    return None


def goes_on(history: History) -> bool:
    """Whether the last characters still say what was said before."""
    text, new = history.text, history.new
    return _echoes(text, new) >= _MIN_ECHOES or _is_flood(text) or _stutters(history.raw[-_FLOOD // 8 :])


def _is_flood(text: bytes) -> bool:
    """Whether few different characters are at the text's end."""
    return len(text) >= _FLOOD and len(set(text[-32:])) <= _MAX_CHARACTERS >= len(set(text[-_FLOOD:]))


def _stutters(text: bytes) -> bool:
    """Whether half of the words equal the one before."""
    words = text.split()
    if 3 * len(set(words)) > 2 * len(words):
        return False
    return 2 * sum(a == b and a.isalpha() for a, b in pairwise(words)) >= len(words) > 8


def _echoes(text: bytes, new: int) -> float:
    """The share of pieces of the last `new` characters that occur in what stands before them."""
    end = len(text)
    stops = range(end, max(end - new + _PIECE, _PIECE), -_STRIDE) or (end,)
    return sum(text.find(text[stop - _PIECE : stop], 0, end - new) >= 0 for stop in stops) / len(stops)


def _recurring_text(history: History, window: bytes, settings: LoopSettings) -> Loop | None:
    near = settings.near
    if len(window) < near or not _recurs(window, near):
        return None
    length = int((len(window) - _recurring_since(window, near)) / (1 - history.share_of_fields))
    if length < _TABLE * near and not history.lacks_fields(near):
        return None
    if _novelty(history.raw) > _MAX_NOVELTY or _new_words(window, near) > _MAX_NEW_WORDS:
        return None
    return Loop("near", length)


def _letters_count(text: bytes) -> bool:
    """Whether single letters count: option A, option B."""
    found = b"".join(_SINGLE_LETTER.findall(text)[-_MIN_ITEMS:])
    return len(found) == _MIN_ITEMS and sum(b - a == 1 for a, b in pairwise(found)) >= len(found) - 2


def _recurs(text: bytes, length: int) -> bool:
    """Whether pieces throughout the last `length` characters recur in the whole text."""
    end = len(text)
    left = _MAX_MISSED * (length // _STRIDE)
    for stop in range(end, end - length, -_STRIDE):
        piece = text[stop - _PIECE : stop]
        if text.count(piece) < _TIMES or len(set(piece)) < _MIN_DISTINCT:
            left -= 1
            if left < 0:
                return False
    return True


def _recurring_since(text: bytes, length: int) -> int:
    """Where the stretch of such pieces begins that includes the last `length` characters."""
    start = len(text) - length
    while start >= _PIECE and text.count(text[start - _PIECE : start]) > _TIMES // 2:
        start -= _STRIDE
    return max(0, start)


def _novelty(text: bytes) -> float:
    """How many bytes a byte of the text's end takes when it is compressed by what stands before.

    About 0.4 for prose, 0.2 for a table, below 0.1 for a loop.
    """
    known, new = text[:-_COMPRESSED], text[-_COMPRESSED:]
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=known)
    return (len(compressor.compress(new)) + len(compressor.flush())) / len(new)


def _new_words(text: bytes, length: int) -> float:
    """The share of the words among the last `length` characters that occur nowhere else in the text."""
    readable = text.decode("latin-1")
    counts = Counter(_WORD.findall(readable))
    words = _WORD.findall(readable[-length:])
    return sum(counts[word] == 1 for word in words) / max(1, len(words))


def _few_words(history: History, window: bytes) -> Loop | None:
    """A text of few different words and no new ones: short sentences in any order."""
    if len(window) < _WINDOW // 2 or not history.lacks_fields(_WINDOW // 4):
        return None
    if len(window) - len(window.translate(None, _SIGNS)) > _MAX_SIGNS * len(window):
        return None
    words = _NAME.findall(window)
    if len(words) < _MIN_WORDS:
        return None
    early, late = set(words[: len(words) // 3]), set(words[len(words) // 3 :])
    kinds = len(early | late)
    is_stale = len(late - early) <= 1 + 0.04 * kinds
    return Loop("near", len(window)) if is_stale and kinds <= min(_MAX_VOCABULARY * len(words), _MAX_KINDS) else None


def _list_of_items(text: bytes) -> Loop | None:
    """A numbered list whose items recur. They are lines of text without numbers."""
    lines = text[-_FLOOD:].rsplit(b"\n", 4)[1:-1]
    if len(lines) < 3 or not all(map(_ITEM.match, lines)):
        return None
    found = list(_ITEM.finditer(text))
    if len(found) < _MIN_ITEMS or [int(item[1]) - int(found[-1][1]) for item in found[-3:]] != [-2, -1, 0]:
        return None
    counts = Counter(item[2] for item in found)
    recurring = [item for item in found if counts[item[2]] > 2 and not re.search(rb"[0-9]", item[2])]
    letters = sum(len(item[2]) for item in recurring)
    if len(recurring) < (1 - _MAX_MISSED_ITEMS) * len(found) or letters < _MIN_ITEM_LETTERS:
        return None
    return Loop("counting", len(text) - found[0].start())
