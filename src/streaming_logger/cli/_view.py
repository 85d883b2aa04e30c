"""The directory as data: its sessions with their states, from files, locks and the ledger."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from streaming_logger import _names
from streaming_logger._directory import Directory
from streaming_logger._ledger import Ledger
from streaming_logger._retention import Policy
from streaming_logger.cli._activity import ACTIVE, IDLE, PARKED, Activity
from streaming_logger.cli._birth import birth_time
from streaming_logger.cli._place import Place, UsageError

__all__ = [
    "IN_USE",
    "ORPHANED",
    "Ends",
    "File",
    "Session",
    "characters_per_byte",
    "ended_well",
    "files",
    "find",
    "look",
]

ORPHANED = "orphaned"
#: The states of a session that somebody writes.
IN_USE = (ACTIVE, PARKED)
#: How much earlier than its file's last bytes a completion may be written down: rounding, coarse clocks.
_GRAIN = 0.1
#: So much of a file's end tells how many bytes its characters have.
_SAMPLE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session file, as it is now. Times are in seconds, sizes in bytes."""

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
    """Since its last write."""
    rate: float | None
    """Characters a second of an active session, on the average since its turn can have begun."""
    swept_in: float | None
    """Until it may be swept; None: never, or not while it is so."""
    swept_by: str
    """The rule that will sweep it: retention, max_age; or why not: active, pinned, no rule, not ours."""
    mtime: float


class File(NamedTuple):
    """A regular file whose name can be a session's, as lstat found it."""

    name: str
    id: str
    found: os.stat_result


class End(NamedTuple):
    """The last completion that the ledger knows of a file that was not deleted since."""

    at: float
    outcome: str
    size: int
    """Bytes of all turns that ended so far."""


class Ends:
    """What the ledger knows of the files that are still there."""

    def __init__(self, directory: Directory, *, ours: bool) -> None:
        self._ends: dict[str, End] = {}
        self.since = 0.0 if ours else float("inf")
        """Of what ended before it knows nothing; infinite where nobody keeps a ledger."""
        first = None
        try:
            for event in Ledger(directory).read():
                if first is None:
                    first = event.get("at")
                self._take(event)
            directory.stat(".streaming_logger/ledger.jsonl.1")
        except OSError:
            return
        if isinstance(first, (int, float)):
            self.since = first

    def of(self, name: str, mtime: float) -> End | None:
        """How the file's last turn ended; None when something was written since."""
        end = self._ends.get(name)
        return end if end is not None and end.at + _GRAIN >= mtime else None

    def before(self, name: str) -> End | None:
        """How the turn before ended."""
        return self._ends.get(name)

    def _take(self, event: dict[str, object]) -> None:
        match event:
            case {"event": "deleted", "file": str(file), "at": int() | float() as at}:
                end = self._ends.get(file)
                if end is not None and end.at <= at:
                    del self._ends[file]
            case {"file": str(file), "at": int() | float() as at, "outcome": str(outcome), "bytes": int(count)}:
                end = self._ends.get(file)
                if end is None:
                    self._ends[file] = End(at, outcome, count)
                else:
                    last = end if end.at > at else End(at, outcome, 0)
                    self._ends[file] = last._replace(size=end.size + count)


def files(directory: Directory) -> Iterator[File]:
    """Every file that is a session's by its name; what else lies there is not ours."""
    with directory.scan() as entries:
        for entry in entries:
            id_ = _names.session_id(entry.name)
            if id_ is None:
                continue
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                yield File(entry.name, id_, found)


def look(place: Place) -> list[Session]:
    """All sessions of the directory, the one that was written last at the end."""
    directory = place.directory
    ends = Ends(directory, ours=place.ours)
    policy = Policy.of(place.config) if place.ours and place.config.enabled else None
    with closing(Activity(directory)) as activity:
        sessions = [_session(file, place, ends, activity, policy) for file in files(directory)]
    sessions.sort(key=lambda session: session.mtime)
    return sessions


