"""The active sessions of all worker processes, scan after scan, and how fast each one grows."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from streaming_logger._disk.directory import Directory
from streaming_logger.cli._activity import IDLE, UNKNOWN, Activity
from streaming_logger.cli._loops import Loops
from streaming_logger.cli._view import IN_USE, File, characters_per_byte, files

__all__ = ["Active", "Rates"]

#: The rate is that of the last so many seconds: servers write in bursts, one for each flush interval.
WINDOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """An active session at one scan."""

    id: str
    state: str
    size: int
    age: float | None
    idle: float
    rate: float | None
    """Characters a second over the last seconds; None at the first scans."""
    stalled: bool
    loop: str
    """The kind of loop at the end of its text; empty without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The directory at one moment."""

    sessions: list[Active]
    ended: int
    """Files of sessions that ended and are still there."""
    unknown: int
    """Files that this user must not look into, active or not."""
    rate: float | None
    """Characters a second of all together."""
    gone: bool = False
    """The directory is, for now: a server makes it again when it writes."""


class Rates:
    """Scans again and again; remembers the sizes of the last seconds.

    Files grow once in `flush_seconds`: what they do in less tells no rate, but 0 or far too much.
    """

    def __init__(self, directory: Directory, *, stalled_seconds: float, flush_seconds: float) -> None:
        self._directory = directory
        self._stalled_seconds = stalled_seconds
        self.first_seconds = min(flush_seconds, WINDOW_SECONDS)
        """So long after the first look there are rates."""
        self._activity = Activity(directory)
        self._loops = Loops(directory)
        # By file and inode: (monotonic time, size) at the looks within the window; characters a byte.
        self._sizes: dict[tuple[str, tuple[int, int]], deque[tuple[float, int]]] = {}
        self._ratios: dict[tuple[str, tuple[int, int]], float] = {}

    def close(self) -> None:
        self._activity.close()

    def scan(self) -> Snapshot:
        self._activity.refresh()
        self._loops.begin_scan()
        now, wall = time.monotonic(), time.time()
        sizes = {}
        active = []
        ended = unknown = 0
        try:
            found = list(files(self._directory))
        except FileNotFoundError:
            return Snapshot(sessions=[], ended=0, rate=0.0, unknown=0, gone=True)
        for file in found:
            state = self._activity.of(file.name, file.found)
            if state not in IN_USE:
                ended += state == IDLE
                unknown += state == UNKNOWN
                continue
            key = (file.name, file.found.identity)
            sizes[key] = self._remembered(key, now, file.found.size)
            active.append(self._active(file, state, sizes[key], wall))
        self._sizes = sizes
        self._ratios = {key: ratio for key, ratio in self._ratios.items() if key in sizes}
        known = [session.rate for session in active if session.rate is not None]
        rate = sum(known) if known or not active else None
        return Snapshot(sessions=active, ended=ended, unknown=unknown, rate=rate)

    def _remembered(self, key: tuple[str, tuple[int, int]], now: float, size: int) -> deque[tuple[float, int]]:
        past = self._sizes.get(key) or deque()
        if past and size < past[-1][1]:  # truncated
            past.clear()
        past.append((now, size))
        while len(past) > 2 and now - past[1][0] >= WINDOW_SECONDS:
            past.popleft()
        return past

    def _active(self, file: File, state: str, past: deque[tuple[float, int]], wall: float) -> Active:
        name, id_, found = file
        (then, before), (now, size) = past[0], past[-1]
        rate = None
        if now - then >= self.first_seconds:
            rate = (size - before) / (now - then)
            if rate:
                rate *= self._ratio(name, found.identity)
        idle = max(0.0, wall - found.mtime)
        return Active(
            id=id_,
            state=state,
            size=found.size,
            age=None if found.born is None else max(0.0, wall - found.born),
            idle=idle,
            rate=rate,
            stalled=idle > self._stalled_seconds,
            loop=self._loops.of(name, found),
        )

    def _ratio(self, name: str, identity: tuple[int, int]) -> float:
        key = (name, identity)
        if key not in self._ratios:
            self._ratios[key] = characters_per_byte(self._directory, name)
        return self._ratios[key]
