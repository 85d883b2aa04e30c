"""What a dead process's crash journal holds is appended to its session files, each byte once.

A recovery may itself be killed at any moment, or run in several processes at once: a journal's lock lets one work,
and before each append it notes in the journal how long the file was. Writers of other processes may append to the
same files meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import NamedTuple

from streaming_logger._base.errors import reason_of
from streaming_logger._base.outcomes import CRASHED
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.journal_file import DeadJournal, JournalError, Resume, dead_journals
from streaming_logger._disk.journal_format import Attempt, CrashedSession, parse
from streaming_logger._disk.names import file_name_of
from streaming_logger._disk.store import BusyError, OpenFile, Store
from streaming_logger._disk.timing import completed

__all__ = ["Recovered", "recover", "waiting_journals"]


class Recovered(NamedTuple):
    """A session that was active when its process died."""

    session_id: str
    name: str
    saved: int
    """Bytes of it that only the journal had."""
    pid: int
    """The dead process."""


def recover(store: Store, failed: Callable[[str, str], None]) -> Iterator[Recovered]:
    """Recovers the sessions of this directory from all journals of dead processes, one after the other.

    `failed(name, why)` is called for a journal or session file that cannot be used; whatever it is, it stops no other.
    A session whose file fails is tried again the next time; the journal stays until all are done.
    """
    with closing(dead_journals(store.directory, failed)) as journals:
        for journal in journals:
            try:
                if journal.belongs_to(store.directory):
                    yield from _Replay(store, journal, failed).run()
                elif journal.is_orphaned:
                    journal.remove()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one journal, the others are recovered
                failed(journal.path.name, reason_of(error))


def waiting_journals(directory: Directory) -> tuple[list[int], dict[str, str]]:
    """The pids of this directory's dead processes whose journals wait, and by name why others cannot be used."""
    refused: dict[str, str] = {}
    with closing(dead_journals(directory, refused.__setitem__)) as journals:
        return [journal.about["pid"] for journal in journals if journal.belongs_to(directory)], refused


class _Replay:
    def __init__(self, store: Store, journal: DeadJournal, failed: Callable[[str, str], None]) -> None:
        self._store = store
        self._journal = journal
        self._failed = failed

    def run(self) -> Iterator[Recovered]:
        """Raises whatever is wrong with the journal as a whole."""
        journal, whole = self._journal, True
        for number, session in enumerate(self._sessions(), 1):
            if journal.is_done(number) or not session.active:
                continue
            name = file_name_of(session.id)
            try:
                saved = self._restore(name, number, session)
            except Exception as error:  # noqa: BLE001 - it is this session's: the others are recovered
                whole = False
                self._failed(name, reason_of(error))
                continue
            if saved is None:
                continue
            journal.mark_done(number)
            yield Recovered(session.id, name, saved, journal.about["pid"])
        if whole:
            journal.remove()

    def _sessions(self) -> list[CrashedSession]:
        try:
            return parse(self._journal.halves())
        except (ValueError, LookupError, TypeError) as error:
            raise JournalError(f"its content is damaged: {error!r}") from error

    def _restore(self, name: str, number: int, session: CrashedSession) -> int | None:
        """Appends what a session's file lacks, and marks it; how many bytes that was.

        None: nothing of it was unwritten, and its file is gone.
        """
        store, resume = self._store, self._journal.resume(number)
        if session.written == len(session.text):
            try:
                with store.claim(name) as claim:
                    store.mark(claim, CRASHED)
            except FileNotFoundError:
                return None
            except BusyError:
                pass  # another process goes on with it
            return 0
        if resume is not None and not session.written <= resume.written <= len(session.text):
            raise JournalError("the note of an earlier recovery is damaged")
        file = store.open(name)
        try:
            size = store.size(file)
            if resume is not None:
                start, end = resume.written, len(session.text)
                attempt: Attempt | None = Attempt(start, end, resume.file_size, resume.inode, True, end - start)
            else:
                attempt = session.attempt
            written = session.written if attempt is None else self._written(session.text, attempt, file, size)
            rest = memoryview(session.text)[written:]
            self._journal.note(Resume(number, written, size, file.inode))
            while rest:
                rest = rest[store.append(file, [rest]) :]
            saved = len(session.text) - written
            size = store.size(file)
            with suppress(FileNotFoundError):  # most sessions have no timing file
                store.rewrite_timing(name, lambda lines: completed(lines, size))
            if store.directory.lock(file.fd):  # else another process goes on with it
                store.mark(file, CRASHED)
            return saved
        finally:
            store.close(file)

    def _written(self, text: bytes, attempt: Attempt, file: OpenFile, size: int) -> int:
        """How many bytes of a session's text are in its file, by what was appended since an attempt began."""
        start, end, before = attempt.start, min(attempt.end, len(text)), attempt.file_size
        if file.inode != attempt.inode or size <= before:
            return start  # nothing, or to a file that is gone
        end = max(start, end)
        if not attempt.exact:
            return end if size - before >= attempt.size else start
        wanted = text[start:end]
        found = _content(file.fd, before, size)
        if wanted.startswith(found):
            return start + len(found)
        # Another process has appended to it, too. One append stays in one piece.
        return end if wanted in found else start


def _content(fd: int, start: int, end: int) -> bytes:
    parts = []
    while start < end and (part := os.pread(fd, end - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)
