"""Events: what a server emits, the ledger has, and a reader gets back, is one and the same."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_logger._disk.directory import Directory
from streaming_logger._events.event_log import EventLog
from streaming_logger._events.ledger import Ledger, read_events
from streaming_logger._events.model import (
    VERSION,
    Event,
    LoopFound,
    OtherEvent,
    SessionEnded,
    TextDropped,
    event_classes,
    from_line,
)
from streaming_logger.testing import ManualClock, ManualLogger

TEXT = st.text(max_size=20)
NUMBERS = st.floats(0, 1e9).map(lambda number: round(number, 3))
COUNTS = st.integers(0, 10**12)
VALUES = {
    "str": TEXT,
    "int": COUNTS,
    "bool": st.booleans(),
    "float": NUMBERS,
    "int | None": st.none() | COUNTS,
    "float | None": st.none() | NUMBERS,
    "bool | None": st.none() | st.booleans(),
}


def events(cls: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of a class, as a server may emit it: for a time, by a process, with any values of its own."""
    own = {field.name: VALUES[str(field.type)] for field in dataclasses.fields(cls) if field.name not in ("v", "more")}
    if cls is SessionEnded:
        own["reason"] = st.sampled_from(["completed", "abandoned", "released", "disabled", "crashed"])
    return st.fixed_dictionaries(own).map(lambda values: cls(**values))


@pytest.mark.parametrize("cls", event_classes(), ids=lambda cls: cls.names[0])
@given(data=st.data())
def test_each_event_survives_a_round_trip(cls: type[Event], data: st.DataObject) -> None:
    """Its line, as JSON, is read back as an equal event of the same class and name."""
    event = data.draw(events(cls))
    found = from_line(json.loads(json.dumps(event.to_line())))
    assert found == event
    assert found.name == event.name
    assert found.to_line() == event.to_line()


@pytest.mark.parametrize("cls", event_classes(), ids=lambda cls: cls.names[0])
def test_each_event_is_emitted_logged_written_and_read(
    cls: type[Event], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the event log and through the ledger's file; the record has the fields of the line."""
    directory = Directory(tmp_path / "logs")
    directory.open()
    clock = ManualClock()
    log, ledger = EventLog(clock), Ledger(directory, clock)
    log.observers.add(ledger)
    simple: dict[str, Any] = {"str": "word", "int": 7, "float": 1.5, "int | None": None}
    required = {
        field.name: simple[str(field.type)]
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    with caplog.at_level(logging.DEBUG, "streaming_logger"):
        log.emit(cls(**required))
    log.observers.batch()
    (found,) = read_events(directory)
    directory.close()
    assert type(found) is cls
    assert (found.at, found.v) == (round(clock.wall(), 3), VERSION)
    (record,) = caplog.records
    assert record.levelno == cls.level
    for key, value in required.items():
        assert getattr(found, key) == value
        assert vars(record)[key] == value


def test_a_line_says_its_version_time_event_and_process(manual: Callable[..., ManualLogger]) -> None:
    """Beside the fields of the event, without those that say nothing."""
    logger = manual()
    logger.write("s", "text")
    logger.complete_session("s", wait=False)
    logger.advance(2)
    line = json.loads((logger.base_dir / ".streaming_logger" / "ledger.jsonl").read_text())
    fields = {"session", "file", "outcome", "bytes", "begin", "end", "reason", "age"}
    assert set(line) == {"v", "at", "event", "pid", *fields}
    assert (line["v"], line["event"], line["outcome"], line["bytes"]) == (1, "completed", "completed", 4)


#: As the versions before had it.
OLD = {"at": 1.5, "event": "completed", "pid": 7, "session": "s", "file": "s.log", "outcome": "banana", "bytes": 3}


def test_lines_of_older_versions_are_read() -> None:
    """They have no version, and any word for an outcome; nothing is added to what they say."""
    event = from_line(OLD | {"age": 2, "reason": "completed"})
    assert isinstance(event, SessionEnded)
    assert (event.v, event.outcome, event.age) == (0, "banana", 2)
    assert event.to_line() == OLD | {"age": 2, "reason": "completed"}


@pytest.mark.parametrize("name", ["completed", "abandoned", "released", "crashed"])
def test_an_end_has_the_name_of_its_line(name: str) -> None:
    """Where its reason is missing, too."""
    event = from_line(OLD | {"event": name})
    assert isinstance(event, SessionEnded)
    assert event.name == name


def test_unknown_fields_of_newer_versions_are_kept() -> None:
    """The event is what it is; the archive loses nothing of what it does not know."""
    line = OLD | {"v": 2, "reason": "completed", "turn": 5, "more": "less", "model": None}
    event = from_line(line)
    assert isinstance(event, SessionEnded)
    assert event.more == {"turn": 5, "more": "less", "model": None}
    assert event.to_line() == line


@pytest.mark.parametrize(
    "line",
    [
        {"v": 2, "at": 1.5, "event": "moved", "pid": 7, "session": "s", "to": "t"},
        {"at": 1, "event": "deleted", "session": "s"},
        OLD | {"bytes": "many"},
        OLD | {"bytes": True},
        OLD | {"file": None},
    ],
    ids=["unknown event", "missing field", "word for a count", "truth for a count", "nothing for a name"],
)
def test_an_event_that_cannot_be_interpreted_is_kept_as_it_is(line: dict[str, Any]) -> None:
    """`history` shows it and the archive keeps it; nobody takes it for what it is not."""
    event = from_line(line)
    assert isinstance(event, OtherEvent)
    assert event.name == line["event"]
    assert event.to_line() == {"pid": 0} | line


@pytest.mark.parametrize(
    "line",
    [
        *(None, 3, "event", [], ["event"], {}),
        *({"event": "deleted"}, {"at": 1.5}, {"at": "1", "event": "x"}, {"at": True, "event": "x"}),
        *({"at": float("nan"), "event": "x"}, {"at": 10**400, "event": "x"}, {"at": 1, "event": {"x": 1}}),
        *(OLD | {"age": float("inf")}, OLD | {"session": ["s"]}, OLD | {"pid": "7"}, OLD | {"v": 1.5}),
    ],
    ids=str,
)
def test_a_line_that_no_server_can_have_written_is_no_event(line: object) -> None:
    """Another program's JSON, an edit by hand, numbers beyond all clocks."""
    assert from_line(line) is None


def test_a_fault_is_logged_once_and_written_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Text that is dropped a thousand times a second does not fill the log; the ledger counts all of it."""
    directory = Directory(tmp_path / "logs")
    directory.open()
    log = EventLog(ManualClock())
    log.observers.add(Ledger(directory))
    for number in range(1, 4):
        log.emit(TextDropped(session="s", characters=number, reason="buffer full"))
    log.observers.batch()
    assert [event.characters for event in read_events(directory) if isinstance(event, TextDropped)] == [1, 2, 3]
    directory.close()
    assert caplog.messages == ["1 characters of s dropped: buffer full (streaming-logger help disk)"]
    assert "dropped" in log.faults()


def test_a_repeat_is_written_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever emits it knows that it was logged before."""
    EventLog(ManualClock()).emit(TextDropped(session="s", characters=1, reason="session cap"), log=False)
    assert caplog.messages == []


def test_an_event_does_not_change() -> None:
    """Observers share it."""
    event = LoopFound(session="s", kind="near", offset=1, repeated=2, period=None, sample="x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.offset = 2  # type: ignore[misc]
