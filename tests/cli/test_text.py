"""What is printed: no code point of other people's reaches the terminal's own ears."""

from __future__ import annotations

import doctest
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_logger.cli import _text
from streaming_logger.cli._text import escape, one_line


@given(st.text(st.characters(codec=None), max_size=50))
def test_escaped_text_holds_nothing_that_acts(text: str) -> None:
    """No control, format, surrogate, private or unassigned code point; newlines and tabs where they are text."""
    assert {unicodedata.category(c) for c in one_line(text)} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} == set()
    assert one_line(escape(text).replace("\n", "").replace("\t", "")) == escape(text).replace("\n", "").replace(
        "\t", ""
    )


def test_letters_and_marks_that_show_nothing_are_shown() -> None:
    """Fillers that make two ids look the same, selectors that carry hidden text; an emoji's own stays."""
    assert one_line("a\u3164b\u034f\U000e0101") == r"a\u3164b\u034f\U000e0101"
    assert one_line("\u2764\ufe0f") == "\u2764\ufe0f"


_FILLERS = "\u115f\u1160\u3164\uffa0"


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters=_FILLERS), max_size=50))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Of every script."""
    assert escape(text) == text


def test_examples_in_the_docstrings_hold() -> None:
    """They are run."""
    assert doctest.testmod(_text).failed == 0


@pytest.mark.parametrize("character", ["\x1b", "\x9b", "\u202e", "\u2066", "\u200b", "\x00", "\x7f", "\ud800", "\r"])
def test_dangerous_characters_are_spelled_out(character: str) -> None:
    """As Python spells them."""
    assert escape(f"a{character}b") == "a" + character.encode("unicode_escape").decode() + "b"
