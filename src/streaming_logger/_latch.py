"""How threads wait for each other: a bell that wakes the worker, a latch that lets callers go on,
and whether a lock is one's own.

`threading.Event` would do, but its `set()` takes a lock that is not reentrant: a GC
finalizer that completes a session inside another `set()` on the same thread would hang
for ever. One raw lock cannot, and costs a tenth.
"""

from __future__ import annotations

import contextlib
import threading

__all__ = ["Bell", "Latch", "held_here"]


def held_here(lock: threading.RLock) -> bool:
    """Whether this very thread holds the lock: then a finalizer or log handler on it must not wait.

    Locks that must know this are `RLock`s, taken by `with`, both in C: a lock of our own in
    Python could be left taken for ever by a KeyboardInterrupt between its two lines.

    >>> lock = threading.RLock()
    >>> with lock: held_here(lock)
    True
    """
    return lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # as threading.Condition asks it


class Bell:
    """Rung from anywhere, any number of times; wakes one `wait`, now or the next one.

    >>> bell = Bell(); bell.ring(); bell.ring(); bell.wait(0), bell.wait(0)
    (True, False)
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        if self._lock.locked():
            with contextlib.suppress(RuntimeError):  # somebody else rang in between
                self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Whether it rang in time."""
        if seconds > 0:
            return self._lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
        return self._lock.acquire(blocking=False)


class Latch(Bell):
    """Rung once; whoever waits passes, now and later.

    >>> latch = Latch(); latch.wait(0)
    False
    >>> latch.ring(); latch.wait(0), latch.wait(0)
    (True, True)
    """

    __slots__ = ()

    def wait(self, seconds: float) -> bool:
        passed = super().wait(seconds)
        if passed:
            self.ring()  # for the next one
        return passed
