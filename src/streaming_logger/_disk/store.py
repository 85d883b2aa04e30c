"""The session files: opened, locked, appended, claimed and deleted.

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
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from streaming_logger._base.errors import StreamingLoggerError
from streaming_logger._base.outcomes import has_failed
from streaming_logger._disk.archived import Marks
from streaming_logger._disk.cut import Cut, cut
from streaming_logger._disk.directory import NO_LOCKS, Directory
from streaming_logger._disk.entries import Entry, Failed, Named, examined
from streaming_logger._disk.locks import announce
from streaming_logger._disk.owner import Owners
from streaming_logger._disk.process_files import replace_file
from streaming_logger._disk.timing import log_name_of, timing_name_of

__all__ = ["BusyError", "ClaimedError", "DeleteResult", "ForeignFileError", "OpenFile", "Store"]

_WRITE = os.O_RDWR | os.O_APPEND | os.O_CREAT

#: open's answers when something that is no file of ours stands under the name.
_PLANTED = {errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EMLINK}
#: What `os.writev` takes at once (IOV_MAX on Linux and macOS).
_MOST_BLOCKS = 1024
#: How often an open is started over because a sweeper took the file in between.
_ATTEMPTS = 8

#: The extended attribute of a completed file whose session did not just complete.
_OUTCOME = "user.streaming_logger.outcome"


class BusyError(StreamingLoggerError):
    """The file is locked exclusively, usually by a sweeper for microseconds: retry shortly."""


class ClaimedError(BusyError):
    """It is claimed by another process: unless that one is stuck, for microseconds."""


class ForeignFileError(StreamingLoggerError):
    """The name leads to something that is not a session's file; it is neither written nor deleted."""


class OpenFile:
    """A session's file, open and locked. Slots: there are as many as open sessions."""

    __slots__ = ("error", "fd", "generation", "inode", "size", "verified")

    def __init__(self, fd: int, inode: int, generation: int, size: int = 0) -> None:
        self.fd = fd
        self.size = size
        """Bytes in it, as far as this process wrote them."""
        self.error: Exception | None = None
        """Why the last append failed."""
        self.inode = inode  # all files of one generation of the directory are on one device
        self.generation = generation
        self.verified = 0
        """For `OpenFiles`: the version of the directory's names under which the name led to it."""


class Claim(NamedTuple):
    """A completed file that nobody else can open as a writer, sweep or claim until it is closed."""

    name: str
    fd: int
    found: os.stat_result
    """What fstat said under the lock."""


#: Decides, while the candidate is claimed, whether to delete it.
DeletePredicate = Callable[[Claim], bool]


class DeleteResult(Enum):
    """How an attempt to delete a file ended."""

    DELETED = "deleted"
    IN_USE = "in use"
    CLAIMED = "claimed by another process"
    NOT_DUE = "not due any more"
    GONE = "gone"


