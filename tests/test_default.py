"""get_streaming_logger: one per process, and it never takes the server down."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import logs
from streaming_logger import Config, _default, get_streaming_logger


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a new process; closed at the end."""
    monkeypatch.setattr(_default, "_published", {})
    yield
    for logger in _default._published.values():
        logger.close()


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_one_per_process() -> None:
    """The first call makes it, with any number of threads at once."""
    with ThreadPoolExecutor(8) as pool:
        assert len({id(logger) for logger in pool.map(lambda _: get_streaming_logger(), range(64))}) == 1


def test_settings_come_from_the_file_here() -> None:
    """./logging_config.json, and the file is watched."""
    Path("logging_config.json").write_text(json.dumps({"streaming_logs": {"flush_interval_seconds": 0.05}}))
    logger = get_streaming_logger()
    assert logger.flush_interval == 0.05
    logger.write("s", "text")
    logger.complete_session("s")
    assert logs(Path("logs/streaming")) == {"s": "text"}
    assert logger._engine.settings._path == Path("logging_config.json").absolute()


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{", '{"streaming_logs": {"enabled": 1, "retention": 3}}', '{"streaming_logs": null}'),
        *('{"streaming_logs": {"max_buffer_mb": 1%s}}', '{"streaming_logs": {"file_retention_minutes": "ten"}}'),
    ],
)
def test_bad_configuration_is_one_error_line_and_the_defaults(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """With all problems in it; streams are logged."""
    Path("logging_config.json").write_text(text.replace("%s", "0" * 400))
    logger = get_streaming_logger()
    assert logger._engine.settings.config == Config()
    (line,) = errors(caplog)
    assert "using the default settings: " in line
    logger.write("s", "text")
    logger.complete_session("s")
    assert logs(Path("logs/streaming")) == {"s": "text"}


def test_bad_environment_is_one_error_line_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A typo in a deployment."""
    monkeypatch.setenv("STREAMING_LOGS_MAX_BUFFER_MB", "lots")
    get_streaming_logger()
    assert "STREAMING_LOGS_MAX_BUFFER_MB" in errors(caplog)[0]


def test_refused_directory_is_one_error_line_and_the_stream_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing raises; when it is mended, what waited is written."""
    Path("logs").mkdir()
    Path("logs/streaming").mkdir()
    Path("logs/streaming").chmod(0o777)
    logger = get_streaming_logger()
    assert "logging is disabled until this is fixed" in errors(caplog)[0]
    logger.write("s", "text")
    logger.flush()
    assert logs(Path("logs/streaming")) == {}
    Path("logs/streaming").chmod(0o700)
    logger.flush()
    assert logs(Path("logs/streaming")) == {"s": "text"}


def test_mended_file_is_taken_over_while_running(caplog: pytest.LogCaptureFixture) -> None:
    """No restart after a typo."""
    Path("logging_config.json").write_text("{")
    logger = get_streaming_logger()
    Path("logging_config.json").write_text(json.dumps({"streaming_logs": {"flush_interval_seconds": 9}}))
    logger._engine.settings.refresh(logger._engine.events, logger._engine.counters)
    assert logger.flush_interval == 9
