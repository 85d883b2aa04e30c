"""Finds sessions in the archive, without listing more of it than is asked for.

| what | requests |
|---|---|
| a session by its id | 1 listing, and 1 read for each day and host on which it was |
| a session by the beginning of its id | 1 listing for each 1,000 sessions that begin so, and the same reads |
| its text, its timing | 1 read each |
| a day's sessions | 1 listing of days, 1 of hosts, 1 for each 1,000 objects of each host, 1 read for each session |

Objects may be damaged, or be there to do harm. A record that is not one, or that belongs to another place, is skipped
and reported. Files are made under the names that their place has, and no larger than the record says.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from streaming_logger._archive.bucket import ArchiveError, Bucket, TooLargeError, UnusableError
from streaming_logger._archive.keys import INDEX, Place, is_date, is_host_name
from streaming_logger._archive.record import MAX_RECORD_BYTES, Record
from streaming_logger._disk.timing import timing_name_of

__all__ = ["days", "fetch", "records_of", "records_of_day", "sessions_beginning"]

#: Records read at once.
_AT_ONCE = 16
#: Decompressed at once.
_PART = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS
#: What compression may add to what cannot be compressed.
_SLACK = 100_000

#: A line of a timing file.
_LONGEST_LINE = 40
#: Skipped records that are named.
_REPORTED = 20

#: Called with what was skipped, and why: one line.
Report = Callable[[str], None]


def _ignore(text: str) -> None:
    pass


def records_of(bucket: Bucket, name: str, report: Report = _ignore) -> list[Record]:
    """What the archive has of a session, by its file's name without `.log`, on all hosts and days; the latest first."""
    places = filter(None, (Place.of_index(found.key) for found in bucket.list(f"{INDEX}/{name}")))
    return sorted(_records(bucket, places, report), key=lambda record: record.end, reverse=True)


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
    names = (name.removeprefix("date=") for name in bucket.folders("") if name.startswith("date="))
    return sorted(filter(is_date, names))


def records_of_day(
    bucket: Bucket, day: str, *, host: str | None, wanted: Callable[[Record], bool], report: Report = _ignore
) -> list[Record]:
    """A day's sessions, oldest first, of one host or of all."""
    hosts = [host] if host is not None else [name.removeprefix("host=") for name in bucket.folders(f"date={day}")]
    keys = (found.key for name in filter(is_host_name, hosts) for found in bucket.list(f"date={day}/host={name}"))
    found = _records(bucket, filter(None, map(Place.of_record, keys)), report)
    return sorted(filter(wanted, found), key=lambda record: record.start)


def fetch(bucket: Bucket, record: Record, directory: Path, report: Report = _ignore) -> str:
    """Puts a session's files into a directory, as they were on its host; what is wrong with its text, or "".

    A timing file that is missing or damaged is reported, and the text is there without it. Raises `ArchiveError`
    when the text is not there.
    """
    place = record.place
    if place is None:
        raise ArchiveError("the record was not found in an archive")
    path = directory / place.file
    compress = "none" if record.key == place.text_key("none") else "gzip"
    try:
        damage = _fetch_text(bucket, record, place.text_key(compress), path)
    except FileNotFoundError:
        key = place.text_key(compress)
        raise ArchiveError(f"{key}: there is a record of the session, and no text any more") from None
    if record.timing_key is not None:
        compress = "none" if record.timing_key == place.timing_key("none") else "gzip"
        _fetch_timing(bucket, record, place.timing_key(compress), directory / timing_name_of(place.file), report)
    ended = datetime.fromisoformat(record.end).timestamp()
    os.utime(path, (ended, ended))
    return damage


def _fetch_text(bucket: Bucket, record: Record, key: str, path: Path) -> str:
    """What is wrong with the text, or ""."""
    checksum, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for part in _content(bucket, key, record.bytes):
            if size + len(part) > record.bytes:
                file.write(part[: record.bytes - size])
                return f"{key} is damaged: it has more than the {record.bytes:,} bytes of its record; these are shown"
            file.write(part)
            checksum.update(part)
            size += len(part)
    return "" if checksum.hexdigest() == record.sha256 else f"{key} is damaged: its checksum is not that of the record"


def _fetch_timing(bucket: Bucket, record: Record, key: str, path: Path, report: Report) -> None:
    """All of it, or nothing."""
    # Each chunk has a line and at least one byte of text.
    limit, size = _LONGEST_LINE * (record.bytes + 1), 0
    try:
        with path.open("wb") as file:
            for part in _content(bucket, key, limit):
                size += len(part)
                if size > limit:
                    raise ArchiveError(f"{key} is damaged: it has more lines than the text can have chunks")
                file.write(part)
    except FileNotFoundError:
        path.unlink()
        report(f"{key}: there is a record of the session's timing, and no timing any more")
    except UnusableError:
        raise
    except ArchiveError as error:
        path.unlink()
        report(str(error))


def _content(bucket: Bucket, key: str, size: int) -> Iterator[bytes]:
    """The content of an object of which `size` bytes are expected, in parts.

    Raises `FileNotFoundError`, or `ArchiveError` for one that is damaged.
    """
    if not key.endswith(".gz"):
        yield from bucket.parts(key)
        return
    decompressor, left = zlib.decompressobj(wbits=_GZIP), size + size // 1000 + _SLACK
    try:
        for part in bucket.parts(key):
            if left < 0:
                raise ArchiveError(f"{key} is damaged: it is larger than its record says")
            left -= len(part)
            data = part
            while data and not decompressor.eof:
                yield decompressor.decompress(data, _PART)
                data = decompressor.unconsumed_tail
    except zlib.error as error:
        raise ArchiveError(f"{key} is damaged: {error}") from error
    if not decompressor.eof:
        raise ArchiveError(f"{key} is damaged: it ends in the middle")


def _records(bucket: Bucket, places: Iterable[Place], report: Report) -> Iterator[Record]:
    """The records at some places. One that cannot be read is reported and hides no other.

    Raises `ArchiveError` where the store lets none be read.
    """

    def read(place: Place) -> Record | ArchiveError | str | None:
        try:
            return Record.from_json(bucket.get(place.record_key, MAX_RECORD_BYTES), place)
        except FileNotFoundError:
            return None  # its upload was cut off before its record, or it expired
        except (ValueError, TooLargeError) as error:
            return f"{place.record_key} is not a record: {error}"
        except UnusableError:
            raise
        except ArchiveError as error:
            return error

    skipped: list[ArchiveError | str] = []
    has_any = False
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for found in pool.map(read, places):
            if isinstance(found, Record):
                has_any = True
                yield found
            elif found is not None:
                skipped.append(found)
    refusal = next((error for error in skipped if isinstance(error, ArchiveError)), None)
    if refusal is not None and not has_any:
        raise refusal
    for reason in skipped[:_REPORTED]:
        report(f"skipped: {reason}")
    if len(skipped) > _REPORTED:
        report(f"skipped: {len(skipped) - _REPORTED:,} more records")
