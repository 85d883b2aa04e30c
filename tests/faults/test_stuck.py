"""Processes that are stopped in the worst moment: what they hold, holds up nobody, or they are named."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from programs import running, wait_for_line
from test_processes import foreign_lock

from conftest import logs, make_old
from streaming_logger import ArchiveConfig, Config
from streaming_logger._archive.passes import Passes
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context
from streaming_logger._disk import ledger_file
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.owner import Owners
from streaming_logger._events.ledger import Ledger
from streaming_logger._events.model import OtherEvent
from streaming_logger.testing import ManualClock, ManualLogger

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and SIGSTOP")

Make = Callable[..., ManualLogger]

#: Stops itself right before a call of a method, at the first one that is given this argument.
STOPS = """
from importlib import import_module

def stop_before(module, kind, method, name=None):
    kind = getattr(import_module("streaming_logger." + module), kind)
    real = getattr(kind, method)
    def stopping(self, *arguments, **keywords):
        if name is None or arguments[0] == name:
            setattr(kind, method, real)
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # before this thread does anything more
        return real(self, *arguments, **keywords)
    setattr(kind, method, stopping)
"""

SWEEPS = """
stop_before("_disk.directory", "Directory", "unlink", "a.log")
logger = open_logger(cleanup_interval_seconds=0.1)
logger.flush()  # starts its worker
time.sleep(60)
"""


@contextlib.contextmanager
def stopped(code: str, directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program that has stopped itself."""
    with running(STOPS + code, directory, *arguments) as program:
        os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WNOWAIT)
        yield program


def go_on(program: subprocess.Popen[str]) -> None:
    os.kill(program.pid, signal.SIGCONT)


def put_old(directory: Path, *names: str) -> None:
    """Completed files past their retention."""
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / ".streaming_logger").mkdir(mode=0o700, exist_ok=True)
    for name in names:
        (directory / f"{name}.log").write_text("old ")
        make_old(directory / f"{name}.log", 3600)


# -- sweeps ----------------------------------------------------------------------------


