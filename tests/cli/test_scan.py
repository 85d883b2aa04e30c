"""`scan`: loops in files, on the standard input, and files that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

from tools import run

LOOP = "The cat sat on the mat. " * 100


def test_scan_shows_each_loop_on_a_line(tmp_path: Path) -> None:
    """With file, kind, offset and the repeated text; exit code 1."""
    (tmp_path / "loop.log").write_text("Hello!\n\x1b" + LOOP)
    (tmp_path / "fine.log").write_text("Hello!")
    done = run("scan", "fine.log", "loop.log", cwd=tmp_path, check=1)
    (line,) = done.stdout.splitlines()
    assert line.startswith("loop.log: periodic loop at character 8, found after ")
    assert "period 24" in line
    assert "sat on the mat. The cat" in line


def test_scan_of_ordinary_text_is_silent(tmp_path: Path) -> None:
    """Exit code 0."""
    (tmp_path / "fine.log").write_text("Hello!")
    assert run("scan", tmp_path / "fine.log").stdout == ""


def test_scan_as_json(tmp_path: Path) -> None:
    """An array, empty where nothing is found."""
    (tmp_path / "loop.log").write_text(LOOP)
    (tmp_path / "fine.log").write_text("Hello!")
    (found,) = json.loads(run("scan", "--json", tmp_path / "loop.log", check=1).stdout)
    assert (found["file"], found["kind"], found["offset"], found["period"]) == (
        str(tmp_path / "loop.log"),
        "periodic",
        0,
        24,
    )
    assert json.loads(run("scan", "--json", tmp_path / "fine.log").stdout) == []


def test_scan_reads_standard_input() -> None:
    """As `-`."""
    assert run("scan", "-", input=LOOP, check=1).stdout.startswith("-: periodic loop at character 0")


def test_scan_goes_on_after_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """One line says so; exit code 2 unless a loop is found."""
    (tmp_path / "loop.log").write_text(LOOP)
    (tmp_path / "fine.log").write_text("Hello!")
    done = run("scan", "none.log", ".", "loop.log", cwd=tmp_path, check=1)
    assert done.stderr.splitlines() == [
        "streaming-logger: none.log: No such file or directory",
        "streaming-logger: .: Is a directory",
    ]
    assert "loop.log: periodic" in done.stdout
    run("scan", "none.log", "fine.log", cwd=tmp_path, check=2)
    run("scan", check=2)
