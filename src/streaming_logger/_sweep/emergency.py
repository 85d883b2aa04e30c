"""Emergencies: how much space there is, and how much completed files could free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streaming_logger._context import Context
from streaming_logger._disk.entries import Entry
from streaming_logger._disk.locks import LockTable
from streaming_logger._disk.names import session_id_of
from streaming_logger._disk.owner import Owners
from streaming_logger._sweep.rules import Need, Room, Rules

__all__ = ["Emergency"]

#: A sweep later than this after a write that the disk refused has nothing to do with it.
_REFUSED_SECONDS = 10.0


class Emergency:
    """Looks at one directory for the rules."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._refused_at = float("-inf")
        self._written_at_last: int | None = None
        """Bytes written when files were deleted for a refused write."""

    def disk_is_full(self) -> None:
        """A write was refused for lack of space or quota."""
        self._refused_at = self._context.clock.monotonic()

    def is_possible(self, rules: Rules) -> bool:
        """Whether space may be short: only then is every file remembered, 200 bytes each."""
        directory = self._context.store.directory
        return rules.is_short(directory.free_bytes(), directory.volume_bytes(), refused=self._is_refused)

    def need(self, rules: Rules, files: Iterable[Entry], used: int, owners: Owners) -> Need:
        """What must be freed of these files, which take `used` bytes."""
        directory = self._context.store.directory
        sizes = [entry.size for entry in self._deletable(files, owners)]
        room = Room(
            used=used,
            deletable=sum(sizes),
            files=len(sizes),
            free=directory.free_bytes(),
            volume=directory.volume_bytes(),
            refused=rules.min_free_bytes is not None and self._must_follow_refusal(),
        )
        return rules.need(room)

    @property
    def _is_refused(self) -> bool:
        return self._context.clock.monotonic() - self._refused_at < _REFUSED_SECONDS

    def _must_follow_refusal(self) -> bool:
        """Whether files are deleted for a refused write. Not again while that has helped no write: something else is
        full."""
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
