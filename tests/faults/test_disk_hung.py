"""A disk that takes text in pieces, or hangs: the stream never waits for it, and memory stays bounded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from disk_shim import preload
from disk_text import dropped_from, numbers
from programs import run

from conftest import logs

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD and /proc")


def test_short_writes_and_errors_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write takes a part only, each fifth fails, each seventh is interrupted: none lost or doubled."""
    preload(tmp_path, monkeypatch)
    monkeypatch.setenv("SHORT_WRITES", "1")
    status, _, errors = run(
        """
logger = open_logger(flush_interval_seconds=0.01)
for number in range(3000):
    for session in "abc":
        logger.write(session, f"{number:06d};")
    if number % 100 == 0:
        time.sleep(0.015)
    if number == 2000:
        logger.complete_session("b", wait=False)
for session in "abc":
    logger.complete_session(session)
deadline = time.monotonic() + 30
while logger.stats().bytes_buffered and time.monotonic() < deadline:
    logger.flush()
stats = logger.stats()
assert stats.write_errors > 10 and not stats.dropped_characters, stats
logger.close()
""",
        tmp_path / "logs",
    )
    assert status == 0, errors
    assert logs(tmp_path / "logs") == dict.fromkeys("abc", numbers(0, 3000))


HANGING = """
from pathlib import Path
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context, Timeouts
from streaming_logger._runtime.engine import Engine

def open_logger(**settings):
    config = Config(min_free_disk_mb=None, **settings)
    logger = StreamingLogger._of(Engine(Context.make(Settings(config), Path(sys.argv[1]), timeouts=Timeouts(wait=1.0))))
    logger._engine.open()
    return logger

flag = Path(os.environ["HANG_WHILE"])

def peak():
    # The most memory that was ever resident, in KiB; ru_maxrss would begin with that of the parent.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

def bounded(call, *arguments):
    begun = time.monotonic()
    call(*arguments)
    assert time.monotonic() - begun < 3, f"{call} took {time.monotonic() - begun} s"

logger = open_logger(flush_interval_seconds=0.02, max_buffer_mb=2)
logger.write("s", "begin;")
logger.flush()
before = peak()
flag.touch()
worst = 0.0
for number in range(300_000):
    begun = time.perf_counter()
    logger.write("s", f"{number:099d};")
    worst = max(worst, time.perf_counter() - begun)
grown = peak() - before
say(f"figures worst write {worst:.4f} s, grown by {grown} KiB")
assert worst < 2, worst
assert grown < 24_000, f"30 MB written with max_buffer_mb 2: grown by {grown} KiB"
logger.write("other", "o;")
assert logger.stats().bytes_buffered <= 2_000_000 + 64 * 100, logger
bounded(logger.flush)
bounded(logger.complete_session, "other")
stats = logger.stats()
assert stats.dropped_characters["buffer full"] > 20_000_000 and stats.completions_overdue == 1, stats
say("status " + logger.health().status)
"""


def test_hung_disk_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """write() never waits, memory is bounded, complete and flush are; then what was kept follows, gaps marked."""
    preload(tmp_path, monkeypatch)
    monkeypatch.setenv("HANG_WHILE", str(tmp_path / "hang"))
    status, output, errors = run(
        HANGING
        + """
flag.unlink()
logger.flush()
logger.complete_session("s")
say(f"dropped {logger.stats().dropped_characters['buffer full']}")
logger.close()
""",
        tmp_path / "logs",
    )
    assert status == 0, errors
    print(output)
    found = logs(tmp_path / "logs")
    whole = "begin;" + "".join(f"{number:099d};" for number in range(300_000))
    assert f"dropped {dropped_from(found['s'], whole)}\n" in output
    assert found["other"] == "o;"


def test_hung_disk_does_not_hold_up_the_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """close() and the end of the process are bounded too, and one line says what that costs."""
    preload(tmp_path, monkeypatch)
    monkeypatch.setenv("HANG_WHILE", str(tmp_path / "hang"))
    status, output, errors = run(
        """
import logging
logging.basicConfig(format="%(message)s")
"""
        + HANGING
        + """
bounded(logger.close)
""",
        tmp_path / "logs",
    )
    assert status == 0, errors
    assert "the disk did not respond" in errors
    assert "status" in output


def test_hung_disk_is_seen_in_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While text is being dropped health is failing, although the worker that reports it hangs."""
    preload(tmp_path, monkeypatch)
    monkeypatch.setenv("HANG_WHILE", str(tmp_path / "hang"))
    status, output, errors = run(HANGING + "flag.unlink()", tmp_path / "logs")
    assert status == 0, errors
    assert "status failing" in output
