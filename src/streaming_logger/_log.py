"""The one door through which the library speaks: the stdlib logger `streaming_logger`.

It cannot raise (a log handler of the server's may), and it says a repeated
background error once a minute, with the number of repeats, instead of once a flush.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from streaming_logger._clock import Clock

__all__ = ["Door", "log"]

log = logging.getLogger("streaming_logger")
log.addHandler(logging.NullHandler())

REPEAT_SECONDS = 60.0


class Door:
    """Says things to the stdlib logger; see the module."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # kind of error -> (monotonic time when it was last said, repeats since).
        # Unlocked: the worst that a race can do is to say a line twice.
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, level: int, text: str, *args: object, **extra: object) -> None:
        """One record, with `extra` as its fields."""
        self._emit(level, text, args, extra)

    def error(self, kind: str, text: str, *args: object, **extra: object) -> None:
        """A background error: the first of its `kind` at once, its repeats once a minute."""
        now = self._clock.monotonic()
        said, repeats = self._said.get(kind, (float("-inf"), 0))
        if now - said < REPEAT_SECONDS:
            self._said[kind] = (said, repeats + 1)
            return
        self._said[kind] = (now, 0)
        if repeats:
            text, args = text + " (%d more like it since)", (*args, repeats)
        self._emit(logging.ERROR, text, args, extra)

    def recovered(self, kind: str, text: str, *args: object) -> None:
        """The fault is over: said only if it was said, and the next one is news again."""
        if self._said.pop(kind, None) is not None:
            self._emit(logging.WARNING, text, args, {})

    def _emit(self, level: int, text: str, args: tuple[object, ...], extra: Mapping[str, object]) -> None:
        try:
            if log.isEnabledFor(level):
                log.log(level, text, *args, extra=extra)
        except Exception:  # noqa: BLE001, S110 - a handler of the server's raised; there is nobody left to tell
            pass
