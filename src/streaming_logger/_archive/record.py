"""What the archive says of one session: a JSON object of one line beside its text. Pure.

Whoever can write to the bucket can write a record. One that is read is checked whole: no other code meets a value of
another type, size or form than is declared here. Its names and keys are for display; what is read and written is
named by the record's place.
"""

from __future__ import annotations

import builtins
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from streaming_logger._archive.keys import COMPRESSIONS, Place
from streaming_logger._disk.names import file_name_of, session_id_of

__all__ = ["MAX_RECORD_BYTES", "Record"]

#: No record is larger. The oldest events of a session that has more are left out.
MAX_RECORD_BYTES = 4_000_000
_MAX_DEPTH = 10
_MAX_NUMBER = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One session, as it was uploaded. Times are ISO 8601, in UTC."""

    session: str
    file: str
    host: str
    outcome: str
    bytes: int
    characters: int
    start: str
    end: str
    """When its file was last written to."""
    loop: str | None
    """The kind of the last loop that the radar found in it."""
    sha256: str
    """Of the text, not compressed."""
    key: str
    """Of the text's object."""
    timing_key: str | None
    stored_bytes: int
    """Size of the text's object."""
    events: Sequence[Mapping[str, Any]] = ()
    """The session's lines of the ledger."""
    place: Place | None = field(default=None, compare=False, repr=False)
    """Where it was found. Not a part of the JSON."""

    def to_dict(self) -> dict[str, Any]:
        """The fields of the JSON."""
        return {name: getattr(self, name) for name in _NAMES}

    def to_json(self) -> builtins.bytes:
        given, events = self.to_dict(), list(self.events)
        while len(data := json.dumps(given | {"events": events}, default=str).encode()) >= MAX_RECORD_BYTES and events:
            del events[: len(events) // 2 + 1]
        return data + b"\n"

    @classmethod
    def from_json(cls, data: builtins.bytes, place: Place | None = None) -> Record:
        """The record in an object; `place` is where that was found.

        Raises `ValueError` for anything else than a record, and for one that belongs to another place. Fields of
        later versions are left out.
        """
        try:
            given = json.loads(data, parse_constant=_refused, parse_float=_finite)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if not isinstance(given, dict):
            raise ValueError("a record must be a JSON object")
        try:
            record = cls(**{name: given[name] for name in _NAMES}, place=place)
        except KeyError as missing:
            raise ValueError(f"a record must have {missing}") from missing
        record._check_values()
        if place is not None:
            record._check_place(place)
        return record

    def attributes(self) -> dict[str, str]:
        """What is stored with the text's object as its metadata, where the store has that."""
        found = {name: getattr(self, name) for name in ("outcome", "bytes", "characters", "start", "end", "loop")}
        # Metadata are HTTP headers: ASCII, on one line.
        return {name: str(value).encode("ascii", "backslashreplace").decode() for name, value in found.items() if value}

    def with_stored(self, stored_bytes: int, timing_key: str | None) -> Record:
        """The same, once the session's objects are there."""
        return replace(self, stored_bytes=stored_bytes, timing_key=timing_key)

    def _check_values(self) -> None:
        for name in ("session", "file", "host", "outcome", "start", "end", "sha256", "key", "loop", "timing_key"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (value is None and name in ("loop", "timing_key")):
                raise ValueError(f"{name} must be a string")
        for name in ("bytes", "characters", "stored_bytes"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
                raise ValueError(f"{name} must be a whole number from 0 to {_MAX_NUMBER}")
        for name in ("start", "end"):
            if not _is_time(getattr(self, name)):
                raise ValueError(f"{name} must be a time in UTC, as 2026-11-25T12:00:00.000Z")
        if not isinstance(self.events, list) or not all(isinstance(event, dict) for event in self.events):
            raise ValueError("events must be a list of objects")
        if _is_deeper(self.events, _MAX_DEPTH):
            raise ValueError("events are nested too deeply")

    def _check_place(self, place: Place) -> None:
        """Raises `ValueError` for the record of another place. A file or key that is empty names nothing."""
        # The id of an over-long session may be unknown: then the stem of its file stands for it.
        is_session = file_name_of(self.session) == place.file or self.session == session_id_of(place.file)
        if not is_session or self.host != place.host:
            raise ValueError("it is the record of another session or host")
        if self.file not in ("", place.file):
            raise ValueError("it names the file of another session")
        if self.key not in ("", *map(place.text_key, COMPRESSIONS)):
            raise ValueError("its key leads to another place")
        if self.timing_key not in (None, "", *map(place.timing_key, COMPRESSIONS)):
            raise ValueError("its timing_key leads to another place")


_NAMES = tuple(found.name for found in fields(Record) if found.name != "place")


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refused(text)


def _is_time(text: str) -> bool:
    try:
        time = datetime.fromisoformat(text)
        return time.utcoffset() == timedelta(0) and time >= _EPOCH
    except ValueError:
        return False


def _is_deeper(value: object, limit: int) -> bool:
    """Whether lists and objects are nested in more than `limit` levels."""
    level = [value]
    for _ in range(limit):
        level = [inner for outer in level for inner in _inside(outer)]
    return bool(level)


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
