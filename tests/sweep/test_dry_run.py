"""A dry run foretells the sweep, changes nothing and keeps nobody waiting."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import logs
from streaming_logger import ArchiveConfig, Config, SweepReport
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context
from streaming_logger._disk.archived import Mark, Marks
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.store import Store
from streaming_logger._sweep.files import Swept
from streaming_logger._sweep.rules import Rules
from streaming_logger._sweep.sweep_pass import Slice
from streaming_logger._sweep.sweeper import Sweeper
from streaming_logger.testing import ManualClock, ManualLogger

Make = Callable[..., ManualLogger]
Found = tuple[dict[str, tuple[bool, str]], SweepReport]


def collected(slices: Generator[Slice, None, SweepReport]) -> Found:
    """What a sweep says of each file, and its report."""
    files: list[Swept] = []
    while True:
        try:
            files += next(slices).files
        except StopIteration as end:
            return {file.name: (file.verdict.is_due, file.verdict.reason) for file in files}, end.value


@contextmanager
def reader(logger: ManualLogger) -> Iterator[Sweeper]:
    """A sweeper of another process that only looks."""
    context = Context.make(Settings(logger._engine.settings.config), logger.base_dir, clock=logger.clock)
    with context.store.directory.opened_readonly():
        yield Sweeper(context)


def dry_run(logger: ManualLogger, report: Callable[..., None] = print) -> Found:
    with reader(logger) as sweeper:
        return collected(sweeper.dry_run(Rules.of(logger._engine.settings.config), report))


def put(logger: ManualLogger, name: str, age: float, size: int = 10) -> Path:
    """A completed file that is so many seconds old by the logger's clock."""
    path = logger.base_dir / name
    path.write_bytes(b"x" * size)
    path.chmod(0o600)
    then = logger.clock.wall() - age
    os.utime(path, (then, then))
    return path


def state(directory: Path) -> list[tuple[object, ...]]:
    """All that a dry run could change: names, contents, times, modes."""
    found = []
    for path in sorted(directory.rglob("*")):
        seen = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found.append((str(path), content, seen.st_mtime_ns, seen.st_mode, seen.st_nlink))
    return found


#: A file: (age, size, pinned, failed, archived).
files = st.tuples(
    st.integers(-100, 20_000), st.integers(0, 3000), st.booleans(), st.booleans(), st.sampled_from(["yes", "no", "old"])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    files=st.lists(files, max_size=12),
    active=st.integers(0, 3),
    max_mb=st.sampled_from([None, 0.005, 0.01]),
    url=st.sampled_from([None, "file:///nowhere"]),
    minutes=st.sampled_from([None, 0, 10]),
)
def test_sweep_does_what_a_dry_run_foretold(
    tmp_path_factory: pytest.TempPathFactory,
    clock: ManualClock,
    files: list[tuple[int, int, bool, bool, str]],
    active: int,
    max_mb: float | None,
    url: str | None,
    minutes: float | None,
) -> None:
    """The same verdict on each file and the same report, whatever lies there; and the dry run changed nothing."""
    config = Config(
        min_free_disk_mb=None,
        max_directory_mb=max_mb,
        max_session_age_hours=4,
        file_retention_minutes=minutes,
        failed_retention_minutes=60,
        archive=ArchiveConfig(url=url),
    )
    with ManualLogger(config, tmp_path_factory.mktemp("logs"), clock=clock) as logger:
        for number in range(active):
            logger.write(f"active{number}", "text")
        logger.flush()
        names = map(str, count())
        for (age, size, pinned, failed, archived), name in zip(files, names, strict=False):
            path = put(logger, f"s{name}.log", age, size)
            if failed:
                os.setxattr(path, "user.streaming_logger.outcome", b"error")
            if archived != "no":
                mark = Mark.of(path.stat(), "2026-01-01", "web-1", "s3://b")
                Marks(logger._engine.directory).write(
                    path.name, mark if archived == "yes" else mark._replace(size=9999)
                )
            if pinned:
                path.chmod(0o1600)
        put(logger, "notes.txt", 1e6)
        put(logger, "gone.timing", 1e6, 3000)
        before = state(logger.base_dir)
        foretold, forecast = dry_run(logger)
        assert state(logger.base_dir) == before
        done, report = collected(logger._engine.sweeper.sweep())
        assert done == foretold
        assert (report.deleted_by_reason, report.bytes_by_reason, report.kept_by_reason, report.scanned) == (
            forecast.deleted_by_reason,
            forecast.bytes_by_reason,
            forecast.kept_by_reason,
            forecast.scanned,
        )
        left = {f"{name}.log" for name in logs(logger.base_dir)}
        assert not left & {name for name, (is_due, _) in done.items() if is_due}


def test_dry_run_takes_no_lock(manual: Make) -> None:
    """A command that is stopped in the middle keeps no writer from its file, and no sweep from its work."""
    logger = manual()
    put(logger, "old.log", 3600)
    with reader(logger) as sweeper:
        slices = sweeper.dry_run(Rules.of(Config()), print)
        next(slices)
        store = Store(Directory(logger.base_dir))
        store.close(store.open("old.log"))
        store.directory.close()
        slices.close()
        assert logger.cleanup_completed_files().deleted == 1


def test_dry_run_tells_what_it_cannot_examine(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the given function, as an error of the report; the other files are examined."""
    logger = manual()
    put(logger, "bad.log", 3600)
    put(logger, "old.log", 3600)
    open_file, told = Directory.open_file, []

    def failing(self: Directory, name: str, flags: int) -> int:
        if name == "bad.log":
            raise PermissionError(13, "Permission denied")
        return open_file(self, name, flags)

    def tell(kind: str, text: str, *args: object, **fields: object) -> None:
        told.append(text % args)

    monkeypatch.setattr(Directory, "open_file", failing)
    found, report = dry_run(logger, tell)
    assert (found, report.errors) == ({"old.log": (True, "retention")}, 1)
    assert told == ["cannot sweep bad.log: Permission denied"]


def test_nothing_is_due_where_logging_is_disabled(manual: Make) -> None:
    """`enabled: false` means: nothing is swept, whoever asks for it."""
    logger = manual()
    path = put(logger, "old.log", 1e6)
    logger._engine.settings._use(Config(enabled=False, min_free_disk_mb=None))
    for report in (logger.cleanup_completed_files(), logger.cleanup_old_sessions(0)):
        assert (report.deleted, report.skipped) == (0, "logging is disabled")
    found, report = dry_run(logger)
    assert (found, report.deleted) == ({"old.log": (False, "disabled")}, 0)
    assert path.exists()


def test_report_says_why_files_were_kept(manual: Make) -> None:
    """By reason; only those that are old enough."""
    logger = manual(failed_retention_minutes=60, archive=ArchiveConfig(url="file:///nowhere"))
    put(logger, "young.log", 10)
    put(logger, "waiting.log", 700)
    put(logger, "pinned.log", 700).chmod(0o1600)
    os.setxattr(put(logger, "failed.log", 700), "user.streaming_logger.outcome", b"error")
    logger.write("active", "text")
    logger.flush()
    then = logger.clock.wall() - 700
    os.utime(logger.base_dir / "active.log", (then, then))
    report = logger.cleanup_completed_files()
    assert report.kept_by_reason == {"not archived": 1, "pinned": 1, "retention": 1, "active": 1}
    assert (report.deleted, report.kept_in_use) == (0, 1)
