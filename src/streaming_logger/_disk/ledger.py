"""The ledger: what happened to each session, one JSON line each, also after its file is gone.

Lines are gathered in memory, by any thread and without waiting, and written by the thread
that does I/O anyway: one append for each batch, so that several processes can share the
file. It is bounded: at its limit it becomes the predecessor, and the older one goes. A
ledger that cannot be written disturbs nothing; its lines wait, and above a limit the oldest are discarded.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from streaming_logger._base.clock import Clock
from streaming_logger._disk.directory import PRIVATE, Directory
from streaming_logger._disk.turns import Turns

__all__ = ["Ledger", "LedgerTail"]

_NAME = f"{PRIVATE}/ledger.jsonl"
_PREDECESSOR = f"{_NAME}.1"
MAX_BYTES = 16_000_000
_MAX_WAITING = 10_000
#: Lines parsed at once.
_BATCH = 1000
_encode = json.JSONEncoder(default=str).encode  # json.dumps would make an encoder for each line


class Ledger:
    """The ledger of one directory; any number of processes may have it open."""

    def __init__(self, directory: Directory, clock: Clock | None = None) -> None:
        self._directory = directory
        self._turns = Turns(directory, clock or Clock())
        self._waiting: deque[str] = deque(maxlen=_MAX_WAITING)  # append is atomic
        # Who writes now, the worker or a caller that sweeps, so that lines stay in order. No lock: a
        # signal handler that interrupts a sweeping caller may wait for the worker.
        self._writer: object | None = None
        self._torn = False
        """Whether the last line in the file is a part of one."""

    def note(self, at: float, event: str, **fields: object) -> None:
        """Remembers one event, for the next `write`."""
        line = {"at": round(at, 3), "event": event, "pid": os.getpid(), **fields}
        self._waiting.append(_encode(line) + "\n")

    def write(self) -> None:
        """Writes what was noted. Never raises `OSError`.

        While another thread writes, or a frame of this one that was interrupted, the lines wait.
        """
        if not self._waiting or not self._directory.managed:
            return
        me = object()
        lines: list[str] = []
        try:
            if self._writer is None:  # a compare and a store, one step: see `_table`
                self._writer = me
            if self._writer is not me:
                return
            for _ in range(len(self._waiting)):
                lines.append(self._waiting.popleft())
            newline = "\n" if self._torn else ""  # a torn line costs itself, not the next one
            size = self._append((newline + "".join(lines)).encode()) - len(newline)
            while lines and size >= len(lines[0]):
                size -= len(lines.pop(0))
            self._torn = size != 0
        except (OSError, IndexError):
            pass
        finally:
            self._waiting.extendleft(reversed(lines[: _MAX_WAITING - len(self._waiting)]))
            if self._writer is me:
                self._writer = None

    def _append(self, data: bytes) -> int:
        """Writes what the disk takes; returns how many bytes that was."""
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


class LedgerTail:
    """Reads a ledger as it grows, and across its rotation."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._inode = self._offset = 0

    def read(self) -> Iterator[dict[str, Any]]:
        """The events since the last call, oldest first; at first all that are still there. Torn lines are passed over.

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

    def _rest(self, inode: int, fd: int) -> Iterator[dict[str, Any]]:
        if inode != self._inode:
            self._inode, self._offset = inode, 0
        with open(fd, "rb", closefd=False) as lines:
            lines.seek(self._offset)
            while batch := list(islice(lines, _BATCH)):
                self._offset += sum(map(len, batch))
                found = _parsed([line.decode("utf-8", "replace") for line in batch])
                yield from (event for event in found if isinstance(event, dict) and "event" in event)


def _parsed(lines: list[str]) -> list[Any]:
    """What some lines say: all at once where they are whole, which takes a third of the time."""
    try:
        # Each has its newline still, which no JSON string may hold: so two torn lines cannot make a whole one.
        found: list[Any] = json.loads(f"[{','.join(lines)}]")
    except (ValueError, RecursionError):
        found = []
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                found.append(json.loads(line))
    return found
