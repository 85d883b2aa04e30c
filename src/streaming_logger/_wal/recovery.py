"""What a dead process's log holds is appended to its session files, each byte once, and its ends are carried out.

A recovery may itself be killed at any moment, or run in several processes at once: a log's lock lets one work, and
before each append it notes in the log's header how long the file was. Writers of other processes may append to the
same files meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import NamedTuple

from streaming_logger._base.errors import reason_of
from streaming_logger._base.outcomes import CRASHED
from streaming_logger._disk.store import BusyError, Claim, OpenFile, Store
from streaming_logger._disk.timing import completed, format_line, recorded_size
from streaming_logger._wal.contents import LOST, Attempt, Turn, turns_in
from streaming_logger._wal.dead import DeadLog, DeadLogs, PassedOverError, Resume
from streaming_logger._wal.header import LogError
from streaming_logger._wal.record import End

__all__ = ["Recovered", "recover"]


#: The end of a turn of which the log has none.
_CRASH = End(CRASHED, CRASHED, 0, "")


class Recovered(NamedTuple):
    """A turn that was not over when its process died."""

    session_id: str
    name: str
    outcome: str
    """"crashed", or the one that its end had, which the log has."""
    cause: str
    saved: int
    """Bytes of it that only the log had."""
    error: str
    pid: int
    """The dead process."""


def recover(
    store: Store, dead: DeadLogs, failed: Callable[[str, str], None], passed_over: Callable[[str, str], None]
) -> Iterator[Recovered]:
    """Recovers the sessions of the store's directory from all logs of dead processes, one after the other.

    `failed(name, why)` is called for a log or session file that cannot be used; whatever it is, it stops no other.
    A session whose file fails is tried again the next time; the log stays until all are done.
    `passed_over(name, process)` is called for a log that another process is stuck with.
    """
    with closing(dead.each(failed, passed_over)) as logs:
        for log in logs:
            try:
                if log.is_finished:
                    log.remove()
                elif log.belongs_to(store.directory):
                    yield from _Replay(store, log, failed).run()
                elif log.is_orphaned:
                    log.remove()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one log, the others are recovered
                failed(log.path.name, reason_of(error))


class _Replay:
    def __init__(self, store: Store, log: DeadLog, failed: Callable[[str, str], None]) -> None:
        self._store = store
        self._log = log
        self._failed = failed

    def run(self) -> Iterator[Recovered]:
        """Raises whatever is wrong with the log as a whole."""
        log, failed = self._log, set[bytes]()
        for number, turn in enumerate(self._turns(), 1):
            if log.is_done(number) or turn.is_over:
                continue
            try:
                if turn.key in failed:
                    continue  # its older text is not in the file yet
                saved = self._restore(number, turn)
            except PassedOverError:
                raise
            except Exception as error:  # noqa: BLE001 - it is this session's: the others are recovered
                failed.add(turn.key)
                self._failed(turn.file_name, reason_of(error))
                continue
            if saved is None:
                continue
            log.mark_done(number)
            end = turn.end or _CRASH
            yield Recovered(turn.session_id, turn.file_name, end.outcome, end.cause, saved, end.error, log.about["pid"])
        if not failed:
            log.mark_finished()
            log.remove()

    def _turns(self) -> list[Turn]:
        try:
            turns = turns_in(self._log.segments())
        except (ValueError, LookupError, TypeError) as error:
            raise LogError(f"its content is damaged: {error!r}") from error
        for turn in turns:
            if self._log.is_given_up and turn.written < turn.length:
                turn.replace(LOST, turn.places[-1])
            elif self._log.is_short and turn.end is None:
                turn.add(LOST, turn.places[-1] if turn.places else 0)
        return turns

    def _restore(self, number: int, turn: Turn) -> int | None:
        """Appends what a session's file lacks, and marks it; how many bytes that was.

        None: nothing of it was unwritten, and its file is gone.
        """
        store, resume, text = self._store, self._log.resume(number), turn.text
        written = min(turn.written, len(text))
        if written == len(text) and turn.attempt is None and (not turn.is_timed or not self._is_there(turn)):
            return self._mark(turn)
        if resume is not None and not written <= resume.written <= len(text):
            raise LogError("the note of an earlier recovery is damaged")
        file = store.open(turn.file_name)
        try:
            size = store.size(file)
            if resume is not None:
                start, end = resume.written, len(text)
                attempt: Attempt | None = Attempt(start, end, resume.file_size, resume.inode, True, end - start)
            else:
                attempt = turn.attempt
            if attempt is not None:
                written = _written(text, attempt, file, size)
            rest = memoryview(text)[written:]
            self._log.note(Resume(number, written, size, file.inode))
            while rest:
                self._log.check()
                rest = rest[store.append(file, [rest]) :]
            with suppress(FileNotFoundError):  # most sessions have no timing file
                self._restore_times(turn, store.size(file))
            self._finish(turn, file)
            return len(text) - written
        finally:
            store.close(file)

    def _restore_times(self, turn: Turn, size: int) -> None:
        """What the timing file lacks are the last bytes of the log file: those of the turn's last pieces."""

        def change(lines: bytes) -> bytes:
            missing = size - recorded_size(lines)
            added: list[bytes] = []
            before: float | None = None
            known = turn.length - missing
            for piece, time, end in zip(turn.pieces, turn.times, turn.lengths, strict=True):
                part = min(len(piece), end - known)
                if part > 0 and time >= 0:
                    added.append(format_line(0.0 if before is None else max(0.0, time - before), part))
                elif part > 0:
                    added.append(format_line(0.0, part))
                before = time if time >= 0 else before
            joined = b"\n" * (lines[-1:] not in (b"", b"\n")) + b"".join(added) if missing > 0 and known >= 0 else b""
            return completed(lines + joined, size)

        self._store.rewrite_timing(turn.file_name, change)

    def _is_there(self, turn: Turn) -> bool:
        try:
            self._store.directory.stat(turn.file_name)
        except FileNotFoundError:
            return False
        return True

    def _mark(self, turn: Turn) -> int | None:
        """All its text is in the file: how it ended is noted with it."""
        try:
            with self._store.claim(turn.file_name) as claim:
                self._note_outcome(turn, claim)
        except FileNotFoundError:
            return None
        except BusyError:
            pass  # another process goes on with it
        return 0

    def _finish(self, turn: Turn, file: OpenFile) -> None:
        if self._store.directory.lock(file.fd):  # else another process goes on with it
            self._note_outcome(turn, file)

    def _note_outcome(self, turn: Turn, file: OpenFile | Claim) -> None:
        end = turn.end or _CRASH
        if end.outcome != "completed" and end.cause != "released":
            self._store.mark(file, end.outcome)


def _written(text: bytes, attempt: Attempt, file: OpenFile, size: int) -> int:
    """How many bytes of a turn's text are in its file, by what was appended since an attempt began."""
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
