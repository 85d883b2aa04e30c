"""What is done beside each append, where it is configured: an extension registers with the writer."""

from __future__ import annotations

from collections.abc import Sequence

from streaming_logger._write.session import Mark, Session

__all__ = ["Extension"]


class Extension:
    """Override what you need. Called on the thread that does the I/O, while the session's file is open.

    Raise `BusyError` when the file has to be opened anew. Other exceptions are reported, and harm no session.
    """

    @property
    def is_on(self) -> bool:
        """Whether it is told of text now: asked once for each slice of a flush."""
        return True

    def may_begin(self, session: Session) -> bool:
        """Asked before the first append of a turn; false: its text waits in memory for now."""
        del session
        return True

    def wrote(self, session: Session, marks: Sequence[Mark]) -> None:
        """Text went to the session's file. `marks`: which chunks, in a log with times."""

    def over(self, session: Session) -> None:
        """The turn's text is in its file."""
