"""The session files: the only room that makes system calls on them.

A file whose lock is held is active; one whose lock is free is completed. Writers
hold a shared lock from open to completion, a sweeper takes an exclusive one for the
microseconds of a deletion. flock works between open file descriptions, so one rule
covers this process, other processes and several sweepers, and a crash frees it.
Both sides look again after they have the lock: a variant without that look lost
55,844 of 891,371 records, one without the sweeper's identity check 5,737 of 647,147.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import NamedTuple

from streaming_logger._disk.directory import Directory

__all__ = ["BusyError", "Entry", "OpenFile", "QuarantinedError", "Removal", "Store"]

_WRITE = os.O_RDWR | os.O_APPEND | os.O_CREAT

#: flock's answers on a file system that has no locks at all (not "none left": ENOLCK heals).
_NO_LOCKS = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
#: open's answers when something that is no file of ours stands under the name.
_PLANTED = {errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EMLINK}
#: How often an open is started over because a sweeper took the file in between.
_ATTEMPTS = 8


#: The extended attribute of a completed file whose session did not just complete.
_OUTCOME = "user.streaming_logger.outcome"

#: Asked under a candidate's lock, with its descriptor and what fstat says: is it to be deleted?
Due = Callable[[int, os.stat_result], bool]
#: Told of a name that cannot be looked at, and why.
Failed = Callable[[str, OSError], None]


class BusyError(Exception):
    """Somebody holds the file exclusively, usually a sweeper for microseconds: try again shortly."""


class QuarantinedError(Exception):
    """What stands under this name is not a file of ours; it is neither written nor deleted."""


class Entry(NamedTuple):
    """A regular file in the directory, as a scan saw it."""

    name: str
    mtime: float
    size: int
    pinned: bool


class _Named(NamedTuple):
    """A name that may be looked at, as an `os.DirEntry` is."""

    name: str
    directory: Directory

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        return self.directory.stat(self.name)


class OpenFile:
    """A session's file, open and locked. Slots: there are as many as open sessions."""

    __slots__ = ("fd", "generation", "inode")

    def __init__(self, fd: int, inode: int, generation: int) -> None:
        self.fd = fd
        self.inode = inode  # all files of one generation of the directory are on one device
        self.generation = generation


class Removal(Enum):
    """How an attempt to delete a file ended."""

    DELETED = "deleted"
    IN_USE = "in use"
    NOT_DUE = "not due any more"
    GONE = "gone"


