"""The ledger as the command reads it: only lines that a server can have written.

The file is text that may be torn, edited or mixed up with another. A line with
a number that is none (NaN, 1e999, a thousand digits) would stop every verb at 3 a.m., so
it counts as torn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streaming_logger._disk.directory import Directory
from streaming_logger._disk.ledger import LedgerTail

__all__ = ["new_events", "read_events", "whole"]

#: No time, size or age of ours is beyond it, and every float and date takes part of it.
_LARGEST = 1e15


def read_events(directory: Directory) -> Iterator[dict[str, Any]]:
    """All events, oldest first: each flat, with a time `at` and a word `event`. Raises `OSError`."""
    return new_events(LedgerTail(directory))


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
