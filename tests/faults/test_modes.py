"""Modes and owners, as an ordinary user meets them: any umask, files that were left with other modes, volumes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0, reason="only root can become another user"
)

USER = 12345

#: All is imported before it becomes another user, who need not be able to reach this interpreter's own files.
PROGRAM = """
import gettext, json, locale, os, stat, sys, time
from pathlib import Path
import streaming_logger._archive.passes
from streaming_logger import ArchiveConfig, Config, StreamingLogger
from streaming_logger.cli._main import main
from streaming_logger.testing import ManualLogger
"".encode("unicode_escape")
os.setgroups([])
os.setgid(12345)
os.setuid(12345)
directory = Path(sys.argv[1])

def life(session):
    with ManualLogger(Config(min_free_disk_mb=None, record_timing=True, max_open_files=1), directory) as logger:
        for name in ("parked", session):
            logger.write(name, "text ")
            logger.advance(2)
        logger.complete_session(session)
        logger.complete_session("parked")
        logger.advance(61)
        health = logger.health()
        assert health.status == "ok", health
        assert logger.stats().bytes_buffered == 0, logger.stats()

def age():
    for path in directory.glob("*.log"):
        os.utime(path, (0, 0))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody can reach and only the ordinary user can write."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        place = Path(above) / "home"
        place.mkdir(mode=0o700)
        os.chown(place, USER, USER)
        yield place


def run(code: str, directory: Path, *arguments: str) -> str:
    program = [sys.executable, "-c", PROGRAM + code, str(directory), *arguments]
    done = subprocess.run(program, capture_output=True, text=True, timeout=50, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def modes(directory: Path) -> dict[str, int]:
    """Of all files and directories."""
    return {
        path.relative_to(directory).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in (directory, *directory.rglob("*"))
    }


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277, 0o377, 0o777])
def test_files_are_private_and_usable_under_any_umask(place: Path, umask: int) -> None:
    """Each start writes and sweeps, with all that lies beside the sessions: ledger, locks, settings, timing, owners."""
    code = f"os.umask({umask})\n" + "life('a')\nlife('a')\nage()\nlife('b')\nprint(sorted(os.listdir(directory)))"
    left = run(code, place / "logs")
    assert "a.log" not in left, "it was swept"
    assert "b.log" in left
    found = modes(place / "logs")
    assert {".streaming_logger/ledger.jsonl", ".streaming_logger/sweep.lock", "b.timing"} <= set(found)
    for name, mode in found.items():
        assert mode == (0o700 if (place / "logs" / name).is_dir() else 0o600), name


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o200, 0o444, 0o666])
def test_own_files_with_other_modes_heal(place: Path, mode: int) -> None:
    """As an older version or a kill left them: written and swept at the next start; a pin stays."""
    directory = place / "logs"
    run("life('a')\nlife('c')\nlife('d')", directory)
    for path in directory.rglob("*"):
        if path.is_file():
            path.chmod(mode | (stat.S_ISVTX if path.name == "d.log" else 0))
    os.utime(directory / "c.log", (0, 0))
    run("life('a')\nlife('d')", directory)
    assert (directory / "a.log").read_text() == "text text "
    assert not (directory / "c.log").exists()
    found = modes(directory)
    assert found["d.log"] == 0o1600
    written = ("a.log", "a.timing", ".streaming_logger/ledger.jsonl", ".streaming_logger/sweep.lock")
    assert {name: found[name] for name in written} == dict.fromkeys(written, 0o600)


def test_own_private_directories_heal(place: Path) -> None:
    """A kill between the making of one and its mode."""
    directory = place / "logs"
    run("life('a')", directory)
    (directory / ".streaming_logger/owners").chmod(0)
    (directory / ".streaming_logger").chmod(0)
    run("life('a')", directory)
    assert (directory / "a.log").read_text() == "text text "
    assert modes(directory)[".streaming_logger"] == modes(directory)[".streaming_logger/owners"] == 0o700


def test_looking_changes_no_mode(place: Path) -> None:
    """The command reads what it may, and leaves the rest as it is."""
    directory = place / "logs"
    run("life('a')\nlife('b')", directory)
    (directory / "a.log").chmod(0)
    before = modes(directory)
    code = "sys.argv = ['streaming-logger', 'ls', '--dir', str(directory)]\nassert main() == 0"
    assert "b" in run(code, directory)
    assert modes(directory) == before


def test_hard_link_to_another_file_keeps_its_mode(place: Path) -> None:
    """Planted under a session's name: neither written nor changed."""
    (place / "logs").mkdir(mode=0o700)
    (place / "victim").write_text("mine")
    (place / "victim").chmod(0o644)
    os.link(place / "victim", place / "logs/a.log")
    for path in (place / "victim", place / "logs"):
        os.chown(path, USER, USER)
    code = "logger = ManualLogger(Config(min_free_disk_mb=None), directory)\nlogger.write('a', 'x')\nlogger.advance(2)"
    run(code, place / "logs")
    assert (place / "victim").read_text() == "mine"
    assert stat.S_IMODE((place / "victim").stat().st_mode) == 0o644


# -- volumes ---------------------------------------------------------------------------


@pytest.fixture(params=[(0o777, 0), (0o1777, 0), (0o2775, USER)], ids=["emptyDir", "sticky", "fsGroup"])
def volume(place: Path, request: pytest.FixtureRequest) -> Path:
    """As Kubernetes mounts one: root's, for everybody or for the pod's group."""
    volume = place.parent / "volume"
    volume.mkdir()
    os.chown(volume, 0, request.param[1])
    volume.chmod(request.param[0])
    return volume


def test_root_of_a_volume_is_refused_with_what_works(volume: Path) -> None:
    """A pod that is not root can chown and chmod nothing; in the subdirectory that the message names it logs."""
    code = """
from streaming_logger import DirectoryError
try:
    StreamingLogger(Config(), directory=directory)
except DirectoryError as error:
    print(error)
"""
    message = run(code, volume)
    assert f"belongs to user 0, not to {USER}" in message
    assert f"set `directory` to a subdirectory of it, such as {volume}/streaming" in message
    assert "chown" not in message
    run("life('a')", volume / "streaming")
    assert (volume / "streaming/a.log").read_text() == "text "


def test_doctor_says_that_a_subdirectory_works(volume: Path) -> None:
    """For the root of a volume that belongs to root."""
    code = "sys.argv = ['streaming-logger', 'doctor', '--dir', str(directory)]\nassert main() == 1"
    assert f"set `directory` to a subdirectory of it, such as {volume}/streaming" in run(code, volume)


def test_directory_in_which_nothing_can_be_made_is_refused_without_that_hint(place: Path) -> None:
    """Another user's private directory: there a subdirectory helps nobody."""
    theirs = place.parent / "theirs"
    theirs.mkdir(mode=0o755)
    code = """
from streaming_logger import DirectoryError
try:
    StreamingLogger(Config(), directory=directory)
except DirectoryError as error:
    print(error)
"""
    message = run(code, theirs)
    assert "chown it or set another `directory`" in message
    assert "subdirectory" not in message
