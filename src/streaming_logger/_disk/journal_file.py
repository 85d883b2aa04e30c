"""Crash journals as files in memory-backed storage: made and locked by their owner, claimed once it is dead.

The kernel keeps such a file when its process dies. All of it is allocated when it is made, so that a full
storage cannot end the process (SIGBUS) later. It never is on a disk, whose page faults could wait.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import stat
import struct
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from streaming_logger._base.errors import reason_of
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.journal_format import BLANK, JournalError, about_of, header_of
from streaming_logger._disk.process_files import PROCESS_NAME, process_name

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["STORAGE", "DeadJournal", "JournalError", "JournalFile", "dead_journals", "is_available", "make_fork_flag"]

#: Where journals are.
STORAGE = Path("/dev/shm")  # noqa: S108 - their names are random, their openers refuse links and other owners
_MEMORY_TYPES = {"tmpfs", "ramfs"}
_NAME = re.compile(r"streaming_logger\." + PROCESS_NAME)
_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
#: A page of every system: regions begin at its multiples.
_PAGE = 1 << 16
#: The layout: header; one byte for each recovered session; marks, marks; records, records.
_HEADER_SIZE = _PAGE // 2
_RESUME_AT, _RESUME = _HEADER_SIZE, struct.Struct("<QQQQ")
#: Number of places that the sessions of a journal share for that.
_RESUMES = (_PAGE - _RESUME_AT) // _RESUME.size
_DONE_AT = _PAGE
_MARKS_AT = 2 * _PAGE
#: A half's share for marks.
_MARKS_SHARE = 5
#: From linux/mman.h; module mmap does not have it.
_MADV_WIPEONFORK = 18


class JournalFile:
    """A live process's journal. Its lock is free as soon as the process is dead, exec'ed, or has closed it."""

    _path: Path | None = None
    _fd = -1
    _mappings: tuple[mmap.mmap, ...] = ()

    def __init__(self, directory: Directory, size: int) -> None:
        """Makes one of about so many bytes. Raises `JournalError`, or the directory's `OSError`; leaves nothing."""
        os.stat(directory.path)
        half = (size - _MARKS_AT) // 2
        self._layout = _Layout.of(half // _MARKS_SHARE, half - half // _MARKS_SHARE)
        try:
            self._create()
            os.posix_fallocate(self._fd, 0, self._layout.size)
            control = self._mapped(0, self._layout.records_at(0))
            records = [self._mapped(self._layout.records_at(half), self._layout.records) for half in (0, 1)]
            self.halves = [_Half(records[half], control, *self._layout.marks_between(half)) for half in (0, 1)]
            for each in self.halves:
                each.blank()
            self.locate(directory)
        except BaseException as error:
            self.remove()
            if isinstance(error, (OSError, ValueError)):
                raise JournalError(f"no crash journal of {size / 1e6:g} MB in {STORAGE}: {error}") from error
            raise

    def locate(self, directory: Directory) -> None:
        """Notes which directory the journal belongs to. Raises `OSError`."""
        found = os.stat(directory.path)
        place = {"path": str(directory.path), "device": found.st_dev, "inode": found.st_ino, "namespace": _namespace()}
        header = header_of({"pid": os.getpid(), **place, **self._layout._asdict()})
        if len(header) > _HEADER_SIZE:
            raise OSError(errno.ENAMETOOLONG, "the directory's path is too long")
        os.pwrite(self._fd, header, 0)  # not through the mapping: a kill would tear it

    def close(self) -> None:
        """Gives it up as it is: whoever looks next recovers what it holds."""
        self._path = None
        mappings, self._mappings = self._mappings, ()
        for mapping in mappings:
            mapping.close()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def remove(self) -> None:
        """Nothing in it is needed any more."""
        path, self._path = self._path, None
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)
        self.close()

    def __del__(self) -> None:
        self.close()  # an exception of a signal handler came before anyone had it

    def _create(self) -> None:
        """A new file, locked before anyone can take it for a dead process's."""
        while True:
            path = self._path = STORAGE / f"streaming_logger.{process_name()}"
            fd = self._fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchmod(fd, 0o600)  # umask 0777 made it 0000
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_nlink:
                    return
            self._fd = -1
            os.close(fd)  # another process looked at it between its creation and its lock, and removes it

    def _mapped(self, start: int, size: int) -> mmap.mmap:
        self._mappings += (mmap.mmap(self._fd, size, offset=start),)
        return self._mappings[-1]


