"""Logs of dead processes: found by the locks that nobody holds, taken by one process at a time.

The lock on a log's header is one that the kernel gives back when its process ends. It is not inherited by a fork, so
it tells who is dead also where a child of a C library's fork lives on, and across the PID namespaces of containers.

Its owner locks the whole header, who recovers it the first byte and the second one. A process that is stopped while it
recovers is passed over after 15 s: another one locks the next byte, and notes that number in the header. Who finds
another number than its own there gives up, before each append.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from streaming_logger._base.errors import reason_of
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.locks import UNSEEN, byte_holder, is_stopped, process
from streaming_logger._disk.turns import Patience
from streaming_logger._wal.header import (
    FINISHED,
    GIVEN_UP,
    HEADER_SIZE,
    STATE_AT,
    TERM_AT,
    WAITING,
    LogError,
    about_of,
    namespace,
)
from streaming_logger._wal.segment import start_in
from streaming_logger._wal.storage import FLAGS, OWN, SET_NAME

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["DeadLog", "DeadLogs", "PassedOverError", "Resume", "opened", "read_all", "read_segments", "segment_paths"]

_PAGE = 1 << 16
#: A header that has no more than so many bytes was never begun: they prove that the file can be mapped.
_NEVER_BEGUN = 16
_MOST_TERMS = 1 << 30
_RESUME_AT, _RESUME = HEADER_SIZE, struct.Struct("<QQQQ")
_TERM = struct.Struct("<Q")
#: Number of places that the turns of a log share for that.
_RESUMES = (_PAGE - _RESUME_AT) // _RESUME.size
_DONE_AT = _PAGE
#: Logs that are being recovered by this process: the kernel's lock does not keep its threads apart.
_taken: set[str] = set()


class PassedOverError(LogError):
    """Another process has taken over the recovery, because this one stood still."""


class Resume(NamedTuple):
    """Where a recovery stood: it was about to append a turn's text from `written` on to a file of this size."""

    number: int
    """Of the turn, from 1; 0: none."""
    written: int
    file_size: int
    inode: int


