"""The ledger: what happened to each session, one JSON line each, also after its file is gone.

Lines are gathered in memory, by any thread and without waiting, and written by whoever
does I/O anyway: one append for each batch, so that several processes can share the
file. It is bounded: at its limit it becomes the predecessor, and the older one goes. A
ledger that cannot be written disturbs nothing; its lines wait, the oldest give way.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from streaming_logger._directory import PRIVATE, Directory

__all__ = ["Ledger"]

_NAME = f"{PRIVATE}/ledger.jsonl"
_PREDECESSOR = f"{_NAME}.1"
MAX_BYTES = 16_000_000
_MAX_WAITING = 10_000
#: Lines parsed at once.
_BATCH = 1000
_encode = json.JSONEncoder(default=str).encode  # json.dumps would make an encoder for each line


class Ledger:
    """The ledger of one directory; any number of processes may have it open."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._waiting: deque[str] = deque(maxlen=_MAX_WAITING)  # append is atomic
        # By the worker, or a caller that sweeps; held over the I/O, so that lines stay in order.
        # Guards taking from `_waiting`. Reentrant: a GC finalizer may complete a session in here.
        self._writing = threading.RLock()

    def note(self, at: float, event: str, **fields: object) -> None:
        """Remembers one event, for the next `write`."""
        line = {"at": round(at, 3), "event": event, "pid": os.getpid(), **fields}
        self._waiting.append(_encode(line) + "\n")

    def write(self) -> None:
        """Writes what was noted. Never raises `OSError`."""
        if not self._waiting or not self._directory.ours:
            return
        with self._writing:
            lines = []
            with contextlib.suppress(IndexError):
                for _ in range(len(self._waiting)):
                    lines.append(self._waiting.popleft())
            try:
                self._append("".join(lines).encode())
            except OSError:
                self._waiting.extendleft(reversed(lines[: _MAX_WAITING - len(self._waiting)]))

    def read(self) -> Iterator[dict[str, Any]]:
        """All events that are still there, oldest first; torn lines are passed over."""
        for name in (_PREDECESSOR, _NAME):
            try:
                fd = self._directory.open_file(name, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                with open(fd, encoding="utf-8", errors="replace", closefd=False) as lines:
                    while batch := list(islice(lines, _BATCH)):
                        yield from (event for event in _parsed(batch) if isinstance(event, dict) and "event" in event)
            finally:
                self._directory.close_file(fd)

    def _append(self, data: bytes) -> None:
        fd = self._directory.open_file(_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            taken = os.write(fd, data)
            if taken < len(data) and not data[:taken].endswith(b"\n"):
                os.write(fd, b"\n")  # a torn line costs itself, not the next one
            found = os.fstat(fd)
            # Under the lock and by identity: of two processes at the limit only one may rename.
            if found.st_size > MAX_BYTES and self._directory.lock(fd):
                now = self._directory.stat(_NAME)
                if (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino):
                    self._directory.rename(_NAME, _PREDECESSOR)
        finally:
            self._directory.close_file(fd)


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
