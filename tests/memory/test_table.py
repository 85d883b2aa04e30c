"""The streams in memory: sealed, bounded, counted, and marked where text had to be dropped."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable

import pytest
from streaming_logger._memory.session import Session, encode, marker
from streaming_logger._memory.table import LONG_CHUNK, MAX_SEAL_AT, MIN_SEAL_AT

from conftest import logs
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]


def session_of(logger: ManualLogger, session_id: str) -> Session:
    return logger._engine.table.live[session_id]


def test_pending_chunks_are_sealed(manual: Make) -> None:
    """64 bytes a chunk become a few: at most 511 stay pending."""
    logger = manual()
    for _ in range(10 * MAX_SEAL_AT + 5):
        logger.write("s", "ab")
    session = session_of(logger, "s")
    assert len(session) < MAX_SEAL_AT
    assert "".join(session.text_buffered()) == "ab" * (10 * MAX_SEAL_AT + 5)
    assert logger.stats().bytes_buffered == 2 * (10 * MAX_SEAL_AT + 5)


@pytest.mark.parametrize("sessions", [2_000, 9_000])
def test_with_many_sessions_fewer_chunks_stay_pending(manual: Make, sessions: int) -> None:
    """It is their sum that must stay small: half a million, or 63 for each session."""
    logger = manual()
    names = [f"s{number}" for number in range(sessions)]
    for name in names:
        logger.write(name, "ab")
    logger.flush()  # from here on all know how many they are
    for _ in range(300):
        for name in names:
            logger.write(name, "ab")
    pending = [len(session) - session.sealed for session in logger._engine.table.live.values()]
    assert max(pending) < max(MIN_SEAL_AT, 512_000 // sessions)


@pytest.mark.parametrize("size", [6, LONG_CHUNK - 1, LONG_CHUNK, 2 * LONG_CHUNK - 1, 8 * LONG_CHUNK, 999 * LONG_CHUNK])
def test_what_is_pending_stays_small_whatever_the_chunks(manual: Make, size: int) -> None:
    """511 chunks and 64 K characters at the most hide from the bound; the longer the chunks, the fewer."""
    logger = manual(max_buffer_mb=1000)
    for number in range(1, 1200):
        logger.write("s", "x" * size)
        assert number * size - logger._engine.table.used_bytes <= MAX_SEAL_AT * LONG_CHUNK
        session = session_of(logger, "s")
        assert len(session) - session.sealed < MAX_SEAL_AT


def test_seal_that_meets_a_change_begins_again(manual: Make) -> None:
    """A handler or another thread seals, or the worker writes, between the copy and the commit: nothing doubles."""
    logger = manual()
    table = logger._engine.table
    for number in range(100):
        logger.write("s", f"{number};")
    session = session_of(logger, "s")
    version, items = session.version, session[:]
    table.seal(session)
    assert not table._commit(session, version, 0, len(items), (b"stale",), used=5, chunks=100, pending=100)
    logger.write("s", "behind")
    stale = session.version
    logger.advance(2)
    assert not table._commit(session, stale, 1, 1, (b"stale",), used=5, chunks=1, pending=1)
    assert list(session) == []
    assert table.used_bytes == 0
    assert logs(logger.base_dir)["s"] == "".join(f"{number};" for number in range(100)) + "behind"


def test_chunks_that_find_no_memory_to_be_sealed_stay(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure is counted, write() does not raise, and the next flush writes them."""
    logger = manual()

    def no_memory(text: str) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("streaming_logger._memory.session.encode", no_memory)
        for _ in range(MIN_SEAL_AT):
            logger.write("s", "x")
    assert logger.stats().write_errors == 1
    logger.advance(2)
    assert logs(logger.base_dir)["s"] == "x" * MIN_SEAL_AT


def test_bound_on_memory_holds_and_the_gap_is_marked_in_its_place(manual: Make) -> None:
    """What found no memory is counted by reason and stands in the file as one marker, where it is missing."""
    logger = manual(max_buffer_mb=1)
    logger.write("s", "a" * 100_000)
    for _ in range(30):
        logger.write("s", "b" * 65_536)
    assert logger._engine.table.used_bytes <= 1_000_000
    stats = logger.stats()
    (dropped,) = stats.dropped_characters.values()
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


def test_marker_reads_as_the_contract_says() -> None:
    """Operators search for it."""
    assert marker(1234) == b"[streaming_logger: 1,234 characters dropped: buffer full]"


def test_one_stuck_session_does_not_starve_the_others(manual: Make) -> None:
    """A session that may not be written fills seven eighths; modest ones still have memory."""
    logger = manual(max_buffer_mb=1)
    (logger.base_dir / "stuck.log").mkdir()
    for _ in range(3000):
        logger.write("stuck", "x" * 2000)
    for number in range(50):
        logger.write(f"s{number}", "y" * 2000)
    logger.advance(2)
    found = {path.stem: path.read_text() for path in logger.base_dir.glob("s[0-9]*.log")}
    assert found == {f"s{number}": "y" * 2000 for number in range(50)}
    assert logger._engine.table.used_bytes <= 1_000_000
    assert session_of(logger, "stuck")


def test_memory_pressure_brings_the_flush_forward(manual: Make) -> None:
    """At a quarter of the bound the worker gets an order; it does not wait for its interval."""
    logger = manual(max_buffer_mb=1)
    logger.run_pending()
    for _ in range(20):
        logger.write("s", "x" * 20_000)
    logger.run_pending()
    assert logs(logger.base_dir)["s"] == "x" * 400_000


def test_chunks_are_counted_exactly(manual: Make) -> None:
    """Sealed, pending, written and dropped ones."""
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
    logger.write("s", text)
    logger.advance(2)
    data = (logger.base_dir / "s.log").read_bytes()
    assert data == encode(text)
    assert data == text.replace("\ud83d", "\\ud83d").encode()


def test_idle_session_costs_little(manual: Make) -> None:
    """One that is flushed holds no text: 10,000 of them are a few megabytes."""
    logger = manual()
    logger.write("s", "x" * 100_000)
    logger.advance(2)
    session = session_of(logger, "s")
    assert list(session) == []
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
    """Blocks first, pending chunks behind, each decoded by itself."""
    logger = manual()
    text = "".join(chr(0x4E00 + number) for number in range(MIN_SEAL_AT + 50))
    for character in text:
        logger.write("s", character)
    assert "".join(logger.session_buffers["s"]) == text
    assert re.fullmatch(rf".{{{MIN_SEAL_AT}}}", logger.session_buffers["s"][0])


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