def test_sweep_of_a_stopped_process_is_passed_over(
    tmp_path: Path, manual: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Within 15 s; log and health name the process, and the file that it has claimed, too."""
    put_old(tmp_path / "logs", "a")
    with stopped(SWEEPS, tmp_path / "logs") as program:
        put_old(tmp_path / "logs", "b")
        logger = manual()
        logger.advance(1)
        assert set(logs(logger.base_dir)) == {"a", "b"}, "it is left to the other process at first"
        logger.advance(15)
        assert set(logs(logger.base_dir)) == {"a"}
        holder = f"process {program.pid} (stopped)"
        assert f"{holder} holds sweep.lock and makes no progress" in caplog.text
        assert any(reason.startswith(f"{holder} holds sweep.lock") for reason in logger.health().reasons)
        logger.advance(30)
        assert any(reason.startswith(f"{holder} holds a.log") for reason in logger.health().reasons)
        go_on(program)


def test_sweep_that_makes_progress_is_left_alone(tmp_path: Path, manual: Make) -> None:
    """A holder that shows progress is not passed over, however long its sweep takes."""
    logger = manual()
    put_old(logger.base_dir, "a")
    lock = logger.base_dir / ".streaming_logger" / "sweep.lock"
    with foreign_lock(lock):
        for number in range(6):
            logger.advance(10)
            assert logs(logger.base_dir)
            os.utime(lock, (number, number))
    logger.advance(10)
    assert not logs(logger.base_dir)


def test_writer_of_a_claimed_file_names_the_process(tmp_path: Path, manual: Make) -> None:
    """Its text waits, in order, the others are written; when the process goes on, all is in the file."""
    put_old(tmp_path / "logs", "a")
    with stopped(SWEEPS, tmp_path / "logs") as program:
        logger = manual()
        for number in range(12):
            logger.write("a", f"{number};")
            logger.write("other", f"{number};")
            logger.advance(2)
        numbers = "".join(f"{number};" for number in range(12))
        assert logs(logger.base_dir) == {"a": "old ", "other": numbers}
        assert any(
            f"locked by another process: process {program.pid} (stopped)" in reason
            for reason in logger.health().reasons
        )
        go_on(program)
        while logs(logger.base_dir).get("a") != numbers:
            logger.advance(2)
        assert not any("locked by" in reason for reason in logger.health().reasons)


def test_doctor_names_a_stopped_process_and_what_it_holds(tmp_path: Path) -> None:
    """As a problem, with the command that continues it; none once it has gone on."""
    put_old(tmp_path / "logs", "a")
    command = [sys.executable, "-m", "streaming_logger", "doctor", "--json", "--dir", str(tmp_path / "logs")]

    def problems() -> dict[str, str]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return {found["text"]: found["todo"] for found in json.loads(done.stdout) if found["level"] == "problem"}

    with stopped(SWEEPS, tmp_path / "logs") as program:
        ((text, todo),) = [item for item in problems().items() if "makes no progress" in item[0]]
        assert text.startswith(f"process {program.pid} (stopped) holds 1 file (a.log)")
        assert f"kill -CONT {program.pid}" in todo
        make_old(tmp_path / "logs" / ".streaming_logger" / "sweep.lock", 20)
        assert any("sweep.lock" in text for text in problems())
        go_on(program)
        while (tmp_path / "logs" / "a.log").exists():
            pass
        program.kill()
        program.wait()
    assert not any("makes no progress" in text for text in problems())


# -- uploads ---------------------------------------------------------------------------

UPLOADS = """
from streaming_logger import ArchiveConfig
stop_before("_archive.bucket", "Bucket", sys.argv[3])
archive = ArchiveConfig(url=sys.argv[2], host="h", drain_seconds=20, max_uploads=1)
logger = open_logger(archive=archive, flush_interval_seconds=0.05)
logger.write("a", "first ")
logger.complete_session("a")
logger.close()
"""


class Archive:
    """This process's passes, by hand."""

    def __init__(self, tmp_path: Path, clock: ManualClock) -> None:
        self.url = (tmp_path / "archive").as_uri()
        self.folder = tmp_path / "archive"
        config = Config(min_free_disk_mb=None, archive=ArchiveConfig(url=self.url, host="h"))
        self.context = Context.make(Settings(config), tmp_path / "logs", clock=clock)
        self.passes = Passes(self.context)
        self.clock = clock

    def run(self, seconds: float = 3.0) -> None:
        self.clock.advance(seconds)
        self.passes.run_once()

    def texts(self) -> dict[str, str]:
        found = self.folder.glob("date=*/host=h/*.log.gz")
        return {path.name.removesuffix(".log.gz"): gzip.decompress(path.read_bytes()).decode() for path in found}


@pytest.fixture
def archive(tmp_path: Path, clock: ManualClock) -> Iterator[Archive]:
    archive = Archive(tmp_path, clock)
    yield archive
    archive.context.store.directory.close()


def complete(directory: Path, name: str, text: str) -> None:
    with ManualLogger(Config(min_free_disk_mb=None), directory) as logger:
        logger.write(name, text)
        logger.complete_session(name)


def test_upload_of_a_stopped_process_is_passed_over(tmp_path: Path, archive: Archive) -> None:
    """Other files are uploaded at once, the one in its hands within 15 s; the process is named."""
    with stopped(UPLOADS, tmp_path / "logs", archive.url, "put") as program:
        complete(tmp_path / "logs", "b", "b")
        archive.run()
        archive.run()
        assert archive.texts() == {"b": "b"}
        archive.run(15)
        assert archive.texts() == {"a": "first ", "b": "b"}
        (reason,) = archive.context.events.faults().values()
        assert reason.startswith(f"process {program.pid} (stopped) holds the upload of a.log")
        go_on(program)
        assert program.wait(30) == 0
    archive.run()
    assert archive.texts() == {"a": "first ", "b": "b"}
    assert not list((tmp_path / "logs/.streaming_logger/uploads").iterdir())


def test_late_upload_of_a_stopped_process_does_not_hide_a_later_turn(tmp_path: Path, archive: Archive) -> None:
    """The process goes on after another one has archived more: what it overwrites is uploaded anew."""
    with stopped(UPLOADS, tmp_path / "logs", archive.url, "put") as program:
        archive.run()
        complete(tmp_path / "logs", "a", "second")
        for _ in range(3):
            archive.run(15)
        assert archive.texts() == {"a": "first second"}
        go_on(program)
        assert program.wait(30) == 0
    for _ in range(3):
        archive.run()
    assert archive.texts() == {"a": "first second"}


def test_no_lock_is_held_over_a_request(tmp_path: Path, archive: Archive) -> None:
    """But that of the one upload: a store that hangs keeps no other process from its work."""
    with stopped(UPLOADS, tmp_path / "logs", archive.url, "put"):
        private = tmp_path / "logs/.streaming_logger"
        files = [path for path in (*private.rglob("*"), *(tmp_path / "logs").glob("*.log")) if path.is_file()]
        locked = [
            path.relative_to(private).as_posix()
            for path in files
            if path.parent.name != "owners" and subprocess.run(["flock", "-n", path, "true"], check=False).returncode
        ]
    assert locked == ["uploads/a.log"]


def test_archive_verb_takes_over_what_is_stuck(tmp_path: Path, archive: Archive) -> None:
    """It waits for what another process uploads, no longer than until that is stuck."""
    with stopped(UPLOADS, tmp_path / "logs", archive.url, "put"):
        command = [sys.executable, "-m", "streaming_logger", "archive", archive.url, "--dir", str(tmp_path / "logs")]
        subprocess.run(command, capture_output=True, timeout=50, check=True)
    assert [path.name for path in archive.folder.glob("date=*/host=*/*.log.gz")] == ["a.log.gz"]


# -- the command -----------------------------------------------------------------------

#: Ends with status 77 when the command takes an exclusive lock.
AUDITED = """
import fcntl, os, sys
sys.addaudithook(lambda event, of: event == "fcntl.flock" and of[1] & fcntl.LOCK_EX and os._exit(77))
from streaming_logger.cli._main import main
sys.argv = ["streaming-logger", *sys.argv[1:]]
sys.exit(main())
"""

LOOKING = ["ls", "top", "doctor", "show s", "stats", "history", "sweep --dry-run", "timing s", "pin s", "unpin s"]


@pytest.mark.parametrize("verb", [*LOOKING, "follow s", "replay s --speed 1000", "export s"])
def test_command_takes_no_exclusive_lock(tmp_path: Path, verb: str) -> None:
    """A command that is stopped while it looks keeps no writer from its file."""
    directory = tmp_path / "logs"
    with running(
        "logger = open_logger(flush_interval_seconds=0.05)\nlogger.write('s', 'x')\nlogger.flush()\nsay('ready')\n"
        "sys.stdin.readline()",
        directory,
    ) as program:
        wait_for_line(program, "ready")
        program.kill()
        program.wait()
    (directory / "t.log").write_text("of nobody")
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, *verb.split(), "--dir", str(directory)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode in (0, 1, 2), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_command_in_another_pid_namespace_knows_who_writes(tmp_path: Path) -> None:
    """Linux lists no locks of processes that it cannot see there; a writer is active all the same."""
    with running(
        "logger = open_logger(flush_interval_seconds=0.05)\nlogger.write('s', 'x')\nlogger.flush()\nsay('ready')\n"
        "sys.stdin.readline()",
        tmp_path / "logs",
    ) as program:
        wait_for_line(program, "ready")
        (tmp_path / "logs/t.log").write_text("of nobody")
        command = [sys.executable, "-m", "streaming_logger", "ls", "--json", "--dir", str(tmp_path / "logs")]
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", *command], capture_output=True, text=True, check=True
        )
    states = {session["id"]: session["state"] for session in json.loads(done.stdout)}
    assert states["s"] == "active"
    assert states["t"] != "active"


