"""`ls`, `stats`, `history`: what is there, how much of it, and what became of the rest."""

from __future__ import annotations

import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from streaming_logger._base.outcomes import has_failed
from streaming_logger._disk.names import session_id_of
from streaming_logger._events.ledger import file_of, read_events, session_of
from streaming_logger._events.model import (
    ConfigRefused,
    ConfigReloaded,
    DiskEmergency,
    Event,
    LoopEnded,
    LoopFound,
    NoTextFound,
    OtherEvent,
    ReloadRefused,
    SessionArchived,
    SessionDeleted,
    SessionEnded,
    SessionStalled,
    StallEnded,
    TextDropped,
    WorkerRestarted,
)
from streaming_logger._view.resolve import UsageError, begins, resolve
from streaming_logger._view.sessions import STATES, Session, scan
from streaming_logger._view.target import Target
from streaming_logger.cli._archive import list_archive, list_arguments
from streaming_logger.cli._text import Column, age, counted, duration, moment, one_line, print_table, size, wrapped
from streaming_logger.cli._verb import (
    FOUND_PROBLEMS,
    OK,
    Verb,
    archive_argument,
    count,
    note,
    print_json,
    print_json_lines,
    refuse_unknown,
    target_and_id,
    target_and_prefixes,
    target_of,
)

__all__ = ["VERBS", "swept"]

_COLUMNS = (
    Column("STATE", state=True),
    Column("SIZE", number=True),
    Column("AGE", number=True, spare=True),
    Column("IDLE", number=True),
    Column("CHAR/S", number=True, spare=True),
    Column("SWEPT"),
    Column("SESSION"),
)

_ORDERS: dict[str, Callable[[Session], Any]] = {
    "idle": lambda session: -session.idle,
    "age": lambda session: -(session.age or 0.0),
    "size": lambda session: session.size,
    "rate": lambda session: session.rate or 0.0,
    "id": lambda session: session.id,
}


# -- ls ------------------------------------------------------------------------------


def _ls_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "prefix", nargs="*", metavar="ID", help="only sessions whose id begins so; or a directory, or paths in one"
    )
    parser.add_argument("--state", action="append", help=f"only this state: {', '.join(STATES)}")
    parser.add_argument(
        "--sort", choices=[*_ORDERS], default="idle", help="largest last; idle (the default): newest last"
    )
    parser.add_argument("-n", "--limit", type=count, metavar="N", help="only the last N")
    archive_argument(parser)
    list_arguments(parser)


def _ls(args: Namespace) -> int:
    if args.archive is not None:
        return list_archive(args)
    target, prefixes = target_and_prefixes(args)
    sessions = scan(target)
    if prefixes:
        sessions = [session for session in sessions if begins(session.id, prefixes)]
    if args.state:
        wanted = {*args.state}
        refuse_unknown("state", wanted, {*STATES, *(session.state for session in sessions)})
        sessions = [session for session in sessions if not wanted.isdisjoint(session.states)]
    if args.sort != "idle":  # they are in that order
        sessions.sort(key=_ORDERS[args.sort])
    shown = sessions[-args.limit :] if args.limit else sessions
    if args.json:
        print_json_lines(session.shown() for session in shown)
        return OK
    if shown:
        print_table(_COLUMNS, [_row(session) for session in shown])
    if sys.stdout.isatty():
        note(summary(sessions, target))
    return OK


def _remarks(session: Session) -> Iterator[str]:
    yield one_line(session.state)
    if session.stalled:
        yield "STALLED"
    if session.loop:
        yield f"LOOP +{session.ran_on:,}" if session.ran_on else "LOOP"
    if session.recovered:
        yield f"({size(session.recovered)} recovered)"


def _row(session: Session) -> tuple[str, ...]:
    return (
        " ".join(_remarks(session)),
        size(session.size),
        age(session.age),
        duration(session.idle),
        "" if session.rate is None else f"{session.rate:.0f}",
        swept(session),
        one_line(session.id),
    )


def swept(session: Session) -> str:
    """When it is deleted, in a few characters; nothing for an active one, whose state says it."""
    return "" if session.verdict.reason == "active" else session.verdict.remark(duration)


def summary(sessions: list[Session], target: Target) -> str:
    """One line about all of them."""
    states = Counter(one_line(session.state) for session in sessions)
    shown = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
    total = size(sum(session.size for session in sessions))
    text = f"{counted(len(sessions), 'session')}{': ' if shown else ''}{shown}; {total} bytes in {target.path}"
    if not target.configured:
        text += f"\nno {target.config_file} here: SWEPT is what holds without one; name the server's by --config"
    return "\n".join(map(wrapped, text.split("\n")))


