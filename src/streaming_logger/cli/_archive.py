"""The archive on the command line: `archive` uploads, `find` looks up, and other verbs read from it by `--archive`.

What they need is imported when they run: it takes longer than all other verbs' imports.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple, get_args

from streaming_logger._archive.bucket import Bucket, UnusableError
from streaming_logger._archive.keys import is_date
from streaming_logger._archive.record import Record
from streaming_logger._base.outcomes import Ending
from streaming_logger._config.schema import Config
from streaming_logger._disk.names import SUFFIX, file_name_of, session_id_of
from streaming_logger._view.resolve import UsageError, begins, ids_meant, resolve, stems_meant
from streaming_logger._view.target import Target
from streaming_logger.cli._keep import opened
from streaming_logger.cli._temporary import temporary_directory
from streaming_logger.cli._text import Column, counted, one_line, print_table, size
from streaming_logger.cli._verb import (
    FOUND_PROBLEMS,
    OK,
    USAGE,
    Verb,
    archive_argument,
    id_argument,
    note,
    print_json,
    print_json_lines,
    refuse_unknown,
    target_of,
)

__all__ = ["VERBS", "Downloaded", "downloaded", "list_archive", "list_arguments"]

#: So many sessions are named when the beginning of an id is that of several.
_SHOWN = 20

_OUTCOMES = get_args(Ending)

_COLUMNS = (
    Column("OUTCOME", state=True),
    Column("SIZE", number=True),
    Column("BEGAN", spare=True),
    Column("ENDED"),
    Column("HOST"),
    Column("SESSION"),
)


def _bucket(args: Namespace) -> Bucket:
    url = args.archive or target_of(args, must_exist=False).config.archive.url
    if url is None:
        raise UsageError("no archive is configured: name it by --archive URL, or set archive.url")
    return Bucket(url, must_exist=True)


class _Problems:
    """What is wrong with what was read, said at once: what is skipped must not look as if it were not there."""

    def __init__(self) -> None:
        self.code = OK

    def report(self, text: str) -> None:
        self.code = FOUND_PROBLEMS
        note(one_line(text))


def _found(bucket: Bucket, wanted: str, problems: _Problems) -> list[Record]:
    """The records of one session, the latest first; none, and a problem, where none can be read."""
    from streaming_logger._archive import lookup

    if not wanted:
        raise UsageError("the ID is empty")
    for id_ in ids_meant(wanted):
        records = lookup.records_of(bucket, file_name_of(id_).removesuffix(SUFFIX), problems.report)
        if records or problems.code != OK:
            return records
    names = dict.fromkeys(
        name for stem in stems_meant(wanted) for name in lookup.sessions_beginning(bucket, stem, _SHOWN)
    )
    match = resolve([((session_id_of(found + SUFFIX) or found,), found) for found in names], wanted)
    if match is not None:
        records = lookup.records_of(bucket, match, problems.report)
    if not records and problems.code == OK:
        problems.report(f"there is no session {wanted} in {bucket.url}")
    return records


# -- find, ls ------------------------------------------------------------------------


def _find_arguments(parser: ArgumentParser) -> None:
    id_argument(parser)
    archive_argument(parser)


def _find(args: Namespace) -> int:
    bucket = _bucket(args)
    problems = _Problems()
    records = _found(bucket, args.id, problems)
    if records:
        _print(records, args)
    return problems.code


def list_arguments(parser: ArgumentParser) -> None:
    """Those of `ls` that are for the archive alone."""
    parser.add_argument("--date", metavar="DAY", help="with --archive: this day (UTC, 2026-11-25), else the latest one")
    parser.add_argument("--host", help="with --archive: only this host")
    parser.add_argument("--outcome", help=f"with --archive: only this outcome: {', '.join(_OUTCOMES)}, or loop")


def list_archive(args: Namespace) -> int:
    """`ls --archive`."""
    from streaming_logger._archive import lookup

    bucket = _bucket(args)
    if args.date is not None and not is_date(args.date):
        raise UsageError(f"--date {args.date} is not a day: expected one like 2026-11-25")
    day = args.date or next(iter(reversed(lookup.days(bucket))), None)
    if day is None:
        note(f"there is no session in {bucket.url}")
        return OK

    outcomes = {*_OUTCOMES, "loop"}

    def wanted(record: Record) -> bool:
        outcomes.add(record.outcome)
        if args.prefix and not begins(record.session, tuple(args.prefix)):
            return False
        return args.outcome in (None, record.outcome, "loop" if record.loop else None)

    problems = _Problems()
    records = lookup.records_of_day(bucket, day, host=args.host, wanted=wanted, report=problems.report)
    refuse_unknown("outcome", () if args.outcome is None else (args.outcome,), outcomes)
    _print(records[-args.limit :] if args.limit else records, args)
    return problems.code


def _print(records: Iterable[Record], args: Namespace) -> None:
    if args.json:
        print_json_lines(record.to_dict() for record in records)
        return
    rows = [
        (
            one_line(record.outcome) + (" LOOP" if record.loop else ""),
            size(record.bytes),
            one_line(record.start),
            one_line(record.end),
            one_line(record.host),
            one_line(record.session),
        )
        for record in records
    ]
    if rows:
        print_table(_COLUMNS, rows)


# -- reading from the archive --------------------------------------------------------


class Downloaded(NamedTuple):
    """A session's files from the archive, in a directory of their own."""

    target: Target
    record: Record
    code: int
    """The exit code, as far as what was read decides it."""


