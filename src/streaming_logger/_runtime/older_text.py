"""A session's text of a process that died comes before that of a new turn."""

from __future__ import annotations

from streaming_logger._sweep.crashes import Crashes
from streaming_logger._write.extension import Extension
from streaming_logger._write.session import Session

__all__ = ["OlderText"]


class OlderText(Extension):
    """Recovers what other processes have left before a turn is written, or has it wait while another one does."""

    def __init__(self, crashes: Crashes) -> None:
        self._crashes = crashes

    def may_begin(self, session: Session) -> bool:
        """Looks once for all turns that began before the last look."""
        return not self._crashes.is_awaited(session.begun)
