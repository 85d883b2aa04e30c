"""Crash journals that are damaged, or another user's: reported where they are ours, left alone; nothing else stops."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import run

from conftest import logs
from streaming_logger import Config, StreamingLogger
from streaming_logger._disk import journal_file
from streaming_logger._disk.journal_file import STORAGE, is_available
from streaming_logger._disk.journal_format import (
    Claim,
    claim_mark,
    done_mark,
    end_mark,
    half_start,
    live_mark,
    parse,
    record_of,
    turn_end_record,
)
from streaming_logger._disk.store import Store

pytestmark = pytest.mark.skipif(not is_available(), reason="needs memory-backed storage in /dev/shm")

needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to chown")

CRASH = """
logger = open_logger(flush_interval_seconds=60, crash_journal=True, crash_journal_mb=1)
for number in range(3):
    for session in ("a", "b", "c"):
        logger.write(session, f"{number};")
    if number == 0:
        logger.flush()
logger.complete_session("c")
os.kill(os.getpid(), signal.SIGKILL)
"""
WHOLE = dict.fromkeys("abc", "0;1;2;")


def crashed(directory: Path) -> Path:
    """The journal of a process that was killed."""
    before = {path.name for path in STORAGE.glob("streaming_logger.*")}
    status, _, errors = run(CRASH, directory)
    assert status == -signal.SIGKILL, errors
    for path in STORAGE.glob("streaming_logger.*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            if path.name not in before and f'"{directory}"'.encode() in file.read(8192):
                return path
    raise AssertionError("it left no journal")


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process looks for journals: else the loggers of other tests would find them, too."""
    place = tmp_path / "storage"
    place.mkdir()
    monkeypatch.setattr(journal_file, "STORAGE", place)
    return place


@pytest.fixture
def journal(tmp_path: Path, storage: Path) -> Path:
    """A dead process's journal, of `tmp_path / "logs"`."""
    return Path(shutil.move(crashed(tmp_path / "logs"), storage))


def recovered(directory: Path) -> StreamingLogger:
    """A logger that has looked for journals, written, and swept; closed."""
    with StreamingLogger(Config(min_free_disk_mb=None), directory=directory) as logger:
        logger.write("new", "text")
        logger.complete_session("new")
        assert logger.cleanup_completed_files().skipped == ""
        assert (directory / "new.log").read_text().endswith("text")
        return logger


def used(data: bytes) -> Iterator[int]:
    """Places of a journal that say something: of its header, its marks, its records."""
    for at in range(len(data)):
        if data[at] not in (0, 0xFF) or (data[at] == 0 and data[at - 1] not in (0, 0xFF)):
            yield at


#: What a header may hold: a value of each wrong type, under a right checksum.
WRONG = [None, True, [], {}, "x", -1, 1.5, 1 << 70, float("nan"), [[]], "\0"]