class DeadLog:
    """A log, and what its header says. Raises `LogError` for what is not a log of this version.

    `take` it before it is changed.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._term = 0
        header, size = read_all(fd, 0, HEADER_SIZE), os.fstat(fd).st_size
        self.about: dict[str, Any] = {}
        """Nothing: it was never begun."""
        if size and (size < HEADER_SIZE or header[_NEVER_BEGUN:TERM_AT].strip(b"\0")):
            self.about = about_of(header)
        elif any(start_in(content) for content in read_segments(path)):
            raise LogError("its header is damaged")
        state = header[STATE_AT:]
        self.is_short = state == WAITING
        """Whether records had to wait outside of it."""
        self.is_given_up = state == GIVEN_UP
        """Whether its text may be in the files already, unknown how much of it."""
        self.is_finished = state == FINISHED
        """Whether all of it is recovered."""

    # -- who works on it -----------------------------------------------------------------

    def take(self, *, by_force: bool = False) -> bool:
        """Locks it; false while its owner lives, or another process recovers it, or has removed it.

        `by_force`: whoever recovers it now is passed over.
        """
        term = self._noted_term()
        if not term and not self._lock(0):
            return False
        self._term = max(1, term + by_force)
        if not self._lock(self._term) or self._noted_term() > self._term:
            return False
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self.path).st_ino == os.fstat(self._fd).st_ino:
                if self._noted_term() != self._term:
                    os.pwrite(self._fd, _TERM.pack(self._term), TERM_AT)
                return True
        return False

    def holder(self) -> int | None:
        """The process that works on it, 0 for one that cannot be seen from here; None: nobody. Raises `OSError`."""
        return byte_holder(self._fd, self._noted_term())

    @property
    def is_being_recovered(self) -> bool:
        """Whether its owner is dead for sure, since another process has begun to recover it."""
        return self._noted_term() > 0

    def state(self) -> tuple[int, int]:
        """Changes with each step of a recovery."""
        return self._noted_term(), os.fstat(self._fd).st_mtime_ns

    def check(self) -> None:
        """Raises `PassedOverError` if another process has taken over. A stop right behind this is not noticed."""
        if self._noted_term() != self._term:
            raise PassedOverError("another process has taken over")

    def _noted_term(self) -> int:
        found: int = _TERM.unpack(read_all(self._fd, TERM_AT, _TERM.size).ljust(_TERM.size, b"\0"))[0]
        return min(found, _MOST_TERMS)

    def _lock(self, at: int) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
        except (BlockingIOError, PermissionError):
            return False
        return True

    # -- what it says --------------------------------------------------------------------

    def belongs_to(self, directory: Directory) -> bool:
        """Whether it is of this directory, wherever that was moved. Raises `OSError`."""
        found = os.stat(directory.path)
        return (self.about.get("device"), self.about.get("inode")) == (found.st_dev, found.st_ino)

    @property
    def is_orphaned(self) -> bool:
        """Whether it is empty, or its directory is gone. A path of another mount namespace (container) may just not
        lead there from here."""
        if not self.about:
            return True
        if self.about["namespace"] != namespace():
            return False
        try:
            found = os.stat(self.about["path"])
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return (found.st_dev, found.st_ino) != (self.about["device"], self.about["inode"])

    def segments(self) -> list[bytes]:
        """The contents of its segments."""
        return list(read_segments(self.path))

    # -- how far a recovery came, should it be killed, too --------------------------------

    def resume(self, number: int) -> Resume | None:
        """What was noted of a turn. Raises `LogError` while its place is another one's that is not done."""
        data = read_all(self._fd, _resume_at(number), _RESUME.size)
        found = Resume(*_RESUME.unpack(data.ljust(_RESUME.size, b"\0")))
        if found.number in (0, number):
            return found if found.number else None
        if found.number < _PAGE and not self.is_done(found.number):
            raise LogError(f"session {found.number} of its log comes first")
        return None

    def note(self, resume: Resume) -> None:
        """Before a turn's text is appended. One call, which no kill tears. Raises `PassedOverError`."""
        self.check()
        os.pwrite(self._fd, _RESUME.pack(*resume), _resume_at(resume.number))

    def is_done(self, number: int) -> bool:
        return number < _PAGE and read_all(self._fd, _DONE_AT + number, 1) == b"\1"

    def mark_done(self, number: int) -> None:
        """All text of a turn is in its file. Raises `PassedOverError`."""
        self.check()
        if number < _PAGE:
            os.pwrite(self._fd, b"\1", _DONE_AT + number)

    def mark_finished(self) -> None:
        """All is in the session files: from here on it need only be removed. Raises `PassedOverError`."""
        self.check()
        os.pwrite(self._fd, FINISHED, STATE_AT)

    def remove(self) -> None:
        """The header last: without it nobody finds the others."""
        for path in segment_paths(self.path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


class DeadLogs:
    """This user's logs in some storage, as far as they are one directory's, or orphaned, and their owners are dead."""

    def __init__(self, place: Path, directory: Directory, patience: Patience | None = None) -> None:
        """Without `patience` no process is passed over that recovers one."""
        self._place = place
        self._directory = directory
        self._patience = patience
        self.is_waiting = False
        """Whether another process, or thread, is recovering one of this directory's, for less than 15 s."""

    def each(
        self, refused: Callable[[str, str], None], passed_over: Callable[[str, str], None]
    ) -> Generator[DeadLog, None, None]:
        """Takes one after the other; each is closed when the next one is taken.

        `refused(name, why)` is called for those that cannot be used, which stay; `passed_over(name, process)` for
        those that another process is stuck with.
        """
        self.is_waiting = False
        with contextlib.closing(self._all(refused)) as logs:
            for name, log in logs:
                try:
                    is_taken = log.take() or self._taken_over(name, log, passed_over)
                except OSError as error:
                    refused(name, reason_of(error))
                else:
                    if is_taken:
                        yield log

    def waiting(self, refused: Callable[[str, str], None]) -> list[int]:
        """The pids of this directory's dead processes whose logs nobody recovers. Takes no lock."""
        found = []
        with contextlib.closing(self._all(refused)) as logs:
            for name, log in logs:
                try:
                    if log.holder() is None and log.belongs_to(self._directory):
                        found.append(log.about["pid"])
                except OSError as error:
                    refused(name, reason_of(error))
        return found

    def _taken_over(self, name: str, log: DeadLog, passed_over: Callable[[str, str], None]) -> bool:
        """Whether a log is taken from a process that is stuck with it."""
        if not log.is_being_recovered or not log.belongs_to(self._directory):
            return False
        if self._patience is None or not self._patience.is_over(name, log.state()):
            self.is_waiting = True
            return False
        holder = log.holder() or 0
        passed_over(name, process(holder) if holder else UNSEEN)
        # One that hangs at the disk may append the text when that responds: it is left to it.
        return (not holder or is_stopped(holder)) and log.take(by_force=True)

    def _all(self, refused: Callable[[str, str], None]) -> Generator[tuple[str, DeadLog], None, None]:
        if fcntl is None:
            return
        try:
            names = sorted(filter(SET_NAME.fullmatch, os.listdir(self._place)))
        except OSError:
            return
        for name in names:
            if name in OWN:
                continue
            if name in _taken:
                self.is_waiting = True
                continue
            _taken.add(name)
            path, fd = self._place / name, None
            try:
                fd = opened(path)
                if fd is not None and (log := self._log(path, fd)) is not None:
                    yield name, log
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are looked at
                refused(name, reason_of(error))
            finally:
                if fd is not None:
                    os.close(fd)
                _taken.discard(name)

    def _log(self, path: Path, fd: int) -> DeadLog | None:
        """A log that is this directory's, or orphaned. Raises what `DeadLog` raises, if its owner is dead.

        Others are not locked even for a moment: who recovers them would take their owner for alive.
        """
        try:
            log = DeadLog(path, fd)
        except Exception:
            if byte_holder(fd, 0) is None:
                raise
            return None  # one of another version is no error while its owner lives
        return log if log.is_orphaned or log.belongs_to(self._directory) else None


def segment_paths(header: Path) -> list[Path]:
    """The segments that belong to a header, in the order in which they were made."""
    prefix = f"{header.name}."
    numbers = [name.removeprefix(prefix) for name in os.listdir(header.parent) if name.startswith(prefix)]
    return [header.parent / f"{prefix}{number}" for number in sorted(map(int, filter(str.isdigit, numbers)))]


def read_segments(header: Path) -> Iterator[bytes]:
    """Their contents; those that are gone meanwhile are left out. Raises `LogError` for what is no segment."""
    for path in segment_paths(header):
        try:
            fd = opened(path)
        except FileNotFoundError:
            continue
        if fd is not None:
            try:
                yield read_all(fd, 0, os.fstat(fd).st_size)
            finally:
                os.close(fd)


def opened(path: Path) -> int | None:
    """The descriptor of what may be a log's; None for one that is gone, or another user's, which is not opened."""
    try:
        if os.lstat(path).st_uid != os.geteuid():
            return None
        fd = os.open(path, FLAGS)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise LogError("it is not a regular file, or has hard links")
        if found.st_mode & 0o077:
            raise LogError("others than its owner may read or write it")
        if found.st_uid == os.geteuid():
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _resume_at(number: int) -> int:
    return _RESUME_AT + number % _RESUMES * _RESUME.size


def read_all(fd: int, start: int, size: int) -> bytes:
    """So many bytes from a place on, fewer where the file ends."""
    parts = []
    while size and (part := os.pread(fd, size, start)):
        parts.append(part)
        start, size = start + len(part), size - len(part)
    return b"".join(parts)
