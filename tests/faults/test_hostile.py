"""Hostile input, end to end: ids, chunks, planted files, other people's directories, clocks that jump."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import logs, make_old
from streaming_logger import Config, DirectoryError, StreamingLogger
from streaming_logger.testing import ManualLogger

pytestmark = pytest.mark.skipif(os.name != "posix", reason="plants symlinks and pipes")

Make = Callable[..., ManualLogger]
Live = Callable[..., StreamingLogger]
Plant = Callable[[Path, Path], object]

IDS = [
    "plain",
    "../x",
    ".",
    "..",
    "a/b",
    "/etc/passwd",
    "nul\0byte",
    "x" * 300,
    "x" * 299 + "y",
    unicodedata.normalize("NFC", "caf\u00e9"),
    unicodedata.normalize("NFD", "caf\u00e9"),
    "CON",
    "x.",
    "x.log",
    "-rf",
    ".hidden",
    ".streaming_logger",
    ".streaming_logger/ledger.jsonl",
    "two\nlines",
    "\x1b[2J",
    "\udc80",
    "\u202egpj.exe",
    "\u4e2d" * 120,
    "100%",
    "%2E",
    "$(reboot)",
    "a b",
]


def everything(place: Path) -> set[Path]:
    return set(place.rglob("*"))


def test_each_hostile_id_has_a_file_of_its_own_inside_the_directory(tmp_path: Path, live: Live) -> None:
    """Written in turns, each text is in one file, none outside; completed, all are swept at their time."""
    logger = live()
    before = everything(tmp_path)
    for turn in range(2):
        for number, id_ in enumerate(IDS):
            logger.write(id_, f"{number}.{turn};")
    assert set(logger.session_files) == set(IDS)
    for id_ in IDS:
        logger.complete_session(id_)
    assert sorted(logs(tmp_path / "logs").values()) == sorted(f"{number}.0;{number}.1;" for number in range(len(IDS)))
    assert all(tmp_path / "logs" in path.parents for path in everything(tmp_path) - before)
    for path in (tmp_path / "logs").glob("*.log"):
        make_old(path, 601)
    assert logger.cleanup_completed_files().deleted == len(IDS)


CHUNKS = {
    "NUL": ("a\0b", b"a\0b"),
    "a lone surrogate": ("a\udc80b", rb"a\udc80b"),
    "half a pair, then the other": ("\ud83d\ude00", rb"\ud83d\ude00"),
    "terminal escapes": ("\x1b[31m\x1b]0;title\x07\x9b2J", b"\x1b[31m\x1b]0;title\x07\xc2\x9b2J"),
    "carriage returns": ("a\r\nb\rc", b"a\r\nb\rc"),
    "right to left": ("\u202eabc", b"\xe2\x80\xaeabc"),
    "a byte order mark": ("\ufeffx", b"\xef\xbb\xbfx"),
    "beyond the first plane": ("\U0001f600", b"\xf0\x9f\x98\x80"),
    "our own marker": ("[streaming_logger: 1 characters dropped: buffer full]",) * 2,
    "20 MB": ("0123456789" * 2_000_000, b"0123456789" * 2_000_000),
}


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunk_is_in_the_file_as_the_model_streamed_it(tmp_path: Path, live: Live, chunk: str) -> None:
    """Byte for byte, between its neighbours; a lone surrogate, which has no bytes, as its escape."""
    text, data = CHUNKS[chunk]
    data = data.encode() if isinstance(data, str) else data
    logger = live()
    for part in ("<", text, ">", None, ""):
        logger.write("s", part)
    logger.complete_session("s")
    assert (tmp_path / "logs" / "s.log").read_bytes() == b"<" + data + b">"


@pytest.mark.parametrize("wrong", [b"bytes", 7, 0.5, ["a"], object()], ids=lambda value: type(value).__name__)
def test_a_chunk_that_is_no_text_costs_its_caller_alone(tmp_path: Path, live: Live, wrong: Any) -> None:
    """A TypeError on the caller's line; what was and will be written to the same session is there."""
    logger = live()
    logger.write("s", "before;")
    with pytest.raises(TypeError, match=type(wrong).__name__):
        logger.write("s", wrong)
    with pytest.raises(TypeError, match=type(wrong).__name__):
        logger.write(wrong, "text")
    logger.write("s", "after;")
    logger.complete_session("s")
    assert logs(tmp_path / "logs") == {"s": "before;after;"}


