"""What the ledger says of the sessions whose files are there, read as the ledger grows."""

from __future__ import annotations

from collections import deque
from typing import Any

from streaming_logger._disk.directory import Directory
from streaming_logger._disk.ledger import LedgerTail
from streaming_logger._disk.names import file_name_of

__all__ = ["History"]

#: Lines in memory, about 1 kB each; above it the files that were met first are forgotten.
_MAX_LINES = 50_000

Lines = list[dict[str, Any]]


class History:
    """The ledger's lines, by file."""

    def __init__(self, directory: Directory) -> None:
        self._tail = LedgerTail(directory)
        self._lines: dict[str, Lines] = {}
        self._count = 0
        self._met: deque[str] = deque()

    def refresh(self) -> None:
        """Takes in what the ledger has got since. Raises `OSError`."""
        for event in self._tail.read():
            name, session = event.get("file"), event.get("session")
            if not isinstance(name, str):
                if not isinstance(session, str):
                    continue
                name = file_name_of(session)
            if event["event"] == "deleted":
                self._forget(name)
                continue
            if name not in self._lines:
                self._lines[name] = []
                self._met.append(name)
            self._lines[name].append(event)
            self._count += 1
            while self._count > _MAX_LINES:
                self._forget(self._met.popleft())

    def of(self, name: str) -> Lines:
        """The lines of a file, oldest first."""
        return self._lines.get(name, [])

    def _forget(self, name: str) -> None:
        self._count -= len(self._lines.pop(name, ()))


def last_outcome(lines: Lines) -> tuple[float, str] | None:
    """(when, outcome) of the last end of a session."""
    for line in reversed(lines):
        if isinstance(line.get("outcome"), str) and isinstance(line.get("at"), (int, float)):
            return line["at"], line["outcome"]
    return None


def last_loop(lines: Lines) -> str | None:
    """The kind of the last loop that the radar found."""
    return next((str(line.get("kind")) for line in reversed(lines) if line["event"] == "loop"), None)
