"""Path patterns: the matches of a regular expression, without the time that it takes for a hostile path."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streaming_logger.integrations._paths import PathPattern


def as_expression(pattern: str) -> re.Pattern[str]:
    """What a pattern means: the expression that matches the same paths, and shares them in the same way."""
    parts = re.split(r"(\{\w+\}|\*)", pattern)
    return re.compile(
        "".join(
            ".*" if part == "*" else f"(?P<{part[1:-1]}>[^/]+)" if part[:1] == "{" else re.escape(part)
            for part in parts
        ),
        re.DOTALL,
    )


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("*", "", {}),
        ("*", "/any/thing", {}),
        ("/", "/", {}),
        ("/", "", None),
        ("/chat", "/chat", {}),
        ("/chat", "/chat/", None),
        ("/chat", "/chats", None),
        ("/chat/{id}", "/chat/sess_1", {"id": "sess_1"}),
        ("/chat/{id}", "/chat/", None),
        ("/chat/{id}", "/chat/a/b", None),
        ("/{a}/{b}", "/x/y", {"a": "x", "b": "y"}),
        ("/{a}-{b}", "/x-y-z", {"a": "x-y", "b": "z"}),
        ("/{a}{b}", "/xyz", {"a": "xy", "b": "z"}),
        ("/{a}{b}", "/x", None),
        ("/v1/*", "/v1/", {}),
        ("/v1/*", "/v1", None),
        ("/v1/*/stream", "/v1/a/b/stream", {}),
        ("/v1/*/stream", "/v1/stream", None),
        ("/*/{id}", "/a/b/c", {"id": "c"}),
        ("/{id}/*", "/a/b/c", {"id": "a"}),
        ("/*/{id}/*", "/a/b/c/d", {"id": "c"}),
        ("/**", "/a", {}),
        ("/{aé}", "/ü/", None),
        ("/{aé}", "/\U0001f600\n", {"aé": "\U0001f600\n"}),
        ("/\ud800{id}", "/\ud800\udfff", {"id": "\udfff"}),
    ],
)
def test_pattern_matches(pattern: str, path: str, found: dict[str, str] | None) -> None:
    """A name is one segment or a part of one, never empty; a star is anything, slashes and nothing included."""
    assert PathPattern(pattern).match(path) == found


PARTS = st.lists(st.sampled_from(["/", "//", "a", "b", "ab", ".", "*", "{}", "{}", "{}*", "*/"]), max_size=7)


@given(PARTS, st.text("/ab.\n", max_size=14))
@example(["*", "/v1/", "*", "/", "*", "x"], "/a/v1/b/cx")
def test_pattern_matches_as_its_regular_expression(parts: list[str], rest: str) -> None:
    """The same paths, and each name gets the same text."""
    names = iter("abcdefg")
    pattern = "/" + "".join(part.replace("{}", f"{{{next(names)}}}") if "{" in part else part for part in parts)
    for path in ("/" + rest, rest):
        found = as_expression(pattern).fullmatch(path)
        assert PathPattern(pattern).match(path) == (None if found is None else found.groupdict())


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/*/v1/*/*x", "/" + "/v1" * 20_000),
        ("/*/v1/*/*x", "/v1/" * 20_000),
        ("/" + "*a" * 20 + "x", "/" + "a" * 60_000),
        ("/" + "*/{a}" + "*/{b}" + "*/{c}" + "*x", "/" * 60_000),
        ("/{a}-{b}-{c}-{d}-{e}x", "/" + "-" * 60_000),
        ("/" + "".join(f"*{{n{number}}}" for number in range(20)) + "/x", "/" + "a/" * 30_000),
        ("/*/{a}/*/{b}/*/{c}x", "/é" * 30_000),
    ],
)
def test_hostile_path_is_matched_at_once(pattern: str, path: str) -> None:
    """60 kB, for which a regular expression would take minutes to days: the test's time limit is the bound."""
    assert PathPattern(pattern).match(path) is None


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "",
            "chat",
            "**",
            "*/x",
            "/{",
            "/}",
            "/{}",
            "/{1}",
            "/{a b}",
            "/{a",
            "/a}",
            "/{{a}}",
            "/{a*}",
            "/{a/b}",
            "/{é}",
            "/{a²}",
        )
    ],
)
def test_bad_pattern_is_rejected(pattern: str) -> None:
    """With the rule, and what was given."""
    with pytest.raises(ValueError, match=re.escape('paths must be "*", or begin with "/"')) as caught:
        PathPattern(pattern)
    assert repr(pattern) in str(caught.value)


def test_name_twice_is_rejected() -> None:
    """Two values cannot have one name."""
    with pytest.raises(ValueError, match=re.escape("paths must have each {name} once, got '/{a}/{a}'")):
        PathPattern("/{a}/{a}")


@pytest.mark.parametrize("pattern", [None, 1, b"/chat"])
def test_pattern_of_another_type_is_rejected(pattern: object) -> None:
    """By the name of its type."""
    with pytest.raises(TypeError, match=f"paths must hold str, not {type(pattern).__name__}"):
        PathPattern(pattern)  # type: ignore[arg-type]