# -- planted ---------------------------------------------------------------------------

PLANTED: dict[str, Plant] = {
    "symlink": lambda path, victim: path.symlink_to(victim),
    "dangling symlink": lambda path, victim: path.symlink_to(victim.with_name("nowhere")),
    "hard link": lambda path, victim: path.hardlink_to(victim),
    "pipe": lambda path, victim: os.mkfifo(path),
    "directory": lambda path, victim: path.mkdir(),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_planted_under_a_sessions_name_holds_up_that_session_alone(
    tmp_path: Path, live: Live, kind: str
) -> None:
    """Never written, never deleted, nobody waits; once it is gone the text follows, in order."""
    logger = live(flush_interval_seconds=0.05)
    victim, path = tmp_path / "victim", tmp_path / "logs" / "s.log"
    victim.write_text("precious")
    PLANTED[kind](path, victim)
    if not path.is_symlink():
        make_old(path, 48 * 3600)
    inode = path.lstat().st_ino
    for number in range(3):
        logger.write("s", f"{number};")
        logger.write("other", f"{number};")
        logger.flush()
    assert logger.cleanup_old_sessions(0).deleted == 0
    assert path.lstat().st_ino == inode
    assert (tmp_path / "logs" / "other.log").read_text() == "0;1;2;"
    assert logger.health().status == "degraded"
    path.rmdir() if path.is_dir() else path.unlink()
    logger.complete_session("s")
    assert path.read_text() == "0;1;2;"
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "pipe", "directory"])
@pytest.mark.parametrize("name", ["ledger.jsonl", "sweep.lock"])
def test_what_is_planted_under_our_own_names_holds_up_no_stream(
    tmp_path: Path, manual: Make, name: str, kind: str
) -> None:
    """The ledger and the sweep lock: targets are untouched, sessions are written, the verbs still sweep."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "logs" / ".streaming_logger").mkdir(mode=0o700, parents=True)
    (tmp_path / "logs").chmod(0o700)
    PLANTED[kind](tmp_path / "logs" / ".streaming_logger" / name, victim)
    logger = manual()
    logger.write("s", "text")
    logger.advance(61)  # a scheduled sweep too
    logger.complete_session("s")
    assert logs(tmp_path / "logs") == {"s": "text"}
    make_old(tmp_path / "logs" / "s.log", 3600)
    assert logger.cleanup_completed_files().deleted == 1
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Another user's directory, with files that look like all that a sweep may remove."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("diary.txt", "sess_1.log", "123-deadbeef"):
        (home / name).write_text("precious" * 1000)
        make_old(home / name, 48 * 3600)
    return home


def test_a_planted_room_of_owner_files_leads_nobody_elsewhere(tmp_path: Path, manual: Make, home: Path) -> None:
    """As a symlink to a home directory, whose files look like dead owners': nothing in it is written or deleted."""
    owners = tmp_path / "logs" / ".streaming_logger" / "owners"
    owners.parent.mkdir(mode=0o700, parents=True)
    (tmp_path / "logs").chmod(0o700)
    owners.symlink_to(home)
    before = {path: path.read_text() for path in home.iterdir()}
    logger = manual(max_open_files=2)
    for session in ("a", "b", "c"):
        logger.write(session, "text")
    logger.flush()
    for session in ("a", "b", "c"):
        logger.complete_session(session)
        make_old(tmp_path / "logs" / f"{session}.log", 3600)
    report = logger.cleanup_completed_files()
    assert (report.deleted, report.errors) == (0, 3), "nobody can tell who is parked: nothing is swept"
    assert logger.health().status == "degraded"
    assert {path: path.read_text() for path in home.iterdir()} == before
    owners.unlink()
    assert logger.cleanup_completed_files().deleted == 3