@contextmanager
def downloaded(args: Namespace) -> Iterator[Downloaded | None]:
    """The files of `args.id`, the latest where it was on several days or hosts; None where there are none."""
    from streaming_logger._archive import lookup

    bucket = _bucket(args)
    problems = _Problems()
    records = _found(bucket, args.id, problems)
    if not records:
        yield None
        return
    record = records[0]
    for other in records[1:]:
        note(f"also on {one_line(other.host)}, begun {one_line(other.start)}; this is the latest")
    with temporary_directory() as path:
        if damage := lookup.fetch(bucket, record, path, note):
            problems.report(damage)
        target = Target(config=Config(), config_file=path, configured=True, path=path)
        yield Downloaded(target, record, problems.code)


# -- archive -------------------------------------------------------------------------


def _archive_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("url", nargs="?", metavar="URL", help="where to (that of the configuration)")
    parser.add_argument("--follow", action="store_true", help="go on until it is stopped")
    parser.add_argument("--again", action="store_true", help="upload also what is in an archive with another URL")


def _archive(args: Namespace) -> int:
    target = target_of(args)
    config = target.config
    if args.url is not None:
        config = replace(config, archive=replace(config.archive, url=args.url))
    if config.archive.url is None:
        raise UsageError("no archive is configured: name its URL, or set archive.url")
    if not target.managed:
        raise UsageError(f"no streaming logger sweeps {target.path}; if it holds sessions' files, set adopt to true")
    from streaming_logger._archive.passes import Passes

    with opened(replace(target, config=config)) as context:
        marks = context.store.marks
        elsewhere = marks.elsewhere(config.archive.url)
        if args.again:
            for name in elsewhere:
                marks.remove(name)
            elsewhere = []
        passes = Passes(context)
        with suppress(KeyboardInterrupt):
            if not args.follow:
                passes.drain(float("inf"))
            passes.run()
        stats = context.counters.snapshot()
    if isinstance(passes.failure, UnusableError) and not stats.uploads:
        if args.json:
            print_json({"url": config.archive.url, "error": str(passes.failure)})
        return USAGE  # the log has said which, and why
    uploaded = {"uploads": stats.uploads, "bytes": stats.uploaded_bytes, "errors": stats.upload_errors}
    if args.json:
        print_json({"url": config.archive.url, **uploaded, "elsewhere": len(elsewhere)})
    else:
        note(
            f"archived {counted(stats.uploads, 'session')}, {size(stats.uploaded_bytes)} bytes, to {config.archive.url}"
        )
    if elsewhere and not args.json:
        count = counted(len(elsewhere), "session", "is")
        note(f"{count} archived under another URL, and not here; --again uploads them here as well")
    return FOUND_PROBLEMS if stats.upload_errors else OK


VERBS = (
    Verb("find", "a session in the archive, on all hosts", _find_arguments, _find, "ID [--archive URL]"),
    Verb(
        "archive",
        "uploads completed sessions that are not in the archive yet",
        _archive_arguments,
        _archive,
        "[URL] [--follow] [--again]",
        lasting=True,
    ),
)
