"""The sessions of a directory with their states, from files, locks and the ledger. They are decided here alone."""

from __future__ import annotations

import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from streaming_logger._base.stats import Outcome
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.names import session_id_of
from streaming_logger._disk.statx import Found, lstat
from streaming_logger._sweep.policy import Policy
from streaming_logger._view.activity import ACTIVE, IDLE, PARKED, UNKNOWN, Activity
from streaming_logger._view.ledger import Ends, events_of
from streaming_logger._view.loops import Loops
from streaming_logger._view.resolve import resolve
from streaming_logger._view.target import Target
from streaming_logger._view.text import Text
from streaming_logger._view.turns import Turn, turns_of

__all__ = [
    "IN_USE",
    "ORPHANED",
    "STATES",
    "Active",
    "File",
    "Opened",
    "Session",
    "View",
    "characters_per_byte",
    "ended_well",
    "files",
    "find",
    "scan",
]

ORPHANED = "orphaned"
#: All states that `ls` can show, and what else sessions can be selected by.
STATES = (
    *("active", "parked", "orphaned", "unknown"),
    *(*get_args(Outcome), "released", "disabled"),
    *("pinned", "looping", "stalled"),
)
#: The states of a session that a process writes.
IN_USE = (ACTIVE, PARKED)
#: A server frees a file's lock, then writes the ledger: how long that may take.
_LEDGER_PAUSES = (0.0, 0.05, 0.1)
#: So much of a file's end tells how many bytes its characters have.
_SAMPLE = 4096


class Session(NamedTuple):
    """One session file, as it is now. Times are in seconds, sizes in bytes. (A frozen dataclass is slower to make.)"""

    id: str
    file: str
    state: str
    """active, parked (active, without a descriptor), orphaned (its process ended without a word),
    unknown (not readable), or the outcome of the completed session: completed, abandoned, error, ..."""
    pinned: bool
    size: int
    age: float | None
    """Since the file was made, where the file system keeps that."""
    idle: float
    """Since its last write; below 0 when a clock was set back."""
    rate: float | None
    """Characters a second of an active session, on the average since its turn can have begun."""
    swept_in: float | None
    """Until it may be swept; None: never, or not while it is so."""
    swept_by: str
    """The rule that will sweep it: retention, max_age; or why not: active, pinned, no rule, not ours."""
    mtime: float
    recovered: int
    """Bytes of it that came from crash journals."""
    loop: str
    """The kind of loop that was found in it, while it is active in this turn: periodic, counting, near; or empty."""
    silence: float | None
    """Of an active session: the seconds since its last write, if they are more than a flush interval."""
    stalled: bool
    """Whether it is active and has got no text for longer than `stall_seconds`."""

    @property
    def states(self) -> tuple[str, ...]:
        """All by which it can be selected."""
        extra = {"pinned": self.pinned, "looping": bool(self.loop), "stalled": self.stalled}
        return (self.state, *(name for name, holds in extra.items() if holds))


class File(NamedTuple):
    """A regular file whose name can be a session's, as lstat found it."""

    name: str
    id: str
    found: Found


class Active(NamedTuple):
    """The sessions that are written now, and how many others there are."""

    sessions: list[Session]
    ended: int
    """Files of sessions that ended and are still there."""
    unknown: int
    """Files that this user must not look into, active or not."""


