"""Numbers and times in a few characters, for tables and sentences."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

__all__ = ["age", "counted", "duration", "moment", "size", "span"]


def size(count: float) -> str:
    """Bytes in four characters or so.

    >>> size(999), size(1_234), size(56_700_000)
    ('999', '1.2k', '57M')
    """
    if count < 1000:
        return f"{count:.0f}"
    for unit in "kMGT":
        count /= 1000
        if count < 9.95:
            return f"{count:.1f}{unit}"
        if count < 999.5 or unit == "T":
            return f"{count:.0f}{unit}"
    raise AssertionError


def counted(count: int, noun: str, verb: str = "") -> str:
    """A number of things, and what they do.

    >>> counted(1, "file", "is due"), counted(2_000, "file", "is due"), counted(0, "process")
    ('1 file is due', '2,000 files are due', '0 processes')
    """
    if count != 1:
        noun += "es" if noun.endswith("s") else "s"
        first, space, rest = verb.partition(" ")
        verb = _PLURALS.get(first, first) + space + rest
    return f"{count:,} {noun} {verb}".rstrip()


_PLURALS = {"is": "are", "was": "were", "has": "have"}


def duration(seconds: float) -> str:
    """A time span in two units at the most.

    >>> duration(7.2), duration(95), duration(7_500), duration(200_000), duration(-3)
    ('7s', '1m35s', '2h05m', '2d07h', '0s')
    """
    return _duration(int(seconds))


@lru_cache(maxsize=4096)  # of 100,000 rows of `ls` most say the same
def _duration(whole: int) -> str:
    if whole < 60:
        return f"{whole}s" if whole > 0 else "0s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def span(seconds: float | None) -> str:
    """A time span to the millisecond, where that matters; a dash where it is not known.

    >>> span(0.0123), span(7.256), span(200.0), span(None)
    ('12 ms', '7.26 s', '3m20s', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else duration(seconds)


def age(seconds: float | None) -> str:
    """A time span, or a dash where it is not known."""
    return "-" if seconds is None else duration(seconds)


def moment(seconds: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time of day, in local time; `?` for one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds).strftime(form)
    except (OverflowError, ValueError, OSError):
        return "?"
