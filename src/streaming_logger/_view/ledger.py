"""What the ledger says of sessions, read from only those lines that a server can have written.

The file is text that may be torn, edited or mixed up with another. A line with
a number that is none (NaN, 1e999, a thousand digits) would stop every verb at 3 a.m., so
it counts as torn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from streaming_logger._disk.directory import Directory
from streaming_logger._disk.ledger import LedgerTail
from streaming_logger._disk.names import file_name_of

__all__ = ["End", "Ends", "events_of", "new_events", "read_events", "whole"]

#: How much earlier than its file's last bytes a completion may be written down: rounding, coarse clocks.
_GRAIN = 0.1

#: No time, size or age of ours is beyond it, and every float and date takes part of it.
_LARGEST = 1e15


def read_events(directory: Directory) -> Iterator[dict[str, Any]]:
    """All events, oldest first: each flat, with a time `at` and a word `event`. Raises `OSError`."""
    return new_events(LedgerTail(directory))


def events_of(directory: Directory, name: str) -> list[dict[str, Any]]:
    """Those of one session, by the name of its file; none where the ledger cannot be read."""
    try:
        return [
            event
            for event in read_events(directory)
            if name == (event.get("file") or file_name_of(str(event.get("session"))))
        ]
    except OSError:
        return []


def new_events(tail: LedgerTail) -> Iterator[dict[str, Any]]:
    """The same of what a ledger got since it was last asked. Raises `OSError`."""
    for event in tail.read():
        if type(event["event"]) is str and type(event.get("at")) in (int, float) and _is_sound(event):
            yield event


def _is_sound(event: dict[str, Any]) -> bool:
    for value in event.values():
        kind = type(value)
        if kind is int or kind is float:
            if not -_LARGEST < value < _LARGEST:  # NaN is not either
                return False
        elif kind is not str and value is not None and kind is not bool:
            return False
    return True


def whole(value: object) -> int:
    """A count that an event has, or none."""
    return value if isinstance(value, int) else 0


class End(NamedTuple):
    """The last completion that the ledger knows of a file that was not deleted since."""

    at: float
    outcome: str
    size: int
    """Bytes of all turns that ended so far."""


class Ends:
    """What the ledger knows of the files that are still there."""

    def __init__(self, directory: Directory, *, managed: bool) -> None:
        self._ends: dict[str, End] = {}
        # By file: the kind of the last loop in the turn that goes on, and in any turn.
        self._loops: dict[str, str] = {}
        self._looped: dict[str, str] = {}
        self._recovered: dict[str, int] = {}
        self.since = 0.0 if managed else float("inf")
        """Of what ended before it knows nothing; infinite where no ledger is kept."""
        self._tail = LedgerTail(directory)
        first = self.refresh()
        with suppress(OSError):
            directory.stat(".streaming_logger/ledger.jsonl.1")
            if first is not None:
                self.since = first

    def refresh(self) -> float | None:
        """Reads what the ledger got since; the time of its first line."""
        first = None
        with suppress(OSError):
            for event in new_events(self._tail):
                if first is None:
                    first = event["at"]
                self._take(event)
        return first

    def of(self, name: str, mtime: float) -> End | None:
        """How the file's last turn ended; None when something was written since."""
        end = self._ends.get(name)
        return end if end is not None and end.at + _GRAIN >= mtime else None

    def loop(self, name: str, *, ended: bool) -> str:
        """The kind of loop that a server's radar found in a file; while it is written, in this turn."""
        return (self._looped if ended else self._loops).get(name, "")

    def before(self, name: str) -> End | None:
        """How the turn before ended."""
        return self._ends.get(name)

    def recovered(self, name: str) -> int:
        """Bytes of a file that a crash would have taken, but for the crash journal."""
        return self._recovered.get(name, 0)

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "loop":
            name, kind = file_name_of(str(event.get("session"))), str(event.get("kind"))
            self._looped[name] = kind
            if not event.get("ended"):
                self._loops[name] = kind
            return
        file, at = event.get("file"), event["at"]
        if not isinstance(file, str):
            return
        end = self._ends.get(file)
        if event["event"] == "deleted":
            if end is not None and end.at <= at:
                del self._ends[file]
                self._looped.pop(file, None)
                self._recovered.pop(file, None)
            return
        outcome, count = event.get("outcome"), event.get("bytes")
        if not isinstance(outcome, str) or not isinstance(count, int):
            return
        self._loops.pop(file, None)
        if event["event"] == "crashed":
            self._recovered[file] = self._recovered.get(file, 0) + count
        if end is None:
            self._ends[file] = End(at, outcome, count)
        else:
            last = end if end.at > at else End(at, outcome, 0)
            self._ends[file] = last._replace(size=end.size + count)
