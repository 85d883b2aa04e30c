"""Who holds a lock on a file, asked without taking one.

A lock that is taken only to ask is a lock that others wait for if its holder is stopped in that moment. Linux lists
all locks in one file, with the processes that hold them. It leaves out processes of other PID namespaces (containers),
and the device numbers of some file systems differ there. So a writer also holds a read lock of the kind that `fcntl`
can ask about; it excludes nobody.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["UNSEEN", "LockTable", "announce", "byte_holder", "holder_of", "is_announced", "is_stopped", "process"]

#: A holder in another container, or on another host.
UNSEEN = "a process that cannot be seen from here"
_LOCKS = Path("/proc/locks")
#: `struct flock`: type, whence, start, length (0: to the end), pid.
_FLOCK = struct.Struct("@hhqqi0q")
#: The same on macOS, where `fcntl` tells of flock's locks, too: start, length, pid, type, whence.
_MACOS_FLOCK = struct.Struct("@qqihh")
#: What `ps` calls a process that does not run.
_STATES = {"T": "stopped", "t": "stopped by a debugger", "D": "waits for a disk"}


class LockTable:
    """flock's locks of one moment, as far as the system lists them. Empty where it lists none."""

    def __init__(self) -> None:
        self._shared: set[tuple[int, int]] = set()
        self._exclusive: dict[tuple[int, int], int] = {}
        with contextlib.suppress(OSError):
            for line in _LOCKS.read_text().splitlines():
                words = line.split()
                if len(words) < 6 or words[1] != "FLOCK":  # a waiting one has an arrow there
                    continue
                major, minor, inode = words[5].split(":")
                identity = os.makedev(int(major, 16), int(minor, 16)), int(inode)
                if words[3] == "WRITE":
                    self._exclusive[identity] = int(words[4])
                else:
                    self._shared.add(identity)

    @property
    def has_claims(self) -> bool:
        """Whether any file on this machine is locked exclusively."""
        return bool(self._exclusive)

    def is_shared(self, identity: tuple[int, int]) -> bool:
        """Whether a process holds a shared lock on the file (device, inode), as a writer does. False proves nothing."""
        return identity in self._shared

    def claimant(self, identity: tuple[int, int]) -> int | None:
        """The process that holds the exclusive lock on the file; None where none is known."""
        if identity in self._exclusive:
            return self._exclusive[identity]
        same_inode = [pid for (_, inode), pid in self._exclusive.items() if inode == identity[1]]
        return next((pid for pid in same_inode if _has_open(pid, identity)), None)


def _has_open(pid: int, identity: tuple[int, int]) -> bool:
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found = os.stat(f"/proc/{pid}/fd/{fd}")
                if (found.st_dev, found.st_ino) == identity:
                    return True
    return False


def holder_of(found: os.stat_result) -> str:
    """Who holds the exclusive lock on a file, for a message."""
    pid = LockTable().claimant((found.st_dev, found.st_ino))
    return UNSEEN if pid is None else process(pid)


def process(pid: int) -> str:
    """A process for a message, and why it does not run."""
    state = ""
    with contextlib.suppress(OSError, IndexError):
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    return f"process {pid} ({_STATES[state]})" if state in _STATES else f"process {pid}"


def is_stopped(pid: int) -> bool:
    """Whether a process stands still, as far as can be seen."""
    return "(stopped" in process(pid)


def byte_holder(fd: int, at: int) -> int | None:
    """The process that has locked one byte of a file by `lockf`, as far as it can be seen from here, else 0.

    None: nobody has. Raises `OSError`.
    """
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else max(0, pid)


def announce(fd: int) -> None:
    """Says that the file is being written, until the descriptor is closed. Only `is_announced` heeds it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))


def is_announced(fd: int) -> bool | None:
    """Whether somebody else writes the file; None where the system cannot tell."""
    if fcntl is None:
        return False
    try:
        if sys.platform == "linux":
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            return bool(_FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)
        asked = _MACOS_FLOCK.pack(0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
        return bool(_MACOS_FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))[3] != fcntl.F_UNLCK)
    except (OSError, struct.error):
        return None
