"""OpenTelemetry sees the logger's numbers: the real SDK collects them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streaming_logger import StreamingLogger
from streaming_logger.integrations._metrics import METRICS

export = pytest.importorskip("opentelemetry.sdk.metrics.export")
from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402 - after the skip

from streaming_logger.integrations.otel import instrument  # noqa: E402


@pytest.fixture
def reader() -> Any:
    return export.InMemoryMetricReader()


@pytest.fixture
def meter(reader: Any) -> Iterator[Any]:
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    yield provider.get_meter("test")
    provider.shutdown()


def collected(reader: Any) -> dict[str, list[Any]]:
    """The data points of one collection, by instrument."""
    scopes = reader.get_metrics_data().resource_metrics[0].scope_metrics
    return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}


def test_collection_shows_what_the_logger_did(live: Callable[..., StreamingLogger], meter: Any, reader: Any) -> None:
    """Counters and gauges have the values of stats(); reasons are attributes."""
    logger = live()
    instrument(logger, meter)
    logger.write("sess_1", "Hello")
    logger.complete_session("sess_1")
    logger.cleanup_old_sessions(0)
    points = collected(reader)
    assert points["streaming_logger.sessions_completed"][0].value == 1
    assert points["streaming_logger.written_bytes"][0].value == 5
    deleted = {point.attributes["reason"]: point.value for point in points["streaming_logger.deleted_files"]}
    assert deleted == {"retention": 0, "max_age": 1, "disk": 0, "immediate": 0, "archived": 0}
    assert {key for name in points for point in points[name] for key in point.attributes} == {"reason"}


def test_every_metric_has_an_instrument(live: Callable[..., StreamingLogger], meter: Any, reader: Any) -> None:
    """The table is exported whole."""
    logger = live()
    instrument(logger, meter)
    logger.cleanup_completed_files()  # so that the sweep has a time
    assert set(collected(reader)) == {f"streaming_logger.{metric.name}" for metric in METRICS}


def test_without_a_meter_the_global_provider_is_used(live: Callable[..., StreamingLogger]) -> None:
    """As OpenTelemetry's own instrumentations do it: silent until an SDK is set up."""
    instrument(live())


def test_wrong_arguments_are_refused(live: Callable[..., StreamingLogger], meter: Any) -> None:
    """Not by the first collection."""
    with pytest.raises(TypeError, match="logger must be a StreamingLogger, got None"):
        instrument(None, meter)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="meter must be a Meter or None, got 'meter'"):
        instrument(live(), "meter")
