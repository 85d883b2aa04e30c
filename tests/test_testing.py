"""`streaming_logger.testing`: what other programs' tests get."""

from __future__ import annotations

from pathlib import Path

import streaming_logger
from streaming_logger import Config, get_streaming_logger
from streaming_logger.testing import ManualClock, ManualLogger, capture_streams


def test_text_and_outcomes_by_session() -> None:
    """Whatever the ids are, written or still in memory."""
    with ManualLogger() as logger:
        logger.write("../x", "one")
        logger.write("b", "two")
        logger.complete_session("b", outcome="error", wait=False)
        assert logger.text == {"../x": "one", "b": "two"}
        assert logger.outcomes == {"b": "error"}


def test_time_passes_only_when_told() -> None:
    """A flush after 2 s, a sweep after the window."""
    with ManualLogger(Config(min_free_disk_mb=None)) as logger:
        logger.write("s", "text")
        logger.run_pending()
        assert logger.stats().bytes_written == 0
        logger.advance(2)
        assert logger.stats().bytes_written == 4
        logger.complete_session("s", wait=False)
        logger.advance(660)
        logger.advance(60)
        assert logger.text == {}


def test_temporary_directory_is_removed() -> None:
    """One that was given stays."""
    with ManualLogger() as logger:
        logger.write("s", "text")
    assert not logger.base_dir.exists()
    with ManualLogger(directory="mine") as logger:
        logger.write("s", "text")
    assert Path("mine/s.log").read_text() == "text"


def test_capture_streams_replaces_the_process_logger_and_puts_it_back() -> None:
    """The program under test needs no change."""
    with capture_streams() as outer:
        with capture_streams() as inner:
            get_streaming_logger().write("s", "inner")
            assert inner.text == {"s": "inner"}
        assert get_streaming_logger() is outer
        assert outer.text == {}


def test_clock_begins_at_the_present_or_where_it_is_set() -> None:
    """Wall time and monotonic time advance together."""
    clock = ManualClock(wall=100)
    before = clock.monotonic()
    clock.advance(5)
    clock.set_wall(50)
    assert (clock.wall(), clock.monotonic() - before) == (155, 5)


def test_version_is_that_of_the_distribution() -> None:
    """One place has it."""
    from importlib.metadata import version

    assert streaming_logger.__version__ == version("streaming-logger")
