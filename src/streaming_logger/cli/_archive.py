"""The archive on the command line: `archive` uploads, `find` looks up, and other verbs read from it by `--archive`.

What they need is imported when they run: it takes longer than all other verbs' imports.
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from streaming_logger._archive.bucket import Bucket
from streaming_logger._archive.record import Record
from streaming_logger._config.schema import Config
from streaming_logger._disk.names import SUFFIX, file_name_of, session_id_of
from streaming_logger.cli._keep import opened
from streaming_logger.cli._target import Target, UsageError, find_target
from streaming_logger.cli._text import Column, one_line, print_table, size
from streaming_logger.cli._verb import FOUND_PROBLEMS, OK, Verb, archive_argument, id_argument, note, print_json_lines
from streaming_logger.cli._view import resolve

__all__ = ["VERBS", "Downloaded", "downloaded", "list_archive", "list_arguments"]

#: So many sessions are named when the beginning of an id is that of several.
_SHOWN = 20

_COLUMNS = (
    Column("OUTCOME"),
    Column("SIZE", number=True),
    Column("BEGAN"),
    Column("ENDED"),
    Column("HOST"),
    Column("SESSION"),
)


def _bucket(args: Namespace) -> Bucket:
    url = args.archive or find_target(args.dir, args.config).config.archive.url
    if url is None:
        raise UsageError("no archive is configured: name it by --archive URL, or set archive.url")
    return Bucket(url)


def _found(bucket: Bucket, wanted: str) -> list[Record]:
    """The records of one session, the latest first; none where there is no such session."""
    from streaming_logger._archive import lookup

    if not wanted:
        raise UsageError("the ID is empty")
    name = file_name_of(wanted).removesuffix(SUFFIX)
    records = lookup.records_of(bucket, name)
    if records:
        return records
    names = lookup.sessions_beginning(bucket, name, _SHOWN)
    match = resolve([((session_id_of(found + SUFFIX) or found,), found) for found in names], wanted)
    return [] if match is None else lookup.records_of(bucket, match)


def _no_session(bucket: Bucket, wanted: str) -> int:
    note(f"there is no session {one_line(wanted)} in {bucket.url}")
    return FOUND_PROBLEMS


# -- find, ls ------------------------------------------------------------------------


def _find_arguments(parser: ArgumentParser) -> None:
    id_argument(parser)
    archive_argument(parser)


def _find(args: Namespace) -> int:
    bucket = _bucket(args)
    records = _found(bucket, args.id)
    if not records:
        return _no_session(bucket, args.id)
    _print(records, args)
    return OK


def list_arguments(parser: ArgumentParser) -> None:
    """Those of `ls` that are for the archive alone."""
    parser.add_argument("--date", metavar="DAY", help="with --archive: this day (UTC, 2026-11-25), else the latest one")
    parser.add_argument("--host", help="with --archive: only this host")
    parser.add_argument("--outcome", help="with --archive: only this outcome, or loop")


def list_archive(args: Namespace) -> int:
    """`ls --archive`."""
    from streaming_logger._archive import lookup

    bucket = _bucket(args)
    day = args.date or next(iter(reversed(lookup.days(bucket))), None)
    if day is None:
        note(f"there is no session in {bucket.url}")
        return OK

    def wanted(record: Record) -> bool:
        if args.prefix and not record.session.startswith(tuple(args.prefix)):
            return False
        return args.outcome in (None, record.outcome, "loop" if record.loop else None)

    records = lookup.records_of_day(bucket, day, host=args.host, wanted=wanted)
    _print(records[-args.limit :] if args.limit else records, args)
    return OK


def _print(records: Iterable[Record], args: Namespace) -> None:
    if args.json:
        print_json_lines(map(asdict, records))
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
    damage: str
    """What is wrong with its text, or empty."""


@contextmanager
def downloaded(args: Namespace) -> Iterator[Downloaded | None]:
    """The files of `args.id`, the latest where it was on several days or hosts; None where there are none."""
    from streaming_logger._archive import lookup

    bucket = _bucket(args)
    records = _found(bucket, args.id)
    if not records:
        _no_session(bucket, args.id)
        yield None
        return
    record = records[0]
    for other in records[1:]:
        note(f"also on {one_line(other.host)}, begun {one_line(other.start)}; this is the latest")
    with tempfile.TemporaryDirectory(prefix="streaming-logger.") as directory:
        path = Path(directory)
        damage = lookup.fetch(bucket, record, path)
        target = Target(config=Config(), config_file=path, configured=True, path=path)
        yield Downloaded(target, record, damage)


# -- archive -------------------------------------------------------------------------


def _archive_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("url", nargs="?", metavar="URL", help="where to (that of the configuration)")
    parser.add_argument("--follow", action="store_true", help="go on until it is stopped")


def _archive(args: Namespace) -> int:
    target = find_target(args.dir, args.config).must_exist()
    config = target.config
    if args.url is not None:
        config = replace(config, archive=replace(config.archive, url=args.url))
    if config.archive.url is None:
        raise UsageError("no archive is configured: name its URL, or set archive.url")
    if not target.managed:
        raise UsageError(f"no streaming logger sweeps {target.path}; if it holds sessions' files, set adopt to true")
    from streaming_logger._archive.passes import Passes

    with opened(replace(target, config=config)) as context:
        passes = Passes(context)
        with suppress(KeyboardInterrupt):
            if not args.follow:
                passes.drain(float("inf"))
            passes.run()
        stats = context.counters.snapshot()
    note(f"archived {stats.uploads:,} sessions, {size(stats.uploaded_bytes)} bytes, to {config.archive.url}")
    return FOUND_PROBLEMS if stats.upload_errors else OK


VERBS = (
    Verb("find", "a session in the archive, on all hosts", _find_arguments, _find, "ID [--archive URL]"),
    Verb(
        "archive",
        "uploads completed sessions that are not in the archive yet",
        _archive_arguments,
        _archive,
        "[URL] [--follow]",
        lasting=True,
    ),
)
