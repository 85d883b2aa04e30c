"""The log of one stream: its items' text goes to its session, which is completed once, however the stream ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from gc import is_finalized
from types import TracebackType
from typing import Any, Protocol

from streaming_logger._base.errors import outcome_of
from streaming_logger._base.stats import Outcome
from streaming_logger._text.extractor import TextExtractor

__all__ = ["Logger", "StreamLog"]


class _Engine(Protocol):
    def begin(self, session_id: str) -> None: ...

    def extraction_failed(self, session_id: str, error: Exception) -> None: ...


class Logger(Protocol):
    """What a stream needs of its logger."""

    @property
    def enabled(self) -> bool: ...

    def write(self, session_id: str, chunk: str | None) -> None: ...

    def complete_session(self, session_id: str, *, outcome: Outcome, wait: bool) -> None: ...

    def _engine_here(self) -> _Engine: ...


class StreamLog:
    """The log of one stream: `log` for each item, `end` at its end. Neither waits or raises.

    A stream that is collected without an end has been "closed" when its last reference went
    away (a `break`), and "abandoned" when the garbage collector found it or nobody read it.
    """

    __slots__ = ("__weakref__", "_ended", "_extract", "_logger", "_outcomes", "_started", "_write", "session_id")

    def __init__(
        self,
        logger: Logger,
        session_id: str | None,
        text: Callable[[Any], str | None] | None = None,
        include: Iterable[str] = (),
        format: str = "auto",  # noqa: A002 - as in `wrap`
    ) -> None:
        self._ended = True  # for `__del__`, until all is there
        if session_id is not None and not isinstance(session_id, str):
            raise TypeError(f"session_id must be str or None, not {type(session_id).__name__}")
        if text is not None and not callable(text):
            raise TypeError(f"text must be callable or None, not {type(text).__name__}")
        self.session_id = session_id or os.urandom(16).hex()
        extract = TextExtractor(include, format) if text is None else text
        self._extract = extract if logger.enabled else _nothing
        self._logger = logger
        self._write = logger.write
        self._outcomes: list[Outcome] = []
        self._started = False
        logger._engine_here().begin(self.session_id)
        self._ended = False

    @property
    def outcome(self) -> Outcome | None:
        """How the stream ended; None: it has not."""
        return self._outcomes[0] if self._outcomes else None

    def log(self, item: Any) -> None:
        """Logs an item's text. An extractor that raises is counted and reported."""
        self._started = True
        try:
            text = self._extract(item)
            if text:
                self._write(self.session_id, text)
        except Exception as error:
            if not self._is_passed_over(error):
                raise

    def end(self, outcome: Outcome) -> None:
        """Completes the session; only the first end counts, from whichever thread it comes."""
        if self._ended:
            return
        if not self._outcomes:
            self._log_rest()
        self._outcomes.append(outcome)
        # Interrupted here, it is done again when the stream is collected, with the same outcome: completing
        # twice is harmless until a new turn of the session begins.
        self._logger.complete_session(self.session_id, outcome=self._outcomes[0], wait=False)
        self._ended = True

    def end_by(self, error: BaseException) -> None:
        """Completes the session of a stream that this exception ended."""
        self.end("completed" if isinstance(error, (StopIteration, StopAsyncIteration)) else outcome_of(type(error)))

    def _log_rest(self) -> None:
        """What the extractor holds back until the end."""
        try:
            if isinstance(self._extract, TextExtractor) and (rest := self._extract.finish()):
                self._write(self.session_id, rest)
        except Exception as error:
            if not self._is_passed_over(error):
                raise

    def _is_passed_over(self, error: Exception) -> bool:
        """Reports an extractor's error, without which the stream goes on; False: it is none."""
        if _raised_by_signal_handler(error):
            return False
        self._logger._engine_here().extraction_failed(self.session_id, error)
        return True

    def __del__(self) -> None:
        if not self._ended:
            self.end("closed" if self._started and not is_finalized(self) else "abandoned")


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
