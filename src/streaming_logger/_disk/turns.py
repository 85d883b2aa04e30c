"""Turns: of the processes that share a directory one at a time does a piece of work, as an economy.

A turn is an exclusive lock on a file in `.streaming_logger`. Nothing depends on it, since every step of that work is
safe beside another process's. So a holder that makes no progress for 15 s, because it is stopped or hangs, is passed
over: its file is unlinked, and the next process locks a new one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Hashable

from streaming_logger._base.clock import Clock
from streaming_logger._disk.directory import PRIVATE, Directory
from streaming_logger._disk.locks import holder_of

__all__ = ["PATIENCE_SECONDS", "Patience", "Turn", "Turns"]

#: No work that others need depends on one holder of a lock for longer.
PATIENCE_SECONDS = 15.0


class Patience:
    """Tells what stays in one state for too long. By monotonic time: a stopped process cannot say when it stopped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, tuple[Hashable, float]] = {}

    def is_over(self, name: str, state: Hashable) -> bool:
        """Whether each call for `name` in the last 15 s has found the same state."""
        now = self._clock.monotonic()
        seen = self._since.get(name)
        if seen is None or seen[0] != state:
            self._since[name] = (state, now)
            return False
        return now - seen[1] >= PATIENCE_SECONDS

    def retain(self, names: Container[str]) -> None:
        """Forgets all others."""
        self._since = {name: seen for name, seen in self._since.items() if name in names}


class Turn:
    """The right to do a piece of work. To be closed, or removed, when it is done."""

    def __init__(self, directory: Directory, path: str, fd: int, stuck: str) -> None:
        self.stuck = stuck
        """The holder that was passed over for this turn; empty when nobody was."""
        self._directory = directory
        self._path = path
        self._fd = fd

    def show_progress(self) -> None:
        """To be called several times in 15 s, or others pass this process over."""
        if os.utime in os.supports_fd:
            with contextlib.suppress(OSError):
                os.utime(self._fd)

    @property
    def is_lost(self) -> bool:
        """Whether another process has passed this one over."""
        return os.fstat(self._fd).st_nlink == 0

    def close(self) -> None:
        """The next process may have it."""
        self._directory.close_file(self._fd)

    def remove(self) -> None:
        """The same, for work that is done for good: its file goes."""
        with contextlib.suppress(OSError):
            if not self.is_lost:  # else the name is another turn's
                self._directory.unlink(self._path)
        self.close()


class Turns:
    """This process's turns in one directory."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self.patience = Patience(clock)

    def take(self, name: str) -> Turn | None:
        """The turn at the work that has this name in `.streaming_logger`; None while another process is at it.

        Raises `OSError`.
        """
        path = f"{PRIVATE}/{name}"
        held = self._lock(path, "")
        if isinstance(held, Turn):
            return held
        if not self.patience.is_over(name, (held.st_ino, held.st_mtime_ns)):
            return None
        stuck = holder_of(held)
        with contextlib.suppress(FileNotFoundError):
            if self._directory.stat(path).st_ino == held.st_ino:  # else another process was first
                self._directory.unlink(path)
        held = self._lock(path, stuck)
        return held if isinstance(held, Turn) else None

    def _lock(self, path: str, stuck: str) -> Turn | os.stat_result:
        """The turn, if it is free; else what is known of its file."""
        fd = self._directory.open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            is_free, found = self._directory.lock(fd), os.fstat(fd)
            if is_free and found.st_nlink:  # else its holder was done with it just now
                turn = Turn(self._directory, path, fd, stuck)
                turn.show_progress()
                return turn
        except BaseException:
            self._directory.close_file(fd)
            raise
        self._directory.close_file(fd)
        return found
