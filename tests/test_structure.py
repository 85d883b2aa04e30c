"""The structure of the source: who may import whom, how long a file is, what the face shows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import streaming_logger

PACKAGE = Path(streaming_logger.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
CORE = [path for path in FILES if path.relative_to(PACKAGE).parts[0] not in ("cli", "integrations", "__main__.py")]

#: Each package, and the packages that it may import: the way of a chunk, from the foundation up.
MAY_IMPORT = {
    "_base": set(),
    "_disk": {"_base"},
    "_events": {"_base", "_disk"},
    "_config": {"_base", "_disk", "_events"},
    "_text": set(),
    "_context": {"_base", "_disk", "_events", "_config"},
    "_wal": {"_base", "_disk"},
    "_write": {"_base", "_disk", "_events", "_context", "_wal"},
    "_sweep": {"_base", "_disk", "_events", "_config", "_context", "_wal"},
    "_watch": {"_base", "_config", "_events", "_context"},
    "_archive": {"_base", "_disk", "_events", "_config", "_sweep", "_context"},
    "_runtime": {
        "_base",
        "_disk",
        "_events",
        "_config",
        "_context",
        "_wal",
        "_write",
        "_sweep",
        "_watch",
        "_archive",
    },
    "_view": {"_base", "_disk", "_events", "_config", "_context", "_wal", "_sweep", "_watch"},
    "cli": {"_base", "_disk", "_events", "_config", "_context", "_wal", "_sweep", "_watch", "_archive", "_view"},
    "integrations": {"_base", "_events", "_text", "_logger", "_stream_log", "_default"},
}
#: The public modules, and which of one another they may import; any package besides.
FACE = {
    "__init__": {"_logger", "_handle", "_default", "_version"},
    "__main__": {"cli"},
    "_default": {"_logger"},
    "_handle": set(),
    "_stream_log": set(),
    "_wrap": {"_stream_log"},
    "_logger": {"_handle", "_wrap"},
    "_version": set(),
    "testing": {"_logger", "_default"},
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


def package_of(path: Path) -> str:
    """The package, or the public module, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_imports_only_what_its_package_may(path: Path) -> None:
    """The import table holds; a new package needs a row of its own."""
    package = package_of(path)
    others = {name.split(".")[0] for name in imported(path)} - {package}
    assert others <= (
        MAY_IMPORT[package] if package in MAY_IMPORT else FACE[package] | set(MAY_IMPORT) - {"cli", "_view"}
    )


def test_table_has_no_row_too_many() -> None:
    """Each row is a package or a public module."""
    assert {*MAY_IMPORT, *FACE} == {package_of(path) for path in FILES}


@pytest.mark.parametrize("package", [package for package in MAY_IMPORT if package != "_context"])
def test_package_says_what_it_is_for_and_what_it_may_import(package: str) -> None:
    """Its `__init__.py` is one docstring, which names the packages in its row and no other."""
    (docstring,) = ast.parse((PACKAGE / package / "__init__.py").read_text()).body
    text = ast.get_docstring(ast.Module([docstring], []))
    assert text
    assert "ay import: " in text
    if "every package above" not in text and package != "integrations":
        rule = text[text.index("ay import: ") :]
        assert set(re.findall(r"`(_\w+)`", rule)) == MAY_IMPORT[package] - {"_context"}


def test_no_import_circles() -> None:
    """The modules can be put in an order in which each imports only earlier ones; so can the packages."""
    modules = {}
    for path in FILES:
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        modules[name] = imported(path)
    modules.pop("_write.session")  # it imports the store's OpenFile for its type alone
    for graph in (modules, MAY_IMPORT | FACE):
        left = {name: {other for other in known if other in graph} for name, known in graph.items()}
        while left:
            free = {name for name, known in left.items() if not known & set(left)}
            assert free, f"a circle among {sorted(left)}"
            left = {name: known for name, known in left.items() if name not in free}


def test_flusher_sweeper_and_worker_do_not_know_each_other() -> None:
    """The two halves stand side by side over the store; the worker calls both and knows neither."""
    halves = {"_write.flusher", "_sweep.sweeper", "_runtime.worker"}
    for half in halves:
        assert not imported(PACKAGE / f"{half.replace('.', '/')}.py") & halves


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


def test_only_the_disk_package_makes_calls_on_files() -> None:
    """os.open, os.write, os.unlink and their like stand in `_disk`, and for the log's shared memory in `_wal`."""
    calls = {"open", "write", "unlink", "remove", "rename", "replace", "scandir", "ftruncate"}
    callers = set()
    for path in CORE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in calls and ast.unparse(node.value) == "os":
                callers.add(package_of(path))
    assert callers == {"_disk", "_wal"}


def test_every_lock_is_in_the_table() -> None:
    """`_base/sync.py` names each file that makes a lock in memory or takes one on a file."""
    made = set()
    for path in CORE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                call = ast.unparse(node.func)
                if call in ("allocate_lock", "RLock", "Guard") or call.endswith(("directory.lock", "fcntl.lockf")):
                    made.add(str(path.relative_to(PACKAGE)))
    table = ast.get_docstring(ast.parse((PACKAGE / "_base" / "sync.py").read_text())) or ""
    assert made - {"_base/sync.py"} == set(re.findall(r"`(_\w+(?:/\w+)?\.py)`", table))


def test_ledger_has_one_writer_and_one_reader() -> None:
    """One module knows its file, and turns lines into events; nobody else looks for an event by a word."""
    by_module = {str(path.relative_to(PACKAGE)): path.read_text() for path in FILES}
    for word in ("_disk.ledger_file import", "from_line("):
        assert {name for name, text in by_module.items() if word in text} - {"_events/event.py"} == {
            "_events/ledger.py"
        }
    readers = [path for path in FILES if package_of(path) not in ("_events", "_text", "integrations")]
    asked = r"""\[["']event["']\]|get\(["']event["']|\.fields\["""
    assert [path.name for path in readers if re.search(asked, path.read_text())] == []
