"""What the recovery of a dead process's log does, and does not: killed, run twice, given damaged logs; no room."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from programs import OPEN, run

from conftest import logs
from streaming_logger import Config, StreamingLogger
from streaming_logger._disk.timing import parse
from streaming_logger._wal.storage import SET_NAME, is_available
from streaming_logger.testing import ManualLogger

pytestmark = pytest.mark.skipif(not is_available(), reason="needs memory-backed storage in /dev/shm")


def headers(storage: Path, place: str = "") -> list[Path]:
    """The header files of the logs in some storage, of directories below a place."""
    found = sorted(path for path in storage.iterdir() if SET_NAME.fullmatch(path.name))
    return [path for path in found if f'{place}/logs"'.encode() in path.read_bytes()[:4096]]


# -- recovery ------------------------------------------------------------------------

#: Six sessions: some with text that is in the file and text that is not, one untouched since, one complete.
CRASH = """
logger = open_logger(flush_interval_seconds=60, crash_journal=True)
logger.write("done", "whole")
logger.complete_session("done")
logger.write("idle", "in its file")
for number in range(100):
    for session in ("a", "b", "c"):
        logger.write(session, f"{number}\\n")
    if number == 30:
        logger.flush()
    if number == 60:
        os.chmod(sys.argv[1] + "/b.log", 0o600)
        logger.flush()
logger.write("new", "never flushed")
os.kill(os.getpid(), signal.SIGKILL)
"""

WANTED = {name: "".join(f"{number}\n" for number in range(100)) for name in "abc"}
WANTED |= {"done": "whole", "idle": "in its file", "new": "never flushed"}

#: Dies at the k-th step of a recovery; before it, or in the middle of an append.
RECOVERS_AND_DIES = """
from streaming_logger._disk.store import Store
from streaming_logger._wal.dead import DeadLog
left = int(sys.argv[2])

