"""Logs of dead processes: found by the locks that nobody holds, taken by one process at a time.

The lock on a log's header is one that the kernel gives back when its process ends. It is not inherited by a fork, so
it tells who is dead also where a child of a C library's fork lives on, and across the PID namespaces of containers.
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
from streaming_logger._wal.header import CLOSED, GIVEN_UP, HEADER_SIZE, STATE_AT, WHOLE, LogError, about_of, namespace
from streaming_logger._wal.storage import FLAGS, OWN, SET_NAME

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["DeadLog", "Resume", "dead_logs", "opened", "read_all", "read_segments", "segment_paths"]

_PAGE = 1 << 16
_RESUME_AT, _RESUME = HEADER_SIZE, struct.Struct("<QQQQ")
#: Number of places that the turns of a log share for that.
_RESUMES = (_PAGE - _RESUME_AT) // _RESUME.size
_DONE_AT = _PAGE
#: Logs that are being recovered by this process: the kernel's lock does not keep its threads apart.
_taken: set[str] = set()


class Resume(NamedTuple):
    """Where a recovery stood: it was about to append a turn's text from `written` on to a file of this size."""

    number: int
    """Of the turn, from 1; 0: none."""
    written: int
    file_size: int
    inode: int


class DeadLog:
    """A log whose owner is dead, locked by this process until it is closed."""

    def __init__(self, path: Path, fd: int) -> None:
        """Raises `LogError` for what is not a log of this version."""
        self.path = path
        self._fd = fd
        header = read_all(fd, 0, HEADER_SIZE)
        self.about: dict[str, Any] = {}
        if header[:STATE_AT].strip(b"\0") and len(header.strip(b"\0")) > 16:
            self.about = about_of(header)
        self.is_whole = header[STATE_AT:] in (WHOLE, b"")
        """Whether no record had to wait outside of it."""
        self.is_closed = header[STATE_AT:] == CLOSED
        """Whether all of it is in the files."""
        self.is_given_up = header[STATE_AT:] == GIVEN_UP
        """Whether its text may be in the files already, unknown how much of it."""

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
        """Before a turn's text is appended. One call, which no kill tears."""
        os.pwrite(self._fd, _RESUME.pack(*resume), _resume_at(resume.number))

    def is_done(self, number: int) -> bool:
        return number < _PAGE and read_all(self._fd, _DONE_AT + number, 1) == b"\1"

    def mark_done(self, number: int) -> None:
        if number < _PAGE:
            os.pwrite(self._fd, b"\1", _DONE_AT + number)

    def remove(self) -> None:
        """All is in the session files. The header last: without it nobody finds the others."""
        os.pwrite(self._fd, CLOSED, STATE_AT)  # of some of its segments nobody could tell what is in the files
        for path in segment_paths(self.path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        os.unlink(self.path)


def dead_logs(place: Path, directory: Directory, refused: Callable[[str, str], None]) -> Generator[DeadLog, None, None]:
    """The logs of this user's dead processes that are this directory's, or orphaned; each is closed when the next one
    is taken.

    `refused(name, why)` is called for those that cannot be used; they stay.
    """
    if fcntl is None:
        return
    try:
        names = sorted(filter(SET_NAME.fullmatch, os.listdir(place)))
    except OSError:
        return
    for name in names:
        if name in OWN or name in _taken:
            continue
        _taken.add(name)
        path, fd = place / name, None
        try:
            fd = opened(path)
            if fd is not None and _is_to_recover(directory, path, fd):
                yield DeadLog(path, fd)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are looked at
            refused(name, reason_of(error))
        finally:
            if fd is not None:
                os.close(fd)
            _taken.discard(name)


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


def _is_to_recover(directory: Directory, path: Path, fd: int) -> bool:
    """Whether it is this directory's, or orphaned, and its lock was free: it is taken then.

    Others are not locked even for a moment: who recovers them would take their owner for alive. Raises what
    `DeadLog` raises; a log of another version is no error while its owner lives.
    """
    try:
        log = DeadLog(path, fd)
    except Exception:
        if _locked(path, fd):
            raise
        return False
    return (log.is_orphaned or log.belongs_to(directory)) and _locked(path, fd)


def _locked(path: Path, fd: int) -> bool:
    """Takes its lock; false while its owner lives, or another process recovers it or has removed it."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.stat(path).st_ino == os.fstat(fd).st_ino
    except (BlockingIOError, PermissionError, FileNotFoundError):
        return False


def _resume_at(number: int) -> int:
    return _RESUME_AT + number % _RESUMES * _RESUME.size


def read_all(fd: int, start: int, size: int) -> bytes:
    """So many bytes from a place on, fewer where the file ends."""
    parts = []
    while size and (part := os.pread(fd, size, start)):
        parts.append(part)
        start, size = start + len(part), size - len(part)
    return b"".join(parts)