def test_a_strangers_file_among_the_owner_files_stays(tmp_path: Path, manual: Make) -> None:
    """Only a name that we could have made is taken for a dead owner's."""
    owners = tmp_path / "logs" / ".streaming_logger" / "owners"
    owners.mkdir(mode=0o700, parents=True)
    (tmp_path / "logs").chmod(0o700)
    (owners / "notes.txt").write_text("precious")
    dead = owners / f"{os.getpid()}-0123abcd"
    dead.write_text("+s.log\n")
    logger = manual()
    logger.write("s", "text")
    logger.complete_session("s")
    make_old(tmp_path / "logs" / "s.log", 3600)
    assert logger.cleanup_completed_files().deleted == 1
    assert (owners / "notes.txt").read_text() == "precious"
    assert not dead.exists()


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "pipe"])
def test_a_planted_mark_is_refused(tmp_path: Path, home: Path, kind: str) -> None:
    """`.streaming_logger` that is no directory would lead our own files elsewhere: a clear error, nothing made."""
    (tmp_path / "logs").mkdir(mode=0o700)
    PLANTED[kind](tmp_path / "logs" / ".streaming_logger", home)
    before = everything(tmp_path)
    with pytest.raises(DirectoryError, match=r"\.streaming_logger is not a directory"):
        StreamingLogger(Config(), directory=tmp_path / "logs")
    assert everything(tmp_path) == before


# -- other people's directories --------------------------------------------------------


@pytest.mark.parametrize("through", ["path", "symlink"])
def test_other_peoples_directory_is_only_written_to(tmp_path: Path, home: Path, through: str) -> None:
    """By its path or through a symlink: no verb, no emergency and no completion deletes what was there."""
    home.chmod(0o700)
    path = home
    if through == "symlink":
        path = tmp_path / "link"
        path.symlink_to(home)
    before = {path: path.read_text() for path in home.iterdir()}
    config = Config(file_retention_minutes=0.001, max_directory_mb=0.001, cleanup_interval_seconds=1)
    with StreamingLogger(config, directory=path) as logger:
        logger.write("mine", "text")
        logger.complete_session("mine")
        assert "adopt" in logger.cleanup_completed_files().skipped
        assert logger.cleanup_old_sessions(0).deleted == 0
    assert {path: path.read_text() for path in home.iterdir()} == {**before, home / "mine.log": "text"}


# -- clocks ----------------------------------------------------------------------------

HOUR, YEAR = 3600.0, 365 * 86400.0


@pytest.mark.parametrize("jump", [HOUR, YEAR, -HOUR, -YEAR])
def test_a_clock_that_jumps_deletes_nothing_before_its_time(tmp_path: Path, manual: Make, jump: float) -> None:
    """Nor does it hold up a flush or end a session; one whole window later the completed file goes, the active not."""
    logger = manual(file_retention_minutes=10, cleanup_interval_seconds=60)
    for session in ("done", "active"):
        logger.write(session, "before;")
    logger.complete_session("done")
    logger.clock.set_wall(jump)
    logger.write("active", "after;")
    logger.advance(2)
    assert (tmp_path / "logs" / "active.log").read_text() == "before;after;"
    for _ in range(9):
        logger.advance(60)
        assert set(logs(tmp_path / "logs")) == {"done", "active"}
    assert logger.stats().sessions_abandoned == 0
    # The clock is right again, or the file's time has come: either way nothing is kept for ever.
    logger.clock.set_wall(-jump)
    for _ in range(25):
        logger.advance(60)
        logger.write("active", "still;")
    assert set(logs(tmp_path / "logs")) == {"active"}