# -- the rest --------------------------------------------------------------------------


def test_process_that_looks_at_a_dead_owner_does_not_revive_it(tmp_path: Path) -> None:
    """A stopped command holds its shared lock on the owner file of a dead process: that parks nothing."""
    directory = Directory(tmp_path / "logs")
    directory.open()
    directory.make_subdir(".streaming_logger/owners")
    path = tmp_path / "logs/.streaming_logger/owners/4242-0123dead"
    path.write_text("+a.log\n")
    holder = subprocess.Popen(
        ["flock", "-s", path, "sh", "-c", "echo held; read line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder, contextlib.closing(Owners(directory)) as owners:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert not owners.parked("a.log")
        holder.kill()
    directory.close()


def test_ledger_is_rotated_past_a_stuck_process(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays bounded."""
    monkeypatch.setattr(ledger_file, "MAX_BYTES", 1000)
    directory = Directory(tmp_path / "logs")
    directory.open()
    private = tmp_path / "logs/.streaming_logger"
    ledger = Ledger(directory, clock)

    def write() -> None:
        for number in range(30):
            ledger.on_event(OtherEvent(event="test", more={"number": number}))
        ledger.on_batch()

    with foreign_lock(private / "ledger.lock"):
        write()
        assert not (private / "ledger.jsonl.1").exists()
        clock.advance(15)
        write()
        assert (private / "ledger.jsonl.1").exists()
    directory.close()


RECOVERS = """
stop_before("_wal.dead", "DeadLog", "note")
open_logger()
"""

CRASHES = """
logger = open_logger(flush_interval_seconds=60, crash_journal=True)
logger.write("a", "first;")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_recovery_of_a_stopped_process_is_passed_over(
    tmp_path: Path, storage: Path, manual: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process recovers within 15 s, and no later turn is written before the text that was saved.

    Log, ledger and health name the stopped process. When it goes on, it does nothing.
    """
    with running(CRASHES, tmp_path / "logs") as program:
        assert program.wait(30) == -signal.SIGKILL
    with stopped(RECOVERS, tmp_path / "logs") as program:
        logger = manual(crash_journal_directory=str(storage))
        logger.write("a", "second;")
        logger.complete_session("a", wait=False)
        logger.write("b", "other;")
        for _ in range(3):
            logger.advance(4)
        assert logs(logger.base_dir) == {"a": ""}, "what that process had before is waited for"
        for _ in range(2):
            logger.advance(4)
        assert logs(logger.base_dir) == {"a": "first;second;", "b": "other;"}
        text = f"process {program.pid} (stopped) recovers "
        assert text in caplog.text
        assert any(reason.startswith(text) for reason in logger.health().reasons)
        ledger = (logger.base_dir / ".streaming_logger/ledger.jsonl").read_text()
        (line,) = [line for line in ledger.splitlines() if '"passed_over"' in line]
        assert f"process {program.pid} (stopped)" in line
        go_on(program)
        _, errors = program.communicate(timeout=30)
        assert "another process has taken over" in errors
    assert logs(logger.base_dir) == {"a": "first;second;", "b": "other;"}
    assert not any(program.pid != os.getpid() and str(program.pid) in path.name for path in storage.iterdir())
