"""Whether a process writes a session's file, judged by its lock or by an owner file.

A writer holds a shared lock from its first byte to completion. Linux lists all locks in
one file, so most files need not be touched; but a lock of another container, and the
device numbers of some file systems, are not in there. A file that it does not list is probed
as a sweeper does it: the exclusive lock is taken for microseconds, and given back. A
writer that meets a busy lock in that moment comes again in 20 ms.
"""

from __future__ import annotations

import os
from pathlib import Path

from streaming_logger._disk.directory import Directory
from streaming_logger._disk.owner import Owners
from streaming_logger._disk.statx import Found
from streaming_logger._disk.store import Store

__all__ = ["ACTIVE", "IDLE", "PARKED", "UNKNOWN", "Activity"]

ACTIVE, PARKED, IDLE, UNKNOWN = "active", "parked", "idle", "unknown"

_LOCKS = Path("/proc/locks")


class Activity:
    """Answers for the files of one directory. Close it when done."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._store = Store(directory)
        self._owners = Owners(directory)
        self._listed = _listed_locks()
        # Files that were found idle, by name: they still are while nothing was written to them.
        self._idle: dict[str, tuple[tuple[int, int], float]] = {}

    def refresh(self) -> None:
        """For the next look."""
        self._listed = _listed_locks()

    def close(self) -> None:
        self._owners.close()

    def any_server(self) -> bool:
        """Whether a process that has written here lives."""
        try:
            return self._owners.any_alive()
        except OSError:
            return False

    def listed(self, found: Found) -> bool:
        """Whether the system lists a lock on the file. Costs nothing; false proves nothing."""
        return found.identity in self._listed

    def of(self, name: str, found: Found) -> str:
        """ACTIVE, PARKED, IDLE, or UNKNOWN for a file that must not be read by this user."""
        if self.listed(found):
            self._idle.pop(name, None)
            return ACTIVE
        version = (found.identity, found.mtime)
        if self._idle.get(name) == version:
            return IDLE
        how, _ = self.probe(name)
        if how == IDLE:
            self._idle[name] = version
        return how

    def probe(self, name: str) -> tuple[str, str | None]:
        """The same by asking the file's own lock; and the outcome that it is marked with, if it is idle."""
        try:
            fd = self._directory.open_file(name, os.O_RDONLY)
        except OSError:
            return UNKNOWN, None
        try:
            if not self._directory.lock(fd):
                return ACTIVE, None
            return (PARKED, None) if self._owners.parked(name) else (IDLE, self._store.outcome(fd))
        except OSError:
            return UNKNOWN, None
        finally:
            self._directory.close_file(fd)


def _listed_locks() -> frozenset[tuple[int, int]]:
    """(device, inode) of every file that is locked by flock, as far as Linux lists them."""
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return frozenset()
    held = set()
    for line in lines:
        words = line.split()
        if len(words) < 6 or words[1] != "FLOCK":  # a waiting one has an arrow there
            continue
        major, minor, inode = words[5].split(":")
        held.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    return frozenset(held)