class _Half:
    """One half: its mapped records, and its region of marks in the mapping of all but records."""

    def __init__(self, records: mmap.mmap, control: mmap.mmap, start: int, end: int) -> None:
        self.records = records
        self._control = control
        self._start = self._at = start
        self._end = end

    @property
    def room(self) -> int:
        """Bytes left for marks."""
        return self._end - self._at

    def mark(self, marks: bytes) -> bool:
        """Notes some marks; false when there is no room."""
        end = self._at + len(marks)
        if end > self._end:
            return False
        self._control[self._at : end] = marks
        self._at = end
        return True

    def clear(self) -> None:
        """Empties it, from its first byte on: that makes it count as empty at once."""
        used = self.records.tell()
        _fill(self.records, 0, used)
        _fill(self._control, self._start, self._at)
        self._at = self._start
        self.records.seek(0)

    def blank(self) -> None:
        """Empties all of it; every page is in memory then, and writers meet no page fault."""
        _fill(self.records, 0, len(self.records))
        _fill(self._control, self._start, self._end)


def _fill(mapping: mmap.mmap, start: int, end: int) -> None:
    for at in range(start, end, _PAGE):  # in parts: other threads may run in between
        size = min(_PAGE, end - at)
        mapping[at : at + size] = BLANK * size


