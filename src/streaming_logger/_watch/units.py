"""What a unit of text is that repeats: language, rows of data, padding."""

from __future__ import annotations

import re

__all__ = ["is_blank", "is_padding", "letters", "words_in_a_row"]

#: A letter or digit; characters outside ASCII are above 0x7F.
_LETTER = re.compile(rb"[A-Za-z0-9\x80-\xff]")
#: Words with blanks between them, or a blank, a number and a blank; characters outside ASCII are words of their own.
_WORDS = re.compile(rb"(?:(?:[A-Za-z']+|[\x80-\xff]) {0,2})+")
_WORD = re.compile(rb"[A-Za-z']+|[\x80-\xff]")
#: A line of padding is longer. A shorter unit is a loop of bullets or of emojis.
_MAX_BULLET = 16


def letters(unit: bytes) -> int:
    return len(_LETTER.findall(unit))


def words_in_a_row(unit: bytes) -> int:
    r"""How many, at most: language has three or more, rows of a table, assignments and calls do not.

    >>> words_in_a_row(b"Then row  is done. "), words_in_a_row(b"    KEY_ = \n"), words_in_a_row(b"| see above |")
    (4, 1, 2)
    """
    return max((len(_WORD.findall(row)) for row in _WORDS.findall(unit + unit[:80])), default=0)


def is_blank(unit: bytes) -> bool:
    """Whether it is an empty row of a table or form."""
    return (b"|" in unit or b"_" in unit) and not unit.strip(b" \t\r\n|_-+=:.")


def is_padding(unit: bytes) -> bool:
    """Whether it is one character, a line of one character, or a drawing: signs with few letters."""
    if len(unit) <= _MAX_BULLET:
        return len(unit) == 1
    return len(set(unit)) <= 2 or 3 * letters(unit) < len(unit)
