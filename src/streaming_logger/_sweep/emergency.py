"""Emergencies: how many completed files go inside their window, because space is short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from streaming_logger._context import Context
from streaming_logger._disk.locks import LockTable
from streaming_logger._disk.names import session_id_of
from streaming_logger._disk.owner import Owners
from streaming_logger._disk.store import Entry
from streaming_logger._sweep.policy import least_free_bytes, shortfall

__all__ = ["Emergency", "Need"]

#: After a write that the disk refused for lack of space, this share of the completed files goes.
_REFUSED_SHARE = 0.1
#: A sweep later than this after it has nothing to do with it.
_REFUSED_SECONDS = 10.0


class Need(NamedTuple):
    """So many bytes and files must go."""

    bytes: int = 0
    files: int = 0


class Emergency:
    """Decides for one directory. A disk that refuses writes is an emergency whatever its free bytes say: inodes and
    quotas run out, too."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._refused_at = float("-inf")
        self._written_at_last: int | None = None
        """Bytes written when files went for a refused write."""

    def disk_is_full(self) -> None:
        """A write was refused for lack of space or quota."""
        self._refused_at = self._context.clock.monotonic()

    @property
    def is_possible(self) -> bool:
        """Whether space may be short: only then is every file remembered, 200 bytes each."""
        config, directory = self._context.settings.config, self._context.store.directory
        if config.max_directory_mb is not None or self._is_refused:
            return True
        free = directory.free_bytes()
        return free is not None and free < least_free_bytes(config, directory.volume_bytes())

    def need(self, files: Iterable[Entry], used: int, owners: Owners) -> Need:
        """What must go of these files, which take `used` bytes."""
        config, directory = self._context.settings.config, self._context.store.directory
        sizes = [entry.size for entry in self._deletable(files, owners)]
        free, volume, deletable = directory.free_bytes(), directory.volume_bytes(), sum(sizes)
        need = Need(shortfall(config, used, free, volume, deletable))
        if self._must_follow_refusal():
            share = Need(int(_REFUSED_SHARE * deletable), 1 + int(_REFUSED_SHARE * len(sizes)))
            need = Need(max(need.bytes, share.bytes), share.files if sizes else 0)
        elif free is not None and free < least_free_bytes(config, volume) and not need.bytes:
            self._context.events.report(
                "low disk",
                "low disk space: %d bytes are free, and deleting completed files would not help",
                free,
                subject="disk",
            )
            return need
        self.is_over()
        return need

    def is_over(self) -> None:
        """There is space, or files that can go."""
        self._context.events.clear("low disk", "", subject="disk")

    @property
    def _is_refused(self) -> bool:
        if self._context.settings.config.min_free_disk_mb is None:
            return False  # the disk is never a reason
        return self._context.clock.monotonic() - self._refused_at < _REFUSED_SECONDS

    def _must_follow_refusal(self) -> bool:
        """Whether files go for a refused write. Not again while that has helped no write: something else is full."""
        written = self._context.counters.snapshot().bytes_written
        if not self._is_refused or written == self._written_at_last:
            return False
        self._refused_at, self._written_at_last = float("-inf"), written
        return True

    def _deletable(self, files: Iterable[Entry], owners: Owners) -> Iterator[Entry]:
        """Those that are completed, as far as that can be told without a claim."""
        locks, device = LockTable(), self._context.store.directory.stat(".").st_dev
        for entry in files:
            if session_id_of(entry.name) is None or entry.pinned or locks.is_shared((device, entry.inode)):
                continue
            if not owners.parked(entry.name):
                yield entry
