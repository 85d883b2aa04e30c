"""Owner files: a parked session is active as long as its process lives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming_logger._disk.directory import PRIVATE, Directory
from streaming_logger._disk.owner import OwnerFile, Owners


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    directory = Directory(tmp_path / "logs")
    directory.open()
    yield directory
    directory.close()


@pytest.fixture
def owner(directory: Directory) -> Iterator[OwnerFile]:
    owner = OwnerFile(directory)
    yield owner
    owner.close()


@pytest.fixture
def owners(directory: Directory) -> Iterator[Owners]:
    owners = Owners(directory)
    yield owners
    owners.close()


def folder(directory: Directory) -> list[str]:
    """The owner files that are there."""
    path = directory.path / PRIVATE / "owners"
    return sorted(os.listdir(path)) if path.exists() else []


def test_name_is_seen_when_add_returns(owner: OwnerFile, owners: Owners) -> None:
    """A sweeper that looked a moment ago sees it too, and sees it go."""
    assert not owners.parked("a.log")
    owner.add("a.log")
    assert owners.parked("a.log")
    assert not owners.parked("b.log")
    owner.add("b.log")
    assert owners.parked("b.log")
    owner.discard("a.log")
    assert not owners.parked("a.log")
    assert len(owner) == 1


def test_every_live_owner_counts(directory: Directory, owner: OwnerFile, owners: Owners) -> None:
    """Two processes may park the same name."""
    other = OwnerFile(directory)
    owner.add("a.log")
    other.add("a.log")
    owner.discard("a.log")
    assert owners.parked("a.log")
    other.close()
    assert not owners.parked("a.log")


def test_dead_owner_parks_nothing_and_is_removed(directory: Directory, owners: Owners) -> None:
    """A crash frees its lock; the next sweeper takes the file away."""
    path = directory.path / PRIVATE / "owners"
    path.mkdir()
    (path / "4242-0123dead").write_text("+a.log\n")
    assert not owners.parked("a.log")
    assert folder(directory) == []


def test_closed_owner_leaves_no_file(directory: Directory, owner: OwnerFile) -> None:
    """Twice is fine."""
    owner.add("a.log")
    assert len(folder(directory)) == 1
    owner.close()
    owner.close()
    assert folder(directory) == []


def test_removed_list_is_written_anew(directory: Directory, owner: OwnerFile, owners: Owners) -> None:
    """An `rm -r` costs no session."""
    owner.add("a.log")
    for name in folder(directory):
        (directory.path / PRIVATE / "owners" / name).unlink()
    owner.check()
    assert owners.parked("a.log")


def test_list_does_not_grow_without_bound(
    directory: Directory, owner: OwnerFile, owners: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that say nothing any more are left out of a new file; what is parked stays so."""
    monkeypatch.setattr("streaming_logger._disk.owner._MAX_STALE_LINES", 50)
    owner.add("stays.log")
    for number in range(500):
        owner.add(f"{number}.log")
        owner.discard(f"{number}.log")
    (name,) = folder(directory)
    assert (directory.path / PRIVATE / "owners" / name).stat().st_size < 2000
    assert owners.parked("stays.log")
    assert not owners.parked("499.log")


def test_list_that_cannot_be_written_refuses(owner: OwnerFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller gets the error and keeps its lock."""
    owner.add("a.log")
    monkeypatch.setattr(os, "write", lambda fd, data: 1)
    with pytest.raises(OSError, match="did not take"):
        owner.add("b.log")
    assert len(owner) == 1
