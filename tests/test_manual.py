"""The documentation is current: its tables are those of the code, its links lead somewhere, its pages are short."""

from __future__ import annotations

import ast
import logging
import re
from pathlib import Path
from typing import get_args

import pytest

from manual import GENERATED, PAGES, README, ROOT, pages, table_of, with_tables
from streaming_logger._base.outcomes import MEANINGS, Ending
from streaming_logger._disk.cut import SESSION_CAP
from streaming_logger._events.messages import MESSAGES
from streaming_logger._events.model import LogText, TextDropped, event_classes

DOCUMENTS = (README, *sorted(PAGES.glob("*.md")), *sorted((ROOT / ".github").glob("*.md")))
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
ON_PAGES = sorted(GENERATED.keys() - {"main-settings"})


def test_readme_is_one_page() -> None:
    """What does not fit belongs in the manual."""
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert len(text.encode()) <= 16_000
    assert "<details>" not in text


@pytest.mark.parametrize("topic", pages())
def test_page_answers_one_task(topic: str) -> None:
    """It is short, and begins with a title and a sentence that says what it answers."""
    lines = pages()[topic].splitlines()
    assert len(lines) <= 150
    assert lines[0].startswith("# ")
    assert (lines[1], lines[3]) == ("", "")
    assert re.match(r"[A-Z].*\.$", lines[2])


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_tables_are_current(path: Path) -> None:
    """`python tests/manual.py` would change nothing."""
    text = path.read_text(encoding="utf-8")
    assert with_tables(text) == text


@pytest.mark.parametrize("name", ON_PAGES)
def test_each_kind_of_data_is_on_one_page(name: str) -> None:
    """Its table has a place on one page, and its rows are on no other."""
    marker = f"<!-- {name}:begin -->"
    assert len([topic for topic, text in pages().items() if marker in text]) == 1
    by_hand = [
        re.sub(r"<!-- (\S+):begin -->.*?<!-- \1:end -->", "", text, flags=re.DOTALL) for text in pages().values()
    ]
    first_cells = {line.split(" | ")[0] for text in by_hand for line in text.splitlines()}
    assert {row.split(" | ")[0] for row in table_of(name).splitlines()[2:]} & first_cells == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_links_lead_to_files(path: Path) -> None:
    """Each relative link of a document is a file of the repository; the manual's are pages of it."""
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    relative = [target for target in targets if "://" not in target]
    assert [target for target in relative if not (path.parent / target).is_file()] == []
    if path.parent == PAGES:
        assert [target for target in relative if "/" in target] == []


def test_readme_links_every_page() -> None:
    """A page that nobody finds is no help."""
    text = README.read_text(encoding="utf-8")
    assert [topic for topic in pages() if f"/{topic}.md)" not in text] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_files_that_are_named_exist(path: Path) -> None:
    """Modules, tests and examples; `test_x.py` alone is one of `tests/faults`."""
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|md|json|toml|yaml|yml))`", text))
    roots = (ROOT, ROOT / "src" / "streaming_logger", ROOT / "tests" / "faults", ROOT / "examples", ROOT / ".github")
    missing = {name for name in named if not any((root / name).exists() for root in roots)}
    assert {name for name in missing if not name.startswith(".streaming_logger/")} == set()


def test_layers_that_internals_names_exist() -> None:
    """Each folder in its table is one of the package."""
    named = set(re.findall(r"^\| `(\w+)` \|", pages()["internals"], re.MULTILINE))
    folders = {path.parent.name for path in (ROOT / "src" / "streaming_logger").glob("*/__init__.py")}
    assert named
    assert named - folders == set()


def test_every_ending_has_a_meaning() -> None:
    """The table of outcomes leaves none out."""
    assert set(MEANINGS) == set(get_args(Ending))


#: What logs a record, and the place of the text among its arguments.
_LOGGING = {"log": 1, "report": 1, "_report": 1, "clear": 1}


def _logged_in(function: ast.AST) -> set[str]:
    """Constants, and local names of constants, that a function gives to a call that logs."""
    found, named = set(), {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            named.update({ast.unparse(target): node.value.value for target in node.targets})
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LOGGING:
            given = dict(enumerate(node.args)).get(_LOGGING[node.func.attr])
            text = given.value if isinstance(given, ast.Constant) else named.get(ast.unparse(given)) if given else None
            if isinstance(text, str) and text and "logging.DEBUG" not in ast.unparse(node):
                found.add(text)
    return found


def logged() -> set[str]:
    """The format strings of the log, as the source has them; those for debugging left out."""
    texts = [LogText(cls.level, cls.message[0], ()) for cls in event_classes()]
    texts.append(TextDropped(session="", characters=1, reason=SESSION_CAP).log_text())
    found = {text for level, text, *_ in texts if text and level > logging.DEBUG}
    for path in (ROOT / "src" / "streaming_logger").rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found |= _logged_in(function)
    return found


def test_every_line_of_the_log_is_explained() -> None:
    """`MESSAGES` has each of them, word for word, once, and no other."""
    texts = [text for message in MESSAGES for text in message.texts]
    assert len(set(texts)) == len(texts)
    assert set(texts) == logged()


def test_pages_that_messages_name_exist() -> None:
    """Each warning leads to a page of the manual; only lines that need no action have none."""
    assert {message.page for message in MESSAGES} - {"", *pages()} == set()
    assert [message.advice for message in MESSAGES if not message.page and "None needed" not in message.advice] == []


def test_workflow_runs_what_the_local_door_runs() -> None:
    """Each command of `.ci/run` is one of the workflow's; the README's tests are there in two jobs."""
    local = re.findall(r"^\.venv/bin/(.*)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    commands = [command for command in local if not command.startswith("pip ")]
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert commands
    assert [command for command in commands if command not in workflow] == []
    ignored = re.findall(r"--ignore (tests/\w+)", workflow)
    assert ignored
    assert f"worksteal {' '.join(ignored)}\n" in workflow


def test_top_level_holds_nothing_else() -> None:
    """The repository's top level stays as its user asked."""
    allowed = {"pyproject.toml", "README.md", "src", "tests", "examples", "logging_config.json", "LICENSE"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - {"logs", "dist", "build"} - allowed == set()