# -- stats ---------------------------------------------------------------------------


def _no_arguments(parser: ArgumentParser) -> None:
    """It has none of its own."""


def _stats(args: Namespace) -> int:
    target = target_of(args)
    sessions = scan(target)
    now = time.time()
    states: dict[str, dict[str, int]] = {}
    for session in sessions:
        _add(states, session.state, session.size)
    numbers = {
        "directory": str(target.path),
        "sessions": len(sessions),
        "bytes": sum(session.size for session in sessions),
        "pinned": sum(session.pinned for session in sessions),
        "due": _totals(session for session in sessions if session.verdict.is_due),
        "kept": _totals(session for session in sessions if session.verdict.is_kept),
        "oldest_seconds": max((session.idle for session in sessions), default=None),
        "states": states,
        "free_bytes": shutil.disk_usage(target.path).free,
        "ledger": _ledger_totals(_events(target), now),
    }
    if args.json:
        print_json(numbers)
    else:
        _print_stats(numbers)
    return OK


def _totals(sessions: Iterable[Session]) -> dict[str, dict[str, int]]:
    """By what the rules say of them."""
    totals: dict[str, dict[str, int]] = {}
    for session in sessions:
        _add(totals, session.verdict.reason, session.size)
    return totals


def _add(totals: dict[str, dict[str, int]], key: str, size: int) -> None:
    of = totals.setdefault(key, {"sessions": 0, "bytes": 0})
    of["sessions"] += 1
    of["bytes"] += size


def _ledger_totals(events: Iterable[Event], now: float) -> dict[str, Any]:
    since: float | None = None
    counts: Counter[str] = Counter()
    kinds: Counter[type[Event]] = Counter()
    ended: Counter[str] = Counter()
    written = 0
    deleted: dict[str, dict[str, int]] = {}
    dropped: Counter[str] = Counter()
    for event in events:
        if since is None:
            since = event.at
        counts[event.name] += 1
        if isinstance(event, SessionDeleted):
            of = deleted.setdefault(event.reason, {"files": 0, "bytes": 0})
            of["files"] += 1
            of["bytes"] += event.bytes
        elif isinstance(event, TextDropped):
            dropped[event.reason] += event.characters
        elif isinstance(event, SessionEnded):
            ended[event.outcome] += 1
            written += event.bytes
        kinds[type(event)] += 1
    return {
        "since": since,
        "seconds": None if since is None else now - since,
        "events": dict(counts),
        "ended": dict(ended),
        "failed": sum(number for ending, number in ended.items() if has_failed(ending)),
        "bytes_of_ended": written,
        "deleted": deleted,
        "dropped_characters": dict(dropped),
        "emergencies": kinds[DiskEmergency],
        "worker_restarts": kinds[WorkerRestarted],
        "reloads_refused": kinds[ReloadRefused],
    }


def _print_stats(numbers: dict[str, Any]) -> None:
    oldest = numbers["oldest_seconds"]
    print(f"{one_line(numbers['directory'])}: {size(numbers['free_bytes'])} bytes free on the disk")
    text = f"{counted(numbers['sessions'], 'session')}, {size(numbers['bytes'])} bytes, {numbers['pinned']:,} pinned"
    print(text + ("" if oldest is None else f", the oldest silent for {duration(oldest)}:"))
    for state, of in sorted(numbers["states"].items()):
        print(f"  {one_line(state):<12} {of['sessions']:>9,}  {size(of['bytes']):>5} bytes")
    for heading in ("due", "kept"):
        for reason, of in sorted(numbers[heading].items()):
            if reason == "active":
                continue  # its state says it
            print(f"  {heading:<12} {of['sessions']:>9,}  {size(of['bytes']):>5} bytes  ({reason})")
    ledger = numbers["ledger"]
    if ledger["seconds"] is None:
        print("ledger: empty")
        return
    ended = ledger["ended"]
    print(f"ledger, the last {duration(ledger['seconds'])}:")
    text = f"  ended        {sum(ended.values()):>9,}  {size(ledger['bytes_of_ended']):>5} bytes"
    if ledger["failed"]:
        text += f", {ledger['failed']:,} failed"
    if ended:
        text += f"  ({', '.join(f'{one_line(key)} {number:,}' for key, number in sorted(ended.items()))})"
    print(wrapped(text, 38))
    for reason, of in sorted(ledger["deleted"].items()):
        print(f"  deleted      {of['files']:>9,}  {size(of['bytes']):>5} bytes  ({one_line(reason)})")
    for reason, characters in sorted(ledger["dropped_characters"].items()):
        print(f"  dropped      {characters:>9,}  characters  ({one_line(reason)})")
    for key in ("emergencies", "worker_restarts", "reloads_refused"):
        if ledger[key]:
            print(f"  {key.replace('_', ' ')}: {ledger[key]:,}")


