"""The active half: text reaches its files in order, faults heal, completion is exact."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Sequence

import pytest

from conftest import logs
from streaming_logger._disk.store import OpenFile, Store
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]


@pytest.fixture
def disk_fault(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """`disk_fault(errno)` makes every append fail so; `disk_fault(None)` ends it."""
    append = Store.append

    def set_fault(code: int | None) -> None:
        def failing(self: Store, file: OpenFile, blocks: Sequence[bytes | memoryview]) -> int:
            if code is not None:
                raise OSError(code, os.strerror(code))
            return append(self, file, blocks)

        monkeypatch.setattr(Store, "append", failing)
        if code is None:
            monkeypatch.undo()

    return set_fault


def test_text_is_in_its_file_after_one_interval(manual: Make) -> None:
    """And not before: writes cost no system call."""
    logger = manual()
    logger.write("s", "Hello")
    logger.advance(1.9)
    assert logs(logger.base_dir) == {}
    logger.advance(0.1)
    assert logs(logger.base_dir) == {"s": "Hello"}
    logger.write("s", " world")
    logger.advance(2)
    assert logs(logger.base_dir) == {"s": "Hello world"}


def test_session_shorter_than_an_interval_is_whole(manual: Make) -> None:
    """The normal case: completed before the first flush."""
    logger = manual()
    logger.write("s", "short")
    logger.complete_session("s", wait=False)
    logger.run_pending()
    logger.advance(2)
    assert logs(logger.base_dir) == {"s": "short"}
    stats = logger.stats()
    assert (stats.sessions_active, stats.sessions_completed, stats.files_open) == (0, 1, 0)


def test_completion_closes_and_unlocks(manual: Make) -> None:
    """The lock is free then, and not before."""
    logger = manual()
    logger.write("s", "text")
    logger.advance(2)
    with (logger.base_dir / "s.log").open("rb") as reader:
        with pytest.raises(BlockingIOError):
            fcntl.flock(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)
        logger.complete_session("s", wait=False)
        logger.advance(2)
        fcntl.flock(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EFBIG], ids=errno.errorcode.get)
def test_fault_of_the_disk_loses_nothing(
    manual: Make, disk_fault: Callable[[int | None], None], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Text waits in order, one error line is logged, and everything is written when it is over."""
    logger = manual()
    logger.write("s", "before ")
    logger.advance(2)
    disk_fault(code)
    for number in range(5):
        logger.write("s", f"{number} ")
        logger.write("done", f"{number} ")
        logger.advance(2)
    logger.complete_session("done", wait=False)
    logger.advance(2)
    assert logs(logger.base_dir)["s"] == "before "
    assert logger.health().status == "degraded"
    disk_fault(None)
    logger.advance(2)
    assert logs(logger.base_dir) == {"s": "before 0 1 2 3 4 ", "done": "0 1 2 3 4 "}
    printed = [record for record in caplog.records if "cannot write" in record.getMessage()]
    assert len(printed) == 1
    assert "writes recovered" in caplog.text
    assert logger.stats().write_errors > 1
    assert logger.stats().sessions_completed == 1


def test_completed_turn_that_waits_keeps_the_next_turn_behind_it(
    manual: Make, disk_fault: Callable[[int | None], None]
) -> None:
    """Also when both end while the disk is full."""
    logger = manual()
    disk_fault(errno.ENOSPC)
    for turn in ("one ", "two ", "three "):
        logger.write("s", turn)
        logger.complete_session("s", wait=False)
        logger.advance(2)
    logger.write("s", "four")
    disk_fault(None)
    logger.advance(2)
    logger.advance(2)
    assert logs(logger.base_dir) == {"s": "one two three four"}


def test_what_the_disk_refuses_at_close_is_counted(manual: Make, disk_fault: Callable[[int | None], None]) -> None:
    """By reason."""
    logger = manual()
    disk_fault(errno.ENOSPC)
    logger.write("s", "five!")
    logger.close()
    assert logger.stats().dropped_characters == {"closed": 5}
    assert logger.stats().bytes_buffered == 0


@pytest.mark.parametrize("how", ["rm", "mv", "rm -r", "mv directory"])
def test_file_taken_away_while_open_is_reopened(manual: Make, how: str) -> None:
    """Noticed at the next flush and counted; what comes later is in a file of that name."""
    logger = manual()
    logger.write("s", "before")
    logger.advance(2)
    logger.clock.set_wall(10)  # let the directory's time stamp be an old one
    logger.advance(2)
    path = logger.base_dir / "s.log"
    if how == "rm":
        path.unlink()
    elif how == "mv":
        path.rename(path.with_suffix(".old"))
    elif how == "rm -r":
        shutil.rmtree(logger.base_dir)
    else:
        logger.base_dir.rename(logger.base_dir.with_name("away"))
    logger.write("s", "after")
    logger.advance(2)
    assert logs(logger.base_dir) == {"s": "after"}
    assert logger.stats().files_reopened == 1


