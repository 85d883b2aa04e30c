"""The uploader's thread: passes over the directory, beside the worker and never in it.

The store may be slow, dead or full of errors: only this thread waits for it. After a pass that failed the next one
comes later and later, with jitter, so that a fleet does not return to a store that recovers all at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable, Generator

from streaming_logger._archive.bucket import ArchiveError, Bucket, ForkedError
from streaming_logger._archive.uploader import Uploader
from streaming_logger._base.sync import OneShotEvent
from streaming_logger._context import Context
from streaming_logger._disk.directory import PRIVATE

__all__ = ["Archiver"]

#: Between passes; after a failure twice as long each time, up to the limit.
_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 300.0
#: What the thread may take to end, beyond the time for uploads.
_END_SECONDS = 2.0


class Archiver:
    """Uploads one directory's completed files, while `archive.url` is set."""

    def __init__(self, context: Context, *, autostart: bool = True) -> None:
        self._context = context
        self._autostart = autostart
        self._closing = False
        self._ended: OneShotEvent | None = None
        """Set when the thread has ended. Only the thread that does I/O starts one."""
        self._wake: Callable[[], object] = _nothing
        self._uploader: Uploader | None = None
        self._url = ""
        self._failures = 0

    # -- the worker, and close() ---------------------------------------------------------

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
        """Lets uploads go on for `archive.drain_seconds`, then ends them: the next process goes on."""
        self._closing = True
        if self._ended is not None:
            self._wake()
            self._ended.wait(self._context.settings.config.archive.drain_seconds + _END_SECONDS)

    # -- the thread -----------------------------------------------------------------------

    def _live(self, ended: OneShotEvent) -> None:
        try:
            asyncio.run(self._passes())
        except Exception as error:  # noqa: BLE001 - the server must not see it; the worker starts another thread
            self._context.events.report("archive", "cannot archive to %s: %s", self._url, repr(error))
        finally:
            self._uploader = None
            ended.set()

    async def _passes(self) -> None:
        """Passes until the logger closes; then one more, for what was completed last."""
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:

                def drain() -> None:
                    limit.reschedule(loop.time() + self._context.settings.config.archive.drain_seconds)
                    woken.set()

                self._wake = lambda: loop.call_soon_threadsafe(drain)
                if self._closing:
                    drain()
                is_last = False
                while not is_last and self._context.settings.config.archive.url is not None:
                    was_closing = self._closing
                    pause = await self.run_once()
                    if not self._closing:
                        await _wait(woken, pause)
                    is_last = was_closing and (self._failures > 0 or not self._is_waiting)
        except TimeoutError:
            self._context.events.report(
                "archive drain", "closed before all files are archived: the next process goes on"
            )
        except ForkedError as error:
            self._context.events.report("archive", "cannot archive to %s: %s", self._url, error)
            await _wait(woken, float("inf"))  # until close(): another thread would fare no better
        finally:
            self._wake = _nothing

    @property
    def _is_waiting(self) -> bool:
        return self._uploader is not None and self._uploader.has_deferred

    async def run_once(self) -> float:
        """One pass, unless another process is at it; seconds until the next one. Raises `ForkedError`."""
        context = self._context
        fd = None
        try:
            uploader = self._uploader_now()
            fd = self._lock()
            if fd is None:
                return context.settings.config.cleanup_interval_seconds
            await uploader.run()
        except ForkedError:
            raise
        except (ArchiveError, OSError) as error:
            self._failures += 1
            context.counters.add(upload_errors=1)
            context.events.report("archive", "cannot archive to %s: %s", self._url, error)
            longest = min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2**self._failures)
            return random.uniform(longest / 2, longest)  # noqa: S311 - jitter
        finally:
            if fd is not None:
                context.store.directory.close_file(fd)
        self._failures = 0
        context.events.clear("archive", "uploads to %s work again", self._url)
        return _PAUSE_SECONDS

    def _uploader_now(self) -> Uploader:
        """The uploader for the settings in force. Raises `ArchiveError`."""
        settings = self._context.settings.config.archive
        url = settings.url or ""
        if self._uploader is None or url != self._url:
            self._url = url
            self._uploader = Uploader(self._context, Bucket(url, max_retries=settings.max_retries))
        return self._uploader

    def _lock(self) -> int | None:
        """The descriptor with the lock; None while another process uploads, or in a directory that is not ours."""
        directory = self._context.store.directory
        directory.open()
        if not directory.managed:
            self._context.events.report(
                "archive", "cannot archive %s: it held other *.log files before, set adopt to true", directory.path
            )
            return None
        fd = directory.open_file(f"{PRIVATE}/archive.lock", os.O_RDWR | os.O_CREAT)
        try:
            if directory.lock(fd):
                return fd
        except BaseException:
            directory.close_file(fd)
            raise
        directory.close_file(fd)
        return None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), None if seconds == float("inf") else seconds)


def _nothing() -> None:
    """There is no thread to wake."""
