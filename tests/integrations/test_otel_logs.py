"""Ended sessions as OpenTelemetry log records, by its real SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, export
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor

from conftest import wait_until
from streaming_logger import StreamingLogger
from streaming_logger.integrations.otel_logs import export_sessions
from streaming_logger.testing import ManualLogger

#: Its name in newer releases, and in older ones.
Exporter: Any = getattr(export, "InMemoryLogRecordExporter", None) or getattr(export, "InMemoryLogExporter", None)


@pytest.fixture
def exporter() -> Any:
    return Exporter()


def test_each_end_is_a_record(manual: Callable[..., ManualLogger], exporter: Any) -> None:
    """With the session's text, its outcome, and a severity that says whether all went well."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = manual()
    export_sessions(logger, provider.get_logger("test"), max_body_bytes=1000)
    for session, outcome in (("s", "completed"), ("failed", "error")):
        logger.write(session, "text ö")
        logger.complete_session(session, outcome=outcome)
    logger.write("long", "a" * 900 + "b" * 900)
    logger.complete_session("long")
    fine, failed, long = [found.log_record for found in exporter.get_finished_logs()]
    assert (fine.body, fine.severity_number) == ("text ö", SeverityNumber.INFO)
    assert dict(fine.attributes or {}) == {
        "streaming_logger.session": "s",
        "streaming_logger.outcome": "completed",
        "streaming_logger.bytes": 7,
        "streaming_logger.file": "s.log",
    }
    assert (failed.severity_number, failed.severity_text) == (SeverityNumber.WARN, "WARN")
    assert long.body == "a" * 500 + "\n[streaming_logger: 800 bytes left out]\n" + "b" * 500


def test_loop_is_told(live: Callable[..., StreamingLogger], exporter: Any) -> None:
    """The radar's finding is an attribute, and raises the severity; by the processor that servers use."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, schedule_delay_millis=50))
    logger = live(flush_interval_seconds=0.05)
    export_sessions(logger, provider.get_logger("test"))
    for _ in range(100):
        logger.write("s", "the same sentence, again and again. ")
    wait_until(lambda: logger.stats().loops_found == 1)
    logger.complete_session("s")
    wait_until(lambda: len(exporter.get_finished_logs()) == 1)
    provider.shutdown()
    (record,) = [found.log_record for found in exporter.get_finished_logs()]
    assert (record.attributes or {})["streaming_logger.loop"] == "periodic"
    assert record.severity_number == SeverityNumber.WARN


def test_limit_that_is_none_is_refused(manual: Callable[..., ManualLogger]) -> None:
    """It names the parameter, the rule and the value."""
    with pytest.raises(ValueError, match="max_body_bytes must be at least 1, got 0"):
        export_sessions(manual(), max_body_bytes=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"logger": None}, "logger must be a StreamingLogger, got None"),
        ({"otel_logger": "logs"}, "otel_logger must be a Logger or None, got 'logs'"),
        ({"max_body_bytes": "64"}, "max_body_bytes must be an int, got '64'"),
        ({"max_body_bytes": True}, "max_body_bytes must be an int, got True"),
    ],
)
def test_wrong_arguments_are_refused(
    manual: Callable[..., ManualLogger], arguments: dict[str, Any], message: str
) -> None:
    """Not by the first session that ends."""
    with pytest.raises(TypeError, match=message):
        export_sessions(**{"logger": manual()} | arguments)


def test_release_that_makes_other_records_is_refused(
    manual: Callable[..., ManualLogger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its module for logs is not stable yet."""
    monkeypatch.setattr("opentelemetry._logs.LogRecord", lambda body: body)
    with pytest.raises(ImportError, match=r"opentelemetry-api .* no log record can be made"):
        export_sessions(manual())
