"""Ended sessions as OpenTelemetry log records, with their text. Needs `opentelemetry-api` 1.37 or later."""

from __future__ import annotations

import os
from importlib import metadata
from typing import TYPE_CHECKING, Any

from streaming_logger._base.outcomes import has_failed
from streaming_logger._events.model import Event, LoopFound, SessionEnded
from streaming_logger._events.observers import Observer
from streaming_logger._logger import StreamingLogger
from streaming_logger.integrations._guard import checked_logger, refusal
from streaming_logger.integrations._supported import Supported

if TYPE_CHECKING:
    from opentelemetry._logs import Logger  # type: ignore[import-not-found,unused-ignore]

__all__ = ["SUPPORTED", "export_sessions"]

SUPPORTED = Supported("opentelemetry-api", "1.37", "2")

_FIELDS = ("session", "outcome", "bytes", "file")


def export_sessions(
    logger: StreamingLogger, otel_logger: Logger | None = None, *, max_body_bytes: int = 65_536
) -> None:
    """Emits a record for each session that ends, by the global logger provider's logger if none is given.

    The body is the session's text; of more than `max_body_bytes` its first and its last part, with a mark between
    them. Without a debugging window the file is gone by then, and the body empty. Attributes are
    `streaming_logger.session`, `.outcome`, `.bytes`, `.file`, and `.loop` where the radar found one. Severity is INFO,
    or WARN for a session that failed, and for loops. Each forked process calls it for itself, as it makes
    its own provider. Use a `BatchLogRecordProcessor`: a record is made while files are flushed, which must not wait for
    an exporter; the processor's queue is bounded, and drops what finds no room.

    >>> import tempfile
    >>> export_sessions(StreamingLogger(directory=tempfile.mkdtemp()))
    """
    from opentelemetry import _logs  # type: ignore[import-not-found,unused-ignore]

    checked_logger(logger)
    if isinstance(max_body_bytes, bool) or not isinstance(max_body_bytes, int):
        raise TypeError(refusal("max_body_bytes", "must be an int", max_body_bytes))
    if max_body_bytes < 1:
        raise ValueError(refusal("max_body_bytes", "must be at least 1", max_body_bytes))
    emitter = otel_logger if otel_logger is not None else _logs.get_logger("streaming_logger")
    if not callable(getattr(emitter, "emit", None)):
        raise TypeError(refusal("otel_logger", "must be a Logger or None", otel_logger))
    try:
        _record(0, well=True, body="", attributes={})
    except Exception as error:  # noqa: BLE001 - its module is not stable: whatever it raises, it is another version
        SUPPORTED.refuse(metadata.version("opentelemetry-api"), f"no log record can be made ({error!r})")
    logger._engine_here().events.observers.add(_Exporter(logger, emitter, max_body_bytes))


def _record(nanoseconds: int, *, well: bool, body: str, attributes: dict[str, Any]) -> Any:
    from opentelemetry._logs import LogRecord, SeverityNumber

    return LogRecord(
        timestamp=nanoseconds,
        severity_number=SeverityNumber.INFO if well else SeverityNumber.WARN,
        severity_text="INFO" if well else "WARN",
        body=body,
        attributes=attributes,
    )


class _Exporter(Observer):
    name = "otel logs"

    def __init__(self, logger: StreamingLogger, otel_logger: Logger, max_body_bytes: int) -> None:
        self._directory = logger.base_dir
        self._otel_logger = otel_logger
        self._max_body_bytes = max_body_bytes
        self._loops: dict[str, str] = {}

    def on_event(self, event: Event) -> None:
        if isinstance(event, LoopFound):
            self._loops[event.session] = event.kind
        elif isinstance(event, SessionEnded):
            self._emit(event, self._loops.pop(event.session, None))

    def _emit(self, event: SessionEnded, loop: str | None) -> None:
        well = not has_failed(event.outcome) and loop is None
        attributes: dict[str, Any] = {f"streaming_logger.{name}": getattr(event, name) for name in _FIELDS}
        if loop is not None:
            attributes["streaming_logger.loop"] = loop
        body = self._body(event.file)
        self._otel_logger.emit(_record(int(event.at * 1e9), well=well, body=body, attributes=attributes))

    def _body(self, name: str) -> str:
        try:
            with open(self._directory / name, "rb", opener=_open_file) as file:
                size, limit = os.fstat(file.fileno()).st_size, self._max_body_bytes
                if size <= limit:
                    return file.read().decode("utf-8", "backslashreplace")
                head = file.read(limit // 2)
                file.seek(size - (limit - limit // 2))
                tail = file.read()
        except OSError:
            return ""
        left_out = f"\n[streaming_logger: {size - limit:,} bytes left out]\n"
        return head.decode("utf-8", "ignore") + left_out + tail.decode("utf-8", "ignore")


def _open_file(path: str, flags: int) -> int:
    """Without waiting for whoever may have put a pipe in the file's place, and through no link."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
