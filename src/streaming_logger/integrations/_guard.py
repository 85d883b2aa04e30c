"""What keeps an integration from breaking the stream that it watches.

Wrong arguments raise where an integration is attached. After that nothing raises: a fault is reported
in the library's log, at most once a minute of its kind, and the stream passes without being logged.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any
from uuid import UUID

from streaming_logger._base.clock import Clock
from streaming_logger._default import get_streaming_logger
from streaming_logger._events.event_log import EventLog
from streaming_logger._logger import StreamingLogger
from streaming_logger._stream_log import StreamLog
from streaming_logger._text.extractor import TextExtractor

__all__ = ["Choose", "Guard", "checked_logger", "logged", "refusal", "shown"]

#: Makes a session id of what the integration shows it: a request, a run's context. None: it has none.
Choose = Callable[[Any], object]

#: Characters. An id is a key in memory and part of log lines; a client may be the one who chose it.
MAX_ID = 1000
_SHOWN = 200

#: Reports for a logger that cannot: one that the process cannot make, or a foreign object.
_fallback = EventLog(Clock())


class Guard:
    """One integration's way to its logger. Its arguments are checked here; its methods do not raise.

    `choose` makes session ids; `include` is as in `StreamingLogger.wrap`; `logger` None: the one of
    `get_streaming_logger()`, looked up for each stream.

    >>> Guard("openai", None, choose="user")
    Traceback (most recent call last):
    TypeError: session_id must be None or a function of one argument, got 'user'
    """

    def __init__(
        self,
        name: str,
        logger: StreamingLogger | None,
        choose: Choose | None = None,
        include: Iterable[str] = (),
    ) -> None:
        self._name = name
        self._logger = None if logger is None else checked_logger(logger)
        self._choose = None if choose is None else _checked_choose(choose)
        self._include = _checked_include(include)

    def chosen(self, request: object) -> object:
        """What the user's callable makes of a request; None where it raises or there is none."""
        if self._choose is None:
            return None
        try:
            found = self._choose(request)
            if isinstance(found, Coroutine):
                found.close()  # refused as any other object, without a warning that nobody awaited it
        except Exception as error:  # noqa: BLE001 - a log must not end a stream
            self._no_id(f"the callable raised {shown(error)}")
            return None
        return found

    def session_id(self, candidates: Iterable[object]) -> str | None:
        """The first candidate that is a session id: a str, int or UUID of a sensible length."""
        try:
            for value in candidates:
                problem = None
                if isinstance(value, str):
                    if 0 < len(value) <= MAX_ID:
                        return "".join((value,))  # an exact str: what a subclass overrides is not called
                    problem = f"must have at most {MAX_ID} characters, got {len(value)}" if value else None
                elif isinstance(value, (int, UUID)) and not isinstance(value, bool):
                    return str(value)
                elif value is not None:
                    problem = f"must be a str, int or UUID, not {type(value).__name__}"
                if problem is not None:
                    self._no_id(problem)
        except Exception as error:  # noqa: BLE001 - a foreign object's attribute, an int of thousands of digits
            self._no_id(f"cannot be read: {shown(error)}")
        return None

    def mapping(self, name: str, value: object) -> Mapping[Any, Any]:
        """What may hold a session id, as a mapping; an empty one for another object."""
        if isinstance(value, Mapping):
            return value
        if value is not None:
            self._no_id(f"{name} is a {type(value).__name__}, not a mapping")
        return {}

    def wrap(self, candidates: Iterable[object], stream: Any, waited: float = 0.0) -> Any:
        """The stream as `StreamingLogger.wrap` returns it; the stream itself where that fails.

        Its session began `waited` seconds ago.
        """
        try:
            logger, session_id = self._get_logger(), self.session_id(candidates) or os.urandom(16).hex()
            logger._engine_here().begin_session(session_id, waited)
            return logger.wrap(session_id, stream, include=self._include)
        except Exception as error:  # noqa: BLE001 - as above
            self.not_logged(error)
            return stream

    def open(self, candidates: Iterable[object]) -> StreamLog | None:
        """The log of a stream that the integration reads itself; None where that fails."""
        try:
            return StreamLog(self._get_logger(), self.session_id(candidates), include=self._include)
        except Exception as error:  # noqa: BLE001 - as above
            self.not_logged(error)
            return None

    def write(self, session_id: str, text: str) -> None:
        """Writes to a session."""
        try:
            self._get_logger().write(session_id, text)
        except Exception as error:  # noqa: BLE001 - as above
            self.not_logged(error)

    def not_logged(self, error: Exception) -> None:
        """Reports why a stream passes without being logged."""
        self._events().report(f"{self._name} stream", "%s: a stream is not logged: %s", self._name, shown(error))

    def not_exported(self, error: Exception) -> None:
        """Reports why a logger's numbers are missing in an export."""
        self._events().report(f"{self._name} export", "%s: no numbers are exported: %s", self._name, shown(error))

    def _no_id(self, problem: str) -> None:
        events = self._events()
        events.report(f"{self._name} id", "%s: a session id is not usable: %s", self._name, problem)

    def _get_logger(self) -> StreamingLogger:
        return get_streaming_logger() if self._logger is None else self._logger

    def _events(self) -> EventLog:
        try:
            return self._get_logger()._engine_here().events
        except Exception:  # noqa: BLE001 - reporting an error must not raise another
            return _fallback


async def logged(log: StreamLog, stream: Any) -> AsyncIterator[Any]:
    """The items of an async iterator, logged as they are read. The log ends with them, and `stream` is not closed."""
    try:
        async for item in stream:
            log.log(item)
            yield item
    except BaseException as error:
        log.end_by(error)
        raise
    log.end("completed")


def checked_logger(logger: object) -> StreamingLogger:
    """The logger that an integration is attached to. Raises `TypeError` for anything else."""
    if not isinstance(logger, StreamingLogger):
        raise TypeError(refusal("logger", "must be a StreamingLogger", logger))
    return logger


def refusal(field: str, rule: str, value: object) -> str:
    """The text of an exception: the field, its rule, and the value found."""
    return f"{field} {rule}, got {shown(value)}"


def _checked_choose(choose: Choose) -> Choose:
    rule = "must be None or a function of one argument"
    if not callable(choose):
        raise TypeError(refusal("session_id", rule, choose))
    if inspect.iscoroutinefunction(choose) or inspect.iscoroutinefunction(type(choose).__call__):
        raise TypeError(refusal("session_id", f"{rule}, not async", choose))
    try:
        signature = inspect.signature(choose)
    except (TypeError, ValueError):  # a built-in that does not tell
        return choose
    try:
        signature.bind(object())
    except TypeError:
        raise TypeError(refusal("session_id", rule, choose)) from None
    return choose


def _checked_include(include: Iterable[str]) -> tuple[str, ...]:
    """As a tuple: it is read again for each stream."""
    if isinstance(include, str):
        include = (include,)
    try:
        names = tuple(include)
    except TypeError:
        raise TypeError(refusal("include", "must be a list of names", include)) from None
    for name in names:
        if not isinstance(name, str):
            raise TypeError(refusal("include", "must be a list of names", include))
    TextExtractor(names)  # raises for a name that it does not know
    return names


def shown(value: object) -> str:
    """An object in a message: a foreign `repr` may raise, and be long."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - as above
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
