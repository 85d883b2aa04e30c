"""The ledger's file: lines appended by any number of processes, and read as they grow. What they say is `_events`'.

It is bounded: at its limit it becomes the predecessor, and the older one goes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import islice

from streaming_logger._base.clock import Clock
from streaming_logger._disk.directory import PRIVATE, Directory
from streaming_logger._disk.turns import Turns

__all__ = ["LedgerFile", "LedgerFileTail"]

_NAME = f"{PRIVATE}/ledger.jsonl"
_PREDECESSOR = f"{_NAME}.1"
MAX_BYTES = 16_000_000
#: Lines read at once.
_BATCH = 1000


class LedgerFile:
    """Appends to the ledger of one directory."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._turns = Turns(directory, clock)

    @property
    def is_kept(self) -> bool:
        """Whether the directory is one of ours: a stranger's gets no ledger."""
        return self._directory.managed

    def append(self, data: bytes) -> int:
        """Writes what the disk takes; returns how many bytes that was. Raises `OSError`."""
        fd = self._directory.open_file(_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            taken = os.write(fd, data)
            with contextlib.suppress(OSError):  # the lines are written, whatever becomes of the rest
                self._rotate(fd)
            return taken
        finally:
            self._directory.close_file(fd)

    def _rotate(self, fd: int) -> None:
        """At its limit the ledger becomes the predecessor."""
        found = os.fstat(fd)
        if found.st_size <= MAX_BYTES or (turn := self._turns.take("ledger.lock")) is None:
            return
        try:
            # In a turn and by identity: of two processes at the limit only one may rename.
            now = self._directory.stat(_NAME)
            if (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino):
                self._directory.rename(_NAME, _PREDECESSOR)
        finally:
            turn.close()


class LedgerFileTail:
    """Reads a ledger's lines as it grows, and across its rotation."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._inode = self._offset = 0

    @property
    def is_complete(self) -> bool:
        """Whether the ledger has all lines that were ever written: it has not become a predecessor yet."""
        try:
            self._directory.stat(_PREDECESSOR)
        except OSError:
            return True
        return False

    def read(self) -> Iterator[list[bytes]]:
        """The lines since the last call, oldest first, some at a time; at first all that are still there.

        Raises `OSError`.
        """
        fds: dict[int, int] = {}
        try:
            for name in (_NAME, _PREDECESSOR):  # in this order: a rotation in between hides nothing
                with contextlib.suppress(FileNotFoundError):
                    fd = self._directory.open_file(name, os.O_RDONLY)
                    if fds.setdefault(os.fstat(fd).st_ino, fd) != fd:
                        self._directory.close_file(fd)
            inodes = list(fds)[::-1]
            if self._inode in inodes:
                inodes = inodes[inodes.index(self._inode) :]
            for inode in inodes:
                yield from self._rest(inode, fds[inode])
        finally:
            for fd in fds.values():
                self._directory.close_file(fd)

    def _rest(self, inode: int, fd: int) -> Iterator[list[bytes]]:
        if inode != self._inode:
            self._inode, self._offset = inode, 0
        with open(fd, "rb", closefd=False) as lines:
            lines.seek(self._offset)
            while batch := list(islice(lines, _BATCH)):
                self._offset += sum(map(len, batch))
                yield batch
