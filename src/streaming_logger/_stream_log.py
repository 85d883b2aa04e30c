"""The log of one stream: its items' text goes to its session, which is completed once, however the stream ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from gc import is_finalized
from types import TracebackType
from typing import Any, Protocol

from streaming_logger._base.errors import outcome_of
from streaming_logger._base.outcomes import Ending
from streaming_logger._base.sync import allocate_lock
from streaming_logger._text.extractor import TextExtractor

__all__ = ["Logger", "StreamLog"]

#: How long an item waits at most for the worker, which holds the lock for microseconds.
_LOCK_SECONDS = 0.2
#: Characters of an error's text that the ledger keeps.
_MAX_ERROR = 500


class _Engine(Protocol):
    def begin_stream(self, stream: Any) -> None: ...

    def end_stream(self, stream: Any, outcome: Ending, error: str) -> None: ...

    def extraction_failed(self, session_id: str, error: Exception) -> None: ...

    def no_text_found(self, session_id: str, item: str) -> None: ...

    def now(self) -> float: ...


class Logger(Protocol):
    """What a stream needs of its logger."""

    @property
    def enabled(self) -> bool: ...

    def write(self, session_id: str, chunk: str | None) -> None: ...

    def _engine_here(self) -> _Engine: ...


class StreamLog:
    """The log of one stream: `log` for each item, `end` at its end. Neither waits for the disk, or raises.

    A stream that is collected without an end has been "closed" when its last reference went
    away (a `break`), and "abandoned" when the garbage collector found it or nobody read it.
    Items after the end begin a new turn of the session, which ends in the same ways.
    """

    __slots__ = (
        "__weakref__",
        "_ended",
        "_extract",
        "_extractor",
        "_first",
        "_has_text",
        "_held_since",
        "_is_alive",
        "_is_enabled",
        "_is_special",
        "_lock",
        "_logger",
        "_outcomes",
        "_raised",
        "_write",
        "session_id",
    )

    def __init__(
        self,
        logger: Logger,
        session_id: str | None,
        text: Callable[[Any], str | None] | None = None,
        include: Iterable[str] = (),
        format: str = "auto",  # noqa: A002 - as in `StreamingLogger.wrap`
    ) -> None:
        self._ended = True  # for `__del__`, until all is there
        if session_id is not None and not isinstance(session_id, str):
            raise TypeError(f"session_id must be str or None, not {type(session_id).__name__}")
        if text is not None and not callable(text):
            raise TypeError(f"text must be callable or None, not {type(text).__name__}")
        self.session_id = session_id or os.urandom(16).hex()
        # No reference to this object: a circle would leave a dropped stream to the garbage collector.
        self._extractor = TextExtractor(include, format, partial(_report, logger, self.session_id))
        self._extract: Callable[[Any], str | None] = self._extractor if text is None else text
        self._logger = logger
        self._write = logger.write
        self._is_enabled = logger.enabled
        if not self._is_enabled:
            self._extract = _nothing
        self._is_special = self._is_enabled and text is None
        """Whether an item takes the slow way: while it is not known what strings hold, and after the end."""
        self._lock = allocate_lock()
        self._held_since = 0.0
        self._has_text = self._is_alive = False
        self._first: Any = None
        self._outcomes: list[tuple[Ending, str]] = []
        self._raised: tuple[Ending, str, float] | None = None
        """How it has ended, and when, unless it is read on."""
        logger._engine_here().begin_stream(self)
        self._ended = False

    @property
    def outcome(self) -> Ending | None:
        """How the stream ended; None: it has not."""
        if self._outcomes:
            return self._outcomes[0][0]
        return self._raised[0] if self._raised is not None else None

    def reads(self, stream: Any) -> None:
        """Its items come from this."""
        self._extractor.reads(stream)

    def log(self, item: Any) -> None:
        """Logs an item's text. An extractor that raises is counted and reported."""
        try:
            text = self._specially(item) if self._is_special else self._extract(item)
            if text:
                self._write(self.session_id, text)
                self._has_text = True
            else:
                self._passed(item)
        except Exception as error:
            self._passed(item)
            if not _report(self._logger, self.session_id, error):
                raise

    def end(self, outcome: Ending, error: str = "") -> None:
        """Completes the session; only the first end counts, from whichever thread it comes."""
        if self._ended:
            return
        if not self._outcomes:
            self._log_rest()
            if self._extractor.error is not None and outcome in ("completed", "closed"):
                outcome, error = "error", self._extractor.error
        self._outcomes.append((outcome, error[:_MAX_ERROR]))
        # Interrupted here, it is done again when the stream is collected, with the same outcome: completing
        # twice is harmless until a new turn of the session begins.
        engine = self._logger._engine_here()
        engine.end_stream(self, *self._outcomes[0])
        self._ended = True
        if outcome == "completed" and self._first is not None and not self._has_text and self._extractor.is_empty:
            engine.no_text_found(self.session_id, _described(self._first))
        self._is_special = self._is_enabled

    def end_by(self, error: BaseException) -> None:
        """Completes the session of a stream that this exception ended."""
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self.end("completed")
        else:
            self.end(*_ended_by(error))

    def raised(self, error: BaseException) -> None:
        """The stream raised, but may be read on: it has ended, unless it is."""
        self._raised = (*_ended_by(error), self._logger._engine_here().now())

    def read_on(self) -> None:
        """It is read on after it raised."""
        self._raised = None

    # -- for `OpenStreams`, on the worker's thread ----------------------------------------

    @property
    def held(self) -> int:
        """Characters that wait for more, or until it is known what they are."""
        return self._extractor.held

    def take_sign_of_life(self) -> bool:
        is_alive, self._is_alive = self._is_alive, False
        return is_alive

    def release(self, before: float) -> None:
        if not self._extractor.is_undecided or not self._extractor.held or self._held_since > before:
            return
        if self._lock.acquire(blocking=False):
            try:
                self._write(self.session_id, self._extractor.release())
            finally:
                self._lock.release()

    def end_if_raised(self, before: float) -> None:
        if self._raised is not None and self._raised[2] <= before:
            self.end(*self._raised[:2])

    # -- inside ---------------------------------------------------------------------------

    def _specially(self, item: Any) -> str | None:
        """An item after the end, which begins a new turn; or one of the first, when text may be held.

        The worker may release text that is held: so both take turns, and write in theirs.
        """
        if self._ended:
            self._outcomes, self._raised = [], None
            self._logger._engine_here().begin_stream(self)
            self._ended = False
            self._is_special = False
            return self._extract(item)
        extractor = self._extractor
        taken = self._lock.acquire(timeout=_LOCK_SECONDS)  # in a forked child it may be taken for good
        try:
            was_held = extractor.held
            if text := extractor(item):
                self._write(self.session_id, text)
                self._has_text = True
            elif not was_held:
                self._held_since = self._logger._engine_here().now()
            self._is_special = extractor.is_undecided
        finally:
            if taken:
                self._lock.release()
        return None

    def _passed(self, item: Any) -> None:
        """An item without text of its own: a sign of life."""
        self._is_alive = True
        is_blank = item is None or (isinstance(item, (str, bytes)) and not item)
        if self._first is None and self._is_enabled and not is_blank:  # not compared: a foreign `__eq__` may raise
            self._first = item

    def _log_rest(self) -> None:
        """What the extractor holds back until the end."""
        taken = self._lock.acquire(timeout=_LOCK_SECONDS)
        try:
            if rest := self._extractor.finish():
                self._write(self.session_id, rest)
                self._has_text = True
        except Exception as error:
            if not _report(self._logger, self.session_id, error):
                raise
        finally:
            if taken:
                self._lock.release()

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            if self._raised is not None:
                self.end(*self._raised[:2])
            else:
                was_read = self._has_text or self._is_alive
                self.end("closed" if was_read and not is_finalized(self) else "abandoned")