def test_file_that_somebody_holds_is_tried_again_shortly(manual: Make) -> None:
    """Sooner than the next flush, others go on meanwhile, and nothing is an error at first."""
    logger = manual()
    path = logger.base_dir / "s.log"
    path.touch(0o600)
    with path.open("rb") as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        logger.write("s", "text")
        logger.write("other", "text")
        logger.advance(2)
        assert logs(logger.base_dir) == {"s": "", "other": "text"}
        assert logger.run_pending() < 0.1
        assert logger.stats().write_errors == 0
    logger.advance(0.1)
    assert logs(logger.base_dir)["s"] == "text"


def test_lock_held_for_good_is_logged(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Only this session waits, with one error line; retries get rarer, up to the usual interval."""
    logger = manual()
    path = logger.base_dir / "s.log"
    path.touch(0o600)
    with path.open("rb") as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        logger.write("s", "text")
        for _ in range(20):
            logger.advance(2)
        assert "locked by another process" in caplog.text
        assert logger.run_pending() == pytest.approx(2)


def test_planted_name_quarantines_this_session_alone(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A symlink under its name: untouched; the others are written."""
    logger = manual()
    target = logger.base_dir.parent / "victim"
    target.write_text("precious")
    (logger.base_dir / "s.log").symlink_to(target)
    logger.write("s", "text")
    logger.write("other", "text")
    logger.advance(2)
    assert target.read_text() == "precious"
    assert (logger.base_dir / "other.log").read_text() == "text"
    assert "s.log is a symlink" in caplog.text


def test_silent_session_is_abandoned_and_reopened_by_a_write(manual: Make) -> None:
    """After the idle timeout; its file is completed, a later write goes on in it."""
    logger = manual(idle_timeout_minutes=1)
    logger.write("s", "one ")
    logger.advance(2)
    logger.advance(59)
    assert logger.stats().sessions_active == 1
    logger.advance(2)
    stats = logger.stats()
    assert (stats.sessions_active, stats.sessions_abandoned, stats.sessions_completed) == (0, 1, 0)
    logger.write("s", "two")
    logger.advance(2)
    assert logs(logger.base_dir) == {"s": "one two"}
    assert logger.stats().sessions_active == 1


def test_more_sessions_than_files_are_parked(manual: Make) -> None:
    """Never more open than allowed; every text is in its file, every session still active."""
    logger = manual(max_open_files=3)
    for turn in range(3):
        for number in range(20):
            logger.write(f"s{number}", f"{turn}")
        logger.advance(2)
        assert logger.stats().files_open <= 3
    assert logger.stats().sessions_active == 20
    assert set(logs(logger.base_dir).values()) == {"012"}


@pytest.mark.parametrize("settings", [{"time_based_cleanup": False}, {"file_retention_minutes": 0}])
def test_deletion_at_completion(manual: Make, settings: dict[str, object]) -> None:
    """The file goes with its session, parked or open, flushed or not."""
    logger = manual(max_open_files=1, **settings)
    for name in ("a", "b", "c"):
        logger.write(name, "text")
    logger.advance(2)
    assert len(logs(logger.base_dir)) == 3
    logger.write("short", "text")
    for name in ("a", "b", "c", "short"):
        logger.complete_session(name, wait=False)
    logger.advance(2)
    assert logs(logger.base_dir) == {}
    assert logger.stats().deleted_files == {"immediate": 4}


def test_completion_is_one_record_with_fields(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Session, bytes, outcome and reason."""
    caplog.set_level(logging.DEBUG, "streaming_logger")
    logger = manual()
    logger.write("s", "caf\u00e9")
    logger.complete_session("s", outcome="cancelled", wait=False)
    logger.advance(2)
    (record,) = [vars(record) for record in caplog.records if record.__dict__.get("outcome")]
    assert (record["session"], record["bytes"], record["outcome"]) == ("s", 5, "cancelled")


def test_durable_completion_syncs_file_and_directory(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """durability "completed": once per completion, not per flush."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    monkeypatch.setattr(os, "fsync", synced.append)
    logger = manual(durability="completed")
    logger.write("s", "text")
    logger.advance(2)
    assert synced == []
    logger.complete_session("s", wait=False)
    logger.advance(2)
    assert len(synced) == 2


def test_log_handler_that_raises_disturbs_nothing(manual: Make) -> None:
    """The server's own handler may be broken."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("a handler's own fault")

    log = logging.getLogger("streaming_logger")
    handler, level = Broken(), log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        logger = manual()
        logger.write("s", "text")
        logger.complete_session("s", wait=False)
        logger.advance(2)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert logs(logger.base_dir) == {"s": "text"}
    assert logger.stats().sessions_completed == 1
