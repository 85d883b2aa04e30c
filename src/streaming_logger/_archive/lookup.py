"""Finds sessions in the archive, without listing more of it than is asked for.

| what | requests |
|---|---|
| a session by its id | 1 listing, and 1 read for each day and host on which it was |
| a session by the beginning of its id | 1 listing for each 1,000 sessions that begin so, and the same reads |
| its text, its timing | 1 read each |
| a day's sessions | 1 listing of days, 1 of hosts, 1 for each 1,000 objects of each host, 1 read for each session |
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from streaming_logger._archive.bucket import ArchiveError, Bucket
from streaming_logger._archive.keys import INDEX, Place
from streaming_logger._archive.record import Record
from streaming_logger._disk.timing import timing_name_of

__all__ = ["days", "fetch", "records_of", "records_of_day", "sessions_beginning"]

#: Records read at once.
_AT_ONCE = 16


def records_of(bucket: Bucket, name: str) -> list[Record]:
    """What the archive has of a session, by its file's name without `.log`, on all hosts and days; the latest first."""
    places = filter(None, (Place.of_index(found.key) for found in bucket.list(f"{INDEX}/{name}")))
    return sorted(_records(bucket, places), key=lambda record: record.end, reverse=True)


def sessions_beginning(bucket: Bucket, prefix: str, limit: int) -> list[str]:
    """The first names of sessions' files, without `.log`, that begin so; at the most `limit`."""
    begin = f"{INDEX}/{prefix}"
    names: dict[str, None] = {}
    for found in bucket.list(INDEX, after=begin):
        place = Place.of_index(found.key)
        if not found.key.startswith(begin) or len(names) == limit:
            break
        if place is not None:
            names[place.name] = None
    return list(names)


def days(bucket: Bucket) -> list[str]:
    """The days of which there is something, oldest first."""
    return sorted(name.removeprefix("date=") for name in bucket.folders("") if name.startswith("date="))


def records_of_day(bucket: Bucket, day: str, *, host: str | None, wanted: Callable[[Record], bool]) -> list[Record]:
    """A day's sessions, oldest first, of one host or of all."""
    hosts = [f"host={host}"] if host is not None else list(bucket.folders(f"date={day}"))
    keys = (found.key for name in hosts for found in bucket.list(f"date={day}/{name}"))
    found = _records(bucket, filter(None, map(Place.of_record, keys)))
    return sorted(filter(wanted, found), key=lambda record: record.start)


def fetch(bucket: Bucket, record: Record, directory: Path) -> str:
    """Puts a session's files into a directory, as they were on its host; what is wrong with its text, or "".

    Raises `ArchiveError` when the text is not there.
    """
    path = directory / record.file
    damage = ""
    try:
        data = bucket.get(record.key)
    except FileNotFoundError as error:
        raise ArchiveError(f"{record.key}: there is a record of the session, and no text any more") from error
    try:
        text = gzip.decompress(data) if record.key.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise ArchiveError(f"{record.key} is damaged: {error}") from error
    if hashlib.sha256(text).hexdigest() != record.sha256:
        damage = f"{record.key} is damaged: its checksum is not that of the record"
    path.write_bytes(text)
    if record.timing_key is not None:
        data = bucket.get(record.timing_key)
        lines = gzip.decompress(data) if record.timing_key.endswith(".gz") else data
        (directory / timing_name_of(record.file)).write_bytes(lines)
    ended = datetime.fromisoformat(record.end).timestamp()
    os.utime(path, (ended, ended))
    return damage


def _records(bucket: Bucket, places: Iterable[Place]) -> Iterator[Record]:
    def read(place: Place) -> Record | None:
        try:
            return Record.from_json(bucket.get(place.record_key))
        except FileNotFoundError:
            return None  # its upload was cut off before its record, or it expired
        except ValueError as error:
            raise ArchiveError(f"{place.record_key} is no record: {error}") from error

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from filter(None, pool.map(read, places))