class Store:
    """The session files of one directory."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.marks = Marks(directory)
        """Of what is archived."""
        self.has_timing = False
        """Whether there are timing files, as far as this process has seen."""
        self.locks = True
        """False on a file system without locks: files in use cannot be told from others there."""

    # -- writing ---------------------------------------------------------------------

    def open(self, name: str) -> OpenFile:
        """Opens a session's file for appending and locks it shared; creates it where it is missing.

        Raises `BusyError`, `ForeignFileError`, or the `OSError` of a fault.
        """
        self.directory.open()
        for _ in range(_ATTEMPTS):
            try:
                fd = self.directory.open_file(name, _WRITE)
            except OSError as error:
                if error.errno in _PLANTED:
                    raise ForeignFileError(f"{name} is a symlink, a directory or a pipe") from error
                raise
            try:
                found = os.fstat(fd)
                _refuse_strange(name, found)
                if self.locks and not self._lock_shared(fd):
                    raise BusyError(name)
                if self._leads_to(name, found.st_ino):
                    announce(fd)
                    if found.st_size and self.outcome(fd) is not None:
                        os.removexattr(fd, _OUTCOME)  # a new turn has not failed yet
                    return OpenFile(fd, found.st_ino, self.directory.generation, found.st_size)
            except BaseException:
                self.directory.close_file(fd)
                raise
            self.directory.close_file(fd)  # a sweeper deleted it between our open and our lock: start over
        raise BusyError(name)

    def append(self, file: OpenFile, blocks: Sequence[bytes | memoryview]) -> int:
        """Writes what the disk takes of some blocks; returns how many bytes that was."""
        if len(blocks) == 1:
            size = os.write(file.fd, blocks[0])
        elif hasattr(os, "writev"):
            size = os.writev(file.fd, blocks[:_MOST_BLOCKS])
        else:
            size = os.write(file.fd, b"".join(blocks))
        file.size += size
        return size

    def append_all(self, offers: Iterable[tuple[OpenFile | None, Sequence[bytes | memoryview]]]) -> list[int]:
        """The same for many; 0 for one that failed, and `file.error` says why."""
        taken = []
        for file, blocks in offers:
            size = 0
            if file is not None:
                try:
                    size = self.append(file, blocks)
                except Exception as error:  # noqa: BLE001 - the others are written
                    file.error = error
            taken.append(size)
        return taken

    def still_there(self, name: str, file: OpenFile) -> bool:
        """Whether the file's name still leads to it: it was not removed, renamed or replaced."""
        return file.generation == self.directory.generation and self._leads_to(name, file.inode)

    def close(self, file: OpenFile) -> None:
        """Gives the lock back: from here on the file counts as completed."""
        self.directory.close_file(file.fd)

    def mark(self, file: OpenFile | Claim, outcome: str) -> None:
        """Stores a failed session's outcome with its file, where the file system supports it."""
        with contextlib.suppress(OSError, AttributeError):
            os.setxattr(file.fd, _OUTCOME, outcome.encode("utf-8", "backslashreplace"))

    def outcome(self, fd: int) -> str | None:
        """The outcome of a failed session, as `mark` stored it; None for any other."""
        try:
            found = os.getxattr(fd, _OUTCOME).decode("utf-8", "replace")
        except (OSError, AttributeError):
            return None
        return found if has_failed(found) else None

    def size(self, file: OpenFile) -> int:
        """Bytes in the file, whoever wrote them."""
        file.size = os.lseek(file.fd, 0, os.SEEK_END)  # half the time of fstat
        return file.size

    def cut(self, name: str, file: OpenFile, limit: int) -> Cut | None:
        """Cuts the middle out of an open file that is longer than `limit` bytes; see `cut`.

        None where another process writes it, too: only the exclusive lock keeps that one from appending.
        Raises `BusyError` when the file has to be opened anew.
        """
        file.verified = 0  # to change a lock is two steps: in between a sweeper may have come
        try:
            if not self.directory.lock(file.fd):
                return None
            if not self.still_there(name, file):
                raise BusyError(name)
            return cut(file.fd, limit)
        finally:
            if not self.directory.lock(file.fd, shared=True):
                raise BusyError(name)

    def append_timing(self, name: str, lines: bytes, *, repair: bool) -> int:
        """Appends to a session's timing file, while its log is open; how many bytes the disk took.

        `repair`: a crash may have torn its last line. Raises `ForeignFileError`, or the `OSError` of a fault.
        """
        self.has_timing = True
        while True:
            fd = self.directory.open_file(timing_name_of(name), _WRITE)
            try:
                found = os.fstat(fd)
                _refuse_strange(name, found)
                if repair and found.st_size and os.pread(fd, 1, found.st_size - 1) != b"\n":
                    os.write(fd, b"\n")
                taken = os.write(fd, lines)
                if os.fstat(fd).st_nlink:  # else a sweeper took it for one whose log is gone
                    return taken
            finally:
                self.directory.close_file(fd)

    def rewrite_timing(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Replaces a session's timing file, while its log is open."""
        name = timing_name_of(name)
        fd = self.directory.open_file(name, os.O_RDONLY)
        try:
            with open(fd, "rb", closefd=False) as file:
                lines = file.read()
        finally:
            self.directory.close_file(fd)
        replace_file(self.directory, name, change(lines))

    def sync(self, file: OpenFile) -> None:
        """Returns when the file and its name are on the medium."""
        getattr(os, "fdatasync", os.fsync)(file.fd)
        self.directory.sync()

    # -- completed files -------------------------------------------------------------

    @contextlib.contextmanager
    def claim(self, name: str, owners: Owners | None = None, *, fd: int | None = None) -> Iterator[Claim]:
        """Takes a completed file: a sweeper or archive works on one only inside this block.

        Takes the exclusive lock, then checks that the name still leads to the file, and that no live
        process in `owners` has parked it. Raises `FileNotFoundError` when it is gone, `BusyError`
        while it is in use, `ClaimedError` while it is claimed elsewhere, `ForeignFileError` for
        what is not a session's file. Takes over and closes `fd`, a descriptor of the file, if it is given.
        """
        if fd is None:
            fd = self.directory.open_file(name, os.O_RDWR)  # NFS locks exclusively only what could be written
        try:
            if self.locks and not self.directory.lock(fd):
                raise BusyError(name) if self.directory.lock(fd, shared=True) else ClaimedError(name)
            found = os.fstat(fd)
            if found.st_nlink == 0 or not self._leads_to(name, found.st_ino):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise ForeignFileError(f"{name} is not a session's file")
            if owners is not None and owners.parked(name):
                raise BusyError(name)
            yield Claim(name, fd, found)
        finally:
            self.directory.close_file(fd)

    def delete_completed(self, name: str, file: OpenFile) -> tuple[DeleteResult, int]:
        """Closes this process's file and deletes it, unless another process writes the same session."""
        return self._delete(self.claim(name, fd=file.fd), lambda claim: True)

    def delete_if(self, name: str, due: DeletePredicate, owners: Owners | None = None) -> tuple[DeleteResult, int]:
        """Deletes a file that is unused and still `due` once it is claimed; (how it ended, size)."""
        return self._delete(self.claim(name, owners), due)

    def _delete(
        self, claiming: contextlib.AbstractContextManager[Claim], due: DeletePredicate
    ) -> tuple[DeleteResult, int]:
        try:
            with claiming as claim:
                if claim.found.st_mode & stat.S_ISVTX or not due(claim):  # pinned, or not due any more
                    return DeleteResult.NOT_DUE, 0
                if not self.delete(claim):
                    return DeleteResult.IN_USE, 0
                return DeleteResult.DELETED, claim.found.st_size
        except ClaimedError:
            return DeleteResult.CLAIMED, 0
        except BusyError:
            return DeleteResult.IN_USE, 0
        except FileNotFoundError:
            return DeleteResult.GONE, 0
        except ForeignFileError:
            return DeleteResult.NOT_DUE, 0

    def delete(self, claim: Claim) -> bool:
        """Deletes a claimed file and what goes with it. False: another process has it open, and this is Windows."""
        if not self.directory.can_lock:
            self.directory.close_file(claim.fd)  # there our own open file could not be deleted either
        try:
            self.directory.unlink(claim.name)
        except PermissionError:
            if self.directory.can_lock:
                raise
            return False
        self._delete_companions(claim.name)
        return True

    def _delete_companions(self, name: str) -> None:
        """A session's timing file and its mark go with its log."""
        self.marks.remove(name)
        if self.has_timing:
            with contextlib.suppress(OSError):  # there is none, or it follows as one whose log is gone
                self.directory.unlink(timing_name_of(name))

    def delete_orphaned_timing(self, name: str) -> bool:
        """Deletes a timing file whose log is gone; whether it is gone, too."""
        self.has_timing = True
        try:
            self.directory.stat(log_name_of(name))
        except FileNotFoundError:
            with contextlib.suppress(FileNotFoundError):  # it went with its log, by this sweep or another one
                self.directory.unlink(name)
            return True
        return False

    # -- looking ---------------------------------------------------------------------

    def scan(self, slice_size: int, failed: Failed) -> Generator[list[Entry], None, None]:
        """All regular files, in slices; who else is at work may come in between them.

        `failed` is called for each that cannot be examined: a bad inode must not hide the files behind it.
        """
        self.directory.open()
        with self.directory.scan() as entries:
            yield from examined(entries, slice_size, failed)

    def find(self, names: Iterable[str], slice_size: int, failed: Failed) -> Generator[list[Entry], None, None]:
        """The same of these names only; without those that are gone."""
        self.directory.open()
        return examined((Named(name, self.directory) for name in names), slice_size, failed)

    def _lock_shared(self, fd: int) -> bool:
        try:
            return self.directory.lock(fd, shared=True)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            self.locks = False  # and nothing is swept there
            return True

    def _leads_to(self, name: str, inode: int) -> bool:
        """Whether the name leads to this very file, now."""
        try:
            return self.directory.stat(name).st_ino == inode
        except FileNotFoundError:
            return False


def _refuse_strange(name: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ForeignFileError(f"{name} is not a regular file")
    if found.st_nlink > 1:
        raise ForeignFileError(f"{name} has {found.st_nlink} hard links")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise ForeignFileError(f"{name} belongs to user {found.st_uid}")
