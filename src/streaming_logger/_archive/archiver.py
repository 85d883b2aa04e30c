"""The uploader's thread, as the logger sees it: started when an archive is set, ended when the logger closes.

It starts with the worker's: a program whose only session ends with it could not start one then, as Python 3.12 and
later refuse new threads while the interpreter ends. What runs on it is imported there: a server without an archive
does not pay for it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from streaming_logger._base.sync import OneShotEvent
from streaming_logger._context import Context
from streaming_logger._disk.directory import Directory

if TYPE_CHECKING:
    from streaming_logger._archive.passes import Passes

__all__ = ["Archiver"]

#: What the thread may take to end, beyond `archive.drain_seconds`.
_END_SECONDS = 2.0


class Archiver:
    """Has one directory's completed files uploaded, while `archive.url` is set."""

    def __init__(self, context: Context, *, autostart: bool = True) -> None:
        # The thread has descriptors of its own: those of the logger are closed by it, whatever the thread does then.
        self._directory = Directory(context.path, adopt=context.settings.config.adopt)
        self._context = replace(context, store=context.make_store(self._directory))
        self._autostart = autostart
        self._closing = False
        self._ended: OneShotEvent | None = None
        """Set when the thread has ended. Only the thread that does I/O starts one."""
        self._passes: Passes | None = None

    def tend(self) -> Generator[float, None, None]:
        """The worker's task: the archive may have been configured since, or the thread may have failed."""
        self.start()
        yield from ()

    def start(self) -> None:
        """Starts the thread if it is needed and not there. Only the worker calls this."""
        config = self._context.settings.config
        if config.archive.url is None:
            self._context.events.clear("archive", "", subject="bucket")  # nothing is archived any more
        if config.archive.url is None or not config.enabled or not self._autostart or self._closing:
            return
        if self._ended is None or self._ended.is_set:
            ended = self._ended = OneShotEvent()
            try:
                self._context.run_thread(lambda: self._live(ended), "streaming_logger archive")
            except (RuntimeError, MemoryError) as error:
                ended.set()
                self._context.events.report(
                    "archive", "cannot archive to %s: %s", config.archive.url, error, subject="bucket"
                )

    def forget_in_child(self) -> None:
        """After a fork, in the child: closes what was inherited from the thread, which is not there."""
        self._directory.forget_in_child()

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
            self._context.events.report(
                "archive", "cannot archive to %s: %s", config.url, repr(error), subject="bucket"
            )
        finally:
            self._passes = None
            self._directory.close()
            ended.set()
