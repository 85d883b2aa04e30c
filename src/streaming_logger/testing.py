"""For the tests of programs that use this library: a logger without a thread, a clock, and what was logged.

>>> from streaming_logger import get_streaming_logger
>>> with capture_streams() as logger:
...     get_streaming_logger().write("sess_1", "Hello")
...     get_streaming_logger().complete_session("sess_1", outcome="error")
...     logger.text
...     logger.outcomes
{'sess_1': 'Hello'}
{'sess_1': 'error'}
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streaming_logger import _default
from streaming_logger._base.clock import Clock
from streaming_logger._config.schema import Config
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context
from streaming_logger._disk.names import SUFFIX, session_id_of
from streaming_logger._events.model import Event, SessionEnded
from streaming_logger._events.observers import Observer
from streaming_logger._logger import StreamingLogger
from streaming_logger._runtime.engine import Engine

__all__ = ["ManualClock", "ManualLogger", "capture_streams"]


class ManualClock(Clock):
    """A clock that stands still until it is told to advance. Begins at the present.

    >>> clock = ManualClock(wall=0)
    >>> clock.advance(2.5)
    >>> clock.wall()
    2.5
    """

    def __init__(self, wall: float | None = None) -> None:
        self._now = 1000.0
        self._offset = (time.time() if wall is None else wall) - self._now

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now + self._offset

    def advance(self, seconds: float) -> None:
        """Lets so many seconds pass."""
        self._now += seconds

    def set_wall(self, seconds: float) -> None:
        """Sets the wall clock forward by so many seconds, as an operator would."""
        self._offset += seconds


class ManualLogger(StreamingLogger):
    """A `StreamingLogger` without a thread: the test decides when it works, and what time it is.

    Without `directory` it logs to a temporary one, which `close()` removes. Without `config`
    it has the default settings, but for the free disk space that it asks for.

    >>> with ManualLogger() as logger:
    ...     logger.write("sess_1", "Hel"); logger.write("sess_1", "lo")
    ...     logger.advance(2)  # a flush is due
    ...     logger.stats().bytes_written, logger.text
    (5, {'sess_1': 'Hello'})
    """

    def __init__(
        self,
        config: Config | None = None,
        directory: str | os.PathLike[str] | None = None,
        *,
        clock: ManualClock | None = None,
        config_file: Path | None = None,
        **parts: Any,
    ) -> None:
        self.clock = clock or ManualClock()
        self._temporary = tempfile.mkdtemp() if directory is None else None
        path = Path(self._temporary or directory or "")
        settings = Settings(config or Config(min_free_disk_mb=None), config_file)
        self._begin(Engine(Context.make(settings, path, clock=self.clock, **parts), autostart=False))
        self._outcomes = _Outcomes()
        self._engine.events.observers.add(self._outcomes)
        self._engine.open()

    def run_pending(self) -> float:
        """Does what the worker would do now; returns the seconds until more is due."""
        return self._engine.worker.run_pending()

    def advance(self, seconds: float) -> None:
        """Lets time pass, then does what is due."""
        self.clock.advance(seconds)
        self.run_pending()

    @property
    def text(self) -> dict[str, str]:
        """All text logged so far, written or still in memory, by session."""
        self.flush()
        found = {}
        for path in sorted(self.base_dir.glob(f"*{SUFFIX}")):
            session_id = session_id_of(path.name)
            if session_id is not None:
                found[session_id] = path.read_text(encoding="utf-8")
        return found

    @property
    def outcomes(self) -> dict[str, str]:
        """How each session ended last, by session; active ones are missing.

        A stream that raised has ended, unless it is read on: here it is not.
        """
        self._engine.streams.end_raised()
        self.run_pending()
        return dict(self._outcomes.by_session)

    def close(self) -> None:
        super().close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


class _Outcomes(Observer):
    name = "outcomes"

    def __init__(self) -> None:
        self.by_session: dict[str, str] = {}

    def on_event(self, event: Event) -> None:
        if isinstance(event, SessionEnded):
            self.by_session[event.session] = event.outcome


@contextlib.contextmanager
def capture_streams(config: Config | None = None) -> Iterator[ManualLogger]:
    """Inside the block `get_streaming_logger()` returns a `ManualLogger`, which logs to a temporary directory.

    >>> with capture_streams() as logger:
    ...     logger.text
    {}
    """
    before = _default._published.copy()
    logger = ManualLogger(config)
    _default._published["default"] = logger
    try:
        yield logger
    finally:
        _default._published.clear()
        _default._published.update(before)
        logger.close()
