"""What the command prints: escaped text, short numbers, tables. Plain, or by rich where it is installed.

Model output and session ids are untrusted: nothing of theirs reaches a terminal
that could move its cursor, colour it, or turn its text around.
"""

from __future__ import annotations

import codecs
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from streaming_logger._base.escape import escape, one_line

__all__ = [
    "Column",
    "age",
    "counted",
    "cut",
    "duration",
    "escape",
    "one_line",
    "print_table",
    "rich_console",
    "size",
    "span",
    "utf8_decoder",
    "wrapped",
]

#: rich needs about a millisecond for each row.
_MANY_ROWS = 500
#: The width that the last column must have on a terminal.
_LAST_COLUMN = 12

#: A cell before the last column that is longer stands out of its column: it does not pad all other rows.
_LONGEST = 32

#: How a row is coloured in which a state has one of these words; the first counts.
_STYLES = {
    **dict.fromkeys(("STALLED", "LOOP", "error", "crashed"), "bold red"),
    **dict.fromkeys(("orphaned", "abandoned", "released", "disabled", "cancelled", "closed"), "yellow"),
    "active": "green",
    "parked": "cyan",
}
_CODES = {"bold red": "\x1b[1;31m", "yellow": "\x1b[33m"}


def utf8_decoder() -> codecs.IncrementalDecoder:
    """For bytes that come in parts, whatever character a part may end in; what is no UTF-8 becomes visible escapes."""
    return codecs.getincrementaldecoder("utf-8")("backslashreplace")


# -- numbers -------------------------------------------------------------------------


def size(count: float) -> str:
    """Bytes in four characters or so.

    >>> size(999), size(1_234), size(56_700_000)
    ('999', '1.2k', '57M')
    """
    if count < 1000:
        return f"{count:.0f}"
    for unit in "kMGT":
        count /= 1000
        if count < 9.95:
            return f"{count:.1f}{unit}"
        if count < 999.5 or unit == "T":
            return f"{count:.0f}{unit}"
    raise AssertionError


def counted(count: int, noun: str, verb: str = "") -> str:
    """A number of things, and what they do.

    >>> counted(1, "file", "is due"), counted(2_000, "file", "is due"), counted(0, "process")
    ('1 file is due', '2,000 files are due', '0 processes')
    """
    if count != 1:
        noun += "es" if noun.endswith("s") else "s"
        first, space, rest = verb.partition(" ")
        verb = _PLURALS.get(first, first) + space + rest
    return f"{count:,} {noun} {verb}".rstrip()


_PLURALS = {"is": "are", "was": "were", "has": "have"}


def duration(seconds: float) -> str:
    """A time span in two units at the most.

    >>> duration(7.2), duration(95), duration(7_500), duration(200_000), duration(-3)
    ('7s', '1m35s', '2h05m', '2d07h', '0s')
    """
    return _duration(int(seconds))


