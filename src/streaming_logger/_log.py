"""The one door through which the library speaks: the stdlib logger `streaming_logger`, and the ledger.

It cannot raise (a log handler of the server's may), and it says a repeated
background error once a minute, with the number of repeats, instead of once a flush.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from streaming_logger._clock import Clock
from streaming_logger._ledger import Ledger

__all__ = ["Door", "log"]

log = logging.getLogger("streaming_logger")
log.addHandler(logging.NullHandler())

#: For so long a fault is current, and its repeats are counted instead of said.
REPEAT_SECONDS = 60.0


class _Fault(NamedTuple):
    """A background error: its text, and the monotonic times when it was said and when it was last seen."""

    text: str
    said: float
    seen: float
    repeats: int


class Door:
    """Says things to the stdlib logger, and writes down what happened; see the module."""

    def __init__(self, clock: Clock, ledger: Ledger) -> None:
        self._clock = clock
        self.ledger = ledger
        # By kind of error. Unlocked: the worst that a race can do is to say a line twice.
        self._faults: dict[str, _Fault] = {}

    def say(self, level: int, text: str, /, *args: object, **extra: object) -> None:
        """One record, with `extra` as its fields."""
        self._emit(level, text, args, extra)

    def record(self, event: str, level: int, text: str, /, *args: object, **fields: object) -> None:
        """Something that happened: said, and kept in the ledger with the same fields."""
        self.ledger.note(self._clock.wall(), event, **fields)
        self._emit(level, text, args, fields)

    def error(self, kind: str, text: str, /, *args: object, **extra: object) -> None:
        """A background error: the first of its `kind` at once, its repeats once a minute."""
        now = self._clock.monotonic()
        before = self._faults.get(kind)
        if before is not None and now - before.said < REPEAT_SECONDS:
            self._faults[kind] = before._replace(seen=now, repeats=before.repeats + 1)
            return
        self._faults[kind] = _Fault(_formatted(text, args), now, now, 0)
        if before is not None and before.repeats:
            text, args = text + " (%d more like it since)", (*args, before.repeats)
        self._emit(logging.ERROR, text, args, extra)

    def faults(self) -> dict[str, str]:
        """The background errors of the last minute that are not known to be over, by kind."""
        now = self._clock.monotonic()
        return {kind: fault.text for kind, fault in self._faults.copy().items() if now - fault.seen < REPEAT_SECONDS}

    def recovered(self, kind: str, text: str, *args: object) -> None:
        """The fault is over: said only if it was said, and the next one is news again."""
        if self._faults.pop(kind, None) is not None:
            self._emit(logging.WARNING, text, args, {})

    def _emit(self, level: int, text: str, args: tuple[object, ...], extra: Mapping[str, object]) -> None:
        try:
            if log.isEnabledFor(level):
                log.log(level, text, *args, extra=extra)
        except Exception:  # noqa: BLE001, S110 - a handler of the server's raised; there is nobody left to tell
            pass


def _formatted(text: str, args: tuple[object, ...]) -> str:
    """The whole text; where an argument cannot be shown, the text without it."""
    try:
        return text % args
    except Exception:  # noqa: BLE001 - reporting an error must not raise another
        return text
