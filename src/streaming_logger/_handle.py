"""What `StreamingLogger.session` gives: one stream, completed on every way out of a `with` block."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

__all__ = ["SessionHandle"]


class _Logger(Protocol):
    def write(self, session_id: str, chunk: str | None) -> None: ...

    def complete_session(self, session_id: str, *, outcome: str, wait: bool) -> None: ...


class SessionHandle:
    """`write(chunk)` until the `with` block ends."""

    __slots__ = ("_logger", "_wait", "session_id")

    def __init__(self, logger: _Logger, session_id: str, wait: bool) -> None:
        self._logger = logger
        self._wait = wait
        self.session_id = session_id

    def write(self, chunk: str | None) -> None:
        """Logs one chunk, as `StreamingLogger.write` does."""
        self._logger.write(self.session_id, chunk)

    def __enter__(self) -> SessionHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._logger.complete_session(self.session_id, outcome="error" if kind else "completed", wait=self._wait)