class View:
    """One directory, for one look or for many. Close it when done."""

    def __init__(self, target: Target, *, stall_seconds: float | None = None) -> None:
        """A session counts as stalled after `stall_seconds`; without them, by the settings."""
        self._target = target
        self._stall_seconds = target.stall_seconds if stall_seconds is None else stall_seconds
        self._directory = target.directory
        self._ends = Ends(self._directory, managed=target.managed)
        self._activity = Activity(self._directory)
        self._loops = Loops(self._directory)
        self._policy = Policy.of(target.config)

    def __enter__(self) -> View:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._activity.close()

    def sessions(self) -> list[Session]:
        """All sessions, the one that was written last at the end. Raises `OSError`."""
        with self._directory.opened_readonly():
            sessions = self._settled(files(self._directory))
        sessions.sort(key=lambda session: session.mtime)
        return sessions

    def session(self, name: str) -> Session | None:
        """The session whose file has this name."""
        return next(iter(self._settled(_file(self._directory, name))), None)

    def active(self) -> Active:
        """Those that are written now, without rates. A later look takes less time: idle files are not asked again.

        Raises `OSError`.
        """
        self._refresh()
        states: Counter[str] = Counter()
        sessions, now = [], time.time()
        for file in files(self._directory):
            state = self._activity.of(file.name, file.found)
            states[state] += 1
            if state in IN_USE:
                sessions.append(self._session(file, state, now))
        return Active(sessions, states[IDLE], states[UNKNOWN])

    def _settled(self, found: Iterable[File]) -> list[Session]:
        self._refresh()
        now = time.time()
        sessions = [self._rated(file, now) for file in found]
        for pause in _LEDGER_PAUSES:
            # One that ended after the ledger was read looks orphaned: its lock is free, and its line is not known.
            doubtful = {session.file for session in sessions if session.state == ORPHANED}
            if not doubtful or (pause and not self._activity.any_server()):
                break
            time.sleep(pause)
            self._ends.refresh()
            sessions = [session for session in sessions if session.file not in doubtful]
            again = [file for name in doubtful for file in _file(self._directory, name)]
            sessions += [self._rated(file, now) for file in again]
        return sessions

    def _refresh(self) -> None:
        self._activity.refresh()
        self._loops.begin_scan()
        self._ends.refresh()

    def _rated(self, file: File, now: float) -> Session:
        session = self._session(file, self._state(file), now)
        return session._replace(rate=self._rate(file, now)) if session.state in IN_USE else session

    def _session(self, file: File, state: str, now: float) -> Session:
        name, id_, found = file
        idle = now - found.mtime
        in_use = state in IN_USE
        pinned = found.mode & stat.S_ISVTX != 0
        swept_in, swept_by = self._sweep(state, idle, pinned=pinned)
        return Session(
            id=id_,
            file=name,
            state=state,
            pinned=pinned,
            size=found.size,
            age=None if found.born is None else now - found.born,
            idle=idle,
            rate=None,
            swept_in=swept_in,
            swept_by=swept_by,
            mtime=found.mtime,
            recovered=self._ends.recovered(name),
            loop=self._ends.loop(name, ended=not in_use) or (self._loops.of(name, found) if in_use else ""),
            silence=idle if in_use and idle > self._target.silence_seconds else None,
            stalled=in_use and idle > self._stall_seconds,
        )

    def _sweep(self, state: str, idle: float, *, pinned: bool) -> tuple[float | None, str]:
        """(seconds until it may be swept, by which rule); None, and why not."""
        if pinned or state in IN_USE:
            return None, "pinned" if pinned else "active"
        if self._target.refusal:
            return None, self._target.refusal
        limit, rule = self._policy.limit(failed=not ended_well(state) and state not in (ORPHANED, UNKNOWN))
        return None if limit is None else max(0.0, limit - idle), rule

    def _state(self, file: File) -> str:
        if self._activity.listed(file.found):
            return ACTIVE
        end = self._ends.of(file.name, file.found.mtime)
        if end is not None:
            return end.outcome or "completed"
        how, marked = self._activity.probe(file.name)
        if how != IDLE:
            return how
        if marked is not None:
            return marked
        return ORPHANED if file.found.mtime >= self._ends.since else "completed"

    def _rate(self, file: File, now: float) -> float | None:
        """Characters a second since the file was made, or since its turn before ended; a silence counts."""
        end = self._ends.before(file.name)
        begun, size = (end.at, file.found.size - end.size) if end else (file.found.born, file.found.size)
        until = now if now - file.found.mtime > self._target.silence_seconds else file.found.mtime
        seconds = None if begun is None else until - begun
        if seconds is None or seconds < 0.5 or size < 0:
            return None
        return size * characters_per_byte(self._directory, file.name) / seconds


class Opened(NamedTuple):
    """One session with its text."""

    session: Session
    text: Text
    directory: Directory
    events: Sequence[Mapping[str, Any]] | None = None
    """Its lines of the ledger, where they are known already."""

    def turns(self) -> list[Turn]:
        """The turns of the text that there is now."""
        events = events_of(self.directory, self.session.file) if self.events is None else self.events
        return turns_of(events, self.text.size, self.session.state)


def scan(target: Target) -> list[Session]:
    """All sessions of a directory, the one that was written last at the end. Raises `OSError`."""
    with View(target) as view:
        return view.sessions()


def files(directory: Directory) -> Iterator[File]:
    """Every file that is a session's by its name; what else lies there is not ours."""
    with directory.scan() as entries:
        for entry in entries:
            yield from _file(directory, entry.name)


def _file(directory: Directory, name: str) -> Iterator[File]:
    """The file of this name, if it is a session's."""
    id_ = session_id_of(name)
    if id_ is None:
        return
    try:
        found = lstat(f"{directory.path}/{name}")
    except OSError:  # gone, or a bad inode, which hides no other
        return
    if stat.S_ISREG(found.mode) and found.links == 1:
        yield File(name, id_, found)


def find(sessions: list[Session], wanted: str) -> Session | None:
    """The session of that id, of that file name, or with that unique prefix. Raises `UsageError` when several match."""
    return resolve([((session.id, session.file), session) for session in sessions], wanted)


def ended_well(state: str) -> bool:
    """Whether a state says that nothing went wrong with a session."""
    return state in (*IN_USE, "completed", "released")


def characters_per_byte(directory: Directory, name: str) -> float:
    """1 for English, a third for Japanese: judged by the end of the file."""
    try:
        with Text(directory, name) as text:
            sample = text.last(_SAMPLE)
    except OSError:
        return 1.0
    return len(sample.decode("utf-8", "ignore")) / len(sample) if sample else 1.0
