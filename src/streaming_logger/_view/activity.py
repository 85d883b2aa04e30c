"""Whether a process writes a session's file, judged by its lock or by an owner file.

A writer holds a shared lock from its first byte to completion. Linux lists all locks in
one file, so most files need not be touched. A lock of another container, and the device
numbers of some file systems, are not in there: a file that it does not list is asked about.
No lock is taken for that, or a command that is stopped would keep a writer from its file.
"""

from __future__ import annotations

import os

from streaming_logger._disk.directory import Directory
from streaming_logger._disk.locks import LockTable, is_announced
from streaming_logger._disk.owner import Owners
from streaming_logger._disk.statx import Found
from streaming_logger._disk.store import Store

__all__ = ["ACTIVE", "IDLE", "PARKED", "UNKNOWN", "Activity"]

ACTIVE, PARKED, IDLE, UNKNOWN = "active", "parked", "idle", "unknown"


class Activity:
    """Answers for the files of one directory. Close it when done."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._store = Store(directory)
        self._owners = Owners(directory)
        self._locks = LockTable()
        # Files that were found idle, by name: they still are while nothing was written to them.
        self._idle: dict[str, tuple[tuple[int, int], float]] = {}

    def refresh(self) -> None:
        """For the next look."""
        self._locks = LockTable()

    def close(self) -> None:
        self._owners.close()

    def any_server(self) -> bool:
        """Whether a process that has written here lives."""
        try:
            return self._owners.any_alive()
        except OSError:
            return False

    def listed(self, found: Found) -> bool:
        """Whether the system lists a writer's lock on the file. Costs nothing; false proves nothing."""
        return self._locks.is_shared(found.identity)

    def of(self, name: str, found: Found) -> str:
        """ACTIVE, PARKED, IDLE, or UNKNOWN where this user may not read the file, or this system cannot tell."""
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
        """The same by asking about the file alone; and the outcome that it is marked with, if it is idle."""
        try:
            fd = self._directory.open_file(name, os.O_RDONLY)
        except OSError:
            return UNKNOWN, None
        try:
            is_written = is_announced(fd)
            if is_written is None:
                return UNKNOWN, None
            if is_written:
                return ACTIVE, None
            return (PARKED, None) if self._owners.parked(name) else (IDLE, self._store.outcome(fd))
        except OSError:
            return UNKNOWN, None
        finally:
            self._directory.close_file(fd)
