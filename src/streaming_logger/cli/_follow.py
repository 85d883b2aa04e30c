"""`follow`: the text of a session while it is written, until it ends; and how it ended.

It looks four times a second, at one file. A file that is not there yet is waited for;
one that was removed is read to its end, and what stands under its name then is followed
on. A session is over when its file is unlocked and all bytes are printed.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from streaming_logger._disk.names import file_name_of, session_id_of
from streaming_logger._disk.paths import is_directory
from streaming_logger._disk.statx import lstat
from streaming_logger._events.ledger import events_of
from streaming_logger._events.model import Event, SessionDeleted, SessionEnded
from streaming_logger._view.activity import UNKNOWN
from streaming_logger._view.resolve import UsageError
from streaming_logger._view.sessions import IN_USE, ORPHANED, Session, View, ended_well, find, scan
from streaming_logger._view.target import Target
from streaming_logger._view.text import Text
from streaming_logger.cli._read import JsonPrinter, Printer
from streaming_logger.cli._text import duration, one_line, size
from streaming_logger.cli._verb import FOUND_PROBLEMS, OK, Verb, count, note, raw_argument, target_and_id, target_of

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
        target = target_of(args, must_exist=False)
    else:
        target, args.id = target_and_id(args, must_exist=False)
    name = _name(args, target)
    with View(target) as view:
        follower = _Follower(target, name, view, args)
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

    def __init__(self, target: Target, name: str, view: View, args: Namespace) -> None:
        self.printer = JsonPrinter() if args.json else Printer(raw=args.raw)
        self._directory = target.directory
        self._logs = target.logs
        self._name = name
        self._view = view
        self._args = args
        self._text: Text | None = None
        self._offset = 0
        self._written = 0
        self._first = True
        self._begun = time.time()
        self._ended_at = 0.0  # the mtime at which an end was reported
        self._orphaned = (0.0, 0.0)  # the mtime of a session without an end, and since when that is known

    def run(self) -> int:
        while True:
            news = self._read()
            code = None if news else self._end()
            if code is not None and not self._args.keep:
                return code
            time.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        if self._text is not None:
            self._text.close()
            self._text = None

    # -- reading ---------------------------------------------------------------------

    def _read(self) -> bool:
        """Prints what is new; whether anything was, or the file itself is."""
        if self._text is None and not self._open():
            return False
        assert self._text is not None  # noqa: S101 - _open() said so
        written = self._text.written
        if written < self._written:
            self.printer.say("the file was truncated; it goes on from its beginning")
            self._offset = 0
        self._written = written
        before = self._offset
        for part in self._text.parts(self._offset):
            self.printer.write(part)
            self._offset += len(part)
        return self._offset > before

    def _open(self) -> bool:
        try:
            self._text = text = Text(self._directory, self._name, self._logs)
        except FileNotFoundError:
            self._first = False  # what comes is new from its first byte
            return False
        self._ended_at, self._offset, self._written = 0.0, 0, 0
        if self._first and not self._args.all:
            lines = self._args.tail
            start = text.tail_start(_PAST_LINES if lines is None else lines)
            if lines is None and text.size - start > _PAST_BYTES:
                start = text.character_start(text.size - _PAST_BYTES)
            if start:
                self.printer.say(f"{size(start)} bytes before this; --all begins with them")
            self._offset = start
        self._first = False
        return True

    # -- the end ---------------------------------------------------------------------

    def _end(self) -> int | None:
        """When nothing is new: the exit code if the session is over, having said how; else None."""
        if self._text is None:
            return None
        try:
            found = lstat(f"{self._directory.path}/{self._name}")
        except FileNotFoundError:
            return self._gone()
        if found.identity != self._text.identity:
            self.printer.say("the file was removed and created again")
            self.close()
            return None
        session = self._view.session(self._name)
        if session is None:
            return None  # gone just now
        if session.state in IN_USE:
            self._ended_at = 0.0
            return None
        if self._text.size != self._offset or self._is_doubtful(session):
            return None  # written between the last read and the release
        if self._ended_at == session.mtime:
            return OK  # said already; with --keep
        self._ended_at = session.mtime
        is_unknown = session.state == UNKNOWN
        return self._tell("unknown: the file's lock cannot be probed" if is_unknown else session.state, session.size)

    def _is_doubtful(self, session: Session) -> bool:
        """Whether the ledger, which may be a moment late, can still say how the session ended."""
        if session.state != ORPHANED or session.idle > 60:
            return False
        if self._orphaned[0] != session.mtime:
            self._orphaned = session.mtime, time.monotonic()
        return time.monotonic() - self._orphaned[1] < _LEDGER_SECONDS

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
        return events_of(self._directory, self._name)


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
