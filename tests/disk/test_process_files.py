"""Files of one process: they stay while it lives, and the next sweep removes them once it is dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import make_old
from faults.programs import running, wait_for_line
from streaming_logger._disk.directory import PRIVATE, Directory
from streaming_logger._disk.process_files import replace_file
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes and locks")

#: Programs that stand still between a temporary file's last byte and its renaming.
STAND_STILL = """
def stand_still(*args, **more):
    say("replacing")
    sys.stdin.readline()
"""
WRITES_SETTINGS = """
os.replace = stand_still
open_logger()
"""
CUTS_TIMING = """
logger = open_logger(record_timing=True, max_session_mb=0.001, flush_interval_seconds=60)
os.replace = stand_still
for number in range(200):
    logger.write("s", f"{number:09d};")
logger.flush()
"""
MARKS_ARCHIVED = """
from streaming_logger import ArchiveConfig
logger = open_logger(archive=ArchiveConfig(url="file://" + sys.argv[2]), flush_interval_seconds=0.05)
os.replace = stand_still
logger.write("s", "text")
logger.complete_session("s")
sys.stdin.read()
"""
#: What a logger keeps in its directory.
KEPT = {
    "uploads",
    *("s.log", "s.timing", "settings.json", "ledger.jsonl", "sweep.lock", "archive.lock"),
    *("owners", "archived", PRIVATE),
}


def others(directory: Path) -> list[str]:
    """The files and folders that a logger does not keep, owner files included."""
    return sorted(path.name for path in directory.rglob("*") if path.name not in KEPT)


def put(path: Path) -> Path:
    path.write_text("precious")
    make_old(path, 1e6)
    return path


@pytest.fixture
def dead_pid() -> int:
    """The pid of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as program:
        program.wait()
    return program.pid


@pytest.mark.parametrize("code", [WRITES_SETTINGS, CUTS_TIMING, MARKS_ARCHIVED], ids=["settings", "timing", "mark"])
def test_temporary_file_goes_when_its_process_is_killed(tmp_path: Path, code: str, manual: Make) -> None:
    """Not before, however old it looks; by the first sweep after that, however young it is."""
    with running(STAND_STILL + code, tmp_path / "logs", str(tmp_path / "archive")) as program:
        wait_for_line(program, "replacing")
        sweeper = manual()
        made = [path for path in (tmp_path / "logs").rglob("*") if path.name in others(tmp_path / "logs")]
        assert made
        for path in made:
            make_old(path, 1e6)
        sweeper.cleanup_completed_files()
        assert all(path.exists() for path in made)
        program.kill()
        program.wait(30)
    for path in made:
        os.utime(path)
    report = sweeper.cleanup_completed_files()
    assert others(tmp_path / "logs") == []
    assert (report.deleted, report.errors) == (0, 0)


def test_owner_file_goes_when_its_process_is_killed(tmp_path: Path, manual: Make) -> None:
    """Also by a sweep that finds no session's file to delete."""
    code = 'logger = open_logger(); logger.write("s", "text"); logger.flush(); say("written"); sys.stdin.read()'
    with running(code, tmp_path / "logs") as program:
        wait_for_line(program, "written")
        sweeper = manual()
        sweeper.cleanup_completed_files()
        assert len(others(tmp_path / "logs")) == 1
        program.kill()
        program.wait(30)
    sweeper.cleanup_completed_files()
    assert others(tmp_path / "logs") == []


def test_temporary_files_of_version_0_1_go(manual: Make, dead_pid: int) -> None:
    """They have no lock: here the pid in their names tells whose process is dead."""
    logger = manual()
    for pid in (dead_pid, os.getpid()):
        put(logger.base_dir / f"s.timing.{pid}")
        put(logger.base_dir / f"{PRIVATE}/settings.json.{pid}")
    logger.cleanup_completed_files()
    assert others(logger.base_dir) == [f"s.timing.{os.getpid()}", f"settings.json.{os.getpid()}"]


@pytest.mark.parametrize("folder", [".", PRIVATE])
def test_strangers_file_stays(tmp_path: Path, manual: Make, dead_pid: int, folder: str) -> None:
    """A name that no process of ours makes; a link, a pipe or a folder under one that it does; a pinned file."""
    logger = manual(max_directory_mb=0.001)
    place = logger.base_dir / folder
    for name in (
        *("notes.tmp", "s.tmp", "4711.tmp", "4711-0a1b2c3d", "4711-0A1B2C3D.tmp", "4711-0a1b2c3d.tmp~"),
        *("s.timing.bak", "s.timing.0", f"s.log.{dead_pid}", f"-.timing.{dead_pid}", "settings.json.bak"),
        *("ledger.jsonl.1", f"ledger.jsonl.{dead_pid}", f"notes.{dead_pid}", f"s.timing.{dead_pid}.gz"),
    ):
        put(place / name)
    (place / "1-00000001.tmp").symlink_to(put(tmp_path / "target"))
    os.link(put(tmp_path / "linked"), place / "1-00000002.tmp")
    os.mkfifo(place / "1-00000003.tmp")
    (place / "1-00000004.tmp").mkdir()
    if os.geteuid() == 0:
        os.chown(put(place / "1-00000005.tmp"), 12345, -1)
    before = sorted(os.listdir(place))
    report = logger.cleanup_completed_files()
    logger.cleanup_old_sessions(0)
    assert sorted(os.listdir(place)) == before
    assert report.errors == 0


def test_directory_that_is_not_ours_keeps_everything(tmp_path: Path, manual: Make) -> None:
    """The timing files there are replaced whole as well, and nothing is swept."""
    (tmp_path / "logs").mkdir(mode=0o700)
    put(tmp_path / "logs/syslog.log")
    logger = manual(record_timing=True, max_session_mb=0.001)
    for number in range(200):
        logger.write("s", f"{number:09d};")
    logger.flush()
    assert (logger.base_dir / "s.timing").stat().st_size < 1000
    put(logger.base_dir / "4711-0a1b2c3d.tmp")
    logger.cleanup_completed_files()
    assert sorted(os.listdir(logger.base_dir)) == ["4711-0a1b2c3d.tmp", "s.log", "s.timing", "syslog.log"]
    adopted = Directory(logger.base_dir, adopt=True)
    adopted.open()
    adopted.close()
    manual(adopt=True).cleanup_completed_files()
    assert not (logger.base_dir / "4711-0a1b2c3d.tmp").exists()


def test_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes a part of it keeps the older one, and nothing else."""
    directory = Directory(tmp_path / "logs")
    directory.open()
    replace_file(directory, f"{PRIVATE}/settings.json", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: len(data) - 1)
        with pytest.raises(OSError, match="did not take all of it"):
            replace_file(directory, f"{PRIVATE}/settings.json", b"new")
    assert (directory.path / PRIVATE / "settings.json").read_bytes() == b"old"
    assert os.listdir(directory.path / PRIVATE) == ["settings.json"]
    directory.close()
