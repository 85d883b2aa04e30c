"""The worker thread is killed, or cannot start: nothing is lost, and the numbers say so."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from conftest import logs
from streaming_logger import StreamingLogger

Make = Callable[..., StreamingLogger]


def kill_worker(logger: StreamingLogger) -> None:
    """Has it raise what no `except Exception` catches."""
    worker = logger._engine.worker
    assert worker.alive
    worker.submit(sys.exit)
    while worker.alive:
        threading.Event().wait(0.01)


def test_killed_worker_is_replaced_and_nothing_is_lost(live: Make) -> None:
    """An endless stream notices within 512 chunks; a completion, or another stream, at once."""
    logger = live(flush_interval_seconds=0.01)
    logger.write("s", "0;")
    kill_worker(logger)
    assert not logger.stats().worker_alive
    for number in range(1, 600):
        logger.write("s", f"{number};")
    assert logger.stats().worker_alive, "the stream itself started a new one"
    kill_worker(logger)
    logger.complete_session("s")
    assert logs(logger.base_dir) == {"s": "".join(f"{number};" for number in range(600))}
    assert logger.stats().worker_restarts == 2


def test_worker_killed_between_streams(live: Make) -> None:
    """Killed with buffers full and turns waiting to be completed: every record once, in order."""
    logger = live(flush_interval_seconds=0.01)
    for turn in range(3):  # a fourth death within a minute is given up for a minute
        for number in range(turn * 1000, turn * 1000 + 1000):
            for id_ in ("s0", "s1", "s2"):
                logger.write(id_, f"{number};")
        logger.complete_session("s0", wait=False)
        kill_worker(logger)
    logger.close()
    whole = "".join(f"{number};" for number in range(3000))
    assert logs(logger.base_dir) == {"s0": whole, "s1": whole, "s2": whole}


WITHOUT_THREADS = """
import sys, threading
from pathlib import Path
from streaming_logger import Config, StreamingLogger

threading.stack_size(1 << 46)  # no machine has memory for such a thread: every start fails
with StreamingLogger(Config(min_free_disk_mb=None), directory=sys.argv[1]) as logger:
    for number in range(10_000):
        logger.write("long", f"{number};")
    logger.write("short", "x")
    stats = logger.stats()
    assert not stats.worker_alive and logger.health().status == "failing", (stats, logger.health())
    logger.flush()
    assert (Path(sys.argv[1]) / "long.log").read_text() == "".join(f"{number};" for number in range(10_000))
    logger.complete_session("long")
    logger.complete_session("short")
    assert not list(Path(sys.argv[1]).glob("*.log")), "nobody would sweep them: deleted at completion"
    assert logger.stats().deleted_files == {"immediate": 2}
    logger.write("left", "open")
assert (Path(sys.argv[1]) / "left.log").read_text() == "open"
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere such a stack is refused earlier")
def test_no_thread_can_be_started(tmp_path: object) -> None:
    """Callers do the work inline; files go at completion, so that the disk cannot fill."""
    subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT_THREADS, f"{tmp_path}/logs"], check=True, timeout=30)
