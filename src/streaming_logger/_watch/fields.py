"""Numbers and ids in a text: takes them out, and tells how they vary from one copy of a loop to the next.

Without them a loop in which only a counter, a time or an id changes is a plain repetition.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Literal, NamedTuple

__all__ = ["Variation", "raw_length", "variation", "without_fields"]

Variation = Literal["same", "counting", "ids", "numbers"]
"""Each is less of a loop than the one before it."""

_DIGITS = b"0123456789"
_SEPARATORS = b".:,_-"
#: A long word with four digits or more is an id: hexadecimal, a UUID, `call_8f219e9c`, a date.
_ID = re.compile(rb"\b(?=(?:[A-Za-z_-]{0,16}[0-9]){4})[\w-]{10,}")
#: An id; or a time, an address, a number: of these only the digits are taken out.
_FIELD = re.compile(_ID.pattern + rb"|([0-9]+:[0-9]{2}(?:[:.,][0-9]+)*|[0-9]+(?:\.[0-9]+){2,}|[0-9]+)")
#: A stretch of text with fewer digits has no id.
_MIN_DIGITS = 6
#: The share of steps from value to value that are equal, where a column counts or stays the same.
_REGULAR = 0.7
#: Longer numbers are data, and converting them would not take constant time.
_MAX_DIGITS = 20
_RANK: dict[Variation, int] = {"same": 0, "counting": 1, "ids": 2, "numbers": 3}


class _Field(NamedTuple):
    value: bytes
    taken: int
    """How many of its characters `without_fields` takes out."""
    after: int
    """How many characters stand after it, without fields."""


def without_fields(data: bytes) -> bytes:
    """The text without digits, and without ids where it has several digits.

    >>> without_fields(b"step 12: call_8f219e9cb0eb53f1 done")
    b'step :  done'
    """
    bare = data.translate(None, _DIGITS)
    if len(data) - len(bare) < _MIN_DIGITS:
        return bare
    return _ID.sub(b"", data).translate(None, _DIGITS)


def raw_length(text: bytes, length: int) -> int:
    r"""The length, with fields, of the text's end that has this length without. Estimated if the text is shorter.

    >>> raw_length(b"row 10\nrow 20\n", 10), raw_length(b"row 10\nrow 20\n", 100)
    (14, 140)
    """
    taken = 0
    for field in _fields(text):
        if field.after >= length:
            break
        taken += field.taken
    bare = len(text) - taken
    return length + (taken if length <= bare or not bare else taken * length // bare)


def variation(text: bytes, period: int, length: int) -> Variation:
    r"""How the fields of a text vary that repeats with this period, both measured without the fields.

    >>> variation(b"row 10\nrow 20\nrow 30\nrow 40\n", period=5, length=20)
    'counting'
    """
    columns: dict[int, list[bytes]] = {}
    for field in _fields(text):
        if field.after >= length:
            break
        columns.setdefault(field.after % period, []).append(field.value)
    return max(map(_variation, columns.values()), key=_RANK.__getitem__, default="same")


def _fields(text: bytes) -> Iterator[_Field]:
    """The fields of a text, the last one first."""
    after, end = 0, len(text)
    for match in reversed(list(_FIELD.finditer(text))):
        after += end - match.end()
        end = match.start()
        kept = len(match[0].translate(None, _DIGITS)) if match[1] else 0
        yield _Field(match[0], len(match[0]) - kept, after)
        after += kept


def _variation(values: list[bytes]) -> Variation:
    """How one field varies. Times, dates and addresses are numbers if they count, and ids if not."""
    if len(set(values)) == 1:
        return "same"
    plain = [value.translate(None, _SEPARATORS) for value in values]
    if not all(value.isdigit() and len(value) <= _MAX_DIGITS for value in plain):
        return "ids"
    numbers = list(map(int, plain))
    steps = Counter(map(int.__sub__, numbers[1:], numbers))
    if max(steps.values()) >= _REGULAR * steps.total():
        return "counting"
    return "numbers" if plain == values else "ids"
