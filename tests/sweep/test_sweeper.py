"""The sweep: what must be deleted, what must never be, and what is logged."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import logs, make_old
from streaming_logger._disk.directory import Directory
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]
HOUR = 3600.0

MUST_GO = [
    *("sess_abc123.log", "a.log", "x.y-z_.log", "console.log", "x.log.log", "%2E.%2Fx.log", "%43ON.log"),
    *("a%20b.log", "%E4%B8%AD.log", "%ED%B2%80.log", "a" * 167 + "~" + "0" * 32 + ".log"),
]
MUST_STAY = [
    *("README", "notes.txt", "x.log.gz", "x.log.1", "x.LOG", "x.log~", ".hidden.log", "-rf.log", ".log", "log"),
    *("a b.log", "%41.log", "%2e.log", "CON.log", "\u4e2d.log", "new\nline.log", "x~0.log", "a" * 201 + ".log"),
]


def put(logger: ManualLogger, name: str, age: float = HOUR, size: int = 10) -> Path:
    """A completed file that is so old."""
    path = logger.base_dir / name
    path.write_bytes(b"x" * size)
    make_old(path, age)
    return path


@pytest.mark.parametrize("name", MUST_GO, ids=ascii)
def test_old_session_file_goes(manual: Make, name: str) -> None:
    """Each name that an id has."""
    logger = manual()
    path = put(logger, name)
    assert logger.cleanup_completed_files().deleted_by_reason == {"retention": 1}
    assert not path.exists()


@pytest.mark.parametrize("name", MUST_STAY, ids=ascii)
def test_what_no_session_made_never_goes(manual: Make, name: str) -> None:
    """Each name that no id has, however old, by no verb and in no emergency."""
    logger = manual(max_directory_mb=0.001)
    path = put(logger, name, 1e7, 5000)
    logger.cleanup_completed_files()
    logger.cleanup_old_sessions(0)
    assert path.exists()


def test_what_is_no_plain_file_never_goes(manual: Make, tmp_path: Path) -> None:
    """Symlinks, pipes, directories and files with a second name; targets neither."""
    logger = manual()
    target = tmp_path / "target"
    target.write_text("precious")
    (logger.base_dir / "link.log").symlink_to(target)
    os.mkfifo(logger.base_dir / "pipe.log")
    (logger.base_dir / "folder.log").mkdir()
    (logger.base_dir / "second.log").hardlink_to(target)
    for name in ("pipe.log", "folder.log", "second.log"):
        os.utime(logger.base_dir / name, (0, 0))
    before = sorted(os.listdir(logger.base_dir))
    report = logger.cleanup_old_sessions(0)
    assert (report.deleted, report.errors) == (0, 0)
    assert sorted(os.listdir(logger.base_dir)) == before
    assert target.read_text() == "precious"


def test_file_stays_for_its_window_and_goes_after_it(manual: Make) -> None:
    """Ten minutes from its completion, at the next sweep."""
    logger = manual()
    logger.write("s", "text")
    logger.complete_session("s", wait=False)
    logger.run_pending()
    logger.advance(590)
    assert logs(logger.base_dir) == {"s": "text"}
    logger.advance(70)
    assert logs(logger.base_dir) == {}
    assert logger.stats().deleted_files == {"retention": 1}


@pytest.mark.parametrize("age", [HOUR, 100 * HOUR, -HOUR])
def test_active_file_never_goes(manual: Make, age: float) -> None:
    """Whatever its mtime, by any verb, in any emergency."""
    logger = manual(max_directory_mb=0.001, idle_timeout_minutes=None)
    logger.write("s", "text" * 1000)
    logger.run_pending()
    logger.advance(2)
    make_old(logger.base_dir / "s.log", age)
    logger.cleanup_completed_files()
    logger.cleanup_old_sessions(0)
    logger.advance(60)
    assert logs(logger.base_dir) == {"s": "text" * 1000}
    assert logger.stats().deleted_files == {}


def test_parked_file_never_goes(manual: Make) -> None:
    """No lock says that it is active, the owner file does."""
    logger = manual(max_open_files=1, idle_timeout_minutes=None)
    for name in ("a", "b", "c"):
        logger.write(name, "text")
    logger.flush()
    logger.advance(2)
    assert logger.stats().files_parked >= 2
    for name in ("a", "b", "c"):
        make_old(logger.base_dir / f"{name}.log", HOUR)
    report = logger.cleanup_completed_files()
    assert (report.deleted, report.kept_in_use) == (0, 3)
    for name in ("a", "b", "c"):
        logger.complete_session(name, wait=False)
    logger.run_pending()
    for name in logs(logger.base_dir):
        make_old(logger.base_dir / f"{name}.log", HOUR)
    assert logger.cleanup_completed_files().deleted == 3


def test_pinned_file_is_kept(manual: Make) -> None:
    """An operator's `chmod +t` keeps it past every limit."""
    logger = manual(max_directory_mb=0.001)
    path = put(logger, "keep.log", 1000 * HOUR, 5000)
    path.chmod(0o1600)
    logger.cleanup_completed_files()
    logger.cleanup_old_sessions(0)
    assert path.exists()


