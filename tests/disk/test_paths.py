"""What a path leads to: what is missing is told from what cannot be looked at."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import streaming_logger
from streaming_logger._disk import paths

HIDING = {"exists", "lexists", "is_dir", "is_file", "is_symlink", "is_mount", "isdir", "isfile", "islink", "ismount"}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("directory")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("directory", "exists is_directory"),
        ("file", "exists is_regular"),
        ("link", "exists is_directory is_symlink"),
        ("dangling", "is_symlink"),
        ("circle", "is_symlink"),
        ("pipe", "exists"),
        ("nothing", ""),
        ("file/below", ""),
    ],
)
def test_answers(made: Path, name: str, expected: str) -> None:
    """As those of `pathlib`."""
    names = ("exists", "is_directory", "is_regular", "is_symlink")
    assert [each for each in names if getattr(paths, each)(made / name)] == expected.split()


@pytest.mark.parametrize("name", ["exists", "is_directory", "is_regular", "is_symlink", "is_missing"])
def test_fault_is_not_an_answer(made: Path, name: str) -> None:
    """Here ENAMETOOLONG, which every file system gives; Python 3.14's `pathlib` answers False."""
    with pytest.raises(OSError, match="File name too long"):
        getattr(paths, name)(made / ("x" * 300))


def test_no_code_uses_calls_that_hide_faults() -> None:
    """`Path.is_dir`, `os.path.exists` and their like, on anything but the module that replaces them."""
    found = []
    for path in sorted(Path(streaming_logger.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in HIDING:
                found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert found == []
