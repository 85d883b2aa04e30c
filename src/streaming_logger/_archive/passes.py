"""Passes over the directory, one after the other, on the uploader's thread.

The store may be slow, dead or full of errors: only this thread waits for it. After a pass that failed the next one
comes later and later, with jitter, so that a fleet does not return all at once to a store that recovers.
"""

from __future__ import annotations

import random

from streaming_logger._archive.bucket import ArchiveError, Bucket, ForkedError
from streaming_logger._archive.uploader import Uploader
from streaming_logger._base.sync import AutoResetEvent
from streaming_logger._context import Context

__all__ = ["Passes"]

_LONGEST_PAUSE_SECONDS = 300.0
#: Who may wait for as long as it takes looks again after this whether another process is done with its files.
_OTHERS_SECONDS = 0.5


class Passes:
    """For one directory. Run on one thread; `drain` is called from another one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._woken = AutoResetEvent()
        self._drain_until: float | None = None
        self._uploader: Uploader | None = None
        self._url = ""
        self._failures = 0
        self.failure: ArchiveError | OSError | None = None
        """Why the last pass failed."""

    def drain(self, seconds: float) -> None:
        """From now on no more passes than one that finds nothing new, and no upload begins after so many seconds."""
        self._drain_until = self._context.clock.monotonic() + seconds
        self._woken.set()

    def run(self) -> None:
        """Until it is drained, or no archive is set any more."""
        is_last = False
        while not is_last and not self._is_over() and self._context.settings.config.archive.url is not None:
            was_draining = self._drain_until is not None
            try:
                pause = self.run_once()
            except ForkedError as error:
                self._context.events.report("archive", "cannot archive to %s: %s", self._url, error, subject="bucket")
                pause = float("inf")  # another thread would fare no better
            if self._drain_until is None:
                self._woken.wait(pause)
            elif self._waits_for_others():
                self._woken.wait(_OTHERS_SECONDS)
            is_last = was_draining and (self._failures > 0 or not (self._has_deferred() or self._waits_for_others()))
        if self._uploader is not None:
            self._uploader.abandon()

    def _is_over(self) -> bool:
        """Whether no upload may begin any more."""
        return self._drain_until is not None and self._context.clock.monotonic() >= self._drain_until

    def _has_deferred(self) -> bool:
        return self._uploader is not None and self._uploader.has_deferred

    def _waits_for_others(self) -> bool:
        """Whether there is time to see what other processes upload, and to take it from those that are stuck."""
        return self._drain_until == float("inf") and self._uploader is not None and self._uploader.has_left

    def run_once(self) -> float:
        """One pass; seconds until the next one. Raises `ForkedError`."""
        context = self._context
        self.failure = None
        try:
            uploader = self._uploader_now()
            if context.store.directory.is_stale():
                context.store.directory.close()  # between passes nothing uses it
            if not self._is_ours():
                return context.settings.config.cleanup_interval_seconds
            uploader.run()
        except ForkedError:
            raise
        except (ArchiveError, OSError) as error:
            made_progress = self._uploader is not None and self._uploader.uploaded > 0
            self.failure = error
            self._failures = 1 if made_progress else self._failures + 1
            context.counters.add(upload_errors=1)
            reason = str(error).removeprefix(f"{self._url}: ")
            context.events.report("archive", "cannot archive to %s: %s", self._url, reason, subject="bucket")
            longest = min(_LONGEST_PAUSE_SECONDS, context.timeouts.upload_pause * 2**self._failures)
            return random.uniform(longest / 2, longest)  # noqa: S311 - jitter
        self._failures = 0
        context.events.clear("archive", "uploads to %s work again", self._url, subject="bucket")
        return context.timeouts.upload_pause

    def _uploader_now(self) -> Uploader:
        """The uploader for the settings in force. Raises `ArchiveError`."""
        settings = self._context.settings.config.archive
        url = settings.url or ""
        if self._uploader is None or url != self._url:
            self._url = url
            if self._uploader is not None:
                self._uploader.abandon()
            self._uploader = Uploader(
                self._context, Bucket(url, max_retries=settings.max_retries), lambda: self._drain_until
            )
        return self._uploader

    def _is_ours(self) -> bool:
        """Whether the directory is this library's own. Raises its `OSError`."""
        directory = self._context.store.directory
        directory.open()
        if not directory.managed:
            self._context.events.report(
                "archive",
                "cannot archive %s: it held other *.log files before, set adopt to true",
                directory.path,
                subject="bucket",
            )
        return directory.managed
