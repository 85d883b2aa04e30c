"""Sessions' text into their files: noted in the log, appended, settled; and what the disk refuses is kept.

Only the thread that does the I/O runs this code. A fault leaves what was not written where it is, in order, to be
tried again at the next flush. Whatever one session's step raises is counted and reported; it never reaches the others.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Container, Sequence

from streaming_logger._base.errors import reason_of
from streaming_logger._base.stats import FULL
from streaming_logger._context import Context
from streaming_logger._disk.store import BusyError, ForeignFileError
from streaming_logger._events.model import TextDropped
from streaming_logger._wal.notes import Notes
from streaming_logger._wal.record import Claim
from streaming_logger._write.extension import Extension
from streaming_logger._write.open_files import OpenFiles
from streaming_logger._write.session import Block, Mark, Session
from streaming_logger._write.sessions import Sessions

__all__ = ["Writer"]

#: A session, its unwritten text, and how many bytes that is.
_Offer = tuple[Session, list[Block], int]

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
#: Faults that are reported beside those of the disk.
_KINDS: dict[type[Exception], str] = {ForeignFileError: "quarantine", BusyError: "locked"}
#: All kinds of faults of a session's writes: its text waits in memory until one succeeds.
_FAULTS = ("write", *_KINDS.values())
#: A file that was busy this often is claimed by a process that is stuck.
_BUSY_ATTEMPTS = 8


class Writer:
    """Writes sessions. `on_disk_full` is called when the disk is."""

    def __init__(self, context: Context, sessions: Sessions, notes: Notes, on_disk_full: Callable[[], None]) -> None:
        self.files = OpenFiles(context)
        self.met_busy = False
        """Whether a file was locked by another process since this was last set to False."""
        self.total = 0
        """Bytes written so far."""
        self._sessions = sessions
        self._notes = notes
        self._store = context.store
        self._counters = context.counters
        self._clock = context.clock
        self._events = context.events
        self._on_disk_full = on_disk_full
        self._extensions: tuple[Extension, ...] = ()
        self._counted = 0
        self._is_hurried = False

    def hurry(self) -> None:
        """From now on no turn waits before its first append."""
        self._is_hurried = True

    def _may_begin(self, session: Session) -> bool:
        return self._is_hurried or all(extension.may_begin(session) for extension in self._extensions)

    def extend(self, extension: Extension) -> None:
        """Registers what else is done with each append."""
        self._extensions = (*self._extensions, extension)

    def write(self, sessions: Sequence[Session], held_back: Container[str] = ()) -> None:
        """Writes what some sessions have, except for ids in `held_back`."""
        todo: list[_Offer] = []
        for session in sessions:
            if session and session.id not in held_back and self._acquire(session):
                self._offer(session, todo)
        parked = [session for session, _, _ in todo if session.file is None]  # to open the files of later ones
        todo = [offer for offer in todo if offer[0].file is not None] if parked else todo
        self._append(todo)
        for session in parked:
            self.write([session])

    def _append(self, todo: list[_Offer]) -> None:
        """Appends what is offered, again as long as the disk takes a part of it."""
        while todo:
            self._claim(todo)
            taken = self._store.append_all([(session.file, blocks) for session, blocks, _ in todo])
            marks = [self._settle(*offer, size) for offer, size in zip(todo, taken, strict=True)]
            if sum(taken) < sum(size for _, _, size in todo):
                self._claim([(session, (), session.size) for session, _, _ in todo if session])
            self._notes.done()
            self._tell(todo, taken, marks)
            rest: list[_Offer] = []
            for (session, _, offered), size in zip(todo, taken, strict=True):
                if 0 < size < offered:
                    self._offer(session, rest)  # more than one call takes, or than the disk has room for
            todo = rest

    def drain(self, session: Session) -> bool:
        """Writes all that one session has; false when a fault left something. Its file's name is verified first."""
        if session and self._acquire(session, verify=True):
            self.write([session])
        return not session

    def finish(self, session: Session) -> None:
        """The turn's text is in its file, which is still open."""
        for extension in self._extensions:
            self._extend(session, lambda extension=extension: extension.over(session))  # type: ignore[misc]
        self.release(session)

    def release(self, session: Session) -> None:
        """Nothing more is written for a session, whatever has failed."""
        for kind in _FAULTS:
            self._events.release(kind, session.id)

    # -- one append --------------------------------------------------------------------

    def _offer(self, session: Session, todo: list[_Offer]) -> None:
        """Takes the unwritten text of a session in hand. It stays in memory until it is settled."""
        try:
            if session.blocks:
                self._sessions.freeze(session)
            blocks = session.unwritten()
            todo.append((session, blocks, sum(map(len, blocks))))
        except Exception as error:  # noqa: BLE001 - see the module
            self._failed(session, error)

    def _claim(self, todo: Sequence[tuple[Session, Sequence[Block], int]]) -> None:
        """Notes what is appended; without blocks, what is left after a part of it was."""
        if not self._notes.is_kept:
            return
        applied, claims = self._sessions.applied, []
        for session, blocks, size in todo:
            file, completion = session.file, session.completion
            turn = 0 if completion is None else completion.end.number
            end, inode = (0, 0) if file is None else (file.size, file.inode)
            claims.append(Claim(session.key, turn, applied, size, size if blocks else 0, end, inode))
        self._notes.claims(claims)

    def _settle(self, session: Session, blocks: list[Block], offered: int, size: int) -> list[Mark]:
        """After an append: takes out of memory what is in the file; its marks."""
        marks = session.wrote(size, blocks)
        self._sessions.written(size)
        session.last_write = self._clock.monotonic()
        self.total += size
        if size == offered:
            session.safe = self._sessions.applied
            if session.attempts:
                self._recovered(session)
        elif not size and session.file is not None:
            self._failed(session, session.file.error or OSError(errno.EIO, "nothing was written"))
        return marks

    def _tell(self, todo: list[_Offer], taken: list[int], marks: list[list[Mark]]) -> None:
        """Tells who registered. After all is noted: a cut makes a file shorter than it was claimed to be."""
        extensions = [extension for extension in self._extensions if extension.is_on]
        observers = self._events.observers
        readers = observers.text_readers()
        if not extensions and not readers:
            return
        for (session, blocks, _), size, chunks in zip(todo, taken, marks, strict=True):
            if size:
                for extension in extensions:
                    self._extend(session, lambda: extension.wrote(session, chunks))  # noqa: B023 - called at once
                if readers:
                    observers.text(readers, session.id, blocks, size)

    def _acquire(self, session: Session, *, verify: bool = False) -> bool:
        """Opens or verifies a session's file; whether it can be written."""
        if not verify and self.files.is_verified(session):
            return True
        if not session.written and session.file is None and not self._may_begin(session):
            return False
        try:
            self.files.acquire(session, verify=verify)
        except Exception as error:  # noqa: BLE001 - see the module
            session.last_write = self._clock.monotonic()
            if session.fresh:
                session.compact()
            self._failed(session, error)
            return False
        return True

    def _extend(self, session: Session, work: Callable[[], None]) -> None:
        """Does an extension's work; its faults stay its own."""
        try:
            work()
        except BusyError as error:
            self.files.close(session)
            self._failed(session, error)
        except Exception as error:  # noqa: BLE001 - see the module; the text itself is written
            if isinstance(error, OSError) and error.errno == errno.EBADF:
                self.files.close(session)
            self._counters.add(write_errors=1)
            self._events.report(
                "extension", "%s: %s", session.name, reason_of(error), subject=session.id, session=session.id
            )

    # -- faults ------------------------------------------------------------------------

    def _recovered(self, session: Session) -> None:
        """After a write: no attempt has failed any more."""
        session.attempts = 0
        for kind in _FAULTS:
            self._events.clear(kind, "writes recovered", subject=session.id)

    def _failed(self, session: Session, error: Exception) -> None:
        session.attempts += 1
        if isinstance(error, BusyError):
            self.met_busy = True
            if session.attempts < _BUSY_ATTEMPTS:
                return  # a sweeper holds a lock for microseconds: no error; a lock held for good is
            text = f"locked by another process: {self._store.directory.holder(session.name)}"
        else:
            text = reason_of(error)
        if isinstance(error, OSError):
            if error.errno == errno.EBADF:
                self.files.close(session)
            elif error.errno in _DISK_FULL:
                self._on_disk_full()
        self._counters.add(write_errors=1)
        kind = _KINDS.get(type(error), "write")
        self._events.report(
            kind,
            "cannot write %s, its text stays in memory: %s",
            session.name,
            text,
            subject=session.id,
            session=session.id,
        )

    # -- numbers -----------------------------------------------------------------------

    def count(self, **more: int) -> None:
        """Adds up what was written since the last time."""
        written, self._counted = self.total - self._counted, self.total
        self._counters.add(bytes_written=written, **more)

    def report_drops(self, session: Session, reason: str) -> None:
        """Reports what a session lost since the last time."""
        characters, session.dropped_chars = session.dropped_chars, 0
        if not characters:
            return
        if reason == FULL:
            self._sessions.drops_reported += characters
        self._events.emit(TextDropped(session=session.id, characters=characters, reason=reason))
