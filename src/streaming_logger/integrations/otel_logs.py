"""Ended sessions as OpenTelemetry log records, with their text. Needs `opentelemetry-api` 1.37 or later."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from streaming_logger._events.observers import Event, Observer
from streaming_logger._logger import StreamingLogger

if TYPE_CHECKING:
    from opentelemetry._logs import Logger  # type: ignore[import-not-found,unused-ignore]

__all__ = ["export_sessions"]

_FIELDS = ("outcome", "bytes", "file")


def export_sessions(
    logger: StreamingLogger, otel_logger: Logger | None = None, *, max_body_bytes: int = 65_536
) -> None:
    """Emits a record for each session that ends, by the global logger provider's logger if none is given.

    The body is the session's text; of more than `max_body_bytes` its first and its last part, with a mark between
    them. Without a debugging window the file is gone by then, and the body empty. Attributes are
    `streaming_logger.session`, `.outcome`, `.bytes`, `.file`, and `.loop` where the radar found one. Severity is INFO,
    or WARN for any other outcome than completed, and for loops. Each forked process calls it for itself, as it makes
    its own provider. Use a `BatchLogRecordProcessor`: a record is made while files are flushed, which must not wait for
    an exporter; the processor's queue is bounded, and drops what finds no room.

    >>> import tempfile
    >>> export_sessions(StreamingLogger(directory=tempfile.mkdtemp()))
    """
    from opentelemetry import _logs  # type: ignore[import-not-found,unused-ignore]

    if max_body_bytes < 1:
        raise ValueError(f"max_body_bytes must be at least 1, got {max_body_bytes!r}")
    emitter = otel_logger if otel_logger is not None else _logs.get_logger("streaming_logger")
    logger._engine.events.observers.add(_Exporter(logger, emitter, max_body_bytes))


class _Exporter(Observer):
    name = "otel logs"

    def __init__(self, logger: StreamingLogger, otel_logger: Logger, max_body_bytes: int) -> None:
        self._directory = logger.base_dir
        self._otel_logger = otel_logger
        self._max_body_bytes = max_body_bytes
        self._loops: dict[str, str] = {}

    def on_event(self, event: Event) -> None:
        session = str(event.fields.get("session"))
        if event.kind == "loop":
            self._loops[session] = str(event.fields.get("kind"))
        elif "outcome" in event.fields:
            self._emit(event, session, self._loops.pop(session, None))

    def _emit(self, event: Event, session: str, loop: str | None) -> None:
        from opentelemetry._logs import LogRecord, SeverityNumber

        well = event.fields["outcome"] == "completed" and loop is None
        attributes: dict[str, Any] = {f"streaming_logger.{name}": event.fields[name] for name in _FIELDS}
        attributes["streaming_logger.session"] = session
        if loop is not None:
            attributes["streaming_logger.loop"] = loop
        self._otel_logger.emit(
            LogRecord(
                timestamp=int(event.at * 1e9),
                severity_number=SeverityNumber.INFO if well else SeverityNumber.WARN,
                severity_text="INFO" if well else "WARN",
                body=self._body(str(event.fields["file"])),
                attributes=attributes,
            )
        )

    def _body(self, name: str) -> str:
        try:
            with open(self._directory / name, "rb") as file:
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
