"""The cap on a session's file: a runaway keeps its beginning and its last part, and the disk its space."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from streaming_logger._base.errors import reason_of
from streaming_logger._context import Context
from streaming_logger._disk.cut import SESSION_CAP, Cut, can_cut
from streaming_logger._disk.store import BusyError
from streaming_logger._events.model import TextDropped
from streaming_logger._write.extension import Extension
from streaming_logger._write.open_files import OpenFiles
from streaming_logger._write.session import Mark, Session

__all__ = ["Cap"]

#: The kinds of faults that keep a file longer than it may be.
_FAULTS = ("cap", "shared cap")


class Cap(Extension):
    """Cuts the files of sessions above `max_session_mb`, right after they were written.

    `on_cut` is told of each cut.
    """

    def __init__(
        self, context: Context, files: OpenFiles, on_cut: Callable[[Session, Cut], None] | None = None
    ) -> None:
        self._files = files
        self._on_cut = on_cut
        self._settings = context.settings
        self._store = context.store
        self._counters = context.counters
        self._events = context.events
        self._capped: set[str] = set()

    @property
    def limit(self) -> int | None:
        """Bytes that a session's file may have."""
        limit = self._settings.config.max_session_mb
        return None if limit is None or not can_cut else int(limit * 1_000_000)

    @property
    def is_on(self) -> bool:
        """Whether there is a cap."""
        return self.limit is not None

    def wrote(self, session: Session, marks: Sequence[Mark]) -> None:
        """Cuts the session's file if it is too long. It stays too long where that fails; its session can end."""
        del marks
        try:
            cut = self._apply(session)
        except BusyError:
            raise
        except OSError as error:
            self._events.report(
                "cap", "cannot cut %s: %s", session.name, reason_of(error), subject=session.id, session=session.id
            )
            self._counters.add(write_errors=1)
            if error.errno == errno.EBADF:
                self._files.close(session)
            return
        if cut is not None and self._on_cut is not None:
            self._on_cut(session, cut)

    def _apply(self, session: Session) -> Cut | None:
        """Cuts a session's open file if it is too long. Raises `OSError`, and `BusyError` where its lock was lost."""
        limit = self.limit
        if limit is None or session.file is None or self._store.size(session.file) <= limit:
            self._clear(session.id)
            return None
        try:
            cut = self._store.cut(session.name, session.file, limit)
        except BusyError:
            self._files.close(session)
            raise
        if cut is None:
            self._events.report(
                "shared cap",
                "cannot cut %s: another process writes it, too",
                session.name,
                subject=session.id,
                session=session.id,
            )
            return None
        self._clear(session.id)
        self._counters.dropped(SESSION_CAP, cut.characters)
        first = session.id not in self._capped
        self._capped.add(session.id)
        self._events.emit(
            TextDropped(
                session=session.id,
                characters=cut.characters,
                reason=SESSION_CAP,
                begin=cut.start,
                end=cut.end,
                marker=cut.marker,
            ),
            log=first,
        )
        return cut

    def over(self, session: Session) -> None:
        """The session's turn is over."""
        self._capped.discard(session.id)
        for kind in _FAULTS:
            self._events.release(kind, session.id)

    def _clear(self, session_id: str) -> None:
        """The file is not longer than it may be."""
        for kind in _FAULTS:
            self._events.clear(kind, "", subject=session_id)
