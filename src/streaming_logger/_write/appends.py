"""Where text goes into the files; with a crash journal, each append is noted there before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import compress

from streaming_logger._disk.journal_format import Claim, claim_mark
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
        claim = self._claim(session, 0, 0, size)
        self._journal.mark(claim_mark(claim))
        try:
            taken = super().append(session, blocks)
            return taken
        finally:
            if taken < size:
                self._journal.mark(_with(claim, taken))
            self._journal.written([session] if taken == claim.unwritten else [])

    def append_all(self, sessions: Sequence[Session], texts: Sequence[bytes]) -> list[int]:
        if not self._journal.is_recording:
            return super().append_all(sessions, texts)
        try:
            claims = [
                self._claim(session, session.sealed, len(text), len(text))
                for session, text in zip(sessions, texts, strict=True)
            ]
            marks = b"".join([claim_mark(claim) for claim in claims])
        except Exception:  # noqa: BLE001 - one of them: `append` takes them one by one
            return [0] * len(sessions)
        self._journal.mark(marks)
        taken = super().append_all(sessions, texts)
        written = sessions
        if (short := [size < len(text) for size, text in zip(taken, texts, strict=True)]) and any(short):
            self._journal.mark(b"".join(_with(*each) for each in compress(zip(claims, taken, strict=True), short)))
            written = [session for session, is_short in zip(sessions, short, strict=True) if not is_short]
        # What they got since their text was taken in hand is in the half that is active now.
        self._journal.written(written)
        return taken

    def begin_flush(self, unfinished: Callable[[], list[Session]]) -> None:
        self._journal.begin_flush(lambda: self._table.sessions(unfinished()))

    def _claim(self, session: Session, start: int, before: int, size: int) -> Claim:
        """What is noted before an append; its items before `start` are so many bytes."""
        end = inode = 0  # of a file that was closed since, to save descriptors or by a fault
        if (file := session.file) is not None:
            with suppress(OSError):
                end, inode = self._store.size(file), file.inode
        place, behind = self._table.behind(session, start)
        return Claim(session.id, turn_of(session), place, before + behind, size, end, inode)


def _with(claim: Claim, taken: int) -> bytes:
    """The claim of an append that took only so much: of nothing more."""
    return claim_mark(claim._replace(unwritten=claim.unwritten - taken, size=0))


def appends_of(table: SessionTable, store: Store) -> Appends:
    """With a journal where the table has one."""
    return _JournaledAppends(store, table) if isinstance(table, JournaledTable) else Appends(store)
