"""What the detector of loops is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Self

__all__ = ["Finding", "Kind", "Loop", "LoopSettings", "Severity"]

Kind = Literal["periodic", "counting", "varying", "near"]
Severity = Literal["low", "high"]
_SCALED = ("periodic", "counting", "near", "rows", "calls", "varying")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """When a repetition counts as a loop. Lengths are in characters, without numbers and ids."""

    periodic: int = 150
    """Minimum length of an exact repetition, beyond one and a half periods."""
    counting: int = 240
    """Minimum length of a repetition in which numbers count, beyond five periods."""
    near: int = 480
    """Minimum length of a text that repeats with small changes."""
    weak: float = 4
    """Padding and drawings must be longer by this factor."""
    blank: float = 16
    """Empty rows of a table must be longer by this factor."""
    rows: int = 120
    """Minimum number of rows of data that count or vary: people ask for a table of 100 rows."""
    calls: int = 12
    """Minimum number of copies in which ids and times vary, or the numbers in a sentence;"""
    varying: int = 900
    """and their minimum length."""
    quiet: int = 1024
    """Characters outside a loop after which it has ended."""

    def scaled(self, factor: float) -> Self:
        """The same with all lengths and numbers times this."""
        scaled = {name: round(getattr(self, name) * factor) for name in _SCALED}
        return replace(self, **scaled)


class Loop(NamedTuple):
    """A loop at the end of a text. Lengths are in characters of the stream."""

    kind: Kind
    length: int
    period: int | None = None
    is_weak: bool = False
    """Whether ordinary answers may look like this."""


class Finding(NamedTuple):
    """A loop, as far as it had gone when it was found. Offsets and lengths are in characters."""

    kind: Kind
    offset: int
    """Where it begins, from the start of the stream. Exact for `periodic` without numbers, else roughly."""
    repeated: int
    """Its length so far."""
    period: int | None
    """The length of what is repeated; `None` if it has none."""
    sample: str
    """The latest of its text: one period, up to 80 characters."""
    severity: Severity = "high"
    """`low` if ordinary answers may look like this."""
