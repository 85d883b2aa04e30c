"""What is read as a record is one: types, sizes, times, and the place where it was found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streaming_logger._archive.keys import Place
from streaming_logger._archive.record import MAX_RECORD_BYTES, Record

PLACE = Place("2026-11-25", "web-1", "sess_1")
GOOD: dict[str, Any] = {
    "session": "sess_1",
    "file": "sess_1.log",
    "host": "web-1",
    "outcome": "completed",
    "bytes": 5,
    "characters": 5,
    "start": "2026-11-25T12:00:00.000Z",
    "end": "2026-11-25T12:00:01.000Z",
    "loop": None,
    "sha256": "0" * 64,
    "key": PLACE.text_key(),
    "timing_key": None,
    "stored_bytes": 25,
    "events": [{"event": "completed", "at": 1.5}],
}


def encoded(**changes: object) -> bytes:
    return json.dumps(GOOD | changes).encode()


def test_record_of_its_place_is_taken() -> None:
    """With fields of later versions left out; and it becomes the same JSON again."""
    record = Record.from_json(encoded(later="field"), PLACE)
    assert json.loads(record.to_json()) == GOOD
    assert record.place == PLACE


def test_record_of_an_overlong_id_is_taken() -> None:
    """By its id, or by the stem of its file where the id is unknown."""
    from streaming_logger._disk.names import file_name_of

    place = PLACE._replace(name=file_name_of("x" * 300).removesuffix(".log"))
    for session in ("x" * 300, place.name):
        changes = {"session": session, "file": place.file, "key": place.text_key("none")}
        assert Record.from_json(encoded(**changes), place).session == session


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "/home/user/.profile"},
        {"file": "../../.profile"},
        {"file": "sess_1.log/../x"},
        {"file": "other.log"},
        {"session": "other"},
        {"session": "../../etc/passwd"},
        {"session": ""},
        {"host": "web-2"},
        {"key": "date=2026-11-25/host=web-1/other.log.gz"},
        {"key": "/etc/passwd"},
        {"timing_key": "date=2026-11-25/host=web-2/sess_1.timing.gz"},
        {"timing_key": "../sess_1.timing"},
    ],
)
def test_record_of_another_place_is_refused(changes: dict[str, object]) -> None:
    """Whatever it names is that of another session, host, or folder."""
    with pytest.raises(ValueError, match="another"):
        Record.from_json(encoded(**changes), PLACE)


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("value", [[], {}, True, -1, 1.5, 2**63, 10**400, [1], [[]], {"a": 1}, "\0"])
def test_wrong_type_is_refused(name: str, value: object) -> None:
    """In each field; numbers are whole, not negative, and of 63 bits."""
    if (name, value) == ("events", []) or (value == "\0" and name in ("outcome", "loop", "sha256")):
        return
    with pytest.raises(ValueError, match=r"must be|another"):
        Record.from_json(encoded(**{name: value}), PLACE)


@pytest.mark.parametrize("name", list(GOOD))
def test_missing_field_is_refused(name: str) -> None:
    """Named in the message."""
    with pytest.raises(ValueError, match=f"a record must have '{name}'"):
        Record.from_json(json.dumps({key: value for key, value in GOOD.items() if key != name}).encode(), PLACE)


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize(
    "time",
    ["", "yesterday", "2026-11-25", "2026-11-25T12:00:00", "0001-01-01T00:00:00Z", "2026-11-25T12:00:00+02:00", "9e9"],
)
def test_what_is_not_a_time_in_utc_is_refused(name: str, time: str) -> None:
    """Files get it as their time, and sessions are sorted by it."""
    with pytest.raises(ValueError, match="must be a time in UTC"):
        Record.from_json(encoded(**{name: time}), PLACE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe{",
        b"[" * 100_000,
        b'{"events":' * 100_000,
        encoded(events="@").replace(b'"@"', b"[" * 400 + b"]" * 400),
        encoded(events="@").replace(b'"@"', b'[{"a":' + b"[" * 50 + b"]" * 50 + b"}]"),
        encoded(bytes="@").replace(b'"@"', b"9" * 5000),
        encoded(bytes="@").replace(b'"@"', b"NaN"),
        encoded(events="@").replace(b'"@"', b'[{"at": NaN}]'),
        encoded(events="@").replace(b'"@"', b'[{"at": -Infinity}]'),
        encoded(events="@").replace(b'"@"', b'[{"at": 1e999}]'),
    ],
    ids=range(14),
)
def test_what_is_not_such_json_is_refused(data: bytes) -> None:
    """As a `ValueError`: not JSON, nested too deeply, numbers that are none."""
    with pytest.raises(ValueError, match=r".+"):
        Record.from_json(data, PLACE)


def test_record_is_never_larger_than_its_reader_takes() -> None:
    """The oldest events of a session that has too many are left out."""
    events = [{"event": "completed", "at": number, "text": "x" * 1000} for number in range(10_000)]
    record = Record(**GOOD | {"events": events})
    data = record.to_json()
    assert len(data) <= MAX_RECORD_BYTES
    assert Record.from_json(data, PLACE).events[-1] == events[-1]
