"""Streams that stall: one warning for each stall, and one when it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from log_lines import without_page
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings since the last time."""
    found = [without_page(record) for record in caplog.records if record.levelname == "WARNING"]
    caplog.clear()
    return found


def stream_for(logger: ManualLogger, seconds: float) -> None:
    """Text each second."""
    for _ in range(int(seconds)):
        logger.write("s", "x")
        logger.advance(1)


def test_stall_is_reported_once_and_once_more_when_it_ends(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """While text comes nothing is said; the second stall is one of its own."""
    logger = manual(stall_seconds=5, flush_interval_seconds=1)
    stream_for(logger, 20)
    assert warnings(caplog) == []
    for _ in range(10):
        logger.advance(1)
    assert warnings(caplog) == ["s stalled: no text for 6.0 s"]
    stream_for(logger, 3)
    assert warnings(caplog) == ["s resumed after a stall of 11.0 s"]
    for _ in range(10):
        logger.advance(1)
    logger.complete_session("s", outcome="error")
    assert warnings(caplog) == ["s stalled: no text for 6.0 s", "s error after a stall of 10.0 s"]
    assert logger.stats().stalls == 2


def test_stream_that_never_gets_its_first_item_stalls(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A wrapped stream is watched from its beginning."""
    logger = manual(stall_seconds=5, flush_interval_seconds=1)
    stream = logger.wrap("s", iter(["late"]))
    for _ in range(8):
        logger.advance(1)
    assert warnings(caplog) == ["s stalled: no text for 6.0 s"]
    assert list(stream) == ["late"]


def test_stalls_are_in_the_ledger_with_their_fields(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """For `history`, and for whoever reads records by machine."""
    logger = manual(stall_seconds=5, flush_interval_seconds=1)
    logger.write("s", "x")
    for _ in range(8):
        logger.advance(1)
    logger.write("s", "y")
    logger.advance(1)
    logger.advance(1)
    lines = map(json.loads, Path(logger.base_dir / ".streaming_logger" / "ledger.jsonl").read_text().splitlines())
    found = [(line["event"], line["session"], line["seconds"]) for line in lines]
    assert found == [("stalled", "s", 6.0), ("stall_ended", "s", 8.0)]
    record = next(record for record in caplog.records if "stalled" in record.getMessage())
    assert (record.session, record.seconds) == ("s", 6.0)  # type: ignore[attr-defined]


def test_without_the_setting_nothing_is_reported(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The default; and switching it off while a stream stalls forgets no end."""
    logger = manual(flush_interval_seconds=1)
    logger.write("s", "x")
    for _ in range(100):
        logger.advance(1)
    assert (warnings(caplog), logger.stats().stalls) == ([], 0)


def test_ended_sessions_are_forgotten(manual: Make) -> None:
    """The watcher holds nothing of a session that is over."""
    logger = manual(stall_seconds=1, flush_interval_seconds=1)
    for number in range(50):
        logger.write(f"s{number}", "x")
    for _ in range(3):
        logger.advance(1)
    assert logger.stats().stalls == 50
    for number in range(50):
        logger.complete_session(f"s{number}")
    (stalls,) = [o for o in logger._engine.events.observers._sessions if o.name == "stalls"]
    assert stalls._since == {}  # type: ignore[attr-defined]
