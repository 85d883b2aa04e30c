"""Sessions in memory: bounded, counted, in order, and marked where text had to be dropped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest

from conftest import logs
from streaming_logger._wal.record import encode
from streaming_logger._write.session import Session, marker
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]


def session_of(logger: ManualLogger, session_id: str) -> Session:
    logger._engine.sessions.apply_all()
    return logger._engine.sessions.live[session_id.encode()]


def used(logger: ManualLogger) -> int:
    """What counts against the bound."""
    logger._engine.sessions.apply_all()
    return logger._engine.sessions.used


def test_bound_on_memory_holds_and_the_gap_is_marked_in_its_place(manual: Make) -> None:
    """What found no memory is counted by reason and stands in the file as one marker, where it is missing."""
    logger = manual(max_buffer_mb=1)
    logger.write("s", "a" * 100_000)
    for _ in range(30):
        logger.write("s", "b" * 65_536)
    assert logger.stats().bytes_buffered <= 1_000_000
    dropped = logger.stats().dropped_characters["buffer full"]
    kept = 30 - dropped // 65_536
    assert kept > 0
    logger.run_pending()
    logger.advance(2)
    logger.write("s", "after")
    logger.advance(2)
    text = logs(logger.base_dir)["s"]
    assert text == "a" * 100_000 + "b" * 65_536 * kept + marker(dropped).decode() + "after"
    assert logger.stats().bytes_buffered == 0
    assert logger.health().status == "failing"


@pytest.mark.parametrize("size", [6, 999, 10_000, 100_000, 300_000])
def test_bound_on_memory_holds_whatever_the_chunks(manual: Make, size: int) -> None:
    """While nothing at all is applied, as beside a hung worker: text and drops are all that was written."""
    logger = manual(max_buffer_mb=1)
    for _ in range(3_000_000 // size):
        logger.write("s", "x" * size)
    stats = logger.stats()
    assert stats.bytes_buffered <= 1_000_000
    dropped = stats.dropped_characters["buffer full"]
    assert dropped >= 2_000_000 - size
    logger.advance(2)
    logger.advance(2)
    assert logs(logger.base_dir)["s"] == "x" * (3_000_000 // size * size - dropped) + marker(dropped).decode()


def test_marker_reads_as_the_contract_says() -> None:
    """Operators search for it."""
    assert marker(1234) == b"[streaming_logger: 1,234 characters dropped: buffer full]"


def test_one_stuck_session_does_not_starve_the_others(manual: Make) -> None:
    """A session that may not be written fills seven eighths; modest ones still have memory."""
    logger = manual(max_buffer_mb=1)
    (logger.base_dir / "stuck.log").mkdir()
    for number in range(3000):
        logger.write("stuck", "x" * 2000)
        if number % 50 == 0:
            logger.advance(0.25)  # the log is applied; what is too much is dropped there
    logger.advance(0.25)
    for number in range(50):
        logger.write(f"s{number}", "y" * 2000)
    logger.advance(2)
    found = {path.stem: path.read_text() for path in logger.base_dir.glob("s[0-9]*.log")}
    assert found == {f"s{number}": "y" * 2000 for number in range(50)}
    assert used(logger) <= 1_000_000
    assert session_of(logger, "stuck")


def test_memory_pressure_brings_the_flush_forward(manual: Make) -> None:
    """At a quarter of the bound the worker writes; it does not wait for its interval."""
    logger = manual(max_buffer_mb=1)
    logger.run_pending()
    for _ in range(20):
        logger.write("s", "x" * 20_000)
    logger.run_pending()
    assert len(logs(logger.base_dir)["s"]) >= 400_000 - 250_000


def test_chunks_are_counted_exactly(manual: Make) -> None:
    """Waiting, written and dropped ones."""
    logger = manual(max_buffer_mb=0.01)
    for number in range(200):
        logger.write("s", "x" * (number + 1))
    for _ in range(7):
        logger.write("t", "y" * 5000)
    assert logger.stats().chunks_written == 207
    logger.advance(2)
    assert logger.stats().chunks_written == 207


def test_text_is_written_as_utf8_with_lone_surrogates_escaped(manual: Make) -> None:
    """The model's bytes are untouched; what has no bytes is shown."""
    text = "caf\u00e9 \u4e2d\U0001f600 \0 \x1b[0m \ud83d end\r\n"
    logger = manual()
    for _ in range(2):  # the long way, and the short one
        logger.write("s", text)
    logger.advance(2)
    data = (logger.base_dir / "s.log").read_bytes()
    assert data == 2 * encode(text)
    assert data == 2 * text.replace("\ud83d", "\\ud83d").encode()


@pytest.mark.parametrize("session_id", ["a\0b", "\ud83d", "\u00e9" * 3, "x" * 999, "x" * 1001, "x" * 100_000])
def test_whatever_the_id_all_chunks_are_of_one_session(manual: Make, session_id: str) -> None:
    """NUL, a lone surrogate, and an id that is longer than a file's name may be."""
    logger = manual()
    for number in range(3):
        logger.write(session_id, f"{number};")
    assert logger.stats().sessions_active == 1
    logger.complete_session(session_id, wait=False)
    logger.advance(2)
    assert list(logs(logger.base_dir).values()) == ["0;1;2;"]
    assert logger.stats().sessions_active == 0


def test_idle_session_costs_little(manual: Make) -> None:
    """One that is flushed holds no text: 10,000 of them are a few megabytes."""
    logger = manual()
    logger.write("s", "x" * 100_000)
    logger.advance(2)
    session = session_of(logger, "s")
    assert not session
    assert sys.getsizeof(session) < 1000


def test_million_chunks_cost_linear_time(manual: Make) -> None:
    """The second half of a million chunks of one session takes no longer than the first, by far."""
    logger = manual(max_buffer_mb=64)
    halves = []
    for _ in range(2):
        begun = time.process_time()
        for _ in range(500_000):
            logger.write("s", "token ")
        halves.append(time.process_time() - begun)
    assert halves[1] < 4 * halves[0] + 0.5
    assert logger.stats().chunks_written == 1_000_000
    begun = time.process_time()
    logger.advance(2)
    assert time.process_time() - begun < 5
    assert (logger.base_dir / "s.log").stat().st_size == 6_000_000


def test_session_buffers_show_what_waits_in_order(manual: Make) -> None:
    """What the disk refused first, then what was applied, then what only the log has."""
    logger = manual()
    (logger.base_dir / "s.log").mkdir()
    text = "".join(chr(0x4E00 + number) for number in range(600))
    for number, character in enumerate(text):
        logger.write("s", character)
        if number == 200:
            logger.advance(2)
        elif number == 400:
            logger._engine.sessions.apply_all()
    assert "".join(logger.session_buffers["s"]) == text
    assert logger.stats().bytes_buffered == len(text.encode())
    (logger.base_dir / "s.log").rmdir()


@pytest.mark.parametrize("outcome", ["completed", "error"])
def test_new_turn_waits_for_the_older_one(manual: Make, outcome: str) -> None:
    """Two turns of one session reach the file in their order."""
    logger = manual()
    logger.write("s", "one ")
    logger.complete_session("s", outcome=outcome, wait=False)
    logger.write("s", "two ")
    logger.complete_session("s", wait=False)
    logger.write("s", "three")
    assert logger.stats().sessions_active == 1
    logger.advance(2)
    assert logs(logger.base_dir)["s"] == "one two three"
