"""What a second look found: planted directories, failed completions, full disks, forks, log handlers that call back."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from programs import run
from test_disk import needs_root, small_disk

from conftest import logs
from streaming_logger import Config, StreamingLogger
from streaming_logger._events.ledger import Ledger, read_events
from streaming_logger._events.model import OtherEvent
from streaming_logger._write.session import marker
from streaming_logger.testing import ManualLogger

__all__ = ["small_disk"]  # a fixture

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc, mounts and limits")

Make = Callable[..., ManualLogger]
Live = Callable[..., StreamingLogger]


def events(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / ".streaming_logger/ledger.jsonl").read_text().splitlines()]


# -- the private directory -------------------------------------------------------------


def test_symlink_planted_while_the_logger_runs_leads_nowhere(
    tmp_path: Path, manual: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A member of the directory's group renames .streaming_logger away: nothing outside is written; logged once."""
    logger = manual()
    logger.write("s", "before ")
    logger.advance(2)
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in ("settings.json", "ledger.jsonl", "sweep.lock"):
        (victim / name).write_text("mine")
    (logger.base_dir / ".streaming_logger").rename(tmp_path / "away")
    (logger.base_dir / ".streaming_logger").symlink_to(victim)
    for _ in range(5):
        logger.write("s", "text ")
        logger.write("t", "new")
        logger.complete_session("t", wait=False)
        logger.advance(61)
    logger.cleanup_completed_files()
    assert {path.name: path.read_text() for path in victim.iterdir()} == dict.fromkeys(
        ("settings.json", "ledger.jsonl", "sweep.lock"), "mine"
    )
    assert logger.health().status != "ok"
    assert "is not a directory of this logger's" in caplog.text
    (logger.base_dir / ".streaming_logger").unlink()
    logger.advance(61)
    assert logs(logger.base_dir) == {"s": "before " + 5 * "text ", "t": 5 * "new"}


@pytest.mark.parametrize("name", ["ledger.jsonl", "settings.json"])
def test_hard_link_under_a_private_name_is_not_written_through(tmp_path: Path, manual: Make, name: str) -> None:
    """The other name's file stays as it is; sessions are logged all the same."""
    (tmp_path / "logs/.streaming_logger").mkdir(parents=True, mode=0o700)
    (tmp_path / "logs").chmod(0o700)
    (tmp_path / "victim").write_text("mine")
    os.link(tmp_path / "victim", tmp_path / "logs/.streaming_logger" / name)
    logger = manual()
    logger.write("s", "text")
    logger.complete_session("s", wait=False)
    logger.advance(2)
    assert (tmp_path / "victim").read_text() == "mine"
    assert logs(logger.base_dir) == {"s": "text"}


def test_group_writable_directory_is_warned_of(tmp_path: Path, live: Live, caplog: pytest.LogCaptureFixture) -> None:
    """Used all the same: some teams share it so."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs").chmod(0o770)
    logger = live()
    assert "is writable by its group" in caplog.text
    logger.write("s", "text")
    logger.complete_session("s")
    assert logs(logger.base_dir) == {"s": "text"}


def test_other_settings_of_a_living_process_are_warned_of(
    tmp_path: Path, live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    """Each sweeps by its own, so the shortest window wins. Settings of an earlier run are no conflict."""
    with StreamingLogger(Config(file_retention_minutes=5, min_free_disk_mb=None), directory=tmp_path / "logs") as one:
        one.write("s", "text")
        one.flush()
        live(file_retention_minutes=30)
        assert "file_retention_minutes 5 there and 30 here" in caplog.text
    caplog.clear()
    live(file_retention_minutes=60).close()
    live(file_retention_minutes=90)
    assert caplog.text == ""


@needs_root
def test_full_disk_doubles_and_loses_no_ledger_line(small_disk: Path, manual: Make) -> None:
    """A line that is not in the file whole is written again; no temporary file is left."""
    logger = manual()
    ledger = Ledger(logger._engine.directory)
    (small_disk / "filler").write_bytes(b"x" * (1_040_000 - 16 * 4096))
    with (small_disk / "filler").open("ab", buffering=0) as filler:
        with suppress(OSError):  # full
            while True:
                filler.write(b"x" * 512)
        number = 0
        for size in (100, 3000, 9000):
            filler.truncate(filler.tell() - size)
            for _ in range(100):
                ledger.on_event(OtherEvent(event="test", more={"number": number, "text": "x" * 30}))
                number += 1
                ledger.on_batch()
            logger._engine.settings.refresh(logger._engine.events, logger._engine.counters)
        filler.truncate(0)
    ledger.on_event(OtherEvent(event="test", more={"number": number, "text": "last"}))
    ledger.on_batch()
    found = [event.more["number"] for event in read_events(logger._engine.directory) if event.name == "test"]
    assert found == list(range(number + 1))
    assert not list((small_disk / ".streaming_logger").glob("*.tmp"))


# -- forks -----------------------------------------------------------------------------

FORKS = """
import gc
logger = open_logger(flush_interval_seconds=0.01)
ends = threading.Event()

