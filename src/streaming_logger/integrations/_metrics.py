"""The metrics of a logger, and where in its `stats()` each number is: one table for every exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from streaming_logger._logger import StreamingLogger
from streaming_logger.integrations._guard import Guard

__all__ = ["METRICS", "Metric", "Numbers", "numbers"]

_DELETIONS = ("retention", "max_age", "disk", "immediate", "archived")
_DROPS = ("buffer full", "closed", "session cap")
_HEALTH = {"ok": 0, "degraded": 1, "failing": 2}


class Metric(NamedTuple):
    """One metric. A counter only grows; its exported name ends as its exporter has it."""

    name: str
    field: str
    """Of `Stats`."""
    doc: str
    counter: bool = False
    unit: str = "1"
    reasons: tuple[str, ...] = ()
    """The reasons that are known beforehand: they are exported as 0, so that the first one is a change."""


METRICS = (
    Metric("health", "health", "0 ok, 1 degraded (nothing lost yet), 2 failing (text is dropped, or no worker)"),
    Metric("worker_alive", "worker_alive", "1 while the worker thread runs; it starts with the first write"),
    Metric("worker_restarts", "worker_restarts", "times the worker thread died and was started again", True),
    Metric("sessions_active", "sessions_active", "sessions that are being written"),
    Metric("sessions_completed", "sessions_completed", "sessions completed on request, with any outcome", True),
    Metric("sessions_abandoned", "sessions_abandoned", "sessions completed by the idle timeout", True),
    Metric("chunks_written", "chunks_written", "chunks that write() accepted", True),
    Metric("written_bytes", "bytes_written", "bytes of text that reached a file", True, "By"),
    Metric("buffered_bytes", "bytes_buffered", "bytes of text that wait in memory", unit="By"),
    Metric("dropped_characters", "dropped_characters", "characters that no file will hold", True, reasons=_DROPS),
    Metric("flushes", "flushes", "walks over all active sessions", True),
    Metric("write_errors", "write_errors", "failed attempts to write, open or complete a file", True),
    Metric("files_open", "files_open", "session files that are open"),
    Metric("files_parked", "files_parked", "active sessions whose file is closed to save descriptors"),
    Metric("files_reopened", "files_reopened", "files that were removed under an open session", True),
    Metric("completions_overdue", "completions_overdue", "times complete_session() gave up waiting", True),
    Metric("extraction_errors", "extraction_errors", "items of wrapped streams whose text could not be told", True),
    Metric(
        "streams_without_text", "streams_without_text", "wrapped streams in whose items no text was found", counter=True
    ),
    Metric("loops_found", "loops_found", "loops that the radar found in streams", True),
    Metric("runaway_characters", "runaway_characters", "characters that loops went on for after being found", True),
    Metric("stalls", "stalls", "times an active session got no text for stall_seconds", True),
    Metric("chunks_unjournaled", "chunks_unjournaled", "chunks that found no room in the crash journal", True),
    Metric("sessions_recovered", "sessions_recovered", "sessions of dead processes recovered from journals", True),
    Metric("recovered_bytes", "bytes_recovered", "bytes of text recovered from journals", True, "By"),
    Metric("uploads", "uploads", "session files uploaded to the archive", True),
    Metric("uploaded_bytes", "uploaded_bytes", "bytes of their texts there, compressed", True, "By"),
    Metric("upload_errors", "upload_errors", "uploads that failed and are tried again", True),
    Metric("deleted_unarchived", "deleted_unarchived", "files that had to be deleted before they were archived", True),
    Metric("sweeps", "sweeps", "sweeps of completed files", True),
    Metric("sweep_errors", "sweep_errors", "files that could not be swept", True),
    Metric("deleted_files", "deleted_files", "files deleted", True, reasons=_DELETIONS),
    Metric("deleted_bytes", "deleted_bytes", "bytes of deleted files", True, "By", _DELETIONS),
    Metric("last_sweep_timestamp_seconds", "last_sweep_time", "unix time at which the last sweep ended", unit="s"),
    Metric("last_sweep_duration_seconds", "last_sweep_seconds", "how long the last sweep took", unit="s"),
    Metric("reloads", "reloads", "edits of the configuration that were picked up", True),
    Metric("reloads_refused", "reloads_refused", "edits of the configuration that were refused", True),
)

#: By metric name: (reason or "", number), one for each reason.
Numbers = Mapping[str, tuple[tuple[str, float], ...]]


def numbers(logger: StreamingLogger) -> Numbers:
    """The numbers of this moment; nothing for one that is not known yet.

    Does not raise: an exporter has the metrics of others, too. A fault is reported, and there are no numbers.
    """
    try:
        return _numbers(logger)
    except Exception as error:  # noqa: BLE001 - as above
        Guard("metrics", logger).not_exported(error)
        return {metric.name: () for metric in METRICS}


def _numbers(logger: StreamingLogger) -> Numbers:
    stats = logger.stats()
    found = {}
    for metric in METRICS:
        if metric.field == "health":
            value: object = _HEALTH[logger.health().status]
        else:
            value = getattr(stats, metric.field)
        if isinstance(value, Mapping):
            found[metric.name] = tuple(_by_reason(metric, value))
        else:
            found[metric.name] = (("", float(value)),) if isinstance(value, (int, float)) else ()
    return found


def _by_reason(metric: Metric, counts: Mapping[str, int]) -> Iterator[tuple[str, float]]:
    for reason in dict.fromkeys((*metric.reasons, *counts)):
        yield reason, float(counts.get(reason, 0))
