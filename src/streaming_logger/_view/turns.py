"""The turns of one session: which stretch of its text each one is, how it ended and when.

An end in the ledger says at which offsets its turn began and ended. What lies between two such turns, or behind the
last, belongs to a turn whose end the ledger does not place: its process crashed, or is at it still.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streaming_logger._events.model import Event, SessionDeleted, SessionEnded, TextDropped

__all__ = ["Turn", "turns_of"]


class Turn(NamedTuple):
    """One stretch of a session's text."""

    begin: int
    """Offset of its first byte."""
    end: int
    """Offset behind its last byte."""
    outcome: str
    """How it ended; of the last turn the state of the session; empty where nobody knows."""
    at: float | None
    """When it ended, in wall time; None where it goes on or nobody knows."""


def turns_of(events: Iterable[Event], size: int, state: str) -> list[Turn]:
    """The turns of a session, oldest first, by its events in the ledger.

    `size` is that of its text now, `state` what `ls` shows of it. Together the turns are the whole text, from 0 to
    `size`.

    >>> end = SessionEnded(at=5.0, session="s", file="s.log", outcome="completed", bytes=8, begin=0, end=8)
    >>> turns_of([end], 12, "active")
    [Turn(begin=0, end=8, outcome='completed', at=5.0), Turn(begin=8, end=12, outcome='active', at=None)]
    """
    turns: list[Turn] = []
    unplaced: tuple[str, float | None] = ("", None)  # (outcome, when) of a crash: nobody knows where its turn began
    for event in sorted(events, key=lambda event: event.at):
        if isinstance(event, SessionDeleted):
            turns, unplaced = [], ("", None)
        elif isinstance(event, TextDropped):
            turns = _cut(turns, _offset(event.begin), _offset(event.end), _offset(event.marker))
        elif isinstance(event, SessionEnded) and event.outcome:
            if event.is_recovery:
                unplaced = event.outcome, event.at
                continue
            turns, begin, end = _placed(turns, event)
            if begin > (last := turns[-1].end if turns else 0):
                turns.append(Turn(last, begin, *unplaced))
            if end > begin:
                turns.append(Turn(begin, end, event.outcome, event.at))
            unplaced = "", None
    turns = [turn._replace(end=min(turn.end, size)) for turn in turns if turn.begin < size]
    if size > (last := turns[-1].end if turns else 0):
        turns.append(Turn(last, size, *(unplaced if unplaced[0] else (state, None))))
    return turns


def _placed(turns: list[Turn], event: SessionEnded) -> tuple[list[Turn], int, int]:
    """(the turns before it that the file still has, begin, end) of a turn that ended."""
    last, length = turns[-1].end if turns else 0, _offset(event.bytes)
    end = _offset(event.end)
    if end is None:  # a line of an earlier version
        return turns, last, last + (length or 0)
    begin = _offset(event.begin)
    is_first = begin == 0 and end == length
    if end < last or (is_first and end):
        return [], (begin or 0) if end >= (length or 0) else 0, end  # the file was removed, and made again
    return turns, min(end, max(last, last if begin is None else begin)), end


def _cut(turns: list[Turn], start: int | None, end: int | None, marker: int | None) -> list[Turn]:
    """The turns after a cut: from `start` to `end` there is only a marker now."""
    if start is None or end is None or marker is None:
        return turns

    def moved(offset: int) -> int:
        return offset if offset <= start else max(offset, end) - end + start + marker

    moved_turns = (turn._replace(begin=moved(turn.begin), end=moved(turn.end)) for turn in turns)
    return [turn for turn in moved_turns if turn.begin < turn.end]


def _offset(value: int | None) -> int | None:
    """A count of bytes, if it can be one: an edited line may have any number."""
    return value if value is not None and value >= 0 else None