@pytest.mark.parametrize("key", ["version", "pid", "path", "device", "inode", "namespace", "marks", "records"])
def test_header_with_wrong_types_is_refused(
    tmp_path: Path, journal: Path, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    """Each field with a value of each other type, and without it: one line, the journal stays."""
    _, text, _, _ = journal.read_bytes()[:8192].split(b"\n", 3)
    about = json.loads(text)
    documents: list[object] = [{**about, key: value} for value in WRONG if not (key == "path" and value == "x")]
    documents.append({name: value for name, value in about.items() if name != key})
    for document in documents:
        caplog.clear()
        text = json.dumps(document).encode()
        with journal.open("r+b") as file:
            file.write(b"streaming_logger journal\n%b\n%08x\n" % (text, zlib.crc32(text)))
        logger = recovered(tmp_path / "logs")
        assert journal.exists(), document
        assert logger.stats().sweep_errors == 1, document
        assert f"cannot recover {journal.name}: " in caplog.text, document


@pytest.mark.parametrize("document", [b"[" * 30_000, b"[]", b"null", b"5", b'"x"', b"{", b"\xff", b""], ids=range(8))
def test_header_that_is_not_an_object_is_refused(tmp_path: Path, journal: Path, document: bytes) -> None:
    """Under a right checksum, too."""
    with journal.open("r+b") as file:
        file.write(b"streaming_logger journal\n%b\n%08x\n" % (document, zlib.crc32(document)))
    assert recovered(tmp_path / "logs").stats().sweep_errors == 1
    assert journal.exists()


def test_journal_without_a_header_keeps_its_text(tmp_path: Path, journal: Path) -> None:
    """One that is blank was never begun, and is removed; one that holds text is not."""
    with journal.open("r+b") as file:
        file.write(bytes(8192))
    assert recovered(tmp_path / "logs").stats().sweep_errors == 1
    assert journal.exists()
    journal.write_bytes(bytes(1 << 16) + b"\xff" * (1 << 16))
    assert recovered(tmp_path / "logs").stats().sweep_errors == 0
    assert not journal.exists()


@pytest.mark.parametrize("damage", [b"\0", b"\xff", b"\xfe", b"9", b" ", b"C", b"x"], ids=repr)
@pytest.mark.parametrize("each", [17, pytest.param(1, marks=pytest.mark.long)])
def test_one_damaged_byte_stops_nothing(tmp_path: Path, journal: Path, damage: bytes, each: int) -> None:
    """At every place that is used: a logger starts, writes and sweeps. What was in the files before stays as it is."""
    data = journal.read_bytes()
    before = logs(tmp_path / "logs")
    for at in list(used(data))[::each]:
        journal.write_bytes(data[:at] + damage + data[at + 1 :])
        journal.chmod(0o600)
        recovered(tmp_path / "logs")
        for name, text in before.items():  # a byte that changed in the text itself cannot be told, nor decoded
            found = (tmp_path / f"logs/{name}.log").read_bytes()
            assert found.startswith(text.encode()), f"{damage!r} at {at}"
        for path in (tmp_path / "logs").glob("*.log"):
            path.unlink()
        for name, text in before.items():
            (tmp_path / f"logs/{name}.log").write_text(text)


HALF = (
    half_start(1) + record_of("s", b"one ") + record_of("t", b"x") + turn_end_record("t", 2) + record_of("s", b"two"),
    live_mark("s", 1)
    + claim_mark(Claim("s", 1, 12, 4, 4, 0, 77))
    + done_mark()
    + claim_mark(Claim("s", 1, 40, 3, 3, 4, 77))
    + end_mark("t", 2),
)


@pytest.mark.parametrize("region", [0, 1], ids=["records", "marks"])
def test_every_byte_of_a_half_may_be_any_other(region: int) -> None:
    """What it says then is text, or refused as damaged: no other exception, no place outside the text."""
    for at in range(len(HALF[region])):
        for value in (0, 9, 32, 45, 48, 57, 67, 68, 69, 76, 128, 192, 254, 255):
            half = list(HALF)
            half[region] = half[region][:at] + bytes([value]) + half[region][at + 1 :]
            try:
                sessions = parse([(half[0], half[1])])
            except (ValueError, LookupError):
                continue
            for session in sessions:
                assert 0 <= session.written <= len(session.text)


@pytest.mark.long  # its journal stands where the loggers of all other tests see it
@pytest.mark.parametrize("verb", [("doctor", "--recover"), ("doctor",), ("sweep",), ("ls",)], ids=" ".join)
def test_command_works_beside_a_damaged_journal(tmp_path: Path, verb: tuple[str, ...]) -> None:
    """No traceback; `doctor --recover` names it."""
    journal = crashed(tmp_path / "logs")
    try:
        text = b'{"version": 1, "pid": [], "path": 5}'
        with journal.open("r+b") as file:
            file.write(b"streaming_logger journal\n%b\n%08x\n" % (text, zlib.crc32(text)))
        command = [sys.executable, "-m", "streaming_logger", *verb, "--dir", tmp_path / "logs"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 1), done.stderr
        if verb[-1] == "--recover":
            assert f"cannot recover {journal.name}: " in done.stderr
        assert journal.exists()
    finally:
        journal.unlink()


# -- one session of a journal, one journal of many ---------------------------------------


@pytest.mark.parametrize("error", [ValueError("no"), MemoryError(), OSError(28, "No space left on device")], ids=repr)
@pytest.mark.parametrize("partly", [False, True], ids=["nothing", "a part"])
def test_session_that_cannot_be_recovered_keeps_no_other(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, partly: bool
) -> None:
    """The others have their text at once; it has its own, once, when the fault is over."""
    opened, append = Store.open, Store.append
    bad: list[int] = []

    def opening(self: Store, name: str) -> object:
        file = opened(self, name)
        if name == "a.log":
            bad.append(file.fd)
        return file

    def failing(self: Store, file: object, blocks: list[memoryview]) -> int:
        if file.fd not in bad:  # type: ignore[attr-defined]
            return append(self, file, blocks)  # type: ignore[arg-type]
        if partly and len(blocks[0]) > 1:
            return append(self, file, [blocks[0][:1]])  # type: ignore[arg-type]
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Store, "open", opening)
        patch.setattr(Store, "append", failing)
        for _ in range(3):
            bad.clear()
            with StreamingLogger(Config(min_free_disk_mb=None), directory=tmp_path / "logs") as logger:
                assert logger.stats().sweep_errors == 1
            assert logs(tmp_path / "logs")["b"] == "0;1;2;"
    recovered(tmp_path / "logs")
    found = logs(tmp_path / "logs")
    assert {name: found[name] for name in WHOLE} == WHOLE
    assert not journal.exists()


