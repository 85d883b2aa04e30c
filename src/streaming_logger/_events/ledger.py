"""The ledger: what happened to each session, one JSON line each, also after its file is gone. One writer, one reader.

Lines are gathered in memory, by any thread and without waiting, and written by the thread
that does I/O anyway: one append for each batch, so that several processes can share the
file. A ledger that cannot be written disturbs nothing; its lines wait, and above a limit the oldest are discarded.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from streaming_logger._base.clock import Clock
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.ledger_file import LedgerFile, LedgerFileTail
from streaming_logger._disk.names import file_name_of
from streaming_logger._events.model import Event, OtherEvent, from_line
from streaming_logger._events.observers import Observer

__all__ = ["Ledger", "LedgerReader", "events_in", "events_of", "file_of", "read_events", "session_of"]

_MAX_WAITING = 10_000
_encode = json.JSONEncoder().encode  # json.dumps would make an encoder for each line


class Ledger(Observer):
    """Writes the events of one logger, after each slice of a flush or sweep."""

    name = "ledger"

    def __init__(self, directory: Directory, clock: Clock | None = None) -> None:
        self._file = LedgerFile(directory, clock or Clock())
        self._waiting: deque[str] = deque(maxlen=_MAX_WAITING)  # append is atomic
        # Who writes now, the worker or a caller that sweeps, so that lines stay in order. No lock: a
        # signal handler that interrupts a sweeping caller may wait for the worker.
        self._writer: object | None = None
        self._torn = False
        """Whether the last line in the file is a part of one."""

    def on_event(self, event: Event) -> None:
        """Remembers an event, for the next `on_batch`."""
        self._waiting.append(_encode(event.to_line()) + "\n")

    def on_batch(self) -> None:
        """Writes what waits. Never raises `OSError`.

        While another thread writes, or a frame of this one that was interrupted, the lines wait.
        """
        if not self._waiting or not self._file.is_kept:
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
            size = self._file.append((newline + "".join(lines)).encode()) - len(newline)
            while lines and size >= len(lines[0]):
                size -= len(lines.pop(0))
            self._torn = size != 0
        except (OSError, IndexError):
            pass
        finally:
            self._waiting.extendleft(reversed(lines[: _MAX_WAITING - len(self._waiting)]))
            if self._writer is me:
                self._writer = None


class LedgerReader:
    """Reads a ledger as it grows, and across its rotation.

    Torn lines, and those that no server can have written, are passed over.
    """

    def __init__(self, directory: Directory) -> None:
        self._tail = LedgerFileTail(directory)

    @property
    def is_complete(self) -> bool:
        """Whether the ledger knows all that ever happened in its directory: nothing was rotated away yet."""
        return self._tail.is_complete

    def read(self) -> Iterator[Event]:
        """The events since the last call, oldest first; at first all that are still there. Raises `OSError`."""
        for batch in self._tail.read():
            yield from events_in(_parsed([line.decode("utf-8", "replace") for line in batch]))


def read_events(directory: Directory) -> Iterator[Event]:
    """All events that the ledger has, oldest first. Raises `OSError`."""
    return LedgerReader(directory).read()


def events_in(lines: Iterable[object]) -> list[Event]:
    """The events on lines of a ledger, each given as the value of its JSON."""
    return [event for line in lines if (event := from_line(line)) is not None]


def events_of(directory: Directory, name: str) -> list[Event]:
    """Those of one session, by the name of its file; none where the ledger cannot be read."""
    try:
        return [event for event in read_events(directory) if file_of(event) == name]
    except OSError:
        return []


def session_of(event: Event) -> str | None:
    """The id of the session that an event is about, if there is one."""
    return _text(event, "session")


def file_of(event: Event) -> str | None:
    """The name of the session file that an event is about, if there is one."""
    name = _text(event, "file")
    if name is None and (session := session_of(event)) is not None:
        name = file_name_of(session)
    return name


def _text(event: Event, key: str) -> str | None:
    value = event.more.get(key) if isinstance(event, OtherEvent) else getattr(event, key, None)
    return value if isinstance(value, str) else None


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
