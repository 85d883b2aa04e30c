"""The structure of the source: who may import whom, how long a file is, what the face shows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import streaming_logger

PACKAGE = Path(streaming_logger.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
CORE = [path for path in FILES if path.parent == PACKAGE and path.stem.startswith("_") and path.stem != "__main__"]

#: Each room of the core, and the rooms it knows. In data order, lower rooms first.
MAY_IMPORT = {
    "_errors": set(),
    "_clock": set(),
    "_names": set(),
    "_sync": set(),
    "_handle": set(),
    "_process": set(),
    "_stats": {"_sync"},
    "_config": {"_errors"},
    "_directory": {"_errors", "_names"},
    "_ledger": {"_directory"},
    "_log": {"_clock", "_ledger"},
    "_config_file": {"_config", "_directory", "_errors", "_log", "_stats"},
    "_store": {"_directory"},
    "_owner": {"_directory"},
    "_session": {"_names", "_store", "_sync"},  # the store for types alone
    "_table": {"_clock", "_config_file", "_session", "_stats", "_sync"},
    "_retention": {"_config", "_store"},
    "_files": {"_clock", "_config_file", "_log", "_owner", "_session", "_stats", "_store"},
    "_flusher": {"_clock", "_config_file", "_files", "_log", "_owner", "_session", "_stats", "_store", "_table"},
    "_sweeper": {
        *("_clock", "_config_file", "_directory", "_log", "_names", "_owner", "_retention", "_stats", "_store"),
    },
    "_worker": {"_clock", "_log", "_stats", "_sync"},
    "_engine": {
        *("_clock", "_config_file", "_directory", "_errors", "_files", "_flusher", "_ledger", "_log"),
        *("_owner", "_session", "_stats", "_store", "_sweeper", "_sync", "_table", "_worker"),
    },
    "_logger": {
        *("_clock", "_config", "_config_file", "_engine", "_handle", "_names", "_process", "_retention"),
        *("_session", "_stats", "_sync", "_table"),
    },
    "_default": {"_config", "_config_file", "_errors", "_logger"},
    "__init__": {"_config", "_default", "_errors", "_handle", "_logger", "_stats"},
}


def imported(path: Path) -> set[str]:
    """The dotted names of all modules of this package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            module = node.module or ""
            if module == "streaming_logger":
                found |= {alias.name if (PACKAGE / f"{alias.name}.py").exists() else "__init__" for alias in node.names}
            elif module.startswith("streaming_logger."):
                found.add(module.removeprefix("streaming_logger."))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("streaming_logger.")]
            found |= {name.removeprefix("streaming_logger.") for name in names}
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_room_imports_only_what_its_row_allows(path: Path) -> None:
    """The import table holds; a new room needs a row of its own."""
    assert imported(path) <= MAY_IMPORT[path.stem]


def test_table_has_no_row_too_many() -> None:
    """Each row is a file."""
    assert set(MAY_IMPORT) == {path.stem for path in CORE}


def test_no_import_circles() -> None:
    """The rows can be put in an order in which each knows only earlier ones."""
    left = {room: set(known) for room, known in MAY_IMPORT.items()}
    while left:
        free = {room for room, known in left.items() if not known & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {room: known for room, known in left.items() if room not in free}


def test_flusher_sweeper_and_worker_do_not_know_each_other() -> None:
    """The two halves stand side by side over the store; the worker calls both and knows neither."""
    halves = {"_flusher", "_sweeper", "_worker"}
    assert all(not MAY_IMPORT[half] & halves for half in halves)


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_core_imports_no_integration_and_no_command(path: Path) -> None:
    """A server pays for neither."""
    assert not {name for name in imported(path) if name.startswith(("integrations", "cli"))}


def test_command_never_imports_the_logger() -> None:
    """The operator's command knows the directory; the process that writes is another one."""
    for path in (PACKAGE / "cli").rglob("*.py"):
        assert not imported(path) & {"_logger", "_engine", "_default", "_table", "_flusher", "_worker", "__init__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_is_no_longer_than_400_lines(path: Path) -> None:
    """What does not fit has two jobs."""
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_begins_with_what_it_is_for(path: Path) -> None:
    """Every module has a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_face_is_imports_and_a_sorted_all() -> None:
    """`__init__` holds nothing else, and every name in `__all__` is there."""
    docstring, *body = ast.parse((PACKAGE / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert [type(node) for node in body] == [ast.ImportFrom] * (len(body) - 1) + [ast.Assign]
    assert streaming_logger.__all__ == sorted(streaming_logger.__all__)
    assert all(hasattr(streaming_logger, name) for name in streaming_logger.__all__)
    taken = {alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert taken == set(streaming_logger.__all__)


def test_only_the_rooms_of_the_directory_make_calls_on_its_files() -> None:
    """os.open, os.write, os.unlink and their like stand in the rooms beside the disk alone."""
    calls = {"open", "write", "unlink", "remove", "rename", "replace", "scandir", "ftruncate"}
    callers = set()
    for path in CORE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in calls and ast.unparse(node.value) == "os":
                callers.add(path.stem)
    assert callers <= {"_directory", "_store", "_owner", "_ledger"}
