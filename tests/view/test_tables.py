"""Tables: each cell is there, in every width, and lines up."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from streaming_logger._view import tables, words
from streaming_logger._view.tables import Column, cut, folded, table_lines, width_of
from streaming_logger._view.words import size

_COLUMNS = (
    Column("STATE", state=True),
    Column("SIZE", number=True),
    Column("AGE", number=True, spare=True),
    Column("SESSION"),
    Column("DETAILS", prose=True),
)
_CELL = st.text(st.characters(categories=["L", "N", "P"]), max_size=15)
_ROWS = st.lists(st.tuples(_CELL, _CELL, _CELL, _CELL, st.text("word 日本 ", max_size=120)), max_size=5)


@given(st.text(st.characters(categories=["L", "N", "Zs"]), max_size=30), st.integers(0, 30))
def test_cut_fits(text: str, columns: int) -> None:
    """Wide characters count twice."""
    assert width_of(cut(text, columns)) <= columns


@given(st.text("ab 日\u0301", max_size=60), st.integers(2, 30))
def test_folded_text_fits_and_loses_nothing(text: str, columns: int) -> None:
    """Broken between words, or within one that is longer than a line."""
    lines = folded(text, columns)
    assert max(map(width_of, lines)) <= columns
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(_ROWS, st.integers(36, 120))
def test_table_fits_its_width(rows: list[tuple[str, ...]], width: int) -> None:
    """No line is longer, and nothing but spare columns is missing."""
    lines = list(table_lines(_COLUMNS, rows, width))
    assert len(lines) == len(rows) + 1
    assert max(width_of(line) for text in lines for line in text.split("\n")) <= width
    for row, text in zip(rows, lines[1:], strict=True):
        shown = text.replace(" ", "").replace("\n", "")
        for cell in (row[0], row[1], row[3], row[4]):
            assert cell.replace(" ", "") in shown


def test_one_long_cell_pads_no_other_row() -> None:
    """It sticks out of its column; ids of the usual length line up."""
    columns = Column("SESSION"), Column("SIZE")
    long, uuid = "x" * 100, "0" * 36
    assert list(table_lines(columns, [(long, "1"), (uuid, "2")])) == [
        "SESSION" + " " * 31 + "SIZE",
        f"{long}  1",
        f"{uuid}  2",
    ]


def test_columns_line_up_beside_wide_characters() -> None:
    """Each last cell begins in the same column."""
    lines = list(
        table_lines([Column("A"), Column("B", number=True), Column("C")], [("日本", "1", "x"), ("a", "22", "x")])
    )
    assert lines == ["A      B  C", "日本   1  x", "a     22  x"]


@given(st.integers(0, 10**16))
def test_sizes_are_short(count: int) -> None:
    """Five characters at the most, up to thousands of terabytes."""
    assert len(size(count)) <= 6


def test_examples_hold() -> None:
    """Those of the docstrings are run."""
    assert doctest.testmod(tables).failed == 0
    assert doctest.testmod(words).failed == 0
