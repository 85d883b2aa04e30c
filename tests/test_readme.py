"""The README says what is so: its generated parts are current, its commands and files exist."""

from __future__ import annotations

import ast
import logging
import re

from readme import README, with_generated_parts
from streaming_logger._disk.cut import SESSION_CAP
from streaming_logger._events.model import LogText, TextDropped, event_classes

ROOT = README.parent


def test_generated_parts_are_current() -> None:
    """`python tests/readme.py` would change nothing."""
    text = README.read_text()
    assert with_generated_parts(text) == text


#: What logs a record, and the place of the text among its arguments.
_LOGGING = {"log": 1, "report": 1, "_report": 1, "clear": 1}
_SHOWN = re.compile(r"%[-+.\d]*[a-z]")


def logged() -> set[str]:
    """The lines of the log, as the source has them, with `…` for what varies; those for debugging left out."""
    found = set()
    texts = [LogText(cls.level, cls.message[0], ()) for cls in event_classes()]
    texts.append(TextDropped(session="", characters=1, reason=SESSION_CAP).log_text())
    for level, text, *_ in texts:
        if text and level > logging.DEBUG:
            found.add(_SHOWN.sub("…", text))
    for path in (ROOT / "src" / "streaming_logger").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LOGGING:
                text = dict(enumerate(node.args)).get(_LOGGING[node.func.attr])
                if isinstance(text, ast.Constant) and text.value and "logging.DEBUG" not in ast.unparse(node):
                    found.add(_SHOWN.sub("…", text.value))
    return found


def test_every_line_of_the_log_is_explained() -> None:
    """The README's table has each of them, word for word, and no other."""
    table = README.read_text().partition("<!-- log lines:")[2].partition("\n\n")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    assert {text for row in rows for text in re.findall(r"`(.+?)`(?=<br>|$)", row)} == logged()


def test_modules_that_the_readme_names_exist() -> None:
    """Every `_package/module.py` on the way of a chunk is a file of the package."""
    named = set(re.findall(r"`(_[\w/]+\.py)`", README.read_text()))
    assert named
    assert {name for name in named if not (ROOT / "src" / "streaming_logger" / name).exists()} == set()


def test_top_level_holds_nothing_else() -> None:
    """The repository's top level stays as its user asked."""
    allowed = {"pyproject.toml", "README.md", "src", "tests", "examples", "logging_config.json", "LICENSE"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - {"logs", "dist", "build"} - allowed == set()
