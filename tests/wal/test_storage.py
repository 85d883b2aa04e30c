"""The log's files in memory that outlives the process: made, counted, lost, replaced, given back."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem
from pyfakefs.fake_filesystem_unittest import Patcher

from conftest import logs
from streaming_logger import Config, StreamingLogger
from streaming_logger._disk.directory import Directory
from streaming_logger._wal.segment import LEAST_SIZE, SMALLEST_SIZE
from streaming_logger._wal.storage import OWN, SET_NAME, SharedStorage, StorageError
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a storage of its own")


@pytest.fixture
def shared(tmp_path: Path, storage: Path) -> Any:
    """A set of files of 2 MiB at most."""
    (tmp_path / "logs").mkdir()
    made = SharedStorage(storage, Directory(tmp_path / "logs"), 1 << 21)
    yield made
    made.close([], keep=False)


def names(storage: Path) -> list[str]:
    return sorted(path.name for path in storage.iterdir())


def test_files_are_private_and_allocated(shared: SharedStorage, storage: Path) -> None:
    """Mode 0600 whatever the umask, and no hole: a full storage cannot end the process by SIGBUS later."""
    before = os.umask(0o777)
    try:
        assert shared.make(SMALLEST_SIZE) is not None
    finally:
        os.umask(before)
    for path in storage.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    (segment,) = storage.glob("*.1")
    assert segment.stat().st_blocks * 512 >= SMALLEST_SIZE


def test_budget_is_kept(shared: SharedStorage) -> None:
    """Never more than `limit`, whatever is free; what is given back can be had again."""
    first = shared.make(1 << 20)
    assert first is not None
    assert shared.make((1 << 20) + 1) is None
    assert shared.make(1 << 20) is not None
    assert shared.make(1) is None
    shared.remove(first)
    assert shared.make(1 << 20) is not None


@needs_root
def test_own_files_stay_below_an_eighth_of_what_is_free(tmp_path: Path) -> None:
    """Trap "/dev/shm": other users of a small one are not harmed; checked at each growth."""
    place = tmp_path / "shm"
    place.mkdir()
    (tmp_path / "logs").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        made = SharedStorage(place, Directory(tmp_path / "logs"), 1 << 30)
        assert made.make(1 << 20) is not None
        assert made.make(3 << 18) is not None
        assert made.make(1 << 18) is None
        (place / "others").write_bytes(bytes(8 << 20))
        assert not made.has_room(1)
        made.close([], keep=False)
        (place / "more").write_bytes(bytes(3 << 20))
        with pytest.raises(StorageError, match="an eighth of what is free there is too little"):
            SharedStorage(place, Directory(tmp_path / "logs"), 1 << 30)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_header_is_not_opened_again_by_its_process(shared: SharedStorage, storage: Path) -> None:
    """The kernel drops its lock with any descriptor that is closed: the names of own headers are known."""
    (header,) = [name for name in names(storage) if SET_NAME.fullmatch(name)]
    assert header in OWN
    shared.close([], keep=False)
    assert header not in OWN
    assert names(storage) == []


@pytest.mark.parametrize("victim", ["header", "segment"])
@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_loss_is_noticed_by_name_and_inode(shared: SharedStorage, storage: Path, victim: str, replaced: bool) -> None:
    """Trap "/dev/shm": RemoveIPC removes the files; another file under the name is not ours."""
    assert shared.make(SMALLEST_SIZE) is not None
    assert shared.is_whole()
    (path,) = [path for path in storage.iterdir() if bool(SET_NAME.fullmatch(path.name)) == (victim == "header")]
    if replaced:
        path.with_name("other").write_bytes(path.read_bytes())
        path.with_name("other").rename(path)
    else:
        path.unlink()
    assert not shared.is_whole()


def test_storage_that_was_given_up_is_not_whole(shared: SharedStorage) -> None:
    """What it says could be recovered twice: it is replaced."""
    shared.give_up()
    assert not shared.is_whole()


def test_too_small_a_budget_is_refused(tmp_path: Path, storage: Path) -> None:
    """Nothing is left behind; the text says why."""
    (tmp_path / "logs").mkdir()
    with pytest.raises(StorageError, match="too little"):
        SharedStorage(storage, Directory(tmp_path / "logs"), LEAST_SIZE - 1)
    assert names(storage) == []


def test_a_disk_is_no_storage(tmp_path: Path) -> None:
    """A page fault there could wait for the disk."""
    for kind in Path("/proc/self/mounts").read_text().splitlines():
        if kind.split()[1:3] == [str(tmp_path), "tmpfs"]:
            pytest.skip("the tests run in memory")
    with pytest.raises(StorageError, match="is no storage in memory"):
        SharedStorage(Path("/proc"), Directory(tmp_path), 1 << 20)


# -- while a logger runs -----------------------------------------------------------------


def test_files_that_are_removed_while_running_are_replaced(
    manual: Make, storage: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Noticed at the next checkpoint: said once, health degraded until all is whole again, and text is safe anew."""
    logger = manual(crash_journal_directory=str(storage))
    logger.write("s", "before;")
    logger.advance(2)
    assert logger.health().status == "ok"
    gone = names(storage)
    for path in storage.iterdir():
        path.unlink()
    logger.write("s", "then;")
    logger.advance(2)
    assert logger.health().status == "degraded"
    assert caplog.text.count("the crash journal is gone") == 1
    now = names(storage)
    assert now
    assert not set(now) & set(gone)
    logger.write("s", "after;")
    logger.advance(2)
    assert logger.health().status == "ok"
    assert "the crash journal is whole again" in caplog.text
    assert logs(tmp_path / "logs") == {"s": "before;then;after;"}