# -- history -------------------------------------------------------------------------


def _history_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", metavar="ID", help="one session; a unique prefix suffices")
    parser.add_argument("-n", "--tail", type=count, default=50, metavar="N", help="the last N events (50); 0 = all")


def _history(args: Namespace) -> int:
    if args.id is None:
        events: Iterable[Event] = _events(target_of(args))
    else:
        target, wanted = target_and_id(args)
        events = _of_one(list(_events(target)), wanted)
    # Sorted: two processes may append their lines the other way round.
    shown = sorted(deque(events, args.tail or None), key=lambda event: event.at)
    if args.json:
        print_json_lines(event.to_line() for event in shown)
    else:
        rows = [(moment(event.at), one_line(event.name), _whose(event), _details(event)) for event in shown]
        if rows:
            session = Column("SESSION", spare=args.id is not None)  # of one session all have the same
            print_table((Column("WHEN"), Column("EVENT"), session, Column("DETAILS", prose=True)), rows)
    if not shown and args.id is not None:
        note(f"the ledger knows no session {one_line(args.id)}; `ls` shows what has not ended yet")
        return FOUND_PROBLEMS
    return OK


def _events(target: Target) -> Iterable[Event]:
    try:
        yield from read_events(target.directory)
    except OSError as error:
        raise UsageError(f"the ledger cannot be read: {error}") from error


def _of_one(events: list[Event], wanted: str) -> list[Event]:
    of: dict[str, list[Event]] = {}
    for event in events:
        session = session_of(event)
        if session is not None and begins(session, (wanted,)):
            of.setdefault(session, []).append(event)
    return resolve([((id_,), found) for id_, found in of.items()], wanted) or []


def _details(event: Event) -> str:
    """What a line of the ledger says beside when and whose."""
    return one_line(", ".join([*_said(event), *([f"pid {event.pid}"] if event.pid else [])]))


def _said(event: Event) -> Iterator[str]:
    match event:
        case SessionEnded():
            if event.outcome != event.name:
                yield f"as {event.outcome}"
            yield f"{size(event.bytes)} bytes{_place(event)}"
            if event.error:
                yield event.error
        case SessionDeleted():
            yield f"by {event.reason}"
            yield f"{size(event.bytes)} bytes"
            if event.age is not None:
                yield f"{duration(event.age)} old"
        case LoopFound():
            yield f"{event.kind} from character {event.offset:,}: {event.sample}"
            if event.ended:
                yield "found after its end"
        case LoopEnded():
            yield f"{event.kind} of {counted(event.repeated, 'character')}, {event.after:,} after it was found"
            yield event.reason
        case TextDropped():
            yield event.reason
            yield counted(event.characters, "character")
        case DiskEmergency():
            yield event.reason
            yield f"{size(event.bytes)} bytes"
        case SessionArchived():
            yield f"{size(event.bytes)} bytes"
        case SessionStalled():
            yield f"no text for {duration(event.seconds)}"
        case StallEnded():
            yield f"{event.reason} after {duration(event.seconds)}"
        case NoTextFound() | ConfigReloaded() | ReloadRefused() | ConfigRefused():
            yield event.text
        case OtherEvent():
            yield from (f"{key} {value}" for key, value in event.more.items() if key not in ("session", "file"))


def _whose(event: Event) -> str:
    name = file_of(event) or ""
    return one_line(session_of(event) or session_id_of(name) or name)


def _place(event: SessionEnded) -> str:
    """Where in its file a turn stands, for `show` of the file, and for programs that cut it out."""
    return "" if event.begin is None or event.end is None else f" from {event.begin:,} to {event.end:,}"


VERBS = (
    Verb(
        "ls", "sessions with state, size, age, idle time, characters a second, when they are swept", _ls_arguments, _ls
    ),
    Verb("stats", "totals of the directory and of the ledger", _no_arguments, _stats),
    Verb("history", "what happened to sessions, after their files are gone too", _history_arguments, _history, "[ID]"),
)
