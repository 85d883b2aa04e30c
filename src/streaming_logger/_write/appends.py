"""Where text goes into the files; with a crash journal, each append is noted there before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from streaming_logger._disk.journal_format import claim_mark
from streaming_logger._disk.store import Store
from streaming_logger._memory.journal import turn_of
from streaming_logger._memory.journaled import JournaledTable
from streaming_logger._memory.session import Session
from streaming_logger._memory.table import SessionTable

__all__ = ["Appends", "appends_of"]


class Appends:
    """Without a journal."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def append(self, session: Session, blocks: Sequence[bytes | memoryview]) -> int:
        """Writes what the disk takes of the first blocks of a session; how many bytes that was. Raises `OSError`."""
        assert session.file is not None  # noqa: S101 - the caller has opened it
        return self._store.append(session.file, blocks)

    def append_all(self, sessions: Sequence[Session], texts: Sequence[bytes]) -> list[int]:
        """The same for many; 0 for one that the disk refused."""
        return self._store.append_all([session.file for session in sessions], texts)

    def begin_flush(self, unfinished: Callable[[], list[Session]]) -> None:
        """A flush of all sessions begins; `unfinished` are those that ended and wait for the disk."""

    def end_flush(self) -> None:
        """It has ended, whatever it wrote."""

    def finish(self, session: Session) -> None:
        """The turn's text is in its file."""


class _Claim(NamedTuple):
    """What is noted before an append, see `claim_mark`."""

    session_id: str
    turn: int
    place: int
    unwritten: int
    file_size: int
    inode: int

    def mark(self, size: int) -> bytes:
        return claim_mark(*self[:4], size, *self[4:])


class _JournaledAppends(Appends):
    def __init__(self, store: Store, table: JournaledTable) -> None:
        super().__init__(store)
        self._table = table
        self._journal = table.journal
        self.end_flush = self._journal.end_flush  # type: ignore[method-assign]
        self.finish = self._journal.ended  # type: ignore[method-assign]

    def append(self, session: Session, blocks: Sequence[bytes | memoryview]) -> int:
        if not self._journal.is_recording:
            return super().append(session, blocks)
        size, taken = sum(map(len, blocks)), 0
        claims = self._claim([session], [size])
        try:
            taken = super().append(session, blocks)
            return taken
        finally:
            self._settle(claims, [size], [taken], [session] if taken == claims[session].unwritten else [])

    def append_all(self, sessions: Sequence[Session], texts: Sequence[bytes]) -> list[int]:
        if not self._journal.is_recording:
            return super().append_all(sessions, texts)
        sizes = list(map(len, texts))
        claims = self._claim(sessions, sizes)
        taken = super().append_all(sessions, texts)
        # What they got since their text was taken in hand is in the half that is active now.
        written = [session for session, size, done in zip(sessions, sizes, taken, strict=True) if done == size]
        self._settle(claims, sizes, taken, written)
        return taken

    def begin_flush(self, unfinished: Callable[[], list[Session]]) -> None:
        self._journal.begin_flush(lambda: self._table.sessions(unfinished()))

    def _claim(self, sessions: Sequence[Session], sizes: Sequence[int]) -> dict[Session, _Claim]:
        """Notes what is about to be appended."""
        claims: dict[Session, _Claim] = {}
        marks: list[bytes] = []
        for session, size in zip(sessions, sizes, strict=True):
            end, inode = self._end_of(session)
            claims[session] = claim = _Claim(session.id, turn_of(session), *self._table.unwritten(session), end, inode)
            marks.append(claim.mark(size))
        self._journal.mark(b"".join(marks))
        return claims

    def _end_of(self, session: Session) -> tuple[int, int]:
        """(size, inode) of its file; zeros for one that was closed since, to save descriptors or by a fault."""
        if session.file is not None:
            with suppress(OSError):
                return self._store.size(session.file), session.file.inode
        return 0, 0

    def _settle(
        self, claims: dict[Session, _Claim], sizes: Sequence[int], taken: Sequence[int], written: Sequence[Session]
    ) -> None:
        """Notes what was; `written` are those of which nothing is left in the older half."""
        for claim, size, done in zip(claims.values(), sizes, taken, strict=True):
            if done < size:
                self._journal.mark(claim._replace(unwritten=claim.unwritten - done).mark(0))
        self._journal.written(written)


def appends_of(table: SessionTable, store: Store) -> Appends:
    """With a journal where the table has one."""
    return _JournaledAppends(store, table) if isinstance(table, JournaledTable) else Appends(store)
