"""Dead processes' logs that are damaged, or another user's: reported where they are ours; nothing else stops."""

from __future__ import annotations

import contextlib
import json
import logging
import os
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
from streaming_logger._disk.store import Store
from streaming_logger._wal.header import HEADER_SIZE
from streaming_logger._wal.segment import HEADER_SIZE as SEGMENT_HEADER_SIZE
from streaming_logger._wal.storage import SET_NAME

needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to chown")

CRASH = """
logger = open_logger(flush_interval_seconds=60, crash_journal=True)
for number in range(3):
    for session in ("a", "b", "c"):
        logger.write(session, f"{number};")
    if number == 0:
        logger.flush()
logger.complete_session("c")
os.kill(os.getpid(), signal.SIGKILL)
"""
WHOLE = dict.fromkeys("abc", "0;1;2;")


@pytest.fixture
def header(tmp_path: Path, storage: Path) -> Path:
    """The header of a dead process's log, of `tmp_path / "logs"`."""
    status, _, errors = run(CRASH, tmp_path / "logs")
    assert status == -signal.SIGKILL, errors
    (found,) = [path for path in storage.iterdir() if SET_NAME.fullmatch(path.name)]
    return found


@pytest.fixture
def segment(header: Path) -> Path:
    """The one segment that the log has text in."""
    (found,) = [path for path in header.parent.glob(f"{header.name}.*") if path.read_bytes()[:1] == b"#"]
    return found


def recovered(directory: Path, storage: Path) -> StreamingLogger:
    """A logger that has looked for logs, written, and swept; closed."""
    config = Config(min_free_disk_mb=None, crash_journal_directory=str(storage))
    with StreamingLogger(config, directory=directory) as logger:
        logger.write("new", "text")
        logger.complete_session("new")
        assert logger.cleanup_completed_files().skipped == ""
        assert (directory / "new.log").read_text().endswith("text")
        return logger


def put_header(path: Path, document: bytes) -> None:
    """Under a right checksum."""
    with path.open("r+b") as file:
        file.write(b"streaming_logger log\n%b\n%08x\n" % (document, zlib.crc32(document)))


def used(data: bytes) -> Iterator[int]:
    """Places of a file that say something: of its header, of records and notes."""
    for at in range(len(data)):
        if data[at] not in (0, 0xFF) or (data[at] == 0 and data[at - 1] not in (0, 0xFF)):
            yield at


#: What a header may hold: a value of each wrong type, under a right checksum.
WRONG = [None, True, [], {}, "x", -1, 1.5, 1 << 70, float("nan"), [[]], "\0"]


