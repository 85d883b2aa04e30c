"""The crash journal of a live process: each chunk also goes into memory that the kernel keeps when the process dies.

Writers fill one half of it, the active one. A flush begins with the other half as the active one, if that is empty;
when all that the older half holds is in the session files, that one is emptied. For each append to a file the
flusher notes before, and after, up to which place in the records the session is written: see `journal_format`.

A chunk that finds no room is counted, and asks for a flush: until that is done the guarantee for what is written
is the flush interval again. So is it for all text when there is no room for the flusher's notes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Literal

from streaming_logger._context import Context
from streaming_logger._disk.journal_file import JournalError, JournalFile, make_fork_flag
from streaming_logger._disk.journal_format import done_mark, end_mark, half_start, live_mark, marker_record
from streaming_logger._memory.session import Session

__all__ = ["Journal", "JournaledSession", "turn_of"]


class JournaledSession(Session):
    """A turn whose text is in the journal, too."""

    __slots__ = ("turn",)

    turn: int
    """Its number in this table."""


def turn_of(session: Session) -> int:
    """The number of a turn of a `JournaledTable`."""
    assert isinstance(session, JournaledSession)  # noqa: S101 - `begin` makes no other
    return session.turn


class Journal:
    """One logger's. `on_filling` asks for a flush.

    `write` and `place` are the active half's own C functions. What a writer does with a session's list and `write`,
    and the flusher with the list and `place`, is one step: no other thread and no handler comes in between.
    """

    __slots__ = (
        "_active",
        "_asked_for",
        "_closed",
        "_context",
        "_file",
        "_generation",
        "_keep",
        "_missed",
        "_number",
        "_on_filling",
        "_reported",
        "_void",
        "_waiting",
        "is_mine",
        "missed_chunks",
        "place",
        "seal",
        "write",
    )

    def __init__(self, context: Context, on_filling: Callable[[], None]) -> None:
        """Raises `OSError` where the kernel cannot tell a forked child."""
        self._context = context
        self._on_filling = on_filling
        self.is_mine = make_fork_flag()
        """[0] is 1 in the process that owns this journal."""
        self.write: Callable[[bytes], object] = _ignore
        """Appends a record to the active half. Raises `ValueError` when it does not fit."""
        self.place: Callable[[], int] = _zero
        """Where the next record goes."""
        self.seal: Callable[[int, Literal[2]], object] = _ignore
        """`seal(0, 2)`: nothing fits any more. Or a shorter chunk would, and the text had a hole without a mark."""
        self.missed_chunks = 0
        self._file: JournalFile | None = None
        self._closed = self._keep = self._void = False
        self._active = self._number = self._generation = self._reported = 0
        self._asked_for = -1
        self._missed: dict[bytes, None] = {}
        # Sessions with text of the older half that is not in its file. Only the worker uses it.
        self._waiting: set[Session] = set()

    # -- writers ---------------------------------------------------------------------

    def start(self) -> None:
        """Makes the file, at first use. Where that fails the reason is logged, once, and there is no journal."""
        if self._file is not None or self._closed:
            return
        context = self._context
        try:
            file = JournalFile(context.store.directory, int(context.settings.config.crash_journal_mb * 1_000_000))
        except JournalError as error:
            self._closed = True
            level = logging.INFO if context.settings.config.crash_journal == "auto" else logging.ERROR
            context.events.log(level, "a crash may lose the last flush interval: %s", error)
            return
        except OSError:
            return  # the directory: it is reported, and tried again, by the flush
        if self._file is not None:  # another thread, or a handler that interrupted this one, was first
            file.remove()
            return
        self._file = file
        self._generation = context.store.directory.generation
        self._begin(0, ())

    def missed(self, record: bytes) -> None:
        """A chunk, or the end of a turn, is in the table and not in here; this record is to stand for it."""
        self._missed[record] = None
        self.missed_chunks += 1

    def check_room(self) -> None:
        """Asks for an early flush when the active half is half full, or was too small for a chunk."""
        file = self._file
        if file is None or self._asked_for == self._number:
            return
        if self.place() > len(file.halves[self._active].records) // 2:
            self._on_filling()
            self._asked_for = self._number  # last: an interrupt before it means asking twice

    # -- the flusher -----------------------------------------------------------------

    @property
    def is_recording(self) -> bool:
        """Whether the flusher's notes go anywhere."""
        return self._file is not None and not self._void

    def begin_flush(self, sessions: Callable[[], Iterable[Session]]) -> None:
        """Turns to the other half, if that is empty. `sessions` gives all that are in memory."""
        file, directory = self._file, self._context.store.directory
        if file is None or self._closed:
            return
        if self.missed_chunks != self._reported:
            self._context.counters.add(chunks_unjournaled=self.missed_chunks - self._reported)
            self._reported = self.missed_chunks
            self._context.events.report(
                "crash journal",
                "the crash journal is full: a crash may lose text that waits for the flush",
                subject="journal",
            )
        elif not self._void:
            self._context.events.clear("crash journal", "", subject="journal")
        if self._generation != directory.generation:
            file.locate(directory)
            self._generation = directory.generation
        if self._waiting or (self.place() <= len(half_start(self._number)) and not self._void):
            return
        other = 1 - self._active
        if self._void:  # what it does not hold is missing from all sessions with text
            for half in file.halves:
                half.clear()
            self._missed.update((marker_record(session.id), None) for session in sessions() if session)
            self._void = False
        missed, self._missed = self._missed, {}
        self._begin(other, missed)
        # After that: what is in none of these lists by now has its text in the new half, or in its file.
        known = list(sessions())
        self._waiting = {session for session in known if session}
        half = file.halves[other]
        marks = b"".join(live_mark(session.id, turn_of(session)) for session in known)
        if len(marks) < half.room // 2:  # only so that sessions without new text count as crashed, too
            half.mark(marks)

    def mark(self, marks: bytes) -> None:
        """Notes something of the flusher's."""
        if self.is_recording and self._file is not None and not self._file.halves[self._active].mark(marks):
            self._invalidate()

    def written(self, sessions: Iterable[Session]) -> None:
        """All that was claimed is in the files; of these sessions nothing else is waiting."""
        self.mark(done_mark())
        self._waiting.difference_update(sessions)

    def ended(self, session: Session) -> None:
        """Its text is in its file, and its turn is over."""
        self.mark(end_mark(session.id, turn_of(session)))
        self._waiting.discard(session)

    def end_flush(self) -> None:
        """Empties the older half, if all that it holds is in the files."""
        file, older = self._file, 1 - self._active
        if file is None or self._void:
            return
        self._waiting = {session for session in self._waiting if session}
        if not self._waiting and file.halves[older].records.tell():
            file.halves[older].clear()

    def keep(self) -> None:
        """Text was given up that is in here: it stays for recovery."""
        self._keep = True

    def close(self) -> None:
        """The end of this owner. The file goes with it, if all is written."""
        file, self._file = self._detached()
        if file is not None and self._keep:
            file.close()
        elif file is not None:
            file.remove()

    def forget_in_child(self) -> None:
        """After a fork, in the child: lets go of the parent's journal, and of its lock."""
        file, self._file = self._detached()
        if file is not None:
            file.close()

    # -- inside ----------------------------------------------------------------------

    def _begin(self, active: int, missed: Iterable[bytes]) -> None:
        """Makes a half the active one; it is empty."""
        assert self._file is not None  # noqa: S101 - its callers made sure
        records = self._file.halves[active].records
        records.write(half_start(self._number + 1))
        for record in missed:
            if len(record) < len(records) - records.tell():
                records.write(record)
        write, place, seal = records.write, records.tell, records.seek
        self._number += 1
        # One step: no call in between.
        self._active = active
        self.write = write
        self.place = place
        self.seal = seal

    def _invalidate(self) -> None:
        """Nothing in it may be recovered: without the flusher's notes that could be in the files already."""
        assert self._file is not None  # noqa: S101 - its callers made sure
        self.seal(0, 2)
        self._void = True
        self._waiting = set()
        for half in self._file.halves:
            half.records[0:1] = b"\xff"
        self._context.events.report(
            "crash journal", "the crash journal is full: a crash may lose the last flush interval", subject="journal"
        )

    def _detached(self) -> tuple[JournalFile | None, None]:
        self._closed = True
        self.write = self.seal = _ignore
        self.place = _zero
        return self._file, None


def _ignore(*_: object) -> None:
    """There is no journal."""


def _zero() -> int:
    return 0
