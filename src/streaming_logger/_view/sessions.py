"""The sessions of a directory with their states, from files, locks and the ledger. They are decided here alone."""

from __future__ import annotations

import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from streaming_logger._base.outcomes import MEANINGS, ORPHANED, has_failed
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.names import session_id_of
from streaming_logger._disk.statx import Found, lstat
from streaming_logger._events.ledger import events_of
from streaming_logger._events.ledger_index import LedgerIndex
from streaming_logger._events.model import Event
from streaming_logger._sweep.rules import Facts, Verdict
from streaming_logger._view.activity import ACTIVE, IDLE, PARKED, UNKNOWN, Activity
from streaming_logger._view.due import Verdicts
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

#: All states that `ls` can show, and what else sessions can be selected by, each with its meaning.
STATES: dict[str, str] = {
    ACTIVE: "a process holds the file's lock; never deleted, however long it is idle",
    PARKED: "active, with its file closed to save descriptors",
    UNKNOWN: "the file cannot be read",
    **MEANINGS,
    "pinned": "no sweep of any process deletes it until `unpin`",
    "looping": "active, and the radar found a loop in this turn",
    "stalled": "active, without text for longer than the limit",
}
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
    verdict: Verdict
    """Whether a sweep deletes it now, and why."""
    mtime: float
    recovered: int
    """Bytes of it that came from crash journals."""
    loop: str
    """The kind of loop that was found in it, while it is active in this turn: periodic, counting, varying, near; or
    empty."""
    ran_on: int
    """The characters that loops went on for after they were found, of those that are over."""
    silence: float | None
    """Of an active session: the seconds since its last write, if they are more than a flush interval."""
    stalled: bool
    """Whether it is active and has got no text for longer than `stall_seconds`."""

    def shown(self) -> dict[str, Any]:
        """Its fields for JSON, the verdict by three of them.

        `due`: whether a sweep deletes it now. `swept_in`: seconds until a rule makes it due, None: not while it is as
        it is. `swept_by`: that rule; or why it is kept: active, pinned, not archived, no rule, disabled, not managed.
        """
        fields = self._asdict()
        is_due, reason, due_in = fields.pop("verdict")
        return fields | {
            "due": is_due,
            "swept_in": None if due_in is None else max(0.0, due_in),
            "swept_by": reason,
        }

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
        self._ends = LedgerIndex(self._directory, managed=target.managed)
        self._activity = Activity(self._directory)
        self._loops = Loops(self._directory)
        self._verdicts = Verdicts(target)

    def __enter__(self) -> View:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._activity.close()

    def sessions(self) -> list[Session]:
        """All sessions, the one that was written last at the end. Raises `OSError`."""
        with self._directory.opened_readonly():
            found = list(files(self._directory))
            self._verdicts.look(time.time() - min((file.found.mtime for file in found), default=time.time()))
            sessions = self._settled(found)
        sessions.sort(key=lambda session: session.mtime)
        return sessions

    def session(self, name: str) -> Session | None:
        """The session whose file has this name. Its verdict is that of its age: the archive is not asked."""
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
        state, failed = self._state(file)
        session = self._session(file, state, now, failed=failed)
        return session._replace(rate=self._rate(file, now)) if session.state in IN_USE else session

    def _session(self, file: File, state: str, now: float, *, failed: bool = False) -> Session:
        """`failed`: whether its file is kept as that of a failed session."""
        name, id_, found = file
        idle = now - found.mtime
        in_use = state in IN_USE
        pinned = found.mode & stat.S_ISVTX != 0
        return Session(
            id=id_,
            file=name,
            state=state,
            pinned=pinned,
            size=found.size,
            age=None if found.born is None else now - found.born,
            idle=idle,
            rate=None,
            verdict=self._verdicts.of(name, Facts(age=idle, failed=failed, in_use=in_use, pinned=pinned)),
            mtime=found.mtime,
            recovered=self._ends.recovered(name),
            loop=self._ends.loop(name, ended=not in_use) or (self._loops.of(name, found) if in_use else ""),
            ran_on=self._ends.ran_on(name),
            silence=idle if in_use and idle > self._target.silence_seconds else None,
            stalled=in_use and idle > self._stall_seconds,
        )

    def _state(self, file: File) -> tuple[str, bool]:
        """A session's state, and whether its file is kept as that of a failed session."""
        if self._activity.listed(file.found):
            return ACTIVE, False
        end = self._ends.of(file.name, file.found.mtime)
        if end is not None:
            return end.outcome or "completed", has_failed(end.outcome)
        how, marked = self._activity.probe(file.name)
        if how != IDLE:
            return how, False
        if marked is not None:
            return marked, True
        return (ORPHANED if file.found.mtime >= self._ends.since else "completed"), False

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
    events: Sequence[Event] | None = None
    """Its events in the ledger, where they are known already."""

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
    return state in IN_USE or not has_failed(state)


def characters_per_byte(directory: Directory, name: str) -> float:
    """1 for English, a third for Japanese: judged by the end of the file."""
    try:
        with Text(directory, name) as text:
            sample = text.last(_SAMPLE)
    except OSError:
        return 1.0
    return len(sample.decode("utf-8", "ignore")) / len(sample) if sample else 1.0
