"""The directory as data: its sessions with their states, from files, locks and the ledger."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

from streaming_logger._base.outcomes import MEANINGS, ORPHANED, has_failed
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.names import SUFFIX, file_name_of, session_id_of
from streaming_logger._disk.statx import Found, lstat
from streaming_logger._events.ledger_index import LedgerIndex
from streaming_logger._sweep.rules import Facts, Verdict
from streaming_logger.cli._activity import ACTIVE, IDLE, PARKED, Activity
from streaming_logger.cli._due import Verdicts
from streaming_logger.cli._loops import Loops
from streaming_logger.cli._target import Target, UsageError
from streaming_logger.cli._text import one_line

__all__ = [
    "IN_USE",
    "ORPHANED",
    "STATES",
    "File",
    "Session",
    "begins",
    "characters_per_byte",
    "ended_well",
    "files",
    "find",
    "resolve",
    "scan",
]

T = TypeVar("T")

#: All states that `ls` can show, and what else sessions can be selected by, each with its meaning.
STATES: dict[str, str] = {
    ACTIVE: "a process holds the file's lock; never deleted, however long it is idle",
    PARKED: "active, with its file closed to save descriptors",
    "unknown": "the file cannot be read",
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
    """The kind of loop that was found in it, while it is active in this turn: periodic, counting, near; or empty."""
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


def scan(target: Target) -> list[Session]:
    """All sessions of the directory, the one that was written last at the end."""
    directory = target.directory
    ends = LedgerIndex(directory, managed=target.managed)
    verdicts = Verdicts(target)
    with directory.opened_readonly(), closing(Activity(directory)) as activity:
        now, loops, found = time.time(), Loops(directory), list(files(directory))
        verdicts.look(now - min((file.found.mtime for file in found), default=now))
        sessions = [_session(file, target, directory, ends, activity, loops, verdicts, now) for file in found]
        for pause in _LEDGER_PAUSES:
            # One that ended after the ledger was read looks orphaned: its lock is free, and its line is not known.
            doubtful = {session.file for session in sessions if session.state == ORPHANED}
            if not doubtful or (pause and not activity.any_server()):
                break
            time.sleep(pause)
            ends.refresh()
            sessions = [session for session in sessions if session.file not in doubtful]
            again = [file for name in doubtful for file in _file(directory, name)]
            sessions += [_session(file, target, directory, ends, activity, loops, verdicts, now) for file in again]
    sessions.sort(key=lambda session: session.mtime)
    return sessions


def find(sessions: list[Session], wanted: str) -> Session | None:
    """The session of that id, of that file name, or with that unique prefix. Raises `UsageError` when several match."""
    return resolve([((session.id, session.file), session) for session in sessions], wanted)


def resolve(candidates: Sequence[tuple[tuple[str, ...], T]], wanted: str) -> T | None:
    """The candidate one of whose names is `wanted`, or whose first name alone begins with it."""
    if not wanted:  # an unset variable of a script, and every id begins with it
        raise UsageError("the ID is empty")
    found = (
        [(names, value) for names, value in candidates if wanted in names]
        or [(names, value) for names, value in candidates if wanted in printed(names[0])]
        or [(names, value) for names, value in candidates if names[0].startswith(wanted)]
        or [(names, value) for names, value in candidates if begins(names[0], (wanted,))]
    )
    if len(found) > 1:
        shown = [one_line(names[0]) for names, _ in found[-20:]]
        more = f"\n  ... and {len(found) - 20} more" if len(found) > 20 else ""
        raise UsageError(f"{one_line(wanted)} begins the ids of {len(found)} sessions:\n  " + "\n  ".join(shown) + more)
    return found[0][1] if found else None


def begins(id_: str, prefixes: tuple[str, ...]) -> bool:
    """Whether an id begins so, as it is or as it is printed."""
    return id_.startswith(prefixes) or any(name.startswith(prefixes) for name in printed(id_))


def printed(id_: str) -> tuple[str, str, str]:
    r"""An id as the command prints it, and as the name of its file.

    >>> print(*printed("a b\n"))
    a b\n a%20b%0A a%20b%0A.log
    """
    name = file_name_of(id_)
    return one_line(id_), name.removesuffix(SUFFIX), name


def ended_well(state: str) -> bool:
    """Whether a state says that nothing went wrong with a session."""
    return state in IN_USE or not has_failed(state)


def _session(
    file: File,
    target: Target,
    directory: Directory,
    ends: LedgerIndex,
    activity: Activity,
    loops: Loops,
    verdicts: Verdicts,
    now: float,
) -> Session:
    name, id_, found = file
    mtime, born = found.mtime, found.born
    idle = now - mtime
    state, failed = _state(name, found, ends, activity)
    in_use = state in IN_USE
    pinned = found.mode & stat.S_ISVTX != 0
    return Session(
        id=id_,
        file=name,
        state=state,
        pinned=pinned,
        size=found.size,
        age=None if born is None else now - born,
        idle=idle,
        rate=_rate(target, file, ends, now) if in_use else None,
        verdict=verdicts.of(name, Facts(age=idle, failed=failed, in_use=in_use, pinned=pinned)),
        mtime=mtime,
        recovered=ends.recovered(name),
        loop=ends.loop(name, ended=not in_use) or (loops.of(name, found) if in_use else ""),
        silence=idle if in_use and idle > target.silence_seconds else None,
        stalled=in_use and idle > target.stall_seconds,
    )


def _state(name: str, found: Found, ends: LedgerIndex, activity: Activity) -> tuple[str, bool]:
    """A session's state, and whether its file is kept as one that failed."""
    if activity.listed(found):
        return ACTIVE, False
    mtime = found.mtime
    end = ends.of(name, mtime)
    if end is not None:
        return end.outcome or "completed", has_failed(end.outcome)
    how, marked = activity.probe(name)
    if how != IDLE:
        return how, False
    if marked is not None:
        return marked, True
    return (ORPHANED if mtime >= ends.since else "completed"), False


def _rate(target: Target, file: File, ends: LedgerIndex, now: float) -> float | None:
    """Characters a second since the file was made, or since its turn before ended; a silence counts."""
    end = ends.before(file.name)
    begun, size = (end.at, file.found.size - end.size) if end else (file.found.born, file.found.size)
    until = now if now - file.found.mtime > target.silence_seconds else file.found.mtime
    seconds = None if begun is None else until - begun
    if seconds is None or seconds < 0.5 or size < 0:
        return None
    return size * characters_per_byte(target.directory, file.name) / seconds


def characters_per_byte(directory: Directory, name: str) -> float:
    """1 for English, a third for Japanese: judged by the end of the file."""
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
