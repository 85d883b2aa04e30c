"""What the command prints: escaped text, short numbers, tables. Plain, or by rich where it is installed.

Model output and session ids are untrusted: nothing of theirs reaches a terminal
that could move its cursor, colour it, or turn its text around.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from streaming_logger._base.escape import escape, one_line
from streaming_logger._view.tables import Column, cut, fits, folded, table_lines, without_spare
from streaming_logger._view.words import age, counted, duration, moment, size, span

__all__ = [
    "Column",
    "age",
    "counted",
    "cut",
    "duration",
    "escape",
    "moment",
    "one_line",
    "print_table",
    "rich_console",
    "size",
    "span",
    "table_lines",
    "wrapped",
]

#: rich needs about a millisecond for each row.
_MANY_ROWS = 500

#: How a row is coloured in which a state has one of these words; the first counts.
_STYLES = {
    **dict.fromkeys(("STALLED", "LOOP", "error", "crashed"), "bold red"),
    **dict.fromkeys(("orphaned", "abandoned", "released", "disabled", "cancelled", "closed"), "yellow"),
    "active": "green",
    "parked": "cyan",
}
_CODES = {"bold red": "\x1b[1;31m", "yellow": "\x1b[33m"}


def wrapped(text: str, indent: int = 0, columns: int | None = None, *, stream: TextIO | None = None) -> str:
    """A sentence over lines that a terminal does not break within a word; whole where `stream` is a pipe.

    >>> print(wrapped("  ok  all is well here, and everywhere else", 6, 30))
      ok  all is well here, and
          everywhere else
    """
    if columns is None:
        if not (stream or sys.stdout).isatty():
            return text
        columns = shutil.get_terminal_size().columns
    first, *rest = folded(text, max(columns, indent + 20))
    more = folded(" ".join(rest), max(columns - indent, 20)) if rest else []
    return ("\n" + " " * indent).join([first, *more])


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: for a terminal as wide as that is, and coloured; plain otherwise. Cells are escaped already."""
    if not sys.stdout.isatty():
        sys.stdout.write("".join(f"{line}\n" for line in table_lines(columns, rows)))
        return
    width = shutil.get_terminal_size().columns
    console = rich_console() if len(rows) <= _MANY_ROWS else None
    if console is not None:
        shown, cells = without_spare(columns, rows, width)
        if fits(shown, cells, width):  # else rich would leave out the last column, and units of numbers
            console.print(rich_table(shown, cells))
            return
    heading, *lines = table_lines(columns, rows, width)
    codes = (_code(_style_of(columns, row)) for row in rows)
    coloured = (f"{code}{line}\x1b[0m" if code else line for line, code in zip(lines, codes, strict=True))
    sys.stdout.write("".join(f"{line}\n" for line in (heading, *coloured)))


def _style_of(columns: Sequence[Column], row: Sequence[str]) -> str:
    words = {word for column, cell in zip(columns, row, strict=True) if column.state for word in cell.split()}
    return next((style for word, style in _STYLES.items() if word in words), "")


def _code(style: str) -> str:
    return "" if "NO_COLOR" in os.environ else _CODES.get(style, "")


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
