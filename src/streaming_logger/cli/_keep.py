"""`sweep`, `pin`, `unpin`: what goes, and what is kept from due."""

from __future__ import annotations

import os
import stat
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict

from streaming_logger._base.errors import DirectoryError
from streaming_logger._base.stats import SweepReport
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.names import session_id_of
from streaming_logger._sweep.crashes import Crashes
from streaming_logger._sweep.files import Swept
from streaming_logger._sweep.sweeper import Sweeper
from streaming_logger._view.due import collected, dry_run
from streaming_logger._view.resolve import UsageError
from streaming_logger._view.sessions import find, scan
from streaming_logger._view.target import Target
from streaming_logger.cli._text import Column, counted, duration, one_line, print_table, size
from streaming_logger.cli._verb import (
    FOUND_PROBLEMS,
    OK,
    Verb,
    id_argument,
    no_such_session,
    note,
    print_json,
    target_and_id,
    target_of,
)

__all__ = ["VERBS", "opened", "recover"]


# -- sweep ---------------------------------------------------------------------------


def _sweep_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what would be deleted and why; delete nothing")


def _sweep(args: Namespace) -> int:
    target = target_of(args)
    if target.fault and target.is_assumed:
        raise target.fault  # nothing is deleted by rules that nobody has set
    if not target.managed:  # and a sweeper that opened an empty one would make it ours
        raise UsageError(f"no streaming logger sweeps {target.path}; if it holds sessions' files, set adopt to true")
    if not target.config.enabled:
        raise UsageError(f"{target.config_file} says enabled: false, so nothing is swept")
    files, report = dry_run(target, _tell) if args.dry_run else _swept(target)
    if args.json:
        gone, kept = ([_as_json(file) for file in files if file.verdict.is_due is is_due] for is_due in (True, False))
        print_json(
            {
                "dry_run": args.dry_run,
                "due" if args.dry_run else "deleted": gone,
                "kept": kept,
                "report": asdict(report),
            }
        )
    else:
        rows = [
            (_remark(file, args.dry_run), size(file.size), duration(file.age), one_line(_id(file))) for file in files
        ]
        if rows:
            columns = Column("WHAT"), Column("SIZE", number=True), Column("IDLE", number=True), Column("SESSION")
            print_table(columns, rows)
        note(_forecast(report) if args.dry_run else _summary(report))
    return FOUND_PROBLEMS if report.errors or report.skipped else OK


def _id(file: Swept) -> str:
    return session_id_of(file.name) or file.name


def _as_json(file: Swept) -> dict[str, object]:
    return {
        "session": _id(file),
        "file": file.name,
        "reason": file.verdict.reason,
        "bytes": file.size,
        "idle": file.age,
    }


def _remark(file: Swept, is_dry_run: bool) -> str:
    """What a sweep did with a file, or would do, and why."""
    if file.verdict.is_due and not is_dry_run:
        return f"deleted ({file.verdict.reason})"
    return file.verdict.remark(duration)


def _tell(kind: str, text: str, *args: object, **fields: object) -> None:
    """What a dry run could not examine."""
    note(one_line(text % args))


def _swept(target: Target) -> tuple[list[Swept], SweepReport]:
    """One sweep, under the locks that a server's sweep takes."""
    with opened(target) as context:
        return collected(Sweeper(context).sweep())


def recover(target: Target) -> None:
    """Appends what the crash journals of dead processes hold to the session files, and says what that was."""
    with opened(target) as context:
        Crashes(context).recover_all()
        stats = context.counters.snapshot()
    count = counted(stats.sessions_recovered, "session")
    note(f"recovered {count} of crashed processes, {size(stats.bytes_recovered)} bytes")
    if stats.sweep_errors:
        note(f"failed to recover {counted(stats.sweep_errors, 'journal or session')}")


@contextmanager
def opened(target: Target) -> Iterator[Context]:
    """The directory as a server opens it. Raises `UsageError` where one would refuse it."""
    context = Context.make(Settings(target.config), target.path)
    try:
        context.store.directory.open()
        yield context
    except DirectoryError as refusal:
        raise UsageError(target.owner_hint() or str(refusal)) from refusal
    finally:
        context.store.directory.close()


def _summary(report: SweepReport) -> str:
    if report.skipped:
        return f"nothing was swept: {report.skipped}"
    reasons = _counts(report.deleted_by_reason)
    text = f"swept {report.deleted:,} of {counted(report.scanned, 'file')}{f' ({reasons})' if reasons else ''}"
    text += f", {size(report.bytes)} bytes, in {report.duration_seconds:.2f} s"
    text += _kept(report)
    return text + (f"; {report.errors:,} could not be swept: see the log" if report.errors else "")


def _forecast(report: SweepReport) -> str:
    text = f"{counted(report.deleted, 'file', 'is due')}, {size(report.bytes)} bytes{_kept(report)}"
    return text + (f"; {report.errors:,} could not be examined" if report.errors else "")


def _kept(report: SweepReport) -> str:
    """Old files that stay, by the reason."""
    # A file older than the retention that is kept by it is that of a failed session.
    kept = {"failed" if reason == "retention" else reason: count for reason, count in report.kept_by_reason.items()}
    return f"; kept {sum(kept.values()):,} ({_counts(kept)})" if kept else ""


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(numbers.items()))


# -- pin -----------------------------------------------------------------------------


def _pin(args: Namespace) -> int:
    return _set_pin(args, lambda mode: mode | stat.S_ISVTX, "pinned: it is not swept until `unpin`")


def _unpin(args: Namespace) -> int:
    return _set_pin(args, lambda mode: mode & ~stat.S_ISVTX, "not pinned")


def _set_pin(args: Namespace, change: Callable[[int], int], summary: str) -> int:
    target, wanted = target_and_id(args)
    session = find(scan(target), wanted)
    if session is None:
        return no_such_session(target, args.id)
    try:
        _change_mode(target.directory, session.file, change)
    except OSError as error:
        note(f"{one_line(session.id)}: {error.strerror}")
        return FOUND_PROBLEMS
    if args.json:
        print_json({"session": session.id, "file": session.file, "pinned": bool(change(0))})
    else:
        print(f"{one_line(session.id)} is {summary}")
    return OK


def _change_mode(directory: Directory, name: str, change: Callable[[int], int]) -> None:
    """By its descriptor, so that nothing that was put in its target in between is changed."""
    fd = directory.open_file(name, os.O_RDONLY)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise OSError(0, "it is no session's file any more")
        os.fchmod(fd, change(stat.S_IMODE(found.st_mode)))
    finally:
        directory.close_file(fd)


VERBS = (
    Verb(
        "sweep",
        "deletes what is due; lists each old file, whether it was deleted or kept, and why",
        _sweep_arguments,
        _sweep,
        "[--dry-run]",
    ),
    Verb("pin", "keep a session's file from every sweep, of every process", id_argument, _pin, "ID"),
    Verb("unpin", "let sweeps delete it again when it is due", id_argument, _unpin, "ID"),
)
