"""A handler of Python's `logging` that puts the records of a session into the session's file."""

from __future__ import annotations

import logging

from streaming_logger._logger import StreamingLogger
from streaming_logger.integrations._guard import Guard, refusal

__all__ = ["SessionHandler"]


class SessionHandler(logging.Handler):
    """Writes each record that has a `session` to its session's file, formatted, with a line end.

    Records without one, and this library's own, are ignored; other handlers get all of them as before.
    `field` is the record's attribute that names the session. The session is completed as any other:
    by `complete_session`, or when it is idle for too long. A session that is not a str, int or UUID is
    reported, and its record ignored. `logger` None: the one of `get_streaming_logger()`, so that
    `logging.config` can make the handler by its name.

    >>> from streaming_logger.testing import ManualLogger
    >>> logger = ManualLogger()
    >>> log = logging.getLogger("my_server"); log.addHandler(SessionHandler(logger))
    >>> log.warning("tool %s failed", "search", extra={"session": "sess_1"})
    >>> logger.text
    {'sess_1': 'tool search failed\\n'}
    >>> log.removeHandler(log.handlers[0]); logger.close()
    """

    def __init__(
        self, logger: StreamingLogger | None = None, *, field: str = "session", level: int | str = logging.NOTSET
    ) -> None:
        super().__init__(level)
        if not isinstance(field, str) or not field:
            raise TypeError(refusal("field", "must be the name of a record's attribute", field))
        self.field = field
        self._guard = Guard("logging", logger)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            value = getattr(record, self.field, None)
            # This library's own records have a session, too.
            if value is None or str(record.name).partition(".")[0] == "streaming_logger":
                return
            if (session_id := self._guard.session_id((value,))) is not None:
                self._guard.write(session_id, f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - as every handler does: logging.raiseExceptions decides
            self.handleError(record)