class Store:
    """The session files of one directory."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.locks = True
        """False on a file system that has none: nobody can tell there which files are in use."""

    # -- writing ---------------------------------------------------------------------

    def open(self, name: str) -> OpenFile:
        """Opens a session's file for appending and locks it shared; creates it where it is missing.

        Raises `BusyError`, `QuarantinedError`, or the `OSError` of a fault.
        """
        self.directory.open()
        for _ in range(_ATTEMPTS):
            try:
                fd = self.directory.open_file(name, _WRITE)
            except OSError as error:
                if error.errno in _PLANTED:
                    raise QuarantinedError(f"{name} is a symlink, a directory or a pipe") from error
                raise
            try:
                found = os.fstat(fd)
                _refuse_strange(name, found)
                if self.locks and not self._lock_shared(fd):
                    raise BusyError(name)
                if self._leads_to(name, found.st_ino):
                    if found.st_size and self.outcome(fd) is not None:
                        os.removexattr(fd, _OUTCOME)  # a new turn: no trouble yet
                    if found.st_mode & 0o600 != 0o600:
                        os.fchmod(fd, 0o600)  # umask 0777 made it 0000
                    return OpenFile(fd, found.st_ino, self.directory.generation)
            except BaseException:
                self.directory.close_file(fd)
                raise
            self.directory.close_file(fd)  # a sweeper deleted it between our open and our lock: start over
        raise BusyError(name)

    def append(self, file: OpenFile, blocks: Sequence[bytes | memoryview]) -> int:
        """Writes what the disk takes of some blocks; returns how many bytes that was."""
        if len(blocks) == 1:
            return os.write(file.fd, blocks[0])
        return os.writev(file.fd, blocks) if hasattr(os, "writev") else os.write(file.fd, b"".join(blocks))

    def append_all(self, files: Iterable[OpenFile | None], texts: Iterable[bytes]) -> list[int]:
        """Appends to many files; 0 for one that is not open or that the disk refused: `append` says why."""
        taken = []
        write = os.write
        for file, data in zip(files, texts, strict=True):
            try:
                taken.append(0 if file is None else write(file.fd, data))
            except OSError:
                taken.append(0)
        return taken

    def still_there(self, name: str, file: OpenFile) -> bool:
        """Whether the file's name still leads to it: nobody removed, renamed or replaced it."""
        return file.generation == self.directory.generation and self._leads_to(name, file.inode)

    def close(self, file: OpenFile) -> None:
        """Gives the lock back: from here on the file counts as completed."""
        self.directory.close_file(file.fd)

    def mark(self, file: OpenFile, outcome: str) -> None:
        """Keeps the outcome of a session that ended in trouble with its file, where the file system can."""
        with contextlib.suppress(OSError, AttributeError):
            os.setxattr(file.fd, _OUTCOME, outcome.encode("utf-8", "backslashreplace"))

    def outcome(self, fd: int) -> str | None:
        """The trouble in which a completed file's session ended, if it was marked."""
        try:
            return os.getxattr(fd, _OUTCOME).decode("utf-8", "replace")
        except (OSError, AttributeError):
            return None

    def sync(self, file: OpenFile) -> None:
        """Returns when the file and its name are on the medium."""
        getattr(os, "fdatasync", os.fsync)(file.fd)
        self.directory.sync()

    # -- deleting --------------------------------------------------------------------

    def delete_completed(self, name: str, file: OpenFile) -> tuple[Removal, int]:
        """Closes a file and deletes it, unless another process writes the same session."""
        return self._delete_and_close(name, file.fd, lambda fd, found: True)

    def delete_if(self, name: str, due: Due) -> tuple[Removal, int]:
        """Deletes a file that nobody uses and that is still `due` once it is locked; (how, size)."""
        try:
            fd = self.directory.open_file(name, os.O_RDWR)  # NFS locks exclusively only what could be written
        except FileNotFoundError:
            return Removal.GONE, 0
        return self._delete_and_close(name, fd, due)

    def _delete_and_close(self, name: str, fd: int, due: Due) -> tuple[Removal, int]:
        try:
            if self.locks and not self.directory.lock(fd):
                return Removal.IN_USE, 0
            found = os.fstat(fd)
            if found.st_nlink == 0 or not self._leads_to(name, found.st_ino):
                return Removal.GONE, 0
            pinned = found.st_mode & stat.S_ISVTX
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or pinned or not due(fd, found):
                return Removal.NOT_DUE, 0
            if not self.directory.can_lock:
                return self._delete_on_windows(name, fd, found.st_size)
            self.directory.unlink(name)
            return Removal.DELETED, found.st_size
        finally:
            self.directory.close_file(fd)

    def _delete_on_windows(self, name: str, fd: int, size: int) -> tuple[Removal, int]:
        """There an open file cannot be deleted: our own descriptor goes first, another's protects."""
        self.directory.close_file(fd)
        try:
            self.directory.unlink(name)
        except PermissionError:
            return Removal.IN_USE, 0
        return Removal.DELETED, size

    # -- looking ---------------------------------------------------------------------

    def scan(self, slice_size: int, failed: Failed) -> Iterator[list[Entry]]:
        """All regular files, in slices; who else is at work may come in between them.

        `failed` is told of each that cannot be looked at: a bad inode must not keep the files behind it for good.
        """
        self.directory.open()
        with self.directory.scan() as entries:
            yield from _looked_at(entries, slice_size, failed)

    def find(self, names: Iterable[str], slice_size: int, failed: Failed) -> Iterator[list[Entry]]:
        """The same of these names only; without those that are gone."""
        self.directory.open()
        return _looked_at((_Named(name, self.directory) for name in names), slice_size, failed)

    def _lock_shared(self, fd: int) -> bool:
        try:
            return self.directory.lock(fd, shared=True)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            self.locks = False  # and nothing is swept there
            return True

    def _leads_to(self, name: str, inode: int) -> bool:
        """Whether the name leads to this very file, now."""
        try:
            return self.directory.stat(name).st_ino == inode
        except FileNotFoundError:
            return False


def _looked_at(names: Iterable[os.DirEntry[str] | _Named], slice_size: int, failed: Failed) -> Iterator[list[Entry]]:
    left = iter(names)
    while names_now := list(islice(left, slice_size)):
        part = []
        for entry in names_now:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                failed(entry.name, error)
                continue
            mode = found.st_mode
            if stat.S_ISREG(mode) and found.st_nlink <= 1:
                part.append(Entry(entry.name, found.st_mtime, found.st_size, mode & stat.S_ISVTX != 0))
        yield part


def _refuse_strange(name: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise QuarantinedError(f"{name} is not a regular file")
    if found.st_nlink > 1:
        raise QuarantinedError(f"{name} has {found.st_nlink} hard links")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise QuarantinedError(f"{name} belongs to user {found.st_uid}")
