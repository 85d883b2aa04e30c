"""Which session an argument means."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streaming_logger._base.escape import one_line
from streaming_logger._disk.names import SUFFIX, file_name_of
from streaming_logger._view import resolve as module
from streaming_logger._view.resolve import UsageError, begins, ids_meant, resolve, stems_meant

_IDS = st.text(st.characters(codec=None), min_size=1, max_size=20)


@given(_IDS)
def test_id_is_known_by_each_of_its_spellings(id_: str) -> None:
    """As it is, as it is printed, as the name of its file; in a list of sessions, and where there is no list."""
    assume("\\" not in id_)  # of one that holds both a backslash and what is escaped the printed form is ambiguous
    name = file_name_of(id_)
    for given_ in (id_, one_line(id_), name, name.removesuffix(SUFFIX)):
        assert resolve([((id_,), 1)], given_) == 1
        assert id_ in ids_meant(given_)


@given(_IDS, st.integers(1, 200))
def test_beginning_as_it_is_printed_leads_to_the_id(id_: str, length: int) -> None:
    """Cut anywhere, within an escape too."""
    printed = one_line(id_)[:length]
    assert begins(id_, (printed,))
    stems = stems_meant(printed)
    is_all_torn = set(printed) <= set("\\xuU0123456789abcdef") and printed.startswith("\\")
    assert is_all_torn or any(file_name_of(id_).startswith(stem) for stem in stems)


def test_exact_id_goes_before_others_that_begin_with_it() -> None:
    """And an id before the printed form of another; what several have is refused, with their ids."""
    sessions = [((id_,), id_) for id_ in ("a", "a\x1b", r"a\x1b", "ab")]
    assert resolve(sessions, "a") == "a"
    assert resolve(sessions, r"a\x1b") == r"a\x1b"
    assert resolve(sessions, "c") is None
    with pytest.raises(UsageError, match="begins the ids of 2 sessions"):
        resolve([(("sess_1",), 1), (("sess_2",), 2)], "sess")


def test_examples_of_names_hold() -> None:
    """Those of the docstrings are run."""
    assert doctest.testmod(module).failed == 0
