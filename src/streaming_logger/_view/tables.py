"""Tables as lines of text, fitted to a width. Cells are escaped already; wide characters count twice."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Column", "cut", "fits", "folded", "table_lines", "width_of", "without_spare"]

#: A cell that is longer, as few ids are, sticks out of its column: it does not pad all other rows.
_LONGEST = 36
#: Columns that prose needs beside other cells.
_PROSE = 28
#: What stands between two cells, and before what is continued on a second line.
_GAP = "  "


class Column(NamedTuple):
    """A column: its heading, and what its cells are."""

    heading: str
    number: bool = False
    """They stand to the right."""
    state: bool = False
    """They colour their rows."""
    spare: bool = False
    """A width that is too narrow for all goes without this column."""
    prose: bool = False
    """They are sentences, which may be broken into lines. For the last column."""


def table_lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> Iterator[str]:
    r"""The headings, then each row, a string each; of several lines where the width allows no other way.

    Without a width each row is one line, as long as it is.

    >>> columns = Column("SIZE", number=True), Column("SESSION"), Column("DETAILS", prose=True)
    >>> for line in table_lines(columns, [("5", "sess_1", "by max_age"), ("12", "sess_2", "")], 20):
    ...     print(line)
    SIZE  SESSION
      DETAILS
       5  sess_1
      by max_age
      12  sess_2
    """
    if width is not None:
        columns, rows = without_spare(columns, rows, width)
    widths = _widths(columns, rows)
    parts = [slice(0, len(columns))] if width is None else list(_broken(columns, widths, width))
    for row in ([column.heading for column in columns], *rows):
        lines = []
        for part in parts:
            line = _line(columns[part], widths[part], row[part], _GAP if part.start else "", width)
            if line or not part.start:
                lines.append(line)
        yield "\n".join(lines)


def without_spare(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int
) -> tuple[Sequence[Column], Sequence[Sequence[str]]]:
    """A table as it is shown in a width: where it does not fit, without its spare columns."""
    if fits(columns, rows, width):
        return columns, rows
    kept = [index for index, column in enumerate(columns) if not column.spare]
    return [columns[index] for index in kept], [[row[index] for index in kept] for row in rows]


def fits(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether all cells of a row can stand beside each other."""
    sizes = zip(columns, _widths(columns, rows), strict=True)
    return sum(_least(column, size) + len(_GAP) for column, size in sizes) - len(_GAP) <= width


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    cells_of = zip(*rows, strict=True) if rows else ((),) * len(columns)
    return [_column_width(column, cells) for column, cells in zip(columns, cells_of, strict=True)]


def _column_width(column: Column, cells: Sequence[str]) -> int:
    widest = _widest((column.heading, *cells))
    if widest <= _LONGEST or column.prose:
        return widest
    return max(len(column.heading), *(size for size in map(width_of, cells) if size <= _LONGEST), 0)


def _least(column: Column, size: int) -> int:
    return min(size, _PROSE) if column.prose else size


def _broken(columns: Sequence[Column], widths: Sequence[int], width: int) -> Iterator[slice]:
    """The columns that stand on one line each."""
    start, used = 0, 0
    for index, (column, size) in enumerate(zip(columns, widths, strict=True)):
        if index > start and used + _least(column, size) > width:
            yield slice(start, index)
            start, used = index, len(_GAP)
        used += size + len(_GAP)
    yield slice(start, len(columns))


def _line(
    columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str], indent: str, width: int | None
) -> str:
    *first, last = cells
    before = indent + "".join(
        _padded(cell, size, column) + _GAP for column, size, cell in zip(columns, widths, first, strict=False)
    )
    if columns[-1].prose and width is not None and last:
        start = len(indent) + sum(widths[:-1]) + len(_GAP) * len(first)
        hanging = "\n" + " " * start
        sticks_out = hanging if width_of(before) > start else ""
        return before.rstrip() * bool(sticks_out) + (sticks_out or before) + hanging.join(folded(last, width - start))
    if columns[-1].number:
        last = _padded(last, widths[-1], columns[-1])
    return (before + last).rstrip()


def _padded(cell: str, size: int, column: Column) -> str:
    if cell.isascii():
        return cell.rjust(size) if column.number else cell.ljust(size)
    padding = " " * (size - width_of(cell))
    return padding + cell if column.number else cell + padding


def folded(text: str, columns: int) -> list[str]:
    """A sentence folded to a number of columns, between words if possible.

    >>> folded("from character 3,410: ha ha", 16)
    ['from character', '3,410: ha ha']
    """
    columns, lines = max(columns, 2), []
    line, *words = text.split(" ")
    for word in (*words, None):
        if word is not None and width_of(line) + 1 + width_of(word) <= columns:
            line = f"{line} {word}"
            continue
        while width_of(line) > columns:
            head = _beginning(line, columns)
            lines.append(head)
            line = line[len(head) :]
        if word is not None:
            lines.append(line)
            line = word
    return [*lines, line]


def cut(text: str, columns: int) -> str:
    """As much of a line as fits, with an ellipsis when something is missing.

    >>> cut("abcdef", 4), cut("abc", 4)
    ('abc…', 'abc')
    """
    if width_of(text) <= columns:
        return text
    return _beginning(text, columns - 1) + "…" if columns > 0 else ""


def _beginning(text: str, columns: int) -> str:
    """As many characters as fit."""
    text = text[: max(columns, 0)]
    while text and width_of(text) > columns:
        text = text[:-1]
    return text


def width_of(text: str) -> int:
    """Columns that a text takes on a screen."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def _widest(cells: Sequence[str]) -> int:
    return max(map(len if all(map(str.isascii, cells)) else width_of, cells))
