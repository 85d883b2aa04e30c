"""Segments in memory that the kernel keeps when the process dies.

A log in shared memory is a set of files: its header, which says whose it is and is locked for as long as its process
lives, and its segments. All of a file is allocated when it is made, so that a full storage cannot end the process
(SIGBUS) later; and the storage is never a disk, whose page faults could wait.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
from pathlib import Path

from streaming_logger._base.errors import StreamingLoggerError
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.process_files import PROCESS_NAME, process_name
from streaming_logger._wal.header import (
    FINISHED,
    GIVEN_UP,
    HEADER_SIZE,
    STATE_AT,
    TERM_AT,
    WAITING,
    WHOLE,
    header_of,
    namespace,
)
from streaming_logger._wal.segment import LEAST_SIZE, Segment

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["DEFAULT_STORAGE", "FLAGS", "OWN", "SET_NAME", "SharedStorage", "StorageError", "is_available"]

DEFAULT_STORAGE = Path("/dev/shm")  # noqa: S108 - names are random, openers refuse links and other owners
_MEMORY_TYPES = {"tmpfs", "ramfs"}
_PREFIX = "streaming_logger-"
SET_NAME = re.compile(re.escape(_PREFIX) + PROCESS_NAME)
FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
#: A segment takes no more than this part of the limit: while one is emptied others are filled.
_PARTS = 4
_LEAST = 1 << 20
#: Logs of one process never take more than this share of what is free.
_SHARE = 8

#: The header files of this process's own logs. The kernel drops the lock of one as soon as any descriptor of it is
#: closed, so nobody in this process may open them again. By name: the directory (device, inode).
OWN: dict[str, tuple[int, int]] = {}


class StorageError(StreamingLoggerError):
    """Shared memory that cannot be used; the text says why."""


class SharedStorage:
    """A set of files in memory-backed storage. Its header's lock is free as soon as the process is dead or exec'ed.

    The lock is one that a forked child does not inherit, hooks or not.
    """

    is_shared = True
    # Here, for one whose constructor was interrupted.
    _fd = -1
    _name = ""
    _is_given_up = False

    def __init__(self, place: Path, directory: Directory, limit: int) -> None:
        """For the sessions of `directory`, `limit` bytes of segments at most. Raises `StorageError`; leaves nothing."""
        self._place = place
        self._limit = limit
        self._sizes: dict[str, int] = {}
        self._inodes: dict[str, int] = {}
        self._count = 0
        self._directory = directory
        if not is_available(place):
            raise StorageError(f"{place} is no storage in memory that this process may write to")
        if not self.has_room(LEAST_SIZE):
            raise StorageError(f"no crash journal in {place}: an eighth of what is free there is too little")
        try:
            self._create()
            self.locate()
        except BaseException as error:
            self.close([], keep=False)
            if isinstance(error, (OSError, ValueError)):
                raise StorageError(f"no crash journal in {place}: {error}") from error
            raise

    def locate(self) -> None:
        """Notes which directory the log belongs to. Raises `OSError`."""
        found = os.stat(self._directory.path)
        where = {"path": str(self._directory.path), "device": found.st_dev, "inode": found.st_ino}
        header = header_of({"pid": os.getpid(), "namespace": namespace(), **where})
        if len(header) > TERM_AT:
            raise OSError(errno.ENAMETOOLONG, "the directory's path is too long")
        os.pwrite(self._fd, header, 0)  # one call, which no kill tears
        OWN[self._name] = found.st_dev, found.st_ino

    def make(self, size: int) -> Segment | None:
        """A new segment of so many bytes; None where there is no room for it, or is no right to it any more."""
        if not self.has_room(size):
            return None
        self._count += 1
        name = f"{self._name}.{self._count}"
        path = self._place / name
        try:
            fd = os.open(path, FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            return None
        try:
            os.fchmod(fd, 0o600)  # a umask of 0777 made it 0000
            os.posix_fallocate(fd, 0, size)
            inode = os.fstat(fd).st_ino
            segment = Segment(mmap.mmap(fd, size), name)
        except (OSError, ValueError, MemoryError):
            with contextlib.suppress(OSError):
                os.unlink(path)
            return None
        finally:
            os.close(fd)
        self._sizes[name] = size
        self._inodes[name] = inode
        return segment

    def remove(self, segment: Segment) -> None:
        """Gives its memory back."""
        self._sizes.pop(segment.name, None)
        self._inodes.pop(segment.name, None)
        with contextlib.suppress(OSError):
            os.unlink(self._place / segment.name)
        segment.close()

    def is_whole(self) -> bool:
        """Whether it can be recovered: somebody may have removed its files, or it was given up."""
        try:
            here = all(os.stat(self._place / name).st_ino == inode for name, inode in self._inodes.copy().items())
        except OSError:
            return False
        return here and not self._is_given_up

    def note_waiting(self, *, waiting: bool) -> None:
        """Notes whether there are records that found no room here: should the process die, they are missing."""
        if not self._is_given_up:
            self._set_state(WAITING if waiting else WHOLE)

    def give_up(self) -> None:
        """A note is missing: text that is in the files could be recovered twice, so none may be."""
        self._is_given_up = True
        self._set_state(GIVEN_UP)

    def _set_state(self, state: bytes) -> None:
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, state, STATE_AT)

    def close(self, segments: list[Segment], *, keep: bool) -> None:
        """The end of this log's owner. Its files go with it, unless they are to `keep`: then they are recovered."""
        if not keep and self._name:
            self._set_state(FINISHED)  # first: of some of its segments nobody could tell what is in the files
            for name in [*self._sizes, self._name]:  # the header last: without it nobody removes the others
                with contextlib.suppress(OSError):
                    os.unlink(self._place / name)
        self.forget_in_child(segments, keep=True)

    def forget_in_child(self, segments: list[Segment], *, keep: bool) -> None:
        """After a fork, in the child: lets go of the parent's memory, and touches nothing in it."""
        del keep
        self._sizes.clear()
        self._inodes.clear()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        OWN.pop(self._name, None)
        self._name = ""
        for segment in segments:
            segment.close()

    def __del__(self) -> None:
        if self._fd >= 0:
            self.forget_in_child([], keep=True)  # an exception of a signal handler came before anyone had it

    def _create(self) -> None:
        """A new header file, locked before anyone can take it for a dead process's."""
        while True:
            name = _PREFIX + process_name()
            fd = os.open(self._place / name, FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            OWN[name] = (0, 0)
            self._fd, self._name = fd, name
            os.fchmod(fd, 0o600)
            self._prove(fd)
            with contextlib.suppress(BlockingIOError):
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_nlink:
                    os.pwrite(fd, bytes(HEADER_SIZE - TERM_AT), TERM_AT)  # what one that looked at it may have noted
                    self._inodes[name] = os.fstat(fd).st_ino
                    return
            self._fd, self._name = -1, ""
            OWN.pop(name, None)
            os.close(fd)  # another process looked at it between its creation and its lock, and removes it

    @staticmethod
    def _prove(fd: int) -> None:
        """Raises `OSError` unless the descriptor is a file's that can be mapped: a faked file system lends the number
        of a real file, which must not be changed."""
        token = os.urandom(16)
        os.truncate(fd, 2 * HEADER_SIZE)
        os.write(fd, token)
        with mmap.mmap(fd, HEADER_SIZE, prot=mmap.PROT_READ) as mapping:
            if mapping[: len(token)] != token:
                raise OSError(errno.ENODEV, "it cannot be mapped")

    def has_room(self, size: int) -> bool:
        """Whether there is room for so many bytes more."""
        own = sum(self._sizes.copy().values())
        if own + size > self._limit or size > max(self._limit // _PARTS, _LEAST):
            return False
        try:
            found = os.statvfs(self._place)
        except OSError:
            return False
        return own + size <= (found.f_bavail * found.f_frsize + own) // _SHARE


def is_available(place: Path = DEFAULT_STORAGE) -> bool:
    """Whether a log can be there."""
    return fcntl is not None and hasattr(os, "posix_fallocate") and _is_memory(place)


def _is_memory(place: Path) -> bool:
    """Whether a directory is storage in memory in which this process may make files."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
        real = os.path.realpath(place)
    except OSError:
        return False
    types = {words[1]: words[2] for words in map(str.split, mounts) if len(words) > 2}
    while real not in types and real != os.path.dirname(real):
        real = os.path.dirname(real)
    return types.get(real) in _MEMORY_TYPES and os.access(place, os.W_OK | os.X_OK)
