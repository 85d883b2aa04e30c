"""The README says what is so: its generated parts are current, its commands and files exist."""

from __future__ import annotations

import re

from readme import README, with_generated_parts

ROOT = README.parent


def test_generated_parts_are_current() -> None:
    """`python tests/readme.py` would change nothing."""
    text = README.read_text()
    assert with_generated_parts(text) == text


def test_rooms_that_the_readme_names_exist() -> None:
    """Every `_room.py` on the way of a chunk is a file of the package."""
    named = set(re.findall(r"`(_\w+\.py)`", README.read_text()))
    assert named
    assert {name for name in named if not (ROOT / "src" / "streaming_logger" / name).exists()} == set()


def test_top_level_holds_nothing_else() -> None:
    """The repository's top level stays as its user asked."""
    allowed = {"pyproject.toml", "README.md", "src", "tests", "examples", "logging_config.json", "LICENSE"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - {"logs", "dist", "build"} - allowed == set()