class _Layout(NamedTuple):
    """Sizes of a half's regions."""

    marks: int
    records: int

    @classmethod
    def of(cls, marks: int, records: int) -> _Layout:
        return cls(max(_PAGE, marks // _PAGE * _PAGE), max(_PAGE, records // _PAGE * _PAGE))

    @property
    def size(self) -> int:
        return self.records_at(2)

    def marks_between(self, half: int) -> tuple[int, int]:
        return _MARKS_AT + half * self.marks, _MARKS_AT + (half + 1) * self.marks

    def records_at(self, half: int) -> int:
        return _MARKS_AT + 2 * self.marks + half * self.records


class Resume(NamedTuple):
    """Where a recovery stood: it was about to append a session's text from `written` on to a file of this size."""

    number: int
    """Of the session, from 1; 0: none."""
    written: int
    file_size: int
    inode: int


class DeadJournal:
    """A journal whose owner is dead, locked by this process until it is closed."""

    def __init__(self, path: Path, fd: int) -> None:
        """Raises `JournalError` for what is not a whole journal of this version."""
        self.path = path
        self._fd = fd
        header = _read(fd, 0, _HEADER_SIZE)
        if not header.strip(b"\0"):
            if any(part.strip(b"\0" + BLANK) for part in _parts(fd)):
                raise JournalError("it has no header")
            self.about: dict[str, Any] = {}  # its maker was killed before anything was in it
            return
        self.about = about_of(header)
        self._layout = _Layout(self.about["marks"], self.about["records"])
        if os.fstat(fd).st_size != self._layout.size:
            raise JournalError("it is not as long as its header says")

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
        if self.about["namespace"] != _namespace():
            return False
        try:
            found = os.stat(self.about["path"])
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return (found.st_dev, found.st_ino) != (self.about["device"], self.about["inode"])

    def halves(self) -> list[tuple[bytes, bytes]]:
        """(records, marks) of both."""
        return [
            (
                _read(self._fd, self._layout.records_at(half), self._layout.records),
                _read(self._fd, self._layout.marks_between(half)[0], self._layout.marks),
            )
            for half in (0, 1)
        ]

    # -- how far a recovery came, should it be killed, too --------------------------------

    def resume(self, number: int) -> Resume | None:
        """What was noted of a session. Raises `JournalError` while its place is another one's that is not done."""
        found = Resume(*_RESUME.unpack(_read(self._fd, _resume_at(number), _RESUME.size)))
        if found.number in (0, number):
            return found if found.number else None
        if found.number < _PAGE and not self.is_done(found.number):
            raise JournalError(f"session {found.number} of its journal comes first")
        return None

    def note(self, resume: Resume) -> None:
        """Before a session's text is appended. One call, which no kill tears."""
        os.pwrite(self._fd, _RESUME.pack(*resume), _resume_at(resume.number))

    def is_done(self, number: int) -> bool:
        return number < _PAGE and _read(self._fd, _DONE_AT + number, 1) == b"\1"

    def mark_done(self, number: int) -> None:
        if number < _PAGE:
            os.pwrite(self._fd, b"\1", _DONE_AT + number)

    def remove(self) -> None:
        """All is in the session files."""
        os.unlink(self.path)

    def close(self) -> None:
        os.close(self._fd)


def dead_journals(directory: Directory, refused: Callable[[str, str], None]) -> Generator[DeadJournal, None, None]:
    """The journals of this user's dead processes that are this directory's, or orphaned; each is closed when the next
    one is taken.

    `refused(name, why)` is called for those that cannot be used; they stay.
    """
    try:
        names = sorted(filter(_NAME.fullmatch, os.listdir(STORAGE)))
    except OSError:
        return
    for name in names:
        path, fd = STORAGE / name, None
        try:
            fd = _opened(path)
            if fd is not None and _is_to_recover(directory, path, fd):
                yield DeadJournal(path, fd)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are looked at
            refused(name, reason_of(error))
        finally:
            if fd is not None:
                os.close(fd)


def is_available() -> bool:
    """Whether this system has what a journal needs."""
    if fcntl is None or not hasattr(os, "posix_fallocate"):
        return False
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
        make_fork_flag().close()
    except OSError:
        return False
    types = [words[2] for words in map(str.split, mounts) if len(words) > 2 and words[1] == str(STORAGE)]
    return bool(types) and types[-1] in _MEMORY_TYPES and os.access(STORAGE, os.W_OK | os.X_OK)


def make_fork_flag() -> mmap.mmap:
    """Memory whose first byte is 1 in this process and 0 in a forked child, also after a fork without hooks.

    Raises `OSError` where the kernel cannot do that.
    """
    flag = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    flag.madvise(_MADV_WIPEONFORK)
    flag[0] = 1
    return flag


def _opened(path: Path) -> int | None:
    """The descriptor of what may be a journal; None for one that is gone, or another user's, which is not opened."""
    try:
        if os.lstat(path).st_uid != os.geteuid():
            return None
        fd = os.open(path, _FLAGS)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise JournalError("it is not a regular file, or has hard links")
        if found.st_mode & 0o077:
            raise JournalError("others than its owner may read or write it")
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
    `DeadJournal` raises; a journal of another version is no error while its owner lives.
    """
    try:
        journal = DeadJournal(path, fd)
    except Exception:
        if _locked(path, fd, fcntl.LOCK_SH):  # shared: each logger may report it
            raise
        return False
    return (journal.is_orphaned or journal.belongs_to(directory)) and _locked(path, fd, fcntl.LOCK_EX)


def _locked(path: Path, fd: int, how: int) -> bool:
    """Takes its lock; false while its owner lives, or another process recovers it or has removed it."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
        return os.stat(path).st_ino == os.fstat(fd).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _resume_at(number: int) -> int:
    return _RESUME_AT + number % _RESUMES * _RESUME.size


def _parts(fd: int) -> Iterator[bytes]:
    """All of a file, in parts."""
    start = 0
    while part := os.pread(fd, _PAGE, start):
        start += len(part)
        yield part


def _read(fd: int, start: int, size: int) -> bytes:
    parts = []
    while size and (part := os.pread(fd, size, start)):
        parts.append(part)
        start, size = start + len(part), size - len(part)
    return b"".join(parts)


def _namespace() -> int:
    """Of this process's mounts; 0 where the system does not tell."""
    try:
        return os.stat("/proc/self/ns/mnt").st_ino
    except OSError:
        return 0