@lru_cache(maxsize=4096)  # of 100,000 rows of `ls` most say the same
def _duration(whole: int) -> str:
    if whole < 60:
        return f"{whole}s" if whole > 0 else "0s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def span(seconds: float | None) -> str:
    """A time span to the millisecond, where that matters; a dash where it is not known.

    >>> span(0.0123), span(7.256), span(200.0), span(None)
    ('12 ms', '7.26 s', '3m20s', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else duration(seconds)


def age(seconds: float | None) -> str:
    """A time span, or a dash where it is not known."""
    return "-" if seconds is None else duration(seconds)


def wrapped(text: str, indent: int = 0, columns: int | None = None) -> str:
    """A sentence over lines that a terminal does not break within a word; whole for a pipe.

    >>> print(wrapped("  ok  all is well here, and everywhere else", 6, 30))
      ok  all is well here, and
          everywhere else
    """
    if columns is None:
        if not sys.stdout.isatty():
            return text
        columns = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.wrap(text, max(columns, indent + 20), subsequent_indent=" " * indent, break_on_hyphens=False)
    )


# -- tables --------------------------------------------------------------------------


class Column:
    """A heading; whether its cells are numbers (they stand to the right) or states (which colour their rows).

    A terminal that is too narrow shows no spare columns.
    """

    __slots__ = ("heading", "number", "spare", "state")

    def __init__(self, heading: str, *, number: bool = False, state: bool = False, spare: bool = False) -> None:
        self.heading = heading
        self.number = number
        self.state = state
        self.spare = spare


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: for a terminal as wide as that is, and coloured; plain otherwise. Cells are escaped already."""
    if not sys.stdout.isatty():
        sys.stdout.write("".join(f"{line}\n" for line in plain_table(columns, rows)))
        return
    width = shutil.get_terminal_size().columns
    widths = [_width_of(column, cells) for column, cells in zip(columns, zip(*rows, strict=True), strict=True)]
    is_wide = _LAST_COLUMN + sum(widths[:-1]) + 2 * len(widths[:-1]) > width
    kept = [index for index, column in enumerate(columns) if not (is_wide and column.spare)]
    columns, rows = [columns[index] for index in kept], [[row[index] for index in kept] for row in rows]
    cells_of = list(zip([column.heading for column in columns], *rows, strict=True))
    console = rich_console() if len(rows) <= _MANY_ROWS else None
    # Where the last column has no space rich leaves it out, and units of numbers: `118` for 118k.
    if console is not None and width >= _LAST_COLUMN + sum(_widest(cells) + 2 for cells in cells_of[:-1]):
        console.print(rich_table(columns, rows))
        return
    heading, *lines = plain_table(columns, rows)
    codes = (_code(_style_of(columns, row)) for row in rows)
    coloured = (f"{code}{line}\x1b[0m" if code else line for line, code in zip(lines, codes, strict=True))
    sys.stdout.write("".join(f"{line}\n" for line in (heading, *coloured)))


def _style_of(columns: Sequence[Column], row: Sequence[str]) -> str:
    words = {word for column, cell in zip(columns, row, strict=True) if column.state for word in cell.split()}
    return next((style for word, style in _STYLES.items() if word in words), "")


def _code(style: str) -> str:
    return "" if "NO_COLOR" in os.environ else _CODES.get(style, "")


def _width_of(column: Column, cells: Sequence[str]) -> int:
    """Of a column that is not the last one."""
    widest = _widest((column.heading, *cells))
    if widest <= _LONGEST:
        return widest
    return max(len(column.heading), *(width for width in map(_width, cells) if width <= _LONGEST), 0)


def plain_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """The lines of a table. The last column is as long as it is, and may be cut by nobody."""
    headings = [column.heading for column in columns]
    cells_of = zip(*rows, strict=True) if rows else ((),) * len(columns)
    widths = [_width_of(column, cells) for column, cells in zip(columns, cells_of, strict=True)][:-1]
    plain = "  ".join(
        f"%{'' if column.number else '-'}{width}s" for column, width in zip(columns[:-1], widths, strict=True)
    )
    plain += "  %s" if len(columns) > 1 else "%s"
    for row in (headings, *rows):
        line = plain % tuple(row)
        if not line.isascii():  # wide characters need what `%` cannot give them
            cells = [
                " " * (width - _width(cell)) + cell if column.number else cell + " " * (width - _width(cell))
                for column, width, cell in zip(columns[:-1], widths, row, strict=False)
            ]
            line = "  ".join([*cells, row[-1]])
        yield line.rstrip()


def rich_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Any:
    from rich.table import Table  # type: ignore[import-not-found,unused-ignore]
    from rich.text import Text  # type: ignore[import-not-found,unused-ignore]

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column.heading,
            justify="right" if column.number else "left",
            no_wrap=column is not columns[-1],
            overflow="fold",
        )
    for row in rows:
        style = _style_of(columns, row)
        shown = (Text(cell, style=style if column.state else "") for column, cell in zip(columns, row, strict=True))
        table.add_row(*shown)
    return table


def rich_console() -> Any:
    """rich's console, when it is installed and the output is a terminal; else None."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return Console(highlight=False, markup=False, emoji=False)


def cut(text: str, columns: int) -> str:
    """As much of a line as fits, with an ellipsis when something is missing.

    >>> cut("abcdef", 4), cut("abc", 4)
    ('abc…', 'abc')
    """
    if _width(text) <= columns:
        return text
    while text and _width(text) >= columns:
        text = text[: min(len(text) - 1, columns)]
    return text + "…" if columns > 0 else ""


def _widest(cells: Sequence[str]) -> int:
    return max(map(len if all(map(str.isascii, cells)) else _width, cells))


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