def test_no_limit_by_age_means_none(manual: Make) -> None:
    """Retention null: only the emergency age deletes."""
    logger = manual(file_retention_minutes=None)
    put(logger, "a.log", 23 * HOUR)
    put(logger, "b.log", 25 * HOUR)
    assert logger.cleanup_completed_files().deleted_by_reason == {"max_age": 1}
    assert list(logs(logger.base_dir)) == ["a"]


def test_trouble_is_kept_for_its_own_time(manual: Make) -> None:
    """A session that ended otherwise than completed stays longer; max_age still holds."""
    logger = manual(failed_retention_minutes=120)
    for name, outcome in (("good", "completed"), ("bad", "error")):
        logger.write(name, "text")
        logger.complete_session(name, outcome=outcome, wait=False)
    logger.run_pending()
    if not os.listxattr(logger.base_dir / "bad.log"):
        pytest.skip("no extended attributes on this file system")
    for name, left in ((11 * 60.0, ["bad"]), (110 * 60.0, [])):
        for path in logger.base_dir.glob("*.log"):
            make_old(path, name)
        logger.cleanup_completed_files()
        assert list(logs(logger.base_dir)) == left


def test_cleanup_old_sessions_knows_its_age_alone(manual: Make) -> None:
    """The older module's verb: hours, whatever the retention, and no emergency."""
    logger = manual(file_retention_minutes=None, max_directory_mb=0.001)
    put(logger, "young.log", 0.5 * HOUR, 5000)
    put(logger, "old.log", 2 * HOUR)
    assert logger.cleanup_old_sessions(1).deleted_by_reason == {"max_age": 1}
    assert list(logs(logger.base_dir)) == ["young"]


def test_emergency_by_directory_size_takes_the_oldest_with_slack(manual: Make) -> None:
    """Inside the window too, no more than needed, and the next sweep is none."""
    logger = manual(max_directory_mb=0.01)
    for number in range(12):
        put(logger, f"{number:02}.log", 120 - number, 1000)
    report = logger.cleanup_completed_files()
    assert (report.deleted_by_reason, report.bytes_by_reason) == ({"disk": 3}, {"disk": 3000})
    assert next(iter(logs(logger.base_dir))) == "03"
    assert logger.cleanup_completed_files().deleted == 0


