"""Turns: one process works, a holder that makes no progress is passed over, and knows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming_logger._disk.directory import PRIVATE, Directory
from streaming_logger._disk.locks import LockTable, is_announced, process
from streaming_logger._disk.store import Store
from streaming_logger._disk.turns import PATIENCE_SECONDS, Patience, Turns
from streaming_logger.testing import ManualClock

pytestmark = pytest.mark.skipif(not Directory.can_lock, reason="needs flock")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    directory = Directory(tmp_path / "logs")
    directory.open()
    yield directory
    directory.close()


def test_one_has_the_turn_until_it_is_closed(directory: Directory, clock: ManualClock) -> None:
    """The next one has it then; a file of the turn stays."""
    one, two = Turns(directory, clock), Turns(directory, clock)
    turn = one.take("work.lock")
    assert turn is not None
    assert two.take("work.lock") is None
    turn.close()
    turn = two.take("work.lock")
    assert turn is not None
    assert turn.stuck == ""
    turn.close()


def test_removed_turn_leaves_no_file(directory: Directory, clock: ManualClock) -> None:
    """Work that is done for good."""
    turn = Turns(directory, clock).take("work.lock")
    assert turn is not None
    turn.remove()
    assert not (directory.path / PRIVATE / "work.lock").exists()


def test_holder_without_progress_is_passed_over_once(directory: Directory, clock: ManualClock) -> None:
    """After 15 s another has the turn, which a third one respects; the first one knows, and takes nothing away."""
    one, two, three = (Turns(directory, clock) for _ in range(3))
    stuck = one.take("work.lock")
    assert stuck is not None
    assert two.take("work.lock") is three.take("work.lock") is None
    clock.advance(PATIENCE_SECONDS - 1)
    assert two.take("work.lock") is None
    assert not stuck.is_lost
    clock.advance(1)
    turn = two.take("work.lock")
    assert turn is not None
    assert turn.stuck == f"process {os.getpid()}"
    assert stuck.is_lost
    assert three.take("work.lock") is None
    stuck.remove()
    assert not turn.is_lost
    turn.close()


def test_holder_with_progress_keeps_its_turn(directory: Directory, clock: ManualClock) -> None:
    """However long it works."""
    one, two = Turns(directory, clock), Turns(directory, clock)
    turn = one.take("work.lock")
    assert turn is not None
    path = directory.path / PRIVATE / "work.lock"
    for number in range(5):
        assert two.take("work.lock") is None
        clock.advance(PATIENCE_SECONDS - 1)
        turn.show_progress()
        os.utime(path, ns=(number, number))  # the file system's clock may be too coarse for this test
    turn.close()


def test_patience_is_for_one_state(clock: ManualClock) -> None:
    """Another state, or a name that is forgotten, begins anew."""
    patience = Patience(clock)
    assert not patience.is_over("a", 1)
    clock.advance(PATIENCE_SECONDS)
    assert patience.is_over("a", 1)
    assert not patience.is_over("a", 2)
    clock.advance(PATIENCE_SECONDS)
    patience.retain({"b"})
    assert not patience.is_over("a", 2)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux")
def test_lock_table_tells_writers_from_claims(directory: Directory) -> None:
    """By device and inode; and it names the process of a claim."""
    store = Store(directory)
    file = store.open("s.log")
    found = os.stat(directory.path / "s.log")
    identity = (found.st_dev, found.st_ino)
    assert LockTable().is_shared(identity)
    assert LockTable().claimant(identity) is None
    store.close(file)
    with store.claim("s.log"):
        assert not LockTable().is_shared(identity)
        assert LockTable().claimant(identity) == os.getpid()
        # As on a file system whose device numbers are others there: the process has the file open.
        assert LockTable().claimant((0, found.st_ino)) is None
    assert LockTable().claimant(identity) is None
    assert process(os.getpid()) == f"process {os.getpid()}"


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux")
def test_writer_can_be_asked_for_without_a_lock(directory: Directory) -> None:
    """While the file is open for writing, and no longer; two writers do not disturb each other."""
    store = Store(directory)
    one, two = store.open("s.log"), store.open("s.log")
    reader = os.open(directory.path / "s.log", os.O_RDONLY)
    try:
        assert is_announced(reader)
        store.close(one)
        assert is_announced(reader)
        store.close(two)
        assert not is_announced(reader)
    finally:
        os.close(reader)
