"""Session id <-> file name: every id has one safe, distinct, reversible name."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_logger._disk.names import SUFFIX, file_name_of, session_id_of

HOSTILE = {
    "../x": "%2E.%2Fx.log",
    ".": "%2E.log",
    "..": "%2E..log",
    "a/b": "a%2Fb.log",
    "a\\b": "a%5Cb.log",
    "nul\0byte": "nul%00byte.log",
    "CON": "%43ON.log",
    "con.txt": "%63on.txt.log",
    "LPT9": "%4CPT9.log",
    "x.": "x..log",
    "-rf": "%2Drf.log",
    ".hidden": "%2Ehidden.log",
    "x.log": "x.log.log",
    "two\nlines": "two%0Alines.log",
    "\x1b[2J": "%1B%5B2J.log",
    "\udc80": "%ED%B2%80.log",
    "\u202egpj": "%E2%80%AEgpj.log",
    "100%": "100%25.log",
    "a b": "a%20b.log",
    "~x": "%7Ex.log",
    unicodedata.normalize("NFC", "e\u0301"): "%C3%A9.log",
    unicodedata.normalize("NFD", "\u00e9"): "e%CC%81.log",
}

ids = st.text(min_size=1, max_size=40) | st.text(alphabet="aA.-_%~/\\0CONcon\udc80\u4e2d", min_size=1, max_size=400)


@pytest.mark.parametrize("plain", ["sess_abc123", "a", "0", "x.y-z_", "console", "a" * 200])
def test_plain_id_is_its_own_name(plain: str) -> None:
    """An operator finds sess_abc123 in sess_abc123.log."""
    assert file_name_of(plain) == plain + SUFFIX
    assert session_id_of(plain + SUFFIX) == plain


@pytest.mark.parametrize(("hostile", "name"), HOSTILE.items(), ids=map(ascii, HOSTILE))
def test_hostile_id_gets_a_safe_name_and_comes_back(hostile: str, name: str) -> None:
    """Each hostile id has the name written beside it, and that name leads back to it."""
    assert file_name_of(hostile) == name
    assert session_id_of(name) == hostile


def test_hostile_ids_have_distinct_names_in_any_case() -> None:
    """Also on a file system that ignores case."""
    assert len({file_name_of(hostile).lower() for hostile in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize("long", ["a" * 201, "a" * 300, "\u4e2d" * 120, "%" * 500, "../" * 100])
def test_long_id_is_cut_and_told_apart_by_a_hash(long: str) -> None:
    """Two long ids with the same beginning have two names, and each is recognised as one of ours."""
    name = file_name_of(long)
    assert name != file_name_of(long + "x")
    assert len(name) <= 204
    assert re.search(r"~[0-9a-f]{32}\.log\Z", name)
    assert session_id_of(name) == name.removesuffix(SUFFIX)


@given(ids)
def test_name_is_one_safe_component(id_: str) -> None:
    """No separator, no NUL, no control character, nothing that a shell or Windows takes for something else."""
    name = file_name_of(id_)
    assert re.fullmatch(r"[A-Za-z0-9_%][A-Za-z0-9._%~-]*\.log", name)
    assert len(name.encode()) <= 204
    assert not re.match(r"(?i:con|prn|aux|nul|com\d|lpt\d)\.", name)


@given(ids)
def test_name_leads_back_to_the_id(id_: str) -> None:
    """Reversible, where it was not cut; a cut one is recognised by its stem."""
    name = file_name_of(id_)
    assert session_id_of(name) in (id_, name.removesuffix(SUFFIX))
    if "~" not in name:
        assert session_id_of(name) == id_


@given(ids, ids)
def test_distinct_ids_have_distinct_names(one: str, other: str) -> None:
    """No session's text lands in another session's file."""
    assert (file_name_of(one) == file_name_of(other)) == (one == other)


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9._%~-]{0,60}", fullmatch=True))
def test_only_a_name_that_could_be_made_is_recognised(stem: str) -> None:
    """What is recognised is a name that `file_name` makes, so no other file is taken for a session's."""
    id_ = session_id_of(stem + SUFFIX)
    if id_ is not None and "~" not in stem:
        assert file_name_of(id_) == stem + SUFFIX


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".log",
            "x",
            "x.txt",
            "x.log.1",
            "x.log.gz",
            "x.LOG",
            ".x.log",
            "-x.log",
            "%41.log",
            "%2e.log",
            "a b.log",
        ),
        *(
            "%ZZ.log",
            "%E4.log",
            "CON.log",
            "a" * 201 + ".log",
            "a~b.log",
            "x~" + "0" * 32 + ".log",
        ),
        *("a/b.log", "%.log"),
    ],
)
def test_stranger_is_not_recognised(name: str) -> None:
    """A name that no id has is nobody's session."""
    assert session_id_of(name) is None
