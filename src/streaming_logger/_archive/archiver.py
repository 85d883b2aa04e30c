"""The uploader's thread, as the logger sees it: started when an archive is set, ended when the logger closes.

What runs on it is imported there: a server without an archive does not pay for it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from streaming_logger._base.sync import OneShotEvent
from streaming_logger._context import Context

if TYPE_CHECKING:
    from streaming_logger._archive.passes import Passes

__all__ = ["Archiver"]

#: What the thread may take to end, beyond `archive.drain_seconds`.
_END_SECONDS = 2.0


class Archiver:
    """Has one directory's completed files uploaded, while `archive.url` is set."""

    def __init__(self, context: Context, *, autostart: bool = True) -> None:
        self._context = context
        self._autostart = autostart
        self._closing = False
        self._ended: OneShotEvent | None = None
        """Set when the thread has ended. Only the thread that does I/O starts one."""
        self._passes: Passes | None = None

    def tend(self) -> Generator[float, None, None]:
        """The worker's task: starts the thread when it is needed and not there."""
        config = self._context.settings.config
        if config.archive.url is None or not config.enabled or not self._autostart or self._closing:
            return
        if self._ended is None or self._ended.is_set:
            ended = self._ended = OneShotEvent()
            try:
                self._context.run_thread(lambda: self._live(ended), "streaming_logger archive")
            except (RuntimeError, MemoryError) as error:
                ended.set()
                self._context.events.report("archive", "cannot archive to %s: %s", config.archive.url, error)
        yield from ()

    def close(self) -> None:
        """Lets uploads go on for `archive.drain_seconds`, then leaves the rest to the next process."""
        self._closing = True
        if self._ended is not None:
            seconds = self._context.settings.config.archive.drain_seconds
            if (passes := self._passes) is not None:
                passes.drain(seconds)
            begun = self._context.clock.monotonic()
            is_done = self._ended.wait(seconds + _END_SECONDS)
            if not is_done or self._context.clock.monotonic() - begun >= seconds:
                self._context.events.report(
                    "archive drain", "closed before all files are archived: the next process goes on"
                )

    def _live(self, ended: OneShotEvent) -> None:
        config = self._context.settings.config.archive
        try:
            from streaming_logger._archive.passes import Passes

            self._passes = passes = Passes(self._context)
            if self._closing:
                passes.drain(config.drain_seconds)
            passes.run()
        except Exception as error:  # noqa: BLE001 - the server must not see it; the worker starts another thread
            self._context.events.report("archive", "cannot archive to %s: %s", config.url, repr(error))
        finally:
            self._passes = None
            ended.set()