@pytest.mark.parametrize("key", ["version", "pid", "path", "device", "inode", "namespace"])
def test_header_with_wrong_types_is_refused(
    tmp_path: Path, header: Path, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    """Each field with a value of each other type, and without it: one line, the log stays."""
    _, text, _, _ = header.read_bytes()[:8192].split(b"\n", 3)
    about = json.loads(text)
    documents: list[object] = [{**about, key: value} for value in WRONG if not (key == "path" and value == "x")]
    documents.append({name: value for name, value in about.items() if name != key})
    for document in documents:
        caplog.clear()
        put_header(header, json.dumps(document).encode())
        logger = recovered(tmp_path / "logs", header.parent)
        assert header.exists(), document
        assert logger.stats().sweep_errors == 1, document
        assert f"cannot recover {header.name}: " in caplog.text, document


@pytest.mark.parametrize("document", [b"[" * 30_000, b"[]", b"null", b"5", b'"x"', b"{", b"\xff", b""], ids=range(8))
def test_header_that_is_not_an_object_is_refused(tmp_path: Path, header: Path, document: bytes) -> None:
    """Under a right checksum, too."""
    put_header(header, document)
    assert recovered(tmp_path / "logs", header.parent).stats().sweep_errors == 1
    assert header.exists()


def test_log_without_a_header_keeps_its_text(tmp_path: Path, header: Path, segment: Path) -> None:
    """One that is blank was never begun, and is removed; one whose segments hold text is not."""
    with header.open("r+b") as file:
        file.write(bytes(HEADER_SIZE))
    assert recovered(tmp_path / "logs", header.parent).stats().sweep_errors == 1
    assert header.exists()
    segment.write_bytes(b"\xff" * segment.stat().st_size)
    assert recovered(tmp_path / "logs", header.parent).stats().sweep_errors == 0
    assert not header.exists()


@pytest.mark.parametrize("damage", [b"\0", b"\xff", b"\xfe", b"9", b" ", b"C", b"x"], ids=repr)
@pytest.mark.parametrize("each", [17, pytest.param(1, marks=pytest.mark.long)])
def test_one_damaged_byte_stops_nothing(tmp_path: Path, header: Path, segment: Path, damage: bytes, each: int) -> None:
    """At every place that is used: a logger starts, writes and sweeps. What was in the files before stays as it is."""
    before = logs(tmp_path / "logs")
    whole = {path: path.read_bytes() for path in header.parent.iterdir()}
    for place in (header, segment):
        for at in list(used(whole[place]))[::each]:
            for path, data in whole.items():
                path.write_bytes(data if path != place else data[:at] + damage + data[at + 1 :])
                path.chmod(0o600)
            recovered(tmp_path / "logs", header.parent)
            for name, text in before.items():  # a byte that changed in the text itself cannot be told, nor decoded
                found = (tmp_path / f"logs/{name}.log").read_bytes()
                assert found.startswith(text.encode()), f"{damage!r} at {at} of {place.name}"
            for path in (tmp_path / "logs").glob("*.log"):
                path.unlink()
            for name, text in before.items():
                (tmp_path / f"logs/{name}.log").write_text(text)


@pytest.mark.parametrize("harm", [b"", b"#", b"x"], ids=repr)
def test_segment_that_is_cut_stops_nothing(tmp_path: Path, header: Path, segment: Path, harm: bytes) -> None:
    """What is left of it is recovered, or refused."""
    data = segment.read_bytes()
    for size in (0, 1, SEGMENT_HEADER_SIZE - 1, SEGMENT_HEADER_SIZE, SEGMENT_HEADER_SIZE + 3, len(data) - 1):
        whole = {path: path.read_bytes() for path in header.parent.iterdir()}
        segment.write_bytes((harm + data[len(harm) :])[:size])
        recovered(tmp_path / "logs", header.parent)
        for path, content in whole.items():
            path.write_bytes(content)
            path.chmod(0o600)


@pytest.mark.parametrize("verb", [("doctor", "--recover"), ("doctor",), ("sweep",), ("ls",)], ids=" ".join)
def test_command_works_beside_a_damaged_log(tmp_path: Path, header: Path, verb: tuple[str, ...]) -> None:
    """No traceback; `doctor --recover` names it."""
    put_header(header, b'{"version": 2, "pid": [], "path": 5}')
    settings = {"crash_journal_directory": str(header.parent)}
    (tmp_path / "logging_config.json").write_text(json.dumps({"streaming_logs": settings}))
    command = [sys.executable, "-m", "streaming_logger", *verb, "--dir", tmp_path / "logs"]
    command += ["--config", tmp_path / "logging_config.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1), done.stderr
    if verb[-1] == "--recover":
        assert f"cannot recover {header.name}: " in done.stderr
    assert header.exists()


# -- one session of a log, one log of many -------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("no"), MemoryError(), OSError(28, "No space left on device")], ids=repr)
@pytest.mark.parametrize("partly", [False, True], ids=["nothing", "a part"])
def test_session_that_cannot_be_recovered_keeps_no_other(
    tmp_path: Path, header: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, partly: bool
) -> None:
    """The others have their text at once; it has its own, once, when the fault is over."""
    opened, append = Store.open, Store.append
    bad: list[int] = []

    def opening(self: Store, name: str) -> object:
        file = opened(self, name)
        bad[:] = [fd for fd in bad if fd != file.fd] + [file.fd] * (name == "a.log")
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
            config = Config(min_free_disk_mb=None, crash_journal_directory=str(header.parent))
            with StreamingLogger(config, directory=tmp_path / "logs") as logger:
                logger.flush()
                assert logger.stats().sweep_errors == 1
            assert logs(tmp_path / "logs")["b"] == "0;1;2;"
    recovered(tmp_path / "logs", header.parent)
    found = logs(tmp_path / "logs")
    assert {name: found[name] for name in WHOLE} == WHOLE
    assert not header.exists()


def test_damaged_log_keeps_no_other(tmp_path: Path, header: Path) -> None:
    """One before it in order, and one behind it."""
    for name in ("streaming_logger-0-00000000", "streaming_logger-99999999-ffffffff"):
        header.with_name(name).touch(0o600)
        put_header(header.with_name(name), b"[]")
    assert recovered(tmp_path / "logs", header.parent).stats().sweep_errors == 2
    assert logs(tmp_path / "logs") == {**WHOLE, "new": "text"}


# -- other users' files --------------------------------------------------------------------


def plant(storage: Path, kind: str, number: int) -> Path:
    path = storage / f"streaming_logger-{number}-{number:08x}"
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
    config = Config(min_free_disk_mb=None, crash_journal_directory=str(storage))
    with StreamingLogger(config, directory=tmp_path / "logs") as logger:
        logger.cleanup_completed_files()
        assert not any("recover" in reason for reason in logger.health().reasons)
        assert logger.stats().sweep_errors == 0
    assert "cannot recover" not in caplog.text


def test_thousand_files_of_ours_are_one_reason(tmp_path: Path, storage: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line and one reason for the kind; each is counted once."""
    for number in range(1000):
        plant(storage, "private", number)
    config = Config(min_free_disk_mb=None, crash_journal_directory=str(storage))
    with StreamingLogger(config, directory=tmp_path / "logs") as logger:
        for _ in range(3):
            logger.cleanup_completed_files()
        assert len(logger.health().reasons) == 1
        assert logger.stats().sweep_errors == 1000
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


def test_log_beside_them_is_recovered(tmp_path: Path, header: Path) -> None:
    """Files of each kind, of the same user, stand before and behind it."""
    for number, kind in enumerate(KINDS):
        plant(header.parent, kind, number if number % 2 else 99_999_990 + number)
    assert recovered(tmp_path / "logs", header.parent).stats().sweep_errors == len(KINDS)
    assert logs(tmp_path / "logs") == {**WHOLE, "new": "text"}
