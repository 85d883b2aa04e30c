"""The two times, and the guard against a wall clock that jumps.

Monotonic time measures intervals and idleness. Wall time is only ever compared
with a file's mtime. Both are looked up at each call, so that tests can freeze them.
"""

from __future__ import annotations

import time

__all__ = ["Clock", "StepGuard"]

STEP_SECONDS = 300.0


class Clock:
    """The machine's clocks. A test gives its own object with the same two methods."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class StepGuard:
    """Notices that the wall clock was set, and keeps deletions off for a while.

    After a step every mtime on disk seems older (or younger) than it is; one
    retention later the files that are then too old really are (faults.md: clock jumps).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.wall() - clock.monotonic()
        self._blocked_until = float("-inf")

    def stepped(self) -> float:
        """Seconds by which wall time was set since the last call; 0 for the usual drift."""
        offset = self._clock.wall() - self._clock.monotonic()
        step, self._offset = offset - self._offset, offset
        return step if abs(step) > STEP_SECONDS else 0.0

    def block(self, seconds: float) -> None:
        """Nothing may be deleted for so long from now on."""
        self._blocked_until = max(self._blocked_until, self._clock.monotonic() + seconds)

    @property
    def blocked(self) -> bool:
        return self._clock.monotonic() < self._blocked_until
