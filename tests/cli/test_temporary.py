"""What `--archive` downloads is gone when the command is, however it ended."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import make_old
from faults.programs import running, wait_for_line
from streaming_logger.cli._temporary import temporary_directory

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes and locks")

HOLDS_ONE = """
import tempfile
tempfile.tempdir = sys.argv[1]
from streaming_logger.cli._temporary import temporary_directory
with temporary_directory() as path:
    (path / "s.log").write_text("text")
    say(f"made {path}")
    sys.stdin.readline()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_directory_is_private_and_removed_at_the_end(place: Path) -> None:
    """With what is in it, also after an exception."""
    with suppress(KeyError), temporary_directory() as path:
        (path / "s.log").write_text("text")
        assert (path.parent, path.stat().st_mode & 0o777) == (place, 0o700)
        raise KeyError
    assert not path.exists()


def test_directory_of_a_killed_process_is_removed_by_the_next_one(place: Path) -> None:
    """Not while its process lives, however old it looks."""
    with running(HOLDS_ONE, place) as program:
        path = Path(wait_for_line(program, "made "))
        make_old(path, 3600)
        with temporary_directory():
            assert (path / "s.log").exists()
        program.kill()
        program.wait(30)
    assert path.exists()
    with temporary_directory():
        assert not path.exists()


def test_strangers_directory_stays(place: Path) -> None:
    """Another name, a file or a link under one of ours, and a new one whose process may be about to lock it."""
    (place / "target").mkdir()
    (place / "target" / "precious").touch()
    (place / "streaming-logger.notes").mkdir()
    (place / "streaming-logger.1-00000001").symlink_to(place / "target")
    (place / "streaming-logger.1-00000002").touch()
    (place / "streaming-logger.1-00000003").mkdir()
    for name in ("streaming-logger.notes", "streaming-logger.1-00000002"):
        make_old(place / name, 3600)
    os.utime(place / "streaming-logger.1-00000001", (0, 0), follow_symlinks=False)
    before = sorted(os.listdir(place))
    with temporary_directory():
        pass
    assert sorted(os.listdir(place)) == before
    assert (place / "target" / "precious").exists()
