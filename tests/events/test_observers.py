"""Observers: called with what happens and what is written, guarded, and measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import logs
from streaming_logger import RadarConfig
from streaming_logger._events.ledger import session_of
from streaming_logger._events.model import Event
from streaming_logger._events.observers import SLOW_SECONDS, Observer
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]


class Recorder(Observer):
    """Writes down what it is called with."""

    name = "recorder"
    wants_text = True

    def __init__(self) -> None:
        self.text: dict[str, bytes] = {}
        self.events: list[tuple[str, object]] = []
        self.batches = 0

    def on_event(self, event: Event) -> None:
        self.events.append((event.name, session_of(event)))

    def on_text(self, session_id: str, data: bytes) -> None:
        self.text[session_id] = self.text.get(session_id, b"") + data

    def on_batch(self) -> None:
        self.batches += 1


class Failing(Recorder):
    """Raises whatever it is called with."""

    name = "failing"

    def on_event(self, event: Event) -> None:
        raise RuntimeError("no event, please")

    def on_text(self, session_id: str, data: bytes) -> None:
        raise RuntimeError("no text, please")


def with_observer(logger: ManualLogger, observer: Recorder) -> Recorder:
    logger._engine.events.observers.add(observer)
    return observer


def test_observer_sees_the_text_as_the_files_have_it(manual: Make) -> None:
    """Short chunks, sealed blocks and the rest at completion, each once, in order."""
    logger = manual()
    recorder = with_observer(logger, Recorder())
    for number in range(1000):
        logger.write("many", f"{number};")
    logger.write("short", "text \ud800")
    logger.advance(2)
    logger.write("many", "end")
    logger.complete_session("many", wait=False)
    logger.advance(2)
    assert {name: data.decode() for name, data in recorder.text.items()} == logs(logger.base_dir)
    assert recorder.batches


def test_observer_sees_completion_and_deletion(manual: Make) -> None:
    """With the session's id."""
    logger = manual()
    recorder = with_observer(logger, Recorder())
    logger.write("s", "text")
    logger.complete_session("s", wait=False)
    logger.advance(601)
    logger.advance(601)
    assert recorder.events == [("completed", "s"), ("deleted", "s")]


def test_failing_observer_harms_no_stream(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Its errors are logged once a minute; files, ledger and log records are as without it."""
    logger = manual()
    with_observer(logger, Failing())
    for turn in range(20):
        logger.write("s", f"{turn};")
        logger.complete_session("s", wait=False)
        logger.advance(2)
    assert logs(logger.base_dir) == {"s": "".join(f"{turn};" for turn in range(20))}
    ledger = Path(logger.base_dir / ".streaming_logger/ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in ledger] == ["completed"] * 20
    assert len([record for record in caplog.records if "failing failed" in record.getMessage()]) == 1
    assert logger.health().status == "degraded"


def test_slow_observer_is_reported_and_measured(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """It delays flushes, so an operator must be able to see which one it is."""

    class Slow(Recorder):
        name = "slow"

        def on_batch(self) -> None:
            time.sleep(SLOW_SECONDS + 0.01)

    logger = manual()
    with_observer(logger, Slow())
    logger.write("s", "text")
    logger.flush()
    logger.run_pending()
    assert "slow took 0." in caplog.text
    assert logger._engine.events.observers.seconds["slow"] > SLOW_SECONDS
    assert logs(logger.base_dir) == {"s": "text"}


def test_without_a_reader_of_text_none_is_handed_over(manual: Make) -> None:
    """The ledger and the log records, which are always there, want none; the radar does, while it is on."""
    assert manual(radar=RadarConfig(enabled=False))._engine.events.observers.text_readers() == []
    assert [reader.name for reader in manual()._engine.events.observers.text_readers()] == ["radar"]