def turns(name):
    while not ends.is_set():
        logger.write(name, "x")
        logger.complete_session(name)

threads = [threading.Thread(target=turns, args=(f"s{number}",)) for number in range(4)]
for thread in threads:
    thread.start()
plain = open(sys.argv[1] + "/app.log", "a")
inherited = 0
for number in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        fds = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        held = [os.readlink(fd) for fd in fds if os.path.exists(fd)]
        kept = sum(link.endswith("/app.log") for link in held) == 1
        os._exit(sum(link.endswith(".log") for link in held) - kept + 100 * (not kept))
    inherited += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
ends.set()
for thread in threads:
    thread.join()
logger.close()
say(f"inherited {inherited}")
"""


@pytest.mark.parametrize("forks", [100, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
def test_forked_child_holds_no_session_file(tmp_path: Path, forks: int) -> None:
    """Also one forked between an open and its registration; an application's own file stays open."""
    (tmp_path / "logs").mkdir(mode=0o700)
    status, output, errors = run(FORKS, tmp_path / "logs", str(forks), seconds=200)
    assert status == 0, errors
    assert "inherited 0\n" in output


# -- completions -----------------------------------------------------------------------


def no_thread(target: object, name: str) -> None:
    """No thread can be started."""
    raise RuntimeError("can't start new thread")


def test_without_a_worker_a_busy_file_is_retried(tmp_path: Path, live: Live) -> None:
    """It is locked for 50 ms: complete_session returns soon after, and the text is written."""
    logger = live({"run_thread": no_thread}, failed_retention_minutes=60)
    path = tmp_path / "logs" / "s.log"
    path.touch(0o600)
    with path.open("rb") as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        release = threading.Timer(0.05, fcntl.flock, (foreign, fcntl.LOCK_UN))
        release.start()
        logger.write("s", "text")
        begun = time.monotonic()
        logger.complete_session("s", outcome="error")
        assert time.monotonic() - begun < 4
        release.join()
    assert logs(logger.base_dir) == {"s": "text"}
    assert logger.stats().bytes_buffered == 0


def test_stream_that_nobody_reads_is_completed_by_its_caller(live: Live) -> None:
    """Its outcome is "abandoned", as that of an idle session; it neither escapes the deletion nor counts as one."""
    logger = live(time_based_cleanup=False)
    logger.write("s", "text")
    stream = logger.wrap("s", iter(["never read"]))
    del stream
    logger.flush()
    stats = logger.stats()
    assert (stats.sessions_completed, stats.sessions_abandoned) == (1, 0)
    assert logs(logger.base_dir) == {}
    ended = [event for event in events(logger.base_dir) if event.get("session") == "s" and "outcome" in event]
    assert [(event["event"], event["outcome"], event["reason"]) for event in ended] == [
        ("completed", "abandoned", "completed")
    ]


