"""Owner files: the names of parked sessions, which are active although no lock says so.

With more sessions than descriptors some files must be closed. Before the lock of one
is dropped its name goes into this process's owner file, which is locked for as long
as the process lives. A sweeper that holds a candidate's lock looks here last.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time

from streaming_logger._disk.directory import PRIVATE, Directory
from streaming_logger._disk.process_files import PROCESS_NAME, create

__all__ = ["OwnerFile", "Owners"]

_OWNERS = f"{PRIVATE}/owners"
#: Other files in the subdirectory are left alone.
_OWN_NAME = re.compile(PROCESS_NAME)
#: An owner file with this many lines that say nothing any more is written anew.
_MAX_STALE_LINES = 20_000
#: A directory's time stamp may be so coarse.
_GRAIN_NS = 20_000_000


class OwnerFile:
    """This process's list of parked names. Only who does the I/O uses it: one thread at a time."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._names: set[str] = set()
        self._lines = 0
        self._fd: int | None = None
        self._path = ""

    def __len__(self) -> int:
        return len(self._names)

    def start(self) -> None:
        """Makes the file, if there is none yet. Raises `OSError`."""
        if self._fd is None and self._directory.managed:
            self._renew()

    def add(self, name: str) -> None:
        """Returns when every sweeper can see the name. Raises `OSError`: then it must not be parked."""
        if name in self._names or not self._directory.managed:
            return  # an unmanaged directory is never swept
        self.start()
        self._write(f"+{name}\n")
        self._names.add(name)

    def check(self) -> None:
        """Once a flush: a list that was removed is written again. Raises `OSError`."""
        if self._names and self._fd is not None and os.fstat(self._fd).st_nlink == 0:
            self._renew()

    def discard(self, name: str) -> None:
        """The session is complete. A line that cannot be written leaves its file protected, no more."""
        if name not in self._names:
            return
        self._names.discard(name)
        with contextlib.suppress(OSError):
            self._write(f"-{name}\n")
            if self._lines > 2 * len(self._names) + _MAX_STALE_LINES:
                self._renew()

    def close(self) -> None:
        """The end of this owner: its file goes with it."""
        if self._fd is not None:
            self._remove(self._fd, self._path)
        self._fd = None
        self._names.clear()

    def _renew(self) -> None:
        """A new owner file with the names of now; the old one goes only after it is whole."""
        old_fd, old_path = self._fd, self._path
        self._directory.make_subdir(_OWNERS)
        path, fd = create(self._directory, f"{_OWNERS}/")
        try:
            text = "".join(f"+{name}\n" for name in self._names).encode()
            if os.write(fd, text) < len(text):
                raise OSError(errno.ENOSPC, "the disk did not take the owner file whole")
        except BaseException:
            self._remove(fd, path)
            raise
        self._fd, self._path, self._lines = fd, path, len(self._names)
        if old_fd is not None:
            self._remove(old_fd, old_path)

    def _remove(self, fd: int, path: str) -> None:
        with contextlib.suppress(OSError):
            self._directory.unlink(path)
        self._directory.close_file(fd)

    def _write(self, line: str) -> None:
        assert self._fd is not None  # noqa: S101 - add() starts the file, discard() follows an add()
        data = line.encode()
        if os.write(self._fd, data) < len(data):
            os.write(self._fd, b"?\n")  # no file is called like that
            raise OSError(errno.ENOSPC, "the disk did not take a line of the owner file")
        self._lines += 1


class Owners:
    """The sweeper's view: which names are parked by a process that lives."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._dir_seen = -1
        self._listed: dict[str, _Listed] = {}

    def parked(self, name: str) -> bool:
        """Whether a live process says so now. Asked under the candidate's lock: parking
        writes the name before it drops that lock, so it cannot be missed."""
        self._look()
        return bool(self._listed) and any(listed.holds(name) for listed in self._listed.values())

    def any_alive(self) -> bool:
        """Whether some process that has written here lives. Raises `OSError`."""
        self._look()
        return bool(self._listed)

    def close(self) -> None:
        for listed in self._listed.values():
            self._directory.close_file(listed.fd)
        self._listed.clear()
        self._dir_seen = -1

    def _look(self) -> None:
        """Lists the owner files anew when the directory of them has changed."""
        try:
            changed = self._directory.stat(_OWNERS).st_mtime_ns
            if changed == self._dir_seen:
                return
            names = set(filter(_OWN_NAME.fullmatch, self._directory.names(_OWNERS)))
        except FileNotFoundError:
            self.close()
            return
        for gone in set(self._listed) - names:
            self._directory.close_file(self._listed.pop(gone).fd)
        for name in names - set(self._listed):
            with contextlib.suppress(FileNotFoundError):
                self._meet(name)
        # A change within the time stamp's grain would look like none: look again next time.
        self._dir_seen = changed if time.time_ns() - changed > _GRAIN_NS else -1

    def _meet(self, name: str) -> None:
        """Enters a live owner's file; removes that of a dead one, which parks nothing."""
        path = f"{_OWNERS}/{name}"
        fd = self._directory.open_file(path, os.O_RDWR)
        try:
            # Shared: an owner holds its file exclusively, and others who only look do not count as one, even stopped.
            if not self._directory.lock(fd, shared=True):
                self._listed[name] = _Listed(fd)
            else:
                self._directory.unlink(path)
        finally:
            if name not in self._listed:
                self._directory.close_file(fd)


class _Listed:
    """One live owner file, read on as it grows."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rest = b""
        self._names: set[bytes] = set()

    def holds(self, name: str) -> bool:
        while more := os.read(self.fd, 1 << 16):
            *lines, self._rest = (self._rest + more).split(b"\n")
            for line in lines:
                if line[:1] == b"+":
                    self._names.add(line[1:])
                else:
                    self._names.discard(line[1:])
        return name.encode() in self._names
