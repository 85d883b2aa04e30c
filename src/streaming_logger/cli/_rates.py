"""The active sessions of all worker processes, scan after scan, and how fast each one grows."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from streaming_logger._view.sessions import Session, View, characters_per_byte
from streaming_logger._view.target import Target

__all__ = ["Rates", "Snapshot"]

#: The rate is that of the last so many seconds: servers write in bursts, one for each flush interval.
WINDOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The directory at one moment."""

    sessions: list[Session]
    """Their rates are those of the last seconds; None at the first scans."""
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

    Files grow once in a flush interval: what they do in less tells no rate, but 0 or far too much.
    """

    def __init__(self, target: Target, *, stall_seconds: float | None = None) -> None:
        self.first_seconds = min(target.config.flush_interval_seconds, WINDOW_SECONDS)
        """So long after the first look there are rates."""
        self._view = View(target, stall_seconds=stall_seconds)
        self._directory = target.directory
        # By file: (monotonic time, size) at the looks within the window; characters a byte.
        self._sizes: dict[str, deque[tuple[float, int]]] = {}
        self._ratios: dict[str, float] = {}

    def close(self) -> None:
        self._view.close()

    def scan(self) -> Snapshot:
        try:
            active = self._view.active()
        except FileNotFoundError:
            return Snapshot(sessions=[], ended=0, rate=0.0, unknown=0, gone=True)
        now = time.monotonic()
        self._sizes = {session.file: self._remembered(session, now) for session in active.sessions}
        self._ratios = {name: ratio for name, ratio in self._ratios.items() if name in self._sizes}
        sessions = [session._replace(rate=self._rate(session)) for session in active.sessions]
        known = [session.rate for session in sessions if session.rate is not None]
        rate = sum(known) if known or not sessions else None
        return Snapshot(sessions=sessions, ended=active.ended, unknown=active.unknown, rate=rate)

    def _remembered(self, session: Session, now: float) -> deque[tuple[float, int]]:
        past = self._sizes.get(session.file) or deque()
        if past and session.size < past[-1][1]:  # truncated, or another file
            past.clear()
        past.append((now, session.size))
        while len(past) > 2 and now - past[1][0] >= WINDOW_SECONDS:
            past.popleft()
        return past

    def _rate(self, session: Session) -> float | None:
        past = self._sizes[session.file]
        (then, before), (now, size) = past[0], past[-1]
        if now - then < self.first_seconds:
            return None
        rate = (size - before) / (now - then)
        if rate and session.file not in self._ratios:
            self._ratios[session.file] = characters_per_byte(self._directory, session.file)
        return rate * self._ratios.get(session.file, 1.0)