def test_session_that_was_dropped_whole_leaves_its_marker(tmp_path: Path, manual: Make) -> None:
    """Completed while its file could not be opened: the file says how much is missing."""
    logger = manual(max_buffer_mb=0.001)
    path = tmp_path / "logs" / "s.log"
    path.touch(0o600)
    with path.open("rb") as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        logger.write("s", "x" * 70_000)
        logger.complete_session("s", wait=False)
        logger.advance(2)
    logger.advance(2)
    assert logs(logger.base_dir) == {"s": "[streaming_logger: 70,000 characters dropped: buffer full]"}
    assert logger.stats().sessions_completed == 1


def test_close_that_was_interrupted_is_done_again(tmp_path: Path, live: Live) -> None:
    """A timeout in close() does not make later ones do nothing."""

    def expire(*_: object) -> None:
        raise KeyboardInterrupt

    logger = live(flush_interval_seconds=60)
    path = tmp_path / "logs" / "s.log"
    path.touch(0o600)
    before = signal.signal(signal.SIGALRM, expire)
    try:
        with path.open("rb") as foreign:
            fcntl.flock(foreign, fcntl.LOCK_EX)
            logger.write("s", "text")
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                logger.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    logger.close()
    assert logs(logger.base_dir) == {"s": "text"}


# -- memory and log handlers -----------------------------------------------------------

SHORT_OF_MEMORY = """
import resource
logger = open_logger(flush_interval_seconds=3600, max_buffer_mb=1000)
for number in range(400):
    logger.write("s", f"{number};")
chunk = "x" * 30_000_000
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 20_000_000, resource.RLIM_INFINITY))
logger.write("s", chunk)  # there is no memory to encode it
logger.write("s", "behind")
logger.flush()
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
logger.complete_session("s")
say(f"dropped {logger.stats().dropped_characters}")
"""


def test_memory_that_runs_out_loses_only_what_it_cannot_hold(tmp_path: Path) -> None:
    """write() does not raise, what was accepted before is written; the large chunk is counted, and marked in place."""
    status, output, errors = run(SHORT_OF_MEMORY, tmp_path / "logs")
    assert status == 0, errors
    assert "dropped {'buffer full': 30000000}\n" in output
    text = (tmp_path / "logs" / "s.log").read_text()
    assert text == "".join(f"{number};" for number in range(400)) + marker(30_000_000).decode() + "behind"


CALLS_BACK = """
import logging
from streaming_logger import get_streaming_logger
os.chdir(os.path.dirname(sys.argv[1]))

class Back(logging.Handler):
    def emit(self, record):
        get_streaming_logger().write("library", record.getMessage())

log = logging.getLogger("streaming_logger")
log.setLevel(logging.DEBUG)
log.addHandler(Back())
get_streaming_logger().write("s", "text")
say("done")
"""


def test_log_handler_may_ask_for_the_logger_while_it_is_made(tmp_path: Path) -> None:
    """The first get_streaming_logger() publishes, then logs."""
    status, output, errors = run(CALLS_BACK, tmp_path / "logs", seconds=10)
    assert (status, output) == (0, "done\n"), errors
    found = logs(tmp_path / "logs" / "streaming")
    assert found["s"] == "text"
    assert found["library"].startswith("no time-based cleanup is configured")


def test_error_whose_argument_cannot_be_shown_is_reported_all_the_same(live: Live) -> None:
    """The one place that must not raise."""

    class Unshown:
        def __str__(self) -> str:
            raise ValueError("no text")

    logger = live()
    level = logging.getLogger("streaming_logger").level
    logger._engine.events.report("kind", "went wrong: %s", Unshown())
    assert logger.health().reasons == ("went wrong: %s",)
    assert logging.getLogger("streaming_logger").level == level


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that cannot be formatted is logging's own affair."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
