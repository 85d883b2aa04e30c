"""Passes over the directory, one after the other, on the uploader's thread.

The store may be slow, dead or full of errors: only this thread waits for it. After a pass that failed the next one
comes later and later, with jitter, so that a fleet does not return all at once to a store that recovers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random

from streaming_logger._archive.bucket import ArchiveError, Bucket, ForkedError
from streaming_logger._archive.uploader import Uploader
from streaming_logger._context import Context
from streaming_logger._disk.directory import PRIVATE

__all__ = ["Passes"]

_LONGEST_PAUSE_SECONDS = 300.0


class Passes:
    """For one directory. Made and run on one thread; `drain` may be called from any."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining = False
        self._woken = asyncio.Event()
        self._uploader: Uploader | None = None
        self._url = ""
        self._failures = 0
        self.is_locked_out = False
        """Whether another process uploads this directory."""

    def drain(self) -> None:
        """No more passes than one that finds nothing new, and for no longer than `archive.drain_seconds`."""
        self._draining = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Until it is drained, or no archive is set any more."""
        self._loop = asyncio.get_running_loop()
        work = asyncio.create_task(self._work())
        woken = asyncio.create_task(self._wait(float("inf")))
        try:
            await asyncio.wait((work, woken), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await asyncio.wait((work,), timeout=self._context.settings.config.archive.drain_seconds)
            if not work.done():
                self._context.events.report(
                    "archive drain", "closed before all files are archived: the next process goes on"
                )
        finally:
            woken.cancel()
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

    async def run_to_end(self) -> None:
        """Passes until one finds nothing new, or fails."""
        self._draining = True
        await self._work()

    async def _work(self) -> None:
        is_last = False
        while not is_last and self._context.settings.config.archive.url is not None:
            was_draining = self._draining
            try:
                pause = await self.run_once()
            except ForkedError as error:
                self._context.events.report("archive", "cannot archive to %s: %s", self._url, error)
                pause = float("inf")  # another thread would fare no better
            await self._wait(pause)
            is_last = was_draining and (self._failures > 0 or self._uploader is None or not self._uploader.has_deferred)

    async def _wait(self, seconds: float) -> None:
        """Not while it drains."""
        if not self._draining:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), None if seconds == float("inf") else seconds)

    async def run_once(self) -> float:
        """One pass, unless another process is at it; seconds until the next one. Raises `ForkedError`."""
        context = self._context
        fd = None
        try:
            uploader = self._uploader_now()
            fd = self._lock()
            self.is_locked_out = fd is None
            if fd is None:
                return context.settings.config.cleanup_interval_seconds
            await uploader.run()
        except ForkedError:
            raise
        except (ArchiveError, OSError) as error:
            made_progress = self._uploader is not None and self._uploader.uploaded > 0
            self._failures = 1 if made_progress else self._failures + 1
            context.counters.add(upload_errors=1)
            reason = str(error).removeprefix(f"{self._url}: ")
            context.events.report("archive", "cannot archive to %s: %s", self._url, reason)
            longest = min(_LONGEST_PAUSE_SECONDS, context.timeouts.upload_pause * 2**self._failures)
            return random.uniform(longest / 2, longest)  # noqa: S311 - jitter
        finally:
            if fd is not None:
                context.store.directory.close_file(fd)
        self._failures = 0
        context.events.clear("archive", "uploads to %s work again", self._url)
        return context.timeouts.upload_pause

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