def dying(kind, name, half=False):
    real = getattr(kind, name)
    def step(self, *arguments, **keywords):
        global left
        left -= 1
        if left <= 0:
            if half:
                file, (block,) = arguments
                real(self, file, [block[:len(block) // 2]])
            os._exit(9)
        return real(self, *arguments, **keywords)
    setattr(kind, name, step)

dying(Store, "append", half=sys.argv[3] == "half")
for name in ("note", "mark_done", "mark_finished"):
    dying(DeadLog, name)
dying(os, "unlink")
open_logger()
"""


def crashed(directory: Path, code: str = CRASH, *arguments: str) -> None:
    """A process that was killed. It leaves one log in the storage of the test."""
    status, _, errors = run(code, directory, *arguments)
    assert status == -signal.SIGKILL, errors


def recovered(directory: Path, storage: Path, **settings: object) -> StreamingLogger:
    """A logger that has just recovered what was left in its directory; closed."""
    config = Config(min_free_disk_mb=None, crash_journal_directory=str(storage), **settings)  # type: ignore[arg-type]
    with StreamingLogger(config, directory=directory) as logger:
        logger.flush()  # the recovery is the worker's first work
        return logger


def test_recovered_sessions_say_so(tmp_path: Path, storage: Path) -> None:
    """Their outcome is "crashed": in the ledger with the bytes saved, in the statistics, with the file; once."""
    crashed(tmp_path / "logs")
    assert len(headers(storage)) == 1
    stats = recovered(tmp_path / "logs", storage).stats()
    assert logs(tmp_path / "logs") == WANTED
    saved = 3 * sum(len(f"{number}\n") for number in range(61, 100)) + len("never flushed")
    assert (stats.sessions_recovered, stats.bytes_recovered) == (5, saved)
    for name in WANTED:
        outcome = b"crashed" if name != "done" else None
        with contextlib.suppress(OSError):
            assert os.getxattr(tmp_path / f"logs/{name}.log", "user.streaming_logger.outcome") == outcome
    assert recovered(tmp_path / "logs", storage).stats().sessions_recovered == 0
    assert logs(tmp_path / "logs") == WANTED
    assert list(storage.iterdir()) == []


ENDED = """
from streaming_logger._write.completions import Completions
from streaming_logger._write.writer import Writer
logger = open_logger(flush_interval_seconds=60, **json.loads(sys.argv[2]))
for name in ("well", "badly", "written", "active"):
    logger.write(name, "text")
logger.flush()
logger.write("well", " more")
logger.write("badly", " more")
Completions.take_ended = lambda self: None  # the worker is never in time
logger.complete_session("well", wait=False)
logger.complete_session("badly", wait=False, outcome="error")
logger.complete_session("written", wait=False)
os.kill(os.getpid(), signal.SIGKILL)
"""


def ledger_of(directory: Path) -> list[dict[str, object]]:
    """The lines of a directory's ledger."""
    return list(map(json.loads, (directory / ".streaming_logger/ledger.jsonl").read_text().splitlines()))


def test_turn_whose_end_the_log_has_is_not_crashed(tmp_path: Path, storage: Path) -> None:
    """It has its own outcome and cause, in the ledger and with its file; the one that was active is crashed."""
    crashed(tmp_path / "logs", "import json" + ENDED, "{}")
    stats = recovered(tmp_path / "logs", storage).stats()
    assert logs(tmp_path / "logs") == {
        "well": "text more",
        "badly": "text more",
        "written": "text",
        "active": "text",
    }
    found = {
        line["session"]: (line["event"], line["outcome"], line["reason"], line["bytes"])
        for line in ledger_of(tmp_path / "logs")
        if "outcome" in line
    }
    assert found == {
        "well": ("completed", "completed", "completed", 5),
        "badly": ("completed", "error", "completed", 5),
        "written": ("completed", "completed", "completed", 0),
        "active": ("crashed", "crashed", "crashed", 0),
    }
    assert (stats.sessions_recovered, stats.bytes_recovered) == (4, 10)


@pytest.mark.parametrize("settings", [{"file_retention_minutes": 0}, {"time_based_cleanup": False}], ids=str)
def test_end_is_carried_out_with_its_deletion(tmp_path: Path, storage: Path, settings: dict[str, Any]) -> None:
    """Where files go at completion, the file of a turn whose end the log has goes at recovery; that of others stays."""
    crashed(tmp_path / "logs", "import json" + ENDED, json.dumps(settings))
    logger = recovered(tmp_path / "logs", storage, **settings)
    left = set(logs(tmp_path / "logs"))
    assert not left & {"well", "written"}
    assert logger.stats().deleted_files["immediate"] == 3 - ("badly" in left)
    deleted = {line["session"] for line in ledger_of(tmp_path / "logs") if line["event"] == "deleted"}
    assert {"well", "written"} <= deleted


@pytest.mark.parametrize("how", ["before", "half"])
@pytest.mark.parametrize("each", [4, pytest.param(1, marks=pytest.mark.long)])
def test_recovery_killed_at_any_step_is_done_by_the_next(tmp_path: Path, storage: Path, how: str, each: int) -> None:
    """Whatever step a recovery dies at, before it or half-way, again and again: each byte is there once."""
    for k in range(1, 60, each):
        directory = tmp_path / f"{k}/logs"
        crashed(directory)
        ended = [run(RECOVERS_AND_DIES, directory, str(at), how)[0] for at in (k, max(1, k // 2), 2)]
        recovered(directory, storage)
        assert logs(directory) == WANTED, f"killed at step {k}"
        assert list(storage.iterdir()) == []
        if ended[0] == 0:
            return
    raise AssertionError("it never ends")


def test_several_recoveries_at_once_do_it_once(tmp_path: Path, storage: Path) -> None:
    """Four processes that start together, on one dead process's journal, three times."""
    for turn in range(3):
        directory = tmp_path / f"{turn}/logs"
        crashed(directory)
        code = OPEN + "open_logger().close()"
        many = [subprocess.Popen([sys.executable, "-c", code, str(directory)]) for _ in range(4)]
        assert [program.wait(30) for program in many] == [0] * 4
        assert logs(directory) == WANTED


def test_file_that_is_gone_or_was_continued_gets_what_is_missing(tmp_path: Path, storage: Path) -> None:
    """Removed: the unwritten text makes a new one. Continued by another process: the text stands once, behind it."""
    crashed(tmp_path / "logs")
    (tmp_path / "logs/a.log").unlink()
    (tmp_path / "logs/idle.log").unlink()
    with (tmp_path / "logs/b.log").open("a") as file:
        file.write("<continued>")
    recovered(tmp_path / "logs", storage)
    unwritten = "".join(f"{number}\n" for number in range(61, 100))
    found = logs(tmp_path / "logs")
    assert found["a"] == unwritten
    assert found["b"] == WANTED["b"].removesuffix(unwritten) + "<continued>" + unwritten
    assert "idle" not in found


def test_sweep_recovers_what_crashed_meanwhile(
    tmp_path: Path, storage: Path, manual: Callable[..., ManualLogger]
) -> None:
    """A server that runs on recovers what another process left, at its next sweep."""
    logger = manual(cleanup_interval_seconds=60, crash_journal_directory=str(storage))
    crashed(tmp_path / "logs")
    logger.advance(61)
    assert logs(tmp_path / "logs") == WANTED
    assert logger.stats().sessions_recovered == 5


def test_doctor_recovers(tmp_path: Path, storage: Path) -> None:
    """`doctor --recover` does it without a server, and `ls` says how much was saved."""
    crashed(tmp_path / "logs")
    config = tmp_path / "logging_config.json"
    config.write_text(json.dumps({"streaming_logs": {"crash_journal_directory": str(storage)}}))
    command = [sys.executable, "-m", "streaming_logger"]
    done = subprocess.run(
        [*command, "doctor", "--recover", "--dir", "logs", "--config", config],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "recovered 5 sessions" in done.stderr, done.stderr
    assert logs(tmp_path / "logs") == WANTED
    listing = subprocess.run([*command, "ls", "--dir", "logs"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"crashed \(13 recovered\) .* new", listing), listing


def test_timing_file_covers_what_was_recovered(tmp_path: Path, storage: Path) -> None:
    """With `record_timing` the lines of a recovered session's timing file add up to its log."""
    crashed(tmp_path / "logs", CRASH.replace("crash_journal=True", "record_timing=True"))
    recovered(tmp_path / "logs", storage)
    assert logs(tmp_path / "logs") == WANTED
    for name in "abc":
        timing = parse((tmp_path / f"logs/{name}.timing").read_bytes().splitlines(keepends=True))
        assert sum(timing.sizes) == len(WANTED[name])


def test_journal_of_a_deleted_directory_is_removed(tmp_path: Path, storage: Path) -> None:
    """By any logger; one whose directory is still there stays."""
    crashed(tmp_path / "a/logs")
    crashed(tmp_path / "b/logs")
    shutil.rmtree(tmp_path / "a/logs")
    recovered(tmp_path / "other", storage)
    assert headers(storage, "/a") == []
    assert len(headers(storage, "/b")) == 1
    recovered(tmp_path / "b/logs", storage)
    assert logs(tmp_path / "b/logs") == WANTED
    assert list(storage.iterdir()) == []


# -- what is not a whole log of ours ---------------------------------------------------


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(40)
        file.write(b"?")


def other_version(path: Path) -> None:
    text = re.sub(rb'"version": \d+', b'"version": 1', path.read_bytes()[:4000].split(b"\n")[1])
    with path.open("r+b") as file:
        file.write(b"streaming_logger log\n%b\n%08x\n" % (text, zlib.crc32(text)))


def foreign(path: Path) -> None:
    path.write_bytes(b"somebody's notes")


def open_to_others(path: Path) -> None:
    path.chmod(0o666)


def symlink(path: Path) -> None:
    path.rename(path.with_name(f"away-{path.name}"))
    path.symlink_to(path.with_name(f"away-{path.name}"))


def hard_link(path: Path) -> None:
    path.with_name(f"away-{path.name}").hardlink_to(path)


HARMS = [damage_header, other_version, foreign, open_to_others, symlink, hard_link]


@pytest.mark.parametrize("harm", HARMS)
def test_log_that_cannot_be_trusted_is_left_alone(
    tmp_path: Path, storage: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    """It is named in the log; the session files stay as they are, and the logger works."""
    crashed(tmp_path / "logs")
    was = logs(tmp_path / "logs")
    (header,) = headers(storage)
    harm(header)
    logger = recovered(tmp_path / "logs", storage)
    assert logs(tmp_path / "logs") == was
    assert logger.stats().sweep_errors == 1
    assert f"cannot recover {header.name}: " in caplog.text
    assert header.exists()


@pytest.mark.parametrize("harm", [foreign, open_to_others, symlink, hard_link])
def test_segment_that_cannot_be_trusted_is_left_alone(
    tmp_path: Path, storage: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    """The same for a segment of a log whose header is sound."""
    crashed(tmp_path / "logs")
    was = logs(tmp_path / "logs")
    (header,) = headers(storage)
    harm(min(storage.glob(f"{header.name}.*")))
    logger = recovered(tmp_path / "logs", storage)
    assert logs(tmp_path / "logs") == was
    assert logger.stats().sweep_errors == 1
    assert f"cannot recover {header.name}: " in caplog.text
    assert header.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to give it to another user")
def test_journal_of_another_user_is_not_read(tmp_path: Path, storage: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even by root; that is no error: many users may share the storage."""
    crashed(tmp_path / "logs")
    was = logs(tmp_path / "logs")
    (header,) = headers(storage)
    os.chown(header, 12345, 12345)
    recovered(tmp_path / "logs", storage)
    assert logs(tmp_path / "logs") == was
    assert header.name not in caplog.text


def test_torn_last_record_is_no_text(tmp_path: Path, storage: Path) -> None:
    """What a kill tore, with a hole or without its end, is left out; all before it is recovered."""
    crashed(tmp_path / "logs")
    record = b"new\0never flushed\0"
    (segment,) = [path for path in storage.iterdir() if record in path.read_bytes()]
    data = bytearray(segment.read_bytes())
    end = data.rindex(record) + len(record)
    torn = b"new\0to\xff\xffrn\0"
    data[end : end + len(torn)] = torn
    with segment.open("r+b") as file:
        file.write(data)
    recovered(tmp_path / "logs", storage)
    assert logs(tmp_path / "logs") == WANTED


# -- no room ------------------------------------------------------------------------


def test_full_journal_blocks_nobody_and_is_counted(
    tmp_path: Path, storage: Path, manual: Callable[..., ManualLogger]
) -> None:
    """What finds no room is counted; the next flush has it in the files, and the journal goes on."""
    settings = {"crash_journal_directory": str(storage), "crash_journal_mb": 1}
    logger = manual(crash_journal=True, flush_interval_seconds=2, **settings)
    for number in range(30_000):
        logger.write("s", f"{number:060}\n")
    logger.advance(2)
    logger.advance(2)
    assert logger.stats().chunks_unjournaled > 0
    unjournaled = logger.stats().chunks_unjournaled
    logger.write("s", "after")
    logger.advance(2)
    assert logger.stats().chunks_unjournaled == unjournaled
    assert logs(tmp_path / "logs")["s"] == "".join(f"{number:060}\n" for number in range(30_000)) + "after"


FULL = """
logger = open_logger(flush_interval_seconds=60, crash_journal=True)
with open(sys.argv[1] + "/s.log", "w") as foreign:
    fcntl.flock(foreign, fcntl.LOCK_EX)  # nothing is written
    for number in range(5000):
        logger.write("s", f"{number:0100}\\n")
        if number % 1000 == 0:
            logger.write("t", f"{number}\\n")
            logger.complete_session("t")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_full_journal_held_is_recovered(tmp_path: Path, storage: Path) -> None:
    """The beginning of the text that waited; nothing that was written is there twice."""
    crashed(tmp_path / "logs", "import fcntl" + FULL)
    recovered(tmp_path / "logs", storage)
    found = logs(tmp_path / "logs")
    whole = "".join(f"{number:0100}\n" for number in range(5000))
    assert found["s"] == whole, "there is room for it"
    assert found["t"] == "".join(f"{number}\n" for number in range(0, 5000, 1000))


REPLACED = """
logger = open_logger(flush_interval_seconds=60)
storage = os.environ["CRASH_STORAGE"]
logger.write("written", "0;")
logger.flush()
logger.write("ended", "0;")
logger.complete_session("ended")
os.chmod(sys.argv[1] + "/written.log", 0o600)
for name in os.listdir(storage):
    os.unlink(os.path.join(storage, name))
logger.write("written", "1;")
logger.write("new", "1;")
logger.flush()
for name in ("written", "new", "later"):
    logger.write(name, "2;")
logger.complete_session("later", wait=False)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_crash_after_a_loss_is_recovered_from_the_new_files(tmp_path: Path, storage: Path) -> None:
    """Each chunk once, also of the sessions whose beginning only the lost files had."""
    crashed(tmp_path / "logs", REPLACED)
    recovered(tmp_path / "logs", storage)
    assert logs(tmp_path / "logs") == {"written": "0;1;2;", "ended": "0;", "new": "1;2;", "later": "2;"}


SMALL = """
import logging
logging.basicConfig(format="%(message)s")
logger = open_logger(crash_journal=True, crash_journal_directory="/dev/shm")
for number in range(1000):
    logger.write("s", f"{number}\\n")
    logger.write(f"t{number}", "x")
logger.close()
assert not os.listdir("/dev/shm"), os.listdir("/dev/shm")
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to mount another /dev/shm")
@pytest.mark.parametrize(
    ("mount", "why"),
    [
        (
            "mount -t tmpfs -o size=512k tmpfs /dev/shm",
            "no crash journal in /dev/shm: an eighth of what is free there is too little",
        ),
        (
            "mkdir -p $0/shm && mount --bind $0/shm /dev/shm",
            "/dev/shm is no storage in memory that this process may write to",  # noqa: S108
        ),
    ],
    ids=["too small", "on a disk"],
)
def test_storage_without_room_means_no_journal(tmp_path: Path, mount: str, why: str) -> None:
    """It is logged, once, and the logger works; nothing is left in the storage."""
    program = [sys.executable, "-c", OPEN + SMALL, tmp_path / "logs"]
    command = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', tmp_path, *program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"a crash may lose the last flush interval: {why}") == 1, done.stderr
    assert logs(tmp_path / "logs")["s"] == "".join(f"{number}\n" for number in range(1000))


FORKS = """
logger = open_logger(flush_interval_seconds=60, crash_journal=True)
for number in range(100):
    logger.write("parent", f"{number}\\n")
time.sleep(0.3)
pid = os.fork() if sys.argv[2] == "os" else ctypes.PyDLL(None).fork()
if pid == 0:
    for number in range(300):
        logger.write("parent", "child\\n" if sys.argv[2] == "os" else "")
        logger.write(f"child", f"{number}\\n")
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(pid, 0)
for number in range(100, 200):
    logger.write("parent", f"{number}\\n")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("fork", ["os", "libc"])
def test_forked_child_has_a_journal_of_its_own(tmp_path: Path, storage: Path, fork: str) -> None:
    """Parent and child are killed: what either wrote is there once, also where Python did not see the fork."""
    status, _, errors = run(FORKS, tmp_path / "logs", fork)
    assert status == -signal.SIGKILL, errors
    assert len(headers(storage)) == 2
    recovered(tmp_path / "logs", storage)
    found = logs(tmp_path / "logs")
    assert found["child"] == "".join(f"{number}\n" for number in range(300))
    own = [line for line in found["parent"].splitlines() if line != "child"]
    assert own == [str(number) for number in range(200)]
    assert found["parent"].count("child\n") == (300 if fork == "os" else 0)


def test_without_the_setting_there_is_none(tmp_path: Path, storage: Path) -> None:
    """Not even a file for a moment."""
    config = Config(crash_journal=False, crash_journal_directory=str(storage), min_free_disk_mb=None)
    with StreamingLogger(config, directory=tmp_path / "logs") as logger:
        logger.write("s", "x")
        assert list(storage.iterdir()) == []


def test_subclass_that_overrides_write_is_journaled_too(tmp_path: Path, storage: Path) -> None:
    """Its own `write` is called, and the library's by `super()`, with the journal."""
    code = """
class Own(StreamingLogger):
    def write(self, session_id, chunk):
        super().write(session_id, chunk and chunk.upper())

settings = {"crash_journal_directory": os.environ["CRASH_STORAGE"], "flush_interval_seconds": 60}
logger = Own(Config(min_free_disk_mb=None, **settings), directory=sys.argv[1])
for number in range(100):
    logger.write("s", "abc")
os.kill(os.getpid(), signal.SIGKILL)
"""
    crashed(tmp_path / "logs", code)
    recovered(tmp_path / "logs", storage)
    assert logs(tmp_path / "logs") == {"s": 100 * "ABC"}
