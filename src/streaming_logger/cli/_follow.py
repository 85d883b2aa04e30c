"""`follow`: the text of a session while it is written, until it ends; and how it ended.

It looks four times a second, at one file. A file that is not there yet is waited for;
one that was removed is read to its end, and what stands under its name then is followed
on. A session is over when its file is unlocked and all bytes are printed.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from contextlib import closing, suppress

from streaming_logger._disk.directory import Directory
from streaming_logger._disk.names import file_name_of, session_id_of
from streaming_logger._disk.paths import is_directory
from streaming_logger._disk.statx import lstat
from streaming_logger._events.ledger import LedgerReader, file_of
from streaming_logger._events.model import Event, SessionDeleted, SessionEnded
from streaming_logger.cli._activity import UNKNOWN, Activity
from streaming_logger.cli._read import JsonPrinter, Printer, tail_start
from streaming_logger.cli._target import Target, UsageError, find_target, find_target_of
from streaming_logger.cli._text import duration, one_line, size
from streaming_logger.cli._verb import FOUND_PROBLEMS, OK, Verb, count, note, raw_argument
from streaming_logger.cli._view import IN_USE, ORPHANED, Session, ended_well, find, scan

__all__ = ["VERBS"]

_LOOK_SECONDS = 0.25
#: The ledger's line comes after the lock is free; so long it may take.
_LEDGER_SECONDS = 3.0
#: More than that of the past is printed only when it is asked for: a runaway stream may have one line of it.
_PAST_BYTES = 4096
_PAST_LINES = 10


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", metavar="ID", help="the session; a unique prefix suffices")
    parser.add_argument("--latest", action="store_true", help="the session that was written last, or the next one")
    parser.add_argument("-n", "--tail", type=count, metavar="N", help="begin with the last N lines (10, 4 kB at most)")
    parser.add_argument("--all", action="store_true", help="begin at the beginning")
    parser.add_argument("-F", "--keep", action="store_true", help="go on after the end: further turns of the session")
    parser.add_argument("-f", action="store_true", help="as tail has it; follow always does")
    raw_argument(parser)


def _follow(args: Namespace) -> int:
    if args.id is None:
        target = find_target(args.dir, args.config)
    else:
        target, args.id = find_target_of(args.id, args.dir, args.config)
    name = _name(args, target)
    directory = target.directory
    with closing(Activity(directory)) as activity:
        follower = _Follower(directory, name, activity, args)
        try:
            return follower.run()
        except KeyboardInterrupt:
            follower.printer.end()
            return OK
        finally:
            follower.close()


def _name(args: Namespace, target: Target) -> str:
    """The file to follow; the first one to come where there is none yet."""
    if args.id is None and not args.latest:
        raise UsageError("follow needs an ID or --latest")
    waiting = False
    while True:
        sessions = scan(target) if is_directory(target.path) else []
        if args.id is not None:
            session = find(sessions, args.id)
            if session is None:
                note(f"waiting for session {one_line(args.id)} in {target.path}")
                return args.id if session_id_of(args.id) is not None else file_name_of(args.id)
            return session.file
        session = _latest(sessions)
        if session is not None:
            note(f"following {one_line(session.id)}")
            return session.file
        if not waiting:
            note(f"waiting for a session in {target.path}")
            waiting = True
        time.sleep(_LOOK_SECONDS)


def _latest(sessions: list[Session]) -> Session | None:
    """The active session that was written last, else any."""
    active = [session for session in sessions if session.state in IN_USE]
    return (active or sessions or [None])[-1]  # type: ignore[list-item]


class _Follower:
    """One file name, and whatever file it leads to."""

    def __init__(self, directory: Directory, name: str, activity: Activity, args: Namespace) -> None:
        self.printer = JsonPrinter() if args.json else Printer(raw=args.raw)
        self._directory = directory
        self._name = name
        self._activity = activity
        self._args = args
        self._ledger = LedgerReader(directory)
        self._history: list[Event] = []
        """The ledger's events of this file, as far as they were read."""
        self._fd: int | None = None
        self._identity = (0, 0)
        self._first = True
        self._begun = time.time()
        self._ended_at = 0.0  # the mtime at which an end was reported

    def run(self) -> int:
        while True:
            news = self._read()
            code = None if news else self._end()
            if code is not None and not self._args.keep:
                return code
            time.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        if self._fd is not None:
            self._directory.close_file(self._fd)
            self._fd = None

    # -- reading ---------------------------------------------------------------------

    def _read(self) -> bool:
        """Prints what is new; whether anything was, or the file itself is."""
        if self._fd is None and not self._open():
            return False
        assert self._fd is not None  # noqa: S101 - _open() said so
        if os.fstat(self._fd).st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            self.printer.say("the file was truncated; it goes on from its beginning")
            os.lseek(self._fd, 0, os.SEEK_SET)
        news = False
        while part := os.read(self._fd, 1 << 16):
            self.printer.write(part)
            news = True
        return news

    def _open(self) -> bool:
        try:
            self._fd = self._directory.open_file(self._name, os.O_RDONLY)
        except FileNotFoundError:
            self._first = False  # what comes is new from its first byte
            return False
        found = os.fstat(self._fd)
        self._identity = (found.st_dev, found.st_ino)
        self._ended_at = 0.0
        if self._first and not self._args.all:
            lines = self._args.tail
            start = tail_start(self._fd, _PAST_LINES if lines is None else lines)
            if lines is None and found.st_size - start > _PAST_BYTES:
                start = _character_start(self._fd, found.st_size - _PAST_BYTES)
            if start:
                self.printer.say(f"{size(start)} bytes before this; --all begins with them")
            os.lseek(self._fd, start, os.SEEK_SET)
        self._first = False
        return True

    # -- the end ---------------------------------------------------------------------

    def _end(self) -> int | None:
        """When nothing is new: the exit code if the session is over, having said how; else None."""
        if self._fd is None:
            return None
        try:
            found = lstat(f"{self._directory.path}/{self._name}")
        except FileNotFoundError:
            return self._gone()
        if found.identity != self._identity:
            self.printer.say("the file was removed and created again")
            self.close()
            return None
        self._activity.refresh()
        how = self._activity.of(self._name, found)
        if how in IN_USE:
            self._ended_at = 0.0
            return None
        if os.fstat(self._fd).st_size != os.lseek(self._fd, 0, os.SEEK_CUR):
            return None  # written between the last read and the release
        if self._ended_at == found.mtime:
            return OK  # said already; with --keep
        outcome = self._outcome(found.mtime) if how != UNKNOWN else "unknown: the file's lock cannot be probed"
        if outcome is None:
            return None  # it began again
        self._ended_at = found.mtime
        return self._tell(outcome, found.size)

    def _outcome(self, mtime: float) -> str | None:
        """How an idle file's session ended: by the ledger, which may be a moment late, or by its mark."""
        until = time.monotonic() + (_LEDGER_SECONDS if time.time() - mtime < 60 else 0.0)
        while True:
            for event in reversed(self._events()):
                if isinstance(event, SessionEnded) and event.covers(mtime):
                    return event.outcome
            how, marked = self._activity.probe(self._name)
            if how in IN_USE:
                return None
            if marked is not None:
                return marked
            if time.monotonic() > until:
                return ORPHANED
            time.sleep(_LOOK_SECONDS)

    def _gone(self) -> int | None:
        """The name leads nowhere: deleted by a rule (then it had ended before), or by another program."""
        self._read()
        self.close()
        latest = [event for event in reversed(self._events()) if event.at > self._begun - _LEDGER_SECONDS]
        last = next((event.outcome for event in latest if isinstance(event, SessionEnded)), None)
        why = next((event.reason for event in latest if isinstance(event, SessionDeleted)), None)
        if why is None:
            self.printer.say("the file was removed; waiting for it to be created again")
            return None
        if last is None:
            self.printer.say(f"the file was deleted ({one_line(why)})")
            return OK
        self.printer.say(f"{one_line(last)}; the file was deleted ({one_line(why)})", outcome=last)
        return OK if ended_well(last) else FOUND_PROBLEMS

    def _tell(self, outcome: str, total: int) -> int:
        text = one_line(outcome)
        if outcome == ORPHANED:
            text = "orphaned: its process ended without completing it"
        self.printer.say(
            f"{text}; {size(total)} bytes, followed for {duration(time.time() - self._begun)}", outcome=outcome
        )
        return OK if ended_well(outcome) else FOUND_PROBLEMS

    def _events(self) -> list[Event]:
        with suppress(OSError):
            self._history += (event for event in self._ledger.read() if file_of(event) == self._name)
        return self._history


def _character_start(fd: int, position: int) -> int:
    """The first character that begins at a position or after it."""
    for byte in os.pread(fd, 3, position):
        if byte & 0xC0 != 0x80:
            break
        position += 1
    return position


VERBS = (
    Verb(
        "follow",
        "the text of a session while it is written; ends when it does, and says how",
        _arguments,
        _follow,
        "ID | --latest [-n N] [-F]",
        ("tail",),
        lasting=True,
    ),
)
