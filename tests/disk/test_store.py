"""The session files: what is planted is never touched, what is ours is locked, private and deleted exactly."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streaming_logger._disk.directory import Directory
from streaming_logger._disk.store import BusyError, Claim, DeleteResult, ForeignFileError, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(Directory(tmp_path / "logs"))
    store.directory.open()
    yield store
    store.directory.close()


def always(claim: Claim) -> bool:
    """Every file is due."""
    return True


def written(store: Store, name: str, data: bytes = b"text") -> Path:
    """A completed file with this content."""
    file = store.open(name)
    assert store.append(file, [data]) == len(data)
    store.close(file)
    return store.directory.path / name


PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "symlink": lambda path, victim: path.symlink_to(victim),
    "dangling symlink": lambda path, victim: path.symlink_to(victim.with_name("nowhere")),
    "hard link": lambda path, victim: path.hardlink_to(victim),
    "pipe": lambda path, victim: os.mkfifo(path),
    "directory": lambda path, victim: path.mkdir(),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_planted_thing_is_never_written_nor_deleted(
    store: Store, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    """Opening it is refused without waiting, a sweep leaves it, and its target is untouched."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = store.directory.path / "s.log"
    plant(path, victim)
    before = path.lstat()
    with pytest.raises(ForeignFileError, match=r"s\.log"):
        store.open("s.log")
    assert [entry for part in store.scan(10, pytest.fail) for entry in part] == []
    try:
        how = store.delete_if("s.log", always)[0]
    except OSError:
        how = DeleteResult.NOT_DUE
    assert how is DeleteResult.NOT_DUE
    assert path.lstat()[:4] == before[:4]
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_file_of_somebody_else_is_refused(store: Store) -> None:
    """Text never lands in a file that another user owns."""
    path = written(store, "s.log")
    os.chown(path, 12345, -1)
    with pytest.raises(ForeignFileError, match="belongs to user 12345"):
        store.open("s.log")


@pytest.mark.parametrize("umask", [0, 0o777])
def test_modes_are_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    """Files 0600, directories 0700 at every level."""
    old = os.umask(umask)
    try:
        store = Store(Directory(tmp_path / "a" / "b"))
        written(store, "s.log")
        file = store.open("s.log")
        store.close(file)
    finally:
        os.umask(old)
        store.directory.close()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert modes == {"b": 0o700, "s.log": 0o600, ".streaming_logger": 0o700}


def test_open_file_is_locked_until_it_is_closed(store: Store) -> None:
    """A sweeper's exclusive lock waits for the completion; two writers share."""
    one, two = store.open("s.log"), store.open("s.log")
    assert store.delete_if("s.log", always) == (DeleteResult.IN_USE, 0)
    store.close(one)
    assert store.delete_if("s.log", always) == (DeleteResult.IN_USE, 0)
    store.close(two)
    assert store.delete_if("s.log", always) == (DeleteResult.DELETED, 0)
    assert store.delete_if("s.log", always) == (DeleteResult.GONE, 0)


def test_file_that_somebody_holds_exclusively_is_busy(store: Store) -> None:
    """It is reported, not waited for."""
    path = written(store, "s.log")
    with path.open("rb") as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        with pytest.raises(BusyError):
            store.open("s.log")
    store.close(store.open("s.log"))


def test_appends_go_behind_what_is_there(store: Store) -> None:
    """Also after the file was truncated, as copytruncate does."""
    path = written(store, "s.log", b"one ")
    file = store.open("s.log")
    store.append(file, [b"two "])
    os.truncate(path, 0)
    store.append(file, [b"three"])
    store.close(file)
    assert path.read_bytes() == b"three"


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced"])
def test_a_file_that_its_name_no_longer_leads_to_is_noticed(store: Store, how: str) -> None:
    """By link count and identity."""
    file = store.open("s.log")
    path = store.directory.path / "s.log"
    assert store.still_there("s.log", file)
    if how == "removed":
        path.unlink()
    elif how == "renamed":
        path.rename(path.with_suffix(".old"))
    else:
        path.with_suffix(".new").write_text("other")
        path.with_suffix(".new").replace(path)
    assert not store.still_there("s.log", file)
    store.close(file)


def test_sweeper_that_comes_between_open_and_lock_costs_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer looks again after it has the lock, and starts over with a new file."""
    path = written(store, "s.log", b"old")
    lock, first = store._lock_shared, []

    def swept_first(fd: int) -> bool:
        if not first:
            first.append(fd)
            path.unlink()
        return lock(fd)

    monkeypatch.setattr(store, "_lock_shared", swept_first)
    file = store.open("s.log")
    store.append(file, [b"new"])
    store.close(file)
    assert path.read_bytes() == b"new"


def test_deletion_looks_again_under_the_lock(store: Store) -> None:
    """A file that was replaced, pinned, linked or written to since the scan stays."""
    path = written(store, "s.log")
    path.chmod(0o1600)
    assert store.delete_if("s.log", always)[0] is DeleteResult.NOT_DUE
    path.chmod(0o600)
    other = path.with_name("second name")
    other.hardlink_to(path)
    assert store.delete_if("s.log", always)[0] is DeleteResult.NOT_DUE
    other.unlink()
    assert store.delete_if("s.log", lambda claim: False)[0] is DeleteResult.NOT_DUE
    assert store.delete_if("s.log", lambda claim: claim.found.st_size == 4) == (DeleteResult.DELETED, 4)


def test_file_replaced_before_the_lock_is_not_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name leads to another file now: that one is nobody's candidate."""
    path = written(store, "s.log")
    lock = store.directory.lock

    def replaced_first(fd: int, *, shared: bool = False) -> bool:
        path.unlink()
        path.write_text("new")
        return lock(fd, shared=shared)

    monkeypatch.setattr(store.directory, "lock", replaced_first)
    assert store.delete_if("s.log", always)[0] is DeleteResult.GONE
    assert path.read_text() == "new"


def test_outcome_stays_with_the_file_until_a_new_turn(store: Store) -> None:
    """Where the file system keeps extended attributes."""
    file = store.open("s.log")
    store.append(file, [b"text"])
    store.mark(file, "error")
    if store.outcome(file.fd) is None:
        store.close(file)
        pytest.skip("no extended attributes on this file system")
    store.close(file)
    again = store.open("s.log")
    assert store.outcome(again.fd) is None
    store.close(again)


def test_scan_comes_in_slices_with_pins(store: Store) -> None:
    """Size and mtime as they are, sticky files marked, everything once."""
    for number in range(5):
        written(store, f"{number}.log", b"x" * number)
    (store.directory.path / "3.log").chmod(0o1600)
    parts = list(store.scan(2, pytest.fail))
    assert max(len(part) for part in parts) <= 2
    entries = {entry.name: entry for part in parts for entry in part}
    assert {name: entry.size for name, entry in entries.items()} == {f"{n}.log": n for n in range(5)}
    assert [name for name, entry in entries.items() if entry.pinned] == ["3.log"]


def test_a_file_system_without_locks_is_noticed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing goes on; `locks` says that nobody can tell which files are in use."""

    def no_locks(fd: int, *, shared: bool = False) -> bool:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(store.directory, "lock", no_locks)
    store.close(store.open("s.log"))
    assert not store.locks
