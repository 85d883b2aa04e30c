"""Which completed files go, and why. Pure: no clock, no disk; times are parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from typing import NamedTuple

from streaming_logger._config.schema import Config
from streaming_logger._disk.store import Entry

__all__ = ["Policy", "least_free_bytes", "oldest_first", "shortfall"]

#: An emergency frees this share of its limit more than it must, so that not every sweep is one.
_SLACK = 0.1
#: At most this share of a volume is kept free.
_VOLUME_SHARE = 0.1
_MB = 1_000_000


class Policy(NamedTuple):
    """The ages at which a completed file is due, in seconds; None = never by that rule.

    >>> Policy(retention=600, max_age=86400).reason(601)
    'retention'
    >>> Policy(retention=None, max_age=86400).reason(601)
    """

    retention: float | None
    max_age: float | None
    failed_retention: float = 0.0
    """The retention of failed sessions, where it is longer."""

    @classmethod
    def of(cls, config: Config) -> Policy:
        max_age = config.max_session_age_hours
        return cls(config.retention_seconds, None if max_age is None else max_age * 3600, config.failed_seconds)

    @property
    def least_age(self) -> float:
        """No younger file is due by age, whatever its outcome."""
        age, _ = self.limit()
        return float("inf") if age is None else age

    def limit(self, *, failed: bool = False) -> tuple[float | None, str]:
        """The age at which a completed file is due, and the rule; None where no rule makes it due.

        >>> Policy(retention=600, max_age=86400).limit()
        (600, 'retention')
        """
        retention, max_age = self.retention, self.max_age
        if failed and retention is not None:
            retention = max(retention, self.failed_retention)
        if retention is not None and (max_age is None or retention <= max_age):
            return retention, "retention"
        return (None, "no rule") if max_age is None else (max_age, "max_age")

    def reason(self, age: float, *, failed: bool = False) -> str | None:
        """The rule by which a completed file of this age is deleted, or None while it stays."""
        limit, rule = self.limit(failed=failed)
        return rule if limit is not None and age > limit else None


def least_free_bytes(config: Config, volume_bytes: int | None) -> float:
    """Free disk space below which completed files go before their time; 0 = never.

    Of a volume that is not much larger than `min_free_disk_mb` only a share is kept free.

    >>> least_free_bytes(Config(min_free_disk_mb=100), 64_000_000)
    6400000.0
    """
    least = (config.min_free_disk_mb or 0.0) * _MB
    return least if volume_bytes is None else min(least, _VOLUME_SHARE * volume_bytes)


def shortfall(
    config: Config,
    directory_bytes: int,
    free_bytes: int | None,
    volume_bytes: int | None = None,
    deletable_bytes: float = float("inf"),
) -> int:
    """How many bytes of completed files must go, inside their window too; 0 without an emergency.

    Low disk space is none where all that could go, `deletable_bytes`, is not enough to end it.

    >>> shortfall(Config(max_directory_mb=10), 12_000_000, None)
    3000000
    """
    needed = 0.0
    limit, least = config.max_directory_mb, least_free_bytes(config, volume_bytes)
    if limit is not None and directory_bytes > limit * _MB:
        needed = directory_bytes - limit * _MB * (1 - _SLACK)
    if free_bytes is not None and free_bytes < least <= free_bytes + deletable_bytes:
        needed = max(needed, least * (1 + _SLACK) - free_bytes)
    return int(needed)


def oldest_first(slices: Iterable[list[Entry]]) -> Iterator[Entry]:
    """Entries by mtime, from slices that were sorted one by one: no long sort holds the GIL."""
    return merge(*slices, key=_mtime)


def _mtime(entry: Entry) -> float:
    return entry.mtime
