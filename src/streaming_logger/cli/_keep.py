"""`sweep`, `pin`, `unpin`: what goes, and what is kept from going."""

from __future__ import annotations

import os
import stat
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import asdict

from streaming_logger._base.clock import Clock
from streaming_logger._base.errors import DirectoryError
from streaming_logger._base.stats import Counters, SweepReport
from streaming_logger._config.watch import Settings
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.ledger import Ledger
from streaming_logger._disk.store import Store
from streaming_logger._events.event_log import Door
from streaming_logger._sweep.policy import shortfall
from streaming_logger._sweep.sweeper import Sweeper
from streaming_logger.cli._place import Place, UsageError, find_place
from streaming_logger.cli._text import Column, duration, one_line, print_table, size
from streaming_logger.cli._verb import FOUND_TROUBLE, OK, Verb, note, print_json
from streaming_logger.cli._view import IN_USE, Session, find, look

__all__ = ["VERBS"]


# -- sweep ---------------------------------------------------------------------------


def _sweep_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would go and why, and delete nothing")


def _sweep(args: Namespace) -> int:
    place = find_place(args.dir, args.config).must_exist()
    if not place.ours:  # and a sweeper that opened an empty one would make it ours
        raise UsageError(f"no streaming logger sweeps {place.path}; if it holds sessions' files, set adopt to true")
    if not place.config.enabled:
        raise UsageError(f"{place.config_file} says enabled: false, so nothing is swept")
    going = _going(place)
    report = None if args.dry_run else _swept(place)
    if args.json:
        print_json(
            {
                "dry_run": args.dry_run,
                "due": [{"session": session.id, "file": session.file, "reason": reason} for session, reason in going],
                "report": None if report is None else asdict(report),
            }
        )
    else:
        rows = [(reason, size(session.size), duration(session.idle), one_line(session.id)) for session, reason in going]
        if rows:
            columns = Column("REASON"), Column("SIZE", number=True), Column("IDLE", number=True), Column("SESSION")
            print_table(columns, rows)
        if report is None:
            note(f"{len(going):,} files would go, {size(sum(session.size for session, _ in going))} bytes")
        else:
            note(_told(report))
    return FOUND_TROUBLE if report is not None and (report.errors or report.skipped) else OK


def _going(place: Place) -> list[tuple[Session, str]]:
    """What a sweep would take now, and by which rule: the oldest first, as the sweeper does."""
    sessions = look(place)
    going = [(session, session.swept_by) for session in sessions if session.swept_in == 0]
    due = {session.file for session, _ in going}
    rest = [session for session in sessions if session.file not in due]
    needed = shortfall(place.config, sum(session.size for session in rest), place.directory.free_bytes())
    for session in rest:
        if needed <= 0:
            break
        if session.state not in IN_USE and not session.pinned:
            going.append((session, "disk"))
            needed -= session.size
    return going


def _swept(place: Place) -> SweepReport:
    """One sweep, under the locks that a server's sweep takes."""
    directory = place.directory
    clock = Clock()
    door = Door(clock, Ledger(directory))
    try:
        directory.open()
        return Sweeper(Store(directory), Settings(place.config), Counters(), clock, door).sweep_at_once()
    except DirectoryError as refusal:
        raise UsageError(place.whose() or str(refusal)) from refusal
    finally:
        directory.close()


def _told(report: SweepReport) -> str:
    if report.skipped:
        return f"nothing was swept: {report.skipped}"
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(report.deleted_by_reason.items()))
    text = f"swept {report.deleted:,} of {report.scanned:,} files{f' ({reasons})' if reasons else ''}"
    text += f", {size(report.bytes)} bytes, in {report.duration_seconds:.2f} s"
    if report.kept_in_use:
        text += f"; {report.kept_in_use:,} were old enough, but in use or kept as trouble"
    return text + (f"; {report.errors:,} could not be swept: see the log" if report.errors else "")


# -- pin -----------------------------------------------------------------------------


def _id_argument(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the session; the beginning of its id is enough")


def _pin(args: Namespace) -> int:
    return _set_pin(args, lambda mode: mode | stat.S_ISVTX, "pinned: it is not swept until `unpin`")


def _unpin(args: Namespace) -> int:
    return _set_pin(args, lambda mode: mode & ~stat.S_ISVTX, "not pinned")


def _set_pin(args: Namespace, change: Callable[[int], int], told: str) -> int:
    place = find_place(args.dir, args.config).must_exist()
    session = find(look(place), args.id)
    if session is None:
        note(f"there is no session {one_line(args.id)} in {place.path}")
        return FOUND_TROUBLE
    try:
        _change_mode(place.directory, session.file, change)
    except OSError as error:
        note(f"{one_line(session.id)}: {error.strerror}")
        return FOUND_TROUBLE
    if args.json:
        print_json({"session": session.id, "file": session.file, "pinned": bool(change(0))})
    else:
        print(f"{one_line(session.id)} is {told}")
    return OK


def _change_mode(directory: Directory, name: str, change: Callable[[int], int]) -> None:
    """By its descriptor, so that nothing that was put in its place in between is changed."""
    fd = directory.open_file(name, os.O_RDONLY)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise OSError(0, "it is no session's file any more")
        os.fchmod(fd, change(stat.S_IMODE(found.st_mode)))
    finally:
        directory.close_file(fd)


VERBS = (
    Verb("sweep", "what goes and why; then lets it go, as a server would", _sweep_arguments, _sweep, "[--dry-run]"),
    Verb("pin", "keep a session's file from every sweep, of every process", _id_argument, _pin, "ID"),
    Verb("unpin", "let it go when its time comes", _id_argument, _unpin, "ID"),
)
