"""What the library reports: records of the stdlib logger `streaming_logger`, and the ledger.

It never raises, even if one of the application's log handlers does, and it reports a
repeated background error once a minute, with the number of repeats, instead of once a flush.

A log handler has a lock, and a signal may interrupt the main thread while it holds that lock.
If the signal's handler then calls `close()`, which waits for the worker, the worker must not
wait for the lock. So the worker's records wait in a queue until its I/O is done, and longer
while a handler's lock is taken.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from streaming_logger._base.clock import Clock
from streaming_logger._disk.ledger import Ledger

__all__ = ["Door", "log"]

log = logging.getLogger("streaming_logger")
log.addHandler(logging.NullHandler())

#: For so long a fault is current, and its repeats are counted instead of said.
REPEAT_SECONDS = 60.0
#: Records that wait for a log handler; above that the oldest go.
_MAX_WAITING = 10_000


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
        self.is_deferred: Callable[[], bool] = lambda: False
        """Whether this thread does I/O now: its records wait for `emit_waiting`."""
        self._waiting: deque[tuple[int, str, tuple[object, ...], Mapping[str, object]]] = deque(maxlen=_MAX_WAITING)
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

    def emit_waiting(self, *, patiently: bool) -> None:
        """Hands the records that wait to the log handlers; not patiently: only while no handler's lock is taken."""
        while self._waiting:
            with contextlib.ExitStack() as locks:
                if not patiently and not all(map(locks.enter_context, map(_tried, _handler_locks()))):
                    return
                try:
                    level, text, args, extra = self._waiting.popleft()
                except IndexError:  # another thread took it
                    return
                _log(level, text, args, extra)

    def _emit(self, level: int, text: str, args: tuple[object, ...], extra: Mapping[str, object]) -> None:
        if not log.isEnabledFor(level):
            return
        if self.is_deferred():
            self._waiting.append((level, text, args, extra))
        else:
            _log(level, text, args, extra)


def _log(level: int, text: str, args: tuple[object, ...], extra: Mapping[str, object]) -> None:
    with contextlib.suppress(Exception):  # a handler of the application raised; there is nobody left to tell
        log.log(level, text, *args, extra=extra)


def _handler_locks() -> Iterator[Any]:
    """The locks of all handlers that a record of ours meets."""
    logger: logging.Logger | None = log
    while logger is not None:
        for handler in list(logger.handlers):
            if handler.lock is not None:
                yield handler.lock
        logger = logger.parent if logger.propagate else None


@contextlib.contextmanager
def _tried(lock: Any) -> Iterator[bool]:
    """Takes a lock if it is free; whether it did. For the worker's thread, which no signal handler interrupts."""
    taken = lock.acquire(blocking=False)
    try:
        yield taken
    finally:
        if taken:
            lock.release()


def _formatted(text: str, args: tuple[object, ...]) -> str:
    """The whole text; where an argument cannot be shown, the text without it."""
    try:
        return text % args
    except Exception:  # noqa: BLE001 - reporting an error must not raise another
        return text
