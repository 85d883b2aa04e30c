"""Servers written for the older module run unchanged; these are the lines they have."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import logs, make_old
from streaming_logger import StreamingLogger, _default, get_streaming_logger


@pytest.fixture
def logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[StreamingLogger]:
    """The default logger of a server that has no configuration at all."""
    monkeypatch.setattr(_default, "_published", {})
    logger = get_streaming_logger()
    yield logger
    logger.close()


def test_import_and_stream_as_before(logger: StreamingLogger) -> None:
    """append_chunk with positional arguments, ids and deltas as they come."""
    for delta in ("Hel", "lo", None, "", "!"):
        logger.append_chunk("sess_abc123", delta)
    logger.flush()
    assert Path("logs/streaming/sess_abc123.log").read_text() == "Hello!"
    logger.complete_session("sess_abc123")


def test_no_configuration_deletes_at_completion_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The older behaviour: nobody's disk begins to fill after the upgrade."""
    caplog.set_level(logging.INFO, "streaming_logger")
    monkeypatch.setattr(_default, "_published", {})
    logger = get_streaming_logger()
    for number in range(3):
        logger.append_chunk(f"sess_{number}", "text")
        logger.flush()
        assert Path(f"logs/streaming/sess_{number}.log").exists()
        logger.complete_session(f"sess_{number}")
        assert not Path(f"logs/streaming/sess_{number}.log").exists()
    logger.close()
    lines = [record for record in caplog.records if "deleted when its session completes" in record.getMessage()]
    assert len(lines) == 1


def test_configuration_as_a_dictionary() -> None:
    """StreamingLogger(config_dict), a whole document with other people's sections."""
    config = {"version": 1, "handlers": {}, "streaming_logs": {"directory": "elsewhere", "flush_interval_seconds": 1}}
    logger = StreamingLogger(config)
    logger.append_chunk("s", "text")
    logger.complete_session("s")
    logger.close()
    assert logs(Path("elsewhere")) == {"s": "text"}


def test_attributes(logger: StreamingLogger) -> None:
    """Health endpoints read these."""
    logger.append_chunk("s", "text")
    assert logger.enabled is True
    assert logger.flush_interval == 2
    assert str(logger.base_dir) == "logs/streaming"
    assert "s" in logger.session_files
    assert "".join(logger.session_buffers["s"]) == "text"
    assert len(logger.session_files) == 1


def test_cleanup_old_sessions(logger: StreamingLogger) -> None:
    """Called at start-up: orphans of the last run go, by keyword, by position and by default."""
    for name, hours in (("young", 1), ("middle", 5), ("old", 25)):
        path = logger.base_dir / f"{name}.log"
        path.write_text("text")
        make_old(path, hours * 3600)
    assert logger.cleanup_old_sessions().deleted == 1
    assert logger.cleanup_old_sessions(max_age_hours=4).deleted == 1
    assert logger.cleanup_old_sessions(2).deleted == 0
    assert list(logs(logger.base_dir)) == ["young"]


def test_complete_of_an_unknown_session(logger: StreamingLogger) -> None:
    """Error paths of servers call it for sessions that never wrote."""
    logger.complete_session("sess_unknown")
