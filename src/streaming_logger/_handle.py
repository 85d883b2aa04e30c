"""What `StreamingLogger.session` returns: one stream, completed on every way out of a `with` block."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from streaming_logger._base.stats import Outcome

__all__ = ["SessionHandle"]

#: Exceptions by which asyncio, concurrent.futures, trio and gevent cancel; by name, so that none is imported.
_CANCELLATIONS = {"CancelledError", "Cancelled", "GreenletExit"}


class _Logger(Protocol):
    def write(self, session_id: str, chunk: str | None) -> None: ...

    def complete_session(self, session_id: str, *, outcome: Outcome, wait: bool) -> None: ...


class SessionHandle:
    """`write(chunk)` until the `with` block ends."""

    __slots__ = ("_logger", "_wait", "outcome", "session_id")

    def __init__(self, logger: _Logger, session_id: str, wait: bool) -> None:
        self._logger = logger
        self._wait = wait
        self.session_id = session_id
        self.outcome: Outcome | None = None
        """Set it inside the block to choose the outcome; None: told by how the block ends."""

    def write(self, chunk: str | None) -> None:
        """Logs one chunk, as `StreamingLogger.write` does."""
        self._logger.write(self.session_id, chunk)

    def __enter__(self) -> SessionHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = self.outcome or _outcome_of(kind)
        self._logger.complete_session(self.session_id, outcome=outcome, wait=self._wait)


def _outcome_of(kind: type[BaseException] | None) -> Outcome:
    """How a block ended that an exception of this type left, or none."""
    if kind is None:
        return "completed"
    if issubclass(kind, GeneratorExit):
        return "closed"
    return "cancelled" if _CANCELLATIONS & {base.__name__ for base in kind.__mro__} else "error"
