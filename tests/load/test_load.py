"""Many sessions, long ones, many files: everything arrives, memory and descriptors stay bounded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from conftest import logs, make_old
from streaming_logger import StreamingLogger
from streaming_logger.testing import ManualLogger

Live = Callable[..., StreamingLogger]
Manual = Callable[..., ManualLogger]


def test_high_turnover_of_10_000_sessions(live: Live) -> None:
    """Eight threads, sessions of a few chunks: each file whole, nothing kept in memory."""
    logger = live(flush_interval_seconds=0.1)

    def serve(server: int) -> None:
        for number in range(1250):
            id_ = f"{server}-{number}"
            for word in range(5):
                logger.write(id_, f"{id_}:{word} ")
            logger.complete_session(id_, wait=number % 10 == 0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(serve, range(8)))
    logger.flush()
    found = logs(logger.base_dir)
    assert len(found) == 10_000
    assert all(text == "".join(f"{id_}:{word} " for word in range(5)) for id_, text in found.items())
    stats = logger.stats()
    assert (stats.sessions_completed, stats.sessions_active, stats.files_open) == (10_000, 0, 0)
    assert (stats.chunks_written, stats.bytes_buffered, stats.dropped_characters) == (50_000, 0, {})
    sessions = logger._engine.sessions
    assert (len(sessions.live), len(sessions.ended), sessions.used) == (0, 0, 0)


def test_high_turnover_with_deletion_at_completion(live: Live) -> None:
    """The directory is as empty as before."""
    logger = live(time_based_cleanup=False)
    for number in range(3000):
        logger.write(f"s{number}", "text")
        logger.complete_session(f"s{number}", wait=False)
    logger.flush()
    assert logs(logger.base_dir) == {}
    assert logger.stats().deleted_files == {"immediate": 3000}


def test_long_running_sessions(manual: Manual) -> None:
    """Twenty sessions stream for three hours; the sweeps of that time never touch them."""
    logger = manual(file_retention_minutes=0.5, idle_timeout_minutes=1)
    for minute in range(180):
        for number in range(20):
            logger.write(f"s{number}", f"{minute} ")
        logger.advance(2)
        for path in logger.base_dir.glob("*.log"):
            make_old(path, 3600)
        logger.advance(58)
    expected = "".join(f"{minute} " for minute in range(180))
    assert logs(logger.base_dir) == {f"s{number}": expected for number in range(20)}
    stats = logger.stats()
    assert (stats.sessions_active, stats.deleted_files, stats.files_reopened) == (20, {}, 0)
    assert stats.sweeps >= 170


def test_sweep_over_10_000_files(manual: Manual) -> None:
    """Old ones go, young and active ones stay; it takes seconds, in slices far below one."""
    logger = manual()
    logger.write("s1", "active")
    logger.advance(2)
    then = time.time() - 3600
    for number in range(10_000):
        path = logger.base_dir / f"s{number}.log"
        path.touch(0o600)
        if number % 2:
            os.utime(path, (then, then))
    slowest, begun = 0.0, time.monotonic()
    slices = logger._engine.sweeper.sweep()
    while True:
        before = time.monotonic()
        try:
            next(slices)
        except StopIteration as end:
            report = end.value
            break
        finally:
            slowest = max(slowest, time.monotonic() - before)
    assert (report.deleted, report.kept_in_use, report.scanned, report.errors) == (4999, 1, 10_000, 0)
    assert time.monotonic() - begun < 10
    assert slowest < 1
    assert len(list(logger.base_dir.glob("*.log"))) == 5001


def test_1_000_sessions_with_8_files(manual: Manual) -> None:
    """Parked and reopened at every flush: nothing lost, never more files open, none of them swept."""
    logger = manual(max_open_files=8, idle_timeout_minutes=None)
    for turn in range(4):
        for number in range(1000):
            logger.write(f"s{number}", f"{turn} ")
        logger.advance(2)
        stats = logger.stats()
        assert stats.files_open <= 8
        assert stats.files_open + stats.files_parked >= 1000
    for path in logger.base_dir.glob("*.log"):
        make_old(path, 3600)
    report = logger.cleanup_completed_files()
    assert (report.deleted, report.kept_in_use) == (0, 1000)
    found = logs(logger.base_dir)
    assert len(found) == 1000
    assert set(found.values()) == {"0 1 2 3 "}
    for number in range(1000):
        logger.complete_session(f"s{number}", wait=False)
    logger.run_pending()
    assert (logger.stats().files_open, logger.stats().files_parked) == (0, 0)