def test_emergency_by_free_disk_takes_the_oldest(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as bring back the minimum and a tenth."""
    logger = manual(min_free_disk_mb=1)
    monkeypatch.setattr(Directory, "free_bytes", lambda self: 997_500)
    for number in range(200):
        put(logger, f"{number:03}.log", 300 - number, 1000)
    assert logger.cleanup_completed_files().deleted == 103
    assert next(iter(logs(logger.base_dir))) == "103"


def test_emergency_passes_over_what_is_active(manual: Make) -> None:
    """The next oldest goes in its place."""
    logger = manual(max_directory_mb=0.004)
    logger.write("active", "x" * 4000)
    logger.run_pending()
    logger.advance(2)
    make_old(logger.base_dir / "active.log", 500)
    put(logger, "a.log", 100, 1000)
    put(logger, "b.log", 50, 1000)
    assert logger.cleanup_completed_files().deleted_by_reason == {"disk": 2}
    assert list(logs(logger.base_dir)) == ["active"]


@pytest.mark.parametrize("seconds", [HOUR, 365 * 24 * HOUR, -HOUR])
def test_after_a_clock_step_nothing_goes_for_one_retention(
    manual: Make, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    """Every mtime seems wrong then; it is logged, and later the sweep goes on."""
    logger = manual()
    put(logger, "young.log", 60)
    logger.clock.set_wall(seconds)
    report = logger.cleanup_completed_files()
    assert (report.deleted, report.skipped) == (0, "the clock jumped")
    assert "the clock jumped by" in caplog.text
    logger.clock.advance(599)
    assert logger.cleanup_completed_files().skipped
    logger.clock.advance(2)
    assert not logger.cleanup_completed_files().skipped


def test_drift_is_no_step(manual: Make) -> None:
    """A few minutes of correction stop nothing."""
    logger = manual()
    put(logger, "old.log")
    logger.clock.set_wall(200)
    assert logger.cleanup_completed_files().deleted == 1


def test_file_from_the_future_stays(manual: Make) -> None:
    """Until its time has come."""
    logger = manual()
    put(logger, "future.log", -HOUR)
    assert logger.cleanup_completed_files().deleted == 0


def test_sweep_that_deletes_says_one_line_with_its_numbers(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Counts by reason, bytes, errors, duration; the report says the same; one that deletes nothing is silent."""
    caplog.set_level(logging.INFO, "streaming_logger")
    logger = manual()
    for number in range(3):
        put(logger, f"{number}.log", HOUR, 100)
    put(logger, "young.log", 10)
    report = logger.cleanup_completed_files()
    assert (report.deleted, report.bytes, report.errors, report.scanned) == (3, 300, 0, 4)
    logger.cleanup_completed_files()
    (record,) = [record for record in caplog.records if record.getMessage().startswith("swept")]
    assert record.getMessage().startswith("swept 3 files (retention 3), 300 bytes, 0 errors, in ")
    assert record.reason == {"retention": 3}  # type: ignore[attr-defined]
    stats = logger.stats()
    assert (stats.deleted_files, stats.deleted_bytes) == ({"retention": 3}, {"retention": 300})
    assert stats.last_sweep_time == logger.clock.wall()


def test_each_deletion_is_one_record_with_fields(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Session, bytes, age and reason, for readers of log fields."""
    caplog.set_level(logging.DEBUG, "streaming_logger")
    logger = manual()
    put(logger, "%2E.%2Fx.log", HOUR, 100)
    logger.cleanup_completed_files()
    (record,) = [vars(record) for record in caplog.records if record.getMessage().startswith("deleted")]
    assert (record["session"], record["bytes"], record["reason"]) == ("../x", 100, "retention")
    assert record["age"] == pytest.approx(HOUR, abs=10)


def test_one_file_that_cannot_be_swept_keeps_no_other(
    manual: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and logged; the others go."""
    logger = manual()
    for name in ("a.log", "stuck.log", "z.log"):
        put(logger, name)
    unlink = Directory.unlink

    def refusing(self: Directory, name: str) -> None:
        if name == "stuck.log":
            raise OSError(errno.EPERM, "Operation not permitted")
        unlink(self, name)

    monkeypatch.setattr(Directory, "unlink", refusing)
    report = logger.cleanup_completed_files()
    assert (report.deleted, report.errors) == (2, 1)
    assert list(logs(logger.base_dir)) == ["stuck"]
    assert "stuck.log" in caplog.text
    assert logger.stats().sweep_errors == 1


def test_only_one_scheduled_sweep_at_a_time(manual: Make) -> None:
    """While another process sweeps, ours does not; its own verbs still work."""
    logger = manual()
    other = Directory(logger.base_dir)
    other.open()
    lock = other.open_file(".streaming_logger/sweep.lock", os.O_RDWR | os.O_CREAT)
    assert other.lock(lock)
    put(logger, "old.log")
    logger.advance(60)
    assert logs(logger.base_dir)
    other.close_file(lock)
    other.close()
    logger.advance(60)
    assert not logs(logger.base_dir)


def test_flush_gets_its_turn_between_slices(manual: Make) -> None:
    """A long sweep does not hold up what streams: slices of a bounded number of files."""
    logger = manual()
    for number in range(1000):
        put(logger, f"{number}.log", 0)
    slices = sum(1 for _ in logger._engine.sweeper.sweep())
    assert slices >= 1000 // 256
