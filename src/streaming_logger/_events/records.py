"""Log records: the library's events and background errors, given to the stdlib logger `streaming_logger`.

Every line is one line: what comes from a client, a model or a file system is escaped in it. A warning or error
names the page of the manual that explains it (see `_finished`).

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
from typing import Any

from streaming_logger._base.escape import is_visible, one_line
from streaming_logger._events.messages import with_page

__all__ = ["LogRecords", "escaped_message", "log"]


class _Escaped:
    """An argument of a log record, as it is shown."""

    __slots__ = ("_argument",)

    def __init__(self, argument: object) -> None:
        self._argument = argument

    def __str__(self) -> str:
        return one_line(str(self._argument))

    def __repr__(self) -> str:
        return one_line(repr(self._argument))


def escaped_message(text: str, args: tuple[object, ...]) -> str:
    """What a log record says; where an argument cannot be shown, the text without them."""
    try:
        return text % tuple(map(_escaped, args))
    except Exception:  # noqa: BLE001 - reporting an error must not raise another
        return text


def _escaped(argument: object) -> object:
    """As it is, where nothing in it has to be escaped."""
    if isinstance(argument, (int, float)) or (type(argument) is str and is_visible(argument)):
        return argument
    return _Escaped(argument)


def _finished(record: logging.LogRecord) -> bool:
    """Escapes a record's arguments and fields, and names its page. The one place: also for what integrations log."""
    if record.levelno >= logging.WARNING and isinstance(record.msg, str):
        record.msg = with_page(record.msg)
    if isinstance(record.args, tuple):
        record.args = tuple(map(_escaped, record.args))
    for name, value in record.__dict__.items():
        if name not in _STANDARD and isinstance(value, str):
            setattr(record, name, one_line(value))
    return True


#: The fields that every record has.
_STANDARD = frozenset(vars(logging.makeLogRecord({})))

log = logging.getLogger("streaming_logger")
# No NullHandler: where the application configures no logging, `logging.lastResort` shows warnings and errors on stderr.
log.addFilter(_finished)

#: Records that wait for a log handler; above that the oldest are discarded.
_MAX_WAITING = 10_000


class LogRecords:
    """Makes records. Never raises, even if one of the application's log handlers does."""

    def __init__(self) -> None:
        self.is_deferred: Callable[[], bool] = lambda: False
        """Whether this thread does I/O now: its records wait for `deliver_waiting`."""
        self._waiting: deque[tuple[int, str, tuple[object, ...], Mapping[str, object]]] = deque(maxlen=_MAX_WAITING)

    def wants(self, level: int) -> bool:
        """Whether the application's logging takes records of this level; level 0 stands for none."""
        return level > 0 and log.isEnabledFor(level)

    def log(self, level: int, text: str, args: tuple[object, ...], extra: Mapping[str, object]) -> None:
        """One record, now or when the I/O is done."""
        if not self.wants(level):
            return
        if self.is_deferred():
            self._waiting.append((level, text, args, extra))
        else:
            _log(level, text, args, extra)

    def deliver_waiting(self, *, block: bool) -> None:
        """Gives the waiting records to the log handlers; without `block` only while no handler's lock is taken."""
        while self._waiting:
            with contextlib.ExitStack() as locks:
                if not block and not all(map(locks.enter_context, map(_tried, _handler_locks()))):
                    return
                try:
                    level, text, args, extra = self._waiting.popleft()
                except IndexError:  # another thread took it
                    return
                _log(level, text, args, extra)


def _log(level: int, text: str, args: tuple[object, ...], extra: Mapping[str, object]) -> None:
    with contextlib.suppress(Exception):  # one of the application's handlers raised; there is nowhere left to report it
        log.log(level, text, *args, extra=extra)


def _handler_locks() -> Iterator[Any]:
    """The locks of all handlers that a record of ours reaches."""
    for handler in _handlers() or filter(None, [logging.lastResort]):
        if handler.lock is not None:
            yield handler.lock


def _handlers() -> list[logging.Handler]:
    """The handlers of our logger and of those above it."""
    found: list[logging.Handler] = []
    logger: logging.Logger | None = log
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return found


@contextlib.contextmanager
def _tried(lock: Any) -> Iterator[bool]:
    """Takes a lock if it is free; whether it did. For the worker's thread, which no signal handler interrupts."""
    taken = lock.acquire(blocking=False)
    try:
        yield taken
    finally:
        if taken:
            lock.release()