def test_damaged_journal_keeps_no_other(tmp_path: Path, journal: Path) -> None:
    """One before it in order, and one behind it."""
    for name in ("streaming_logger.0-00000000", "streaming_logger.99999999-ffffffff"):
        journal.with_name(name).write_bytes(b"streaming_logger journal\n[]\n%08x\n" % zlib.crc32(b"[]"))
        journal.with_name(name).chmod(0o600)
    assert recovered(tmp_path / "logs").stats().sweep_errors == 2
    assert logs(tmp_path / "logs") == {**WHOLE, "new": "text"}


# -- other users' files --------------------------------------------------------------------


def plant(storage: Path, kind: str, number: int) -> Path:
    path = storage / f"streaming_logger.{number}-{number:08x}"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink":
        path.symlink_to("/etc/passwd")
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(storage):
            listener.bind(path.name)  # the whole path is too long for one
    else:
        path.write_bytes(b"somebody's")
        path.chmod({"open": 0o666, "private": 0o600, "locked": 0}[kind])
    return path


KINDS = ["fifo", "symlink", "directory", "socket", "open", "private", "locked"]


@needs_root
def test_files_of_other_users_are_passed_over(tmp_path: Path, storage: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever they are: not opened, no line, no reason, no error counted."""
    for number in range(700):
        os.chown(plant(storage, KINDS[number % len(KINDS)], number), 12345, 12345, follow_symlinks=False)
    with StreamingLogger(Config(min_free_disk_mb=None), directory=tmp_path / "logs") as logger:
        logger.cleanup_completed_files()
        assert not any("recover" in reason for reason in logger.health().reasons)
        assert logger.stats().sweep_errors == 0
    assert "cannot recover" not in caplog.text


def test_thousand_files_of_ours_are_one_reason(tmp_path: Path, storage: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line and one reason for the kind; each is counted once."""
    for number in range(1000):
        plant(storage, "private", number)
    with StreamingLogger(Config(min_free_disk_mb=None), directory=tmp_path / "logs") as logger:
        for _ in range(3):
            logger.cleanup_completed_files()
        assert len(logger.health().reasons) == 1
        assert logger.stats().sweep_errors == 1000
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


def test_journal_beside_them_is_recovered(tmp_path: Path, journal: Path) -> None:
    """Files of each kind, of the same user, stand before and behind it."""
    for number, kind in enumerate(KINDS):
        plant(journal.parent, kind, number if number % 2 else 99_999_990 + number)
    assert recovered(tmp_path / "logs").stats().sweep_errors == len(KINDS)
    assert logs(tmp_path / "logs") == {**WHOLE, "new": "text"}
