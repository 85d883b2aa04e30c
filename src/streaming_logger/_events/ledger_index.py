"""What the ledger knows of the session files that are still there: their ends, their loops, what was recovered."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from streaming_logger._disk.directory import Directory
from streaming_logger._events.ledger import LedgerReader, file_of
from streaming_logger._events.model import Event, LoopEnded, LoopFound, SessionDeleted, SessionEnded

__all__ = ["End", "LedgerIndex"]


class End(NamedTuple):
    """The last end that the ledger knows of a file that was not deleted since."""

    event: SessionEnded
    size: int
    """Bytes of all turns that ended so far."""

    @property
    def at(self) -> float:
        return self.event.at

    @property
    def outcome(self) -> str:
        return self.event.outcome


class LedgerIndex:
    """The ledger's events by file, read as the ledger grows. `managed`: whether the directory has a ledger."""

    def __init__(self, directory: Directory, *, managed: bool) -> None:
        self._ends: dict[str, End] = {}
        # By file: the kind of the last loop in the turn that goes on, and in any turn.
        self._loops: dict[str, str] = {}
        self._looped: dict[str, str] = {}
        self._ran_on: dict[str, int] = {}
        self._recovered: dict[str, int] = {}
        self._ledger = LedgerReader(directory)
        first = self.refresh()
        self.since = 0.0 if managed else float("inf")
        """Of what ended before it knows nothing; infinite where no ledger is kept."""
        if first is not None and not self._ledger.is_complete:
            self.since = first

    def refresh(self) -> float | None:
        """Reads what the ledger got since; the time of its first line."""
        first = None
        with suppress(OSError):
            for event in self._ledger.read():
                if first is None:
                    first = event.at
                self._take(event)
        return first

    def of(self, name: str, mtime: float) -> End | None:
        """How the file's last turn ended; None when something was written since."""
        end = self._ends.get(name)
        return end if end is not None and end.event.covers(mtime) else None

    def before(self, name: str) -> End | None:
        """How the turn before ended."""
        return self._ends.get(name)

    def loop(self, name: str, *, ended: bool) -> str:
        """The kind of loop that a server's radar found in a file; while it is written, in this turn."""
        return (self._looped if ended else self._loops).get(name, "")

    def ran_on(self, name: str) -> int:
        """The characters that loops in a file went on for after they were found, of those that are over."""
        return self._ran_on.get(name, 0)

    def recovered(self, name: str) -> int:
        """Bytes of a file that a crash would have taken, but for the crash journal."""
        return self._recovered.get(name, 0)

    def _take(self, event: Event) -> None:
        name = file_of(event)
        if name is None:
            return
        end = self._ends.get(name)
        if isinstance(event, SessionEnded):
            self._loops.pop(name, None)
            if event.is_recovery:
                self._recovered[name] = self._recovered.get(name, 0) + event.bytes
            last = event if end is None or end.at <= event.at else end.event
            self._ends[name] = End(last, event.bytes + (0 if end is None else end.size))
        elif isinstance(event, LoopFound):
            self._looped[name] = event.kind
            if not event.ended:
                self._loops[name] = event.kind
        elif isinstance(event, LoopEnded):
            self._ran_on[name] = self._ran_on.get(name, 0) + event.after
        elif isinstance(event, SessionDeleted) and end is not None and end.at <= event.at:
            del self._ends[name]
            self._looped.pop(name, None)
            self._ran_on.pop(name, None)
            self._recovered.pop(name, None)