def _report(logger: Logger, session_id: str, error: Exception) -> bool:
    """Reports an extractor's error, without which the stream goes on; False: it is not one."""
    if _raised_by_signal_handler(error):
        return False
    logger._engine_here().extraction_failed(session_id, error)
    return True


def _ended_by(error: BaseException) -> tuple[Ending, str]:
    """The outcome that an exception means, and its text where it is a failure."""
    outcome = outcome_of(type(error))
    if outcome != "error":
        return outcome, ""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the reader is to get its own exception, and not one of describing it
        text = ""
    return outcome, f"{type(error).__name__}: {text}" if text else type(error).__name__


def _described(item: Any) -> str:
    """The type and keys of an item, for whoever has to write `text=` for it."""
    name = f"{type(item).__module__}.{type(item).__qualname__}".removeprefix("builtins.")
    if isinstance(item, (str, bytes)):
        return f"{name} {item[:80]!r}"
    keys = list(item) if isinstance(item, dict) else [key for key in getattr(item, "__dict__", ()) if key[:1] != "_"]
    return f"{name} with {', '.join(key if isinstance(key, str) else '?' for key in keys[:12])}" if keys else name


def _nothing(item: Any) -> None:
    """The text of an item while logging is disabled: it is not looked for."""


def _raised_by_signal_handler(error: BaseException) -> bool:
    """Whether a signal's handler raised this while an item's text was looked for: a timeout, and none of ours."""
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers} - {None}
    return any(code in codes for code in _codes(error.__traceback__))


def _codes(trace: TracebackType | None) -> Iterator[object]:
    while trace is not None:
        yield trace.tb_frame.f_code
        trace = trace.tb_next
