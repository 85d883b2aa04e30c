"""A logger's numbers for OpenTelemetry: observable instruments `streaming_logger.…`. Needs `opentelemetry-api`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from streaming_logger._logger import StreamingLogger
from streaming_logger.integrations._guard import checked_logger, refusal
from streaming_logger.integrations._metrics import METRICS, Metric, Numbers, numbers

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation  # type: ignore[import-not-found,unused-ignore]

__all__ = ["instrument"]

#: One collection asks for each instrument by itself; the numbers are taken once for all of them.
_FRESH_SECONDS = 0.5


def instrument(logger: StreamingLogger, meter: Meter | None = None) -> None:
    """Makes the instruments, by the global meter provider's meter if none is given.

    Counters have an attribute `reason` where there are several; there is none for sessions. Raises
    `TypeError` for another object than a logger or meter.

    >>> import tempfile
    >>> instrument(StreamingLogger(directory=tempfile.mkdtemp()))
    """
    from opentelemetry import metrics  # type: ignore[import-not-found,unused-ignore]
    from opentelemetry.metrics import Observation  # type: ignore[import-not-found,unused-ignore]

    checked_logger(logger)
    if meter is None:
        meter = metrics.get_meter("streaming_logger")
    if not all(callable(getattr(meter, f"create_observable_{kind}", None)) for kind in ("counter", "gauge")):
        raise TypeError(refusal("meter", "must be a Meter or None", meter))
    taken: tuple[float, Numbers] = (float("-inf"), {})

    def observed(metric: Metric) -> Iterable[Observation]:
        nonlocal taken
        now = time.monotonic()
        if now - taken[0] > _FRESH_SECONDS:
            taken = (now, numbers(logger))
        return [
            Observation(value, {"reason": reason} if metric.reasons else None)
            for reason, value in taken[1][metric.name]
        ]

    for metric in METRICS:

        def callback(options: CallbackOptions, metric: Metric = metric) -> Iterable[Observation]:
            return observed(metric)

        make = meter.create_observable_counter if metric.counter else meter.create_observable_gauge
        make(f"streaming_logger.{metric.name}", [callback], unit=metric.unit, description=metric.doc)
