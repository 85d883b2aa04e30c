"""Prometheus sees the logger's numbers: the real client, scraped over HTTP."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from log_lines import without_page
from streaming_logger import StreamingLogger
from streaming_logger.integrations._metrics import METRICS

prometheus_client = pytest.importorskip("prometheus_client")

from streaming_logger.integrations.prometheus import register  # noqa: E402 - after the skip

DASHBOARD = Path(__file__).parents[2] / "examples" / "grafana_dashboard.json"


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Says nothing."""


@pytest.fixture
def registry() -> Any:
    return prometheus_client.CollectorRegistry()


def test_scrape_over_http_shows_what_the_logger_did(live: Callable[..., StreamingLogger], registry: Any) -> None:
    """One scrape of the real exporter: counts, bytes, reasons, with conventional names."""
    logger = live()
    register(logger, registry)
    logger.write("sess_1", "Hello")
    logger.complete_session("sess_1")
    logger.write("sess_2", "still here")
    logger.cleanup_old_sessions(0)
    # start_http_server() of the oldest client that is supported gives nothing to shut down.
    server = make_server("127.0.0.1", 0, prometheus_client.make_wsgi_app(registry), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert "streaming_logger_sessions_completed_total 1.0" in lines
    assert "streaming_logger_sessions_active 1.0" in lines
    assert "streaming_logger_written_bytes_total 5.0" in lines
    assert 'streaming_logger_deleted_files_total{reason="max_age"} 1.0' in lines
    assert 'streaming_logger_dropped_characters_total{reason="buffer full"} 0.0' in lines
    assert "streaming_logger_health 0.0" in lines
    assert "# TYPE streaming_logger_sessions_completed_total counter" in lines


def test_every_counter_is_exported_and_no_session_is_a_label(
    live: Callable[..., StreamingLogger], registry: Any
) -> None:
    """All numbers of stats() are there; labels are reasons alone."""
    logger = live()
    register(logger, registry)
    for number in range(20):
        logger.write(f"sess_{number}", "x")
    families = {family.name: family for family in registry.collect()}
    assert set(families) == {f"streaming_logger_{metric.name}" for metric in METRICS}
    assert {metric.field for metric in METRICS} == {*StreamingLogger.stats(logger).__slots__, "health"}
    labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
    assert labels == {"reason"}


def test_sweep_that_never_ran_has_no_time(live: Callable[..., StreamingLogger], registry: Any) -> None:
    """An unknown time is absent, not 1970."""
    register(live(cleanup_interval_seconds=86400), registry)
    name = "streaming_logger_last_sweep_timestamp_seconds"
    assert registry.get_sample_value(name) is None


def test_collector_can_be_taken_out_again(live: Callable[..., StreamingLogger], registry: Any) -> None:
    """For a server that makes a new logger."""
    collector = register(live(), registry)
    registry.unregister(collector)
    assert list(registry.collect()) == []


def test_dashboard_asks_only_for_metrics_that_exist() -> None:
    """Each name in a query of the Grafana example is exported under that name."""
    names = {f"streaming_logger_{metric.name}{'_total' if metric.counter else ''}" for metric in METRICS}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert queries
    assert {name for query in queries for name in re.findall(r"streaming_logger_\w+", query)} <= names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"logger": None}, "logger must be a StreamingLogger, got None"),
        ({"registry": "default"}, "registry must be a CollectorRegistry or None, got 'default'"),
    ],
)
def test_wrong_arguments_are_refused(
    live: Callable[..., StreamingLogger], registry: Any, arguments: dict[str, Any], message: str
) -> None:
    """Not by the first scrape."""
    with pytest.raises(TypeError, match=message):
        register(**{"logger": live(), "registry": registry} | arguments)


def test_fault_does_not_take_other_metrics_away(
    live: Callable[..., StreamingLogger],
    registry: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A scrape has the numbers of others, and one line says why ours are missing."""
    logger = live()
    register(logger, registry)
    other = prometheus_client.Gauge("other", "of the application", registry=registry)
    other.set(7)
    monkeypatch.setattr(logger._engine, "stats", lambda: 1 / 0)
    for _ in range(2):
        assert registry.get_sample_value("other") == 7
        assert registry.get_sample_value("streaming_logger_health") is None
    lines = [without_page(record) for record in caplog.records if record.levelname == "ERROR"]
    assert lines == ["metrics: no numbers are exported: ZeroDivisionError('division by zero')"]