def find(sessions: list[Session], wanted: str) -> Session | None:
    """The session of that id, of that file name, or whose id begins so. Raises `UsageError` when several do."""
    exact = [session for session in sessions if wanted in (session.id, session.file)]
    found = exact or [session for session in sessions if session.id.startswith(wanted)]
    if len(found) > 1:
        from streaming_logger.cli._text import one_line

        shown = [one_line(session.id) for session in found[-20:]]
        more = f"\n  ... and {len(found) - 20} more" if len(found) > 20 else ""
        raise UsageError(f"{one_line(wanted)} begins the ids of {len(found)} sessions:\n  " + "\n  ".join(shown) + more)
    return found[0] if found else None


def ended_well(state: str) -> bool:
    """Whether a state says that nothing went wrong with a session."""
    return state in (*IN_USE, "completed", "released")


def _session(file: File, place: Place, ends: Ends, activity: Activity, policy: Policy | None) -> Session:
    name, id_, found = file
    now = time.time()
    mtime = found.st_mtime
    state, trouble = _state(name, found, ends, activity)
    born = birth_time(os.path.join(place.path, name))
    pinned = bool(found.st_mode & stat.S_ISVTX)
    swept_in, swept_by = None, ""
    if state in IN_USE or pinned:
        swept_by = "pinned" if pinned else "active"
    elif policy is None:
        swept_by = "not ours" if place.config.enabled else "disabled"
    else:
        swept_in, swept_by = _due(policy, now - mtime, trouble)
    return Session(
        id=id_,
        file=name,
        state=state,
        pinned=pinned,
        size=found.st_size,
        age=None if born is None else max(0.0, now - born),
        idle=max(0.0, now - mtime),
        rate=_rate(place, file, ends, born) if state in IN_USE else None,
        swept_in=swept_in,
        swept_by=swept_by,
        mtime=mtime,
    )


def _state(name: str, found: os.stat_result, ends: Ends, activity: Activity) -> tuple[str, bool]:
    """A session's state, and whether its file is kept as one that ended in trouble."""
    if activity.listed(found):
        return ACTIVE, False
    mtime = found.st_mtime
    end = ends.of(name, mtime)
    if end is not None:
        return end.outcome or "completed", not ended_well(end.outcome)
    how, marked = activity.probe(name)
    if how != IDLE:
        return how, False
    if marked is not None:
        return marked, True
    return (ORPHANED if mtime >= ends.since else "completed"), False


def _due(policy: Policy, age: float, trouble: bool) -> tuple[float | None, str]:
    """In how many seconds which rule will let a completed file go."""
    retention = policy.retention
    if retention is not None and trouble:
        retention = max(retention, policy.trouble)
    rules = [
        (seconds, name)
        for seconds, name in ((retention, "retention"), (policy.max_age, "max_age"))
        if seconds is not None
    ]
    if not rules:
        return None, "no rule"
    limit, rule = min(rules)
    return max(0.0, limit - age), rule


def _rate(place: Place, file: File, ends: Ends, born: float | None) -> float | None:
    """Characters a second since the file was made, or since its turn before ended."""
    end = ends.before(file.name)
    begun, size = (end.at, file.found.st_size - end.size) if end else (born, file.found.st_size)
    seconds = None if begun is None else file.found.st_mtime - begun
    if seconds is None or seconds < 0.5 or size < 0:
        return None
    return size * characters_per_byte(place.directory, file.name) / seconds


def characters_per_byte(directory: Directory, name: str) -> float:
    """1 for English, a third for Japanese: told by the end of the file."""
    try:
        fd = directory.open_file(name, os.O_RDONLY)
    except OSError:
        return 1.0
    try:
        sample = os.pread(fd, _SAMPLE, max(0, os.fstat(fd).st_size - _SAMPLE))
    except OSError:
        return 1.0
    finally:
        directory.close_file(fd)
    return len(sample.decode("utf-8", "ignore")) / len(sample) if sample else 1.0
