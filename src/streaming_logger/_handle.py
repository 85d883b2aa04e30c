"""What `StreamingLogger.session` returns: one stream, completed on every way out of a `with` block."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from streaming_logger._base.errors import outcome_of
from streaming_logger._base.loop import is_on_event_loop
from streaming_logger._base.outcomes import Outcome, checked_outcome

__all__ = ["SessionHandle"]


class _Radar(Protocol):
    def leave_alone(self, session_id: str) -> None: ...


class _Engine(Protocol):
    @property
    def radar(self) -> _Radar: ...

    def begin_session(self, session_id: str) -> bool: ...


class _Logger(Protocol):
    def _engine_here(self) -> _Engine: ...

    def write(self, session_id: str, chunk: str | None) -> None: ...

    def complete_session(self, session_id: str, *, outcome: Outcome, wait: bool) -> None: ...

    async def acomplete_session(self, session_id: str, *, outcome: Outcome) -> None: ...


class SessionHandle:
    """`write(chunk)` until the `with` or `async with` block ends."""

    __slots__ = ("_logger", "_outcome", "_wait", "session_id")

    def __init__(self, logger: _Logger, session_id: str, wait: bool, radar: bool = True) -> None:
        if not radar:
            logger._engine_here().radar.leave_alone(session_id)
        self._logger = logger
        self._wait = wait
        self.session_id = session_id
        self._outcome: Outcome | None = None

    @property
    def outcome(self) -> Outcome | None:
        """Set it inside the block to choose the outcome; None: told by how the block ends.

        Raises `ValueError` for an unknown outcome, `TypeError` for anything but a string.
        """
        return self._outcome

    @outcome.setter
    def outcome(self, outcome: Outcome | None) -> None:
        self._outcome = None if outcome is None else checked_outcome(outcome)

    def write(self, chunk: str | None) -> None:
        """Logs one chunk, as `StreamingLogger.write` does."""
        self._logger.write(self.session_id, chunk)

    def __enter__(self) -> SessionHandle:
        self._logger._engine_here().begin_session(self.session_id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = self._outcome or outcome_of(kind)
        wait = self._wait and not is_on_event_loop()  # a loop must not stand still while the disk is slow
        self._logger.complete_session(self.session_id, outcome=outcome, wait=wait)

    async def __aenter__(self) -> SessionHandle:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._wait:
            await self._logger.acomplete_session(self.session_id, outcome=self._outcome or outcome_of(kind))
        else:
            self.__exit__(kind, error, trace)
