"""The numbers: frozen, added to by every module, and readable in one line."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import pytest

from streaming_logger import Stats, SweepReport
from streaming_logger._base.stats import Counters
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]


def test_fresh_logger_has_counted_nothing(manual: Make) -> None:
    """Zero everywhere, no last sweep, no worker before the first use."""
    assert manual().stats() == Stats()


def test_stats_are_frozen_and_a_snapshot(manual: Make) -> None:
    """A later event changes no earlier value."""
    logger = manual()
    before = logger.stats()
    logger.write("s", "text")
    assert before.chunks_written == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.chunks_written = 1  # type: ignore[misc]


def test_each_number_of_a_life(manual: Make) -> None:
    """Write, flush, complete, sweep."""
    logger = manual()
    logger.write("a", "caf\u00e9")
    logger.write("b", "text")
    stats = logger.stats()
    assert (stats.sessions_active, stats.chunks_written, stats.bytes_buffered, stats.bytes_written) == (2, 2, 9, 0)
    logger.advance(2)
    stats = logger.stats()
    assert (stats.bytes_buffered, stats.bytes_written, stats.flushes, stats.files_open) == (0, 9, 1, 2)
    logger.complete_session("a", wait=False)
    logger.advance(2)
    stats = logger.stats()
    assert (stats.sessions_active, stats.sessions_completed, stats.files_open, stats.flushes) == (1, 1, 1, 2)
    sweeps = stats.sweeps
    logger.advance(60)
    stats = logger.stats()
    assert stats.sweeps == sweeps + 1
    assert stats.last_sweep_time == pytest.approx(logger.clock.wall())
    assert stats.last_sweep_seconds is not None
    assert (stats.write_errors, stats.sweep_errors, stats.dropped_characters) == (0, 0, {})


def test_counters_lose_nothing_between_threads() -> None:
    """Added from eight threads."""
    counters = Counters()

    def add() -> None:
        for _ in range(2000):
            counters.add(flushes=1)
            counters.deleted("disk", 1, 2)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = counters.snapshot()
    assert (stats.flushes, stats.deleted_files, stats.deleted_bytes) == (16_000, {"disk": 16_000}, {"disk": 32_000})


def test_sweep_reports_are_added_up_by_reason() -> None:
    """Files and bytes."""
    counters = Counters()
    report = SweepReport(
        deleted=3,
        bytes=30,
        errors=1,
        deleted_by_reason={"retention": 2, "disk": 1},
        bytes_by_reason={"retention": 20, "disk": 10},
    )
    counters.swept(report, 5.0)
    counters.swept(report, 6.0)
    stats = counters.snapshot()
    assert (stats.sweeps, stats.sweep_errors, stats.last_sweep_time) == (2, 2, 6.0)
    assert stats.deleted_files == {"retention": 4, "disk": 2}
    assert stats.deleted_bytes == {"retention": 40, "disk": 20}


def test_repr_is_the_status_line(manual: Make) -> None:
    """What an operator sees in a debugger."""
    logger = manual()
    logger.write("a", "text")
    logger.write("b", "text")
    logger.complete_session("b", wait=False)
    logger.run_pending()
    assert repr(logger) == (
        f"<StreamingLogger {logger.base_dir}: 1 active, 1 completed, 0 abandoned, 4 bytes written, 4 buffered, "
        "0 characters dropped, 0 files deleted, 0 errors, worker not started>"
    )
    logger.close()
    assert repr(logger).endswith("0 errors, closed>")
