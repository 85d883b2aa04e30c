"""A disk that is full, in every way: completed files go where that helps, and keep their window where it does not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_disk import mount, needs_root

from conftest import logs, make_old
from streaming_logger._disk.directory import Directory
from streaming_logger.testing import ManualLogger

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts are Linux's")

Make = Callable[..., ManualLogger]


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    place.mkdir(mode=0o700)
    mount("-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", place)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def few_inodes(tmp_path: Path) -> Iterator[Path]:
    """The log directory, on a disk of 60 inodes. To be named before `manual`, which closes its loggers first."""
    with mounted(tmp_path / "logs", "size=16m,nr_inodes=60") as place:
        yield place


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """The same, of 64 MB."""
    with mounted(tmp_path / "logs", "size=64m") as place:
        yield place


def complete(logger: ManualLogger, name: str, text: str) -> None:
    logger.write(name, text)
    logger.complete_session(name, wait=False)


@needs_root
def test_disk_without_inodes_is_an_emergency(few_inodes: Path, manual: Make) -> None:
    """Bytes are free, but no file can be made: the oldest completed ones go, no more than a few, and text follows."""
    logger = manual(min_free_disk_mb=1)
    for number in range(80):
        complete(logger, f"{number:02}", f"{number}")
        logger.advance(6)
    logger.advance(6)
    found = logs(few_inodes)
    assert found["79"] == "79"
    assert logger.stats().bytes_buffered == 0
    assert not logger.stats().dropped_characters
    assert sorted(found) == [f"{number:02}" for number in range(80 - len(found), 80)], "the oldest go first"
    assert len(found) > 30
    assert logger.stats().deleted_files == {"disk": 80 - len(found)}


class Quota:
    """What a quota does to this process's writes: the kernel of a test machine may not know any."""

    def __init__(self, directory: Path, limit: int) -> None:
        self.directory, self.limit = directory, limit
        self.write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if path.startswith(str(self.directory)) and path.endswith(".log"):
            left = self.limit - sum(file.stat().st_size for file in self.directory.glob("*.log"))
            if left <= 0:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
            data = data[:left]
        return self.write(fd, data)


def test_quota_that_is_reached_is_an_emergency(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest completed files go until the text fits."""
    logger = manual(min_free_disk_mb=1e-6)
    for number in range(20):
        (logger.base_dir / f"{number:02}.log").write_text("x" * 1000)
        make_old(logger.base_dir / f"{number:02}.log", 300 - number)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", Quota(logger.base_dir, 20_500))
        logger.write("s", "y" * 5000)
        for _ in range(20):
            logger.advance(6)
        found = logs(logger.base_dir)
        assert found["s"] == "y" * 5000
        assert 12 <= len(found) - 1 <= 16
        assert min(found) == f"{20 - (len(found) - 1):02}"


def test_emergency_stops_where_deleting_helps_no_write(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else fills the quota at once: one share of the files goes, the others keep their window."""
    logger = manual(min_free_disk_mb=1e-6)
    for number in range(20):
        (logger.base_dir / f"{number:02}.log").write_text("x" * 1000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", Quota(logger.base_dir, 0))
        logger.write("s", "text")
        for _ in range(20):
            logger.advance(6)
        kept = len(logs(logger.base_dir)) - 1
    assert 16 <= kept < 20
    logger.advance(6)
    assert logs(logger.base_dir)["s"] == "text"
    assert len(logs(logger.base_dir)) - 1 == kept


def test_no_disk_is_an_emergency_where_that_is_switched_off(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """min_free_disk_mb: null. Text waits, and completed files keep their window."""
    logger = manual(min_free_disk_mb=None)
    (logger.base_dir / "kept.log").write_text("x" * 1000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", Quota(logger.base_dir, 0))
        logger.write("s", "text")
        for _ in range(10):
            logger.advance(6)
    logger.advance(6)
    assert logs(logger.base_dir) == {"kept": "x" * 1000, "s": "text"}


@needs_root
def test_small_volume_has_its_window(small_volume: Path, manual: Make) -> None:
    """It is smaller than min_free_disk_mb, whose default is 100: a tenth of it is kept free."""
    logger = manual(min_free_disk_mb=100, cleanup_interval_seconds=1)
    for number in range(64):
        complete(logger, f"{number:02}", "x" * 1_000_000)
        logger.advance(2)
        if number == 50:
            assert len(logs(small_volume)) == 51
            assert logger.health().status == "ok"
    kept = list(logs(small_volume))
    assert kept == [f"{number:02}" for number in range(64 - len(kept), 64)], "the oldest go first"
    assert 55 < len(kept) < 62


@needs_root
def test_disk_that_others_fill_leaves_the_window(
    small_volume: Path, manual: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """All completed files together are less than is missing: none goes; log and health say why."""
    with (small_volume / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, 63_000_000)
    logger = manual(min_free_disk_mb=100)
    complete(logger, "s", "text")
    for _ in range(5):
        logger.advance(61)
    assert list(logs(small_volume)) == ["s"]
    assert "deleting completed files would not help" in caplog.text
    assert any("low disk space" in reason for reason in logger.health().reasons)
    assert "emergency" not in (small_volume / ".streaming_logger/ledger.jsonl").read_text()


def test_active_files_count_as_no_help(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be deleted brings no space: an emergency is not begun for it."""
    logger = manual(min_free_disk_mb=1, max_open_files=1)
    monkeypatch.setattr(Directory, "free_bytes", lambda self: 995_000)
    for name in ("active", "parked"):
        logger.write(name, "x" * 5000)
    logger.advance(2)
    complete(logger, "s", "text")
    logger.advance(61)
    assert set(logs(logger.base_dir)) == {"active", "parked", "s"}