def test_storage_that_stays_away_is_said_once(
    manual: Make, storage: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost while the process lives; health is degraded until the storage is back."""
    logger = manual(crash_journal_directory=str(storage / "inner"))
    (storage / "inner").mkdir()
    logger.write("s", "0;")
    logger.advance(2)
    for path in (storage / "inner").iterdir():
        path.unlink()
    (storage / "inner").rmdir()
    for number in range(1, 6):
        logger.write("s", f"{number};")
        logger.advance(2)
        assert logger.health().status == "degraded"
    assert caplog.text.count("the crash journal is gone") == 1
    assert "a crash may lose the last flush interval" not in caplog.text
    (storage / "inner").mkdir()
    logger.advance(2)
    logger.advance(2)
    assert logger.health().status == "ok"
    assert logs(tmp_path / "logs") == {"s": "0;1;2;3;4;5;"}


@pytest.mark.parametrize("crash_journal", ["auto", True])
def test_no_room_is_said_once(
    manual: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, crash_journal: object
) -> None:
    """With "auto" one INFO line; with true a problem, and health is degraded."""
    caplog.set_level("INFO")
    logger = manual(crash_journal=crash_journal, crash_journal_directory=str(tmp_path / "nowhere"))
    for number in range(3):
        logger.write("s", f"{number};")
        logger.advance(2)
    (record,) = [record for record in caplog.records if "a crash may lose" in record.getMessage()]
    assert re.search(r"nowhere is no storage in memory", record.getMessage())
    assert record.levelname == ("INFO" if crash_journal == "auto" else "WARNING")
    assert logger.health().status == ("ok" if crash_journal == "auto" else "degraded")


def test_faked_file_system_changes_no_real_file(tmp_path: Path) -> None:
    """Trap "/dev/shm": its descriptors are numbers of real files; a default logger must not fill one of them."""
    real = [tmp_path / f"real{number}" for number in range(64)]
    files = [path.open("w+b") for path in real]
    try:
        for file in files:
            file.write(b"mine")
            file.flush()
        with Patcher() as patcher:
            assert isinstance(patcher.fs, FakeFilesystem)
            patcher.fs.create_dir("/dev/shm")  # noqa: S108
            with StreamingLogger(Config(min_free_disk_mb=None), directory="/logs") as logger:
                logger.write("s", "faked")
                logger.complete_session("s")
                assert Path("/logs/s.log").read_text() == "faked"
    finally:
        for file in files:
            file.close()
    assert {path.read_bytes() for path in real} == {b"mine"}
