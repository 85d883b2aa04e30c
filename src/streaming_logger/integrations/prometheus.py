"""A logger's numbers for Prometheus: `streaming_logger_...`, read at each scrape. Needs `prometheus-client`.

There is no label for sessions, whose number has no bound; the ledger has them. With several
worker processes each exports its own numbers, so give each its own port or scrape path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from streaming_logger._logger import StreamingLogger
from streaming_logger.integrations._guard import checked_logger, refusal
from streaming_logger.integrations._metrics import METRICS, numbers

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry  # type: ignore[import-not-found,unused-ignore]

__all__ = ["register"]


def register(logger: StreamingLogger, registry: CollectorRegistry | None = None) -> Any:
    """Exports a logger's numbers by a registry, the default one if none is given.

    Returns the collector, for `registry.unregister`. Raises `TypeError` for another object than a logger
    or registry.

    >>> import tempfile
    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> collector = register(StreamingLogger(directory=tempfile.mkdtemp()), registry)
    >>> registry.get_sample_value("streaming_logger_deleted_files_total", {"reason": "retention"})
    0.0
    """
    from prometheus_client import REGISTRY  # type: ignore[import-not-found,unused-ignore]
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # type: ignore[import-not-found,unused-ignore]

    checked_logger(logger)
    registry = REGISTRY if registry is None else registry
    if not callable(getattr(registry, "register", None)):
        raise TypeError(refusal("registry", "must be a CollectorRegistry or None", registry))

    class Collector:
        def collect(self) -> Iterator[Any]:
            now = numbers(logger)
            for metric in METRICS:
                family = CounterMetricFamily if metric.counter else GaugeMetricFamily
                labels = ["reason"] if metric.reasons else []
                made = family(f"streaming_logger_{metric.name}", metric.doc, labels=labels)
                for reason, value in now[metric.name]:
                    made.add_metric([reason] if labels else [], value)
                yield made

    collector = Collector()
    registry.register(collector)
    return collector
