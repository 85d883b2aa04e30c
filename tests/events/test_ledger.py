"""The ledger: in order with any number of writers, and readable whatever it contains."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_logger._disk.directory import Directory
from streaming_logger._events.ledger import Ledger, read_events
from streaming_logger._events.model import Event, OtherEvent


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    directory = Directory(tmp_path / "logs")
    directory.open()
    return directory


def numbered(number: int) -> Event:
    return OtherEvent(event="test", at=1.5, more={"number": number, "text": 'a "quoted" word, and more'})


def numbers(directory: Directory) -> list[object]:
    return [event.more.get("number") for event in read_events(directory)]


def test_lines_stay_in_order_whichever_thread_writes_them(directory: Directory) -> None:
    """The worker and callers that sweep write at once; a deletion never stands before its completion."""
    ledger = Ledger(directory)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            ledger.on_batch()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(5_000):
        ledger.on_event(numbered(number))
        if number % 100 == 0:
            ledger.on_batch()
    done.set()
    for thread in threads:
        thread.join()
    ledger.on_batch()
    directory.close()
    assert numbers(directory) == list(range(5_000))


@given(cut=st.integers(1, 60), at=st.integers(0, 4))
def test_a_torn_line_costs_itself_alone(tmp_path_factory: pytest.TempPathFactory, cut: int, at: int) -> None:
    """Wherever it was torn; two halves never read as one event."""
    directory = Directory(tmp_path_factory.mktemp("room") / "logs")
    directory.open()
    ledger = Ledger(directory)
    for number in range(5):
        ledger.on_event(numbered(number))
        ledger.on_batch()
    directory.close()
    path = directory.path / ".streaming_logger" / "ledger.jsonl"
    lines = path.read_text().splitlines()
    lines[at] = lines[at][:-cut]
    path.write_text("\n".join(lines) + "\n")
    assert numbers(directory) == [number for number in range(5) if number != at]


@pytest.mark.parametrize("line", ["", "[" * 100_000, "NaN", '{"event": "x"}, {"event": "y"}', "\0", '{"event": "x", "'])
def test_a_strange_line_hides_no_other(directory: Directory, line: str) -> None:
    """Blank, nested ten thousand deep, two in one, or torn within a string."""
    ledger = Ledger(directory)
    ledger.on_event(numbered(1))
    ledger.on_batch()
    directory.close()
    path = directory.path / ".streaming_logger" / "ledger.jsonl"
    path.write_text(f"{line}\n" + path.read_text() + f"{line}\n" + path.read_text())
    assert [event for event in numbers(directory) if event is not None] == [1, 1]
