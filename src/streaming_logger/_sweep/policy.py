"""Which completed files go, and why. Pure: no clock, no disk; times are parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from typing import NamedTuple

from streaming_logger._config.schema import Config
from streaming_logger._disk.store import Entry

__all__ = ["Policy", "oldest_first", "shortfall"]

#: An emergency makes this share of its limit more room than it must, so that not every sweep is one.
_SLACK = 0.1
_MB = 1_000_000


class Policy(NamedTuple):
    """The two ages at which a completed file goes, in seconds; None = never by that rule.

    >>> Policy(retention=600, max_age=86400).reason(601)
    'retention'
    >>> Policy(retention=None, max_age=86400).reason(601)
    """

    retention: float | None
    max_age: float | None
    trouble: float = 0.0
    """Files of sessions that ended in trouble are kept so long, where that is longer."""

    @classmethod
    def of(cls, config: Config) -> Policy:
        max_age = config.max_session_age_hours
        return cls(config.retention_seconds, None if max_age is None else max_age * 3600, config.trouble_seconds)

    @property
    def least_age(self) -> float:
        """No file younger than this goes by age, whatever else holds."""
        return min(age for age in (self.retention, self.max_age, float("inf")) if age is not None)

    def reason(self, age: float, *, trouble: bool = False) -> str | None:
        """Why a completed file of this age in seconds goes, or None while it stays."""
        retention = self.retention
        if retention is not None and age > (max(retention, self.trouble) if trouble else retention):
            return "retention"
        if self.max_age is not None and age > self.max_age:
            return "max_age"
        return None


def shortfall(config: Config, directory_bytes: int, free_bytes: int | None) -> int:
    """How many bytes of completed files must go, inside their window too; 0 without an emergency.

    >>> shortfall(Config(max_directory_mb=10), 12_000_000, None)
    3000000
    """
    needed = 0.0
    limit, least = config.max_directory_mb, config.min_free_disk_mb
    if limit is not None and directory_bytes > limit * _MB:
        needed = directory_bytes - limit * _MB * (1 - _SLACK)
    if least is not None and free_bytes is not None and free_bytes < least * _MB:
        needed = max(needed, least * _MB * (1 + _SLACK) - free_bytes)
    return int(needed)


def oldest_first(slices: Iterable[list[Entry]]) -> Iterator[Entry]:
    """Entries by mtime, from slices that were sorted one by one: no long sort holds the GIL."""
    return merge(*slices, key=_mtime)


def _mtime(entry: Entry) -> float:
    return entry.mtime
