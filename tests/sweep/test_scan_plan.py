"""The worker's sweeps look only at files that can be due, and still delete each one at its time."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import logs
from streaming_logger import Config, SweepReport
from streaming_logger._disk.entries import Entry
from streaming_logger._disk.store import Store
from streaming_logger._sweep.sweep_pass import oldest_first
from streaming_logger.testing import ManualClock, ManualLogger

Make = Callable[..., ManualLogger]


def put(logger: ManualLogger, name: str, age: float) -> Path:
    """A completed file that is so many seconds old by the logger's clock."""
    path = logger.base_dir / f"{name}.log"
    path.write_text("x")
    return backdate(logger, path, age)


def backdate(logger: ManualLogger, path: Path, age: float) -> Path:
    then = logger.clock.wall() - age
    os.utime(path, (then, then))
    return path


def sweep(logger: ManualLogger, later: float = 0.0) -> SweepReport:
    """What the worker's sweep does when so many seconds have passed."""
    logger.clock.advance(later)
    return logger._engine.sweeper.sweep_at_once(planned=True)


def test_nothing_is_looked_at_while_nothing_can_be_due(manual: Make) -> None:
    """One scan; then none until the oldest file is due, and then it is deleted."""
    logger = manual()
    put(logger, "old", 300)
    put(logger, "young", 0)
    assert sweep(logger).scanned == 2
    assert sweep(logger, 60).scanned == 0
    assert sweep(logger, 200).scanned == 0
    assert sweep(logger, 60).deleted == 1
    assert list(logs(logger.base_dir)) == ["young"]


def test_what_was_kept_is_looked_at_each_time(manual: Make) -> None:
    """Unpinned, completed, or swept at last: at the next sweep, not at the next full scan."""
    logger = manual()
    pinned = put(logger, "pinned", 3600)
    pinned.chmod(0o1600)
    logger.write("active", "x")
    logger.flush()
    backdate(logger, logger.base_dir / "active.log", 3600)
    put(logger, "young", 0)
    assert sweep(logger).scanned == 3
    assert sweep(logger, 1).scanned == 2
    pinned.chmod(0o600)
    assert sweep(logger, 1).deleted == 1
    logger.complete_session("active")
    backdate(logger, logger.base_dir / "active.log", 3600)
    assert sweep(logger, 1).deleted == 1
    assert list(logs(logger.base_dir)) == ["young"]


def test_a_file_that_was_moved_in_goes_within_ten_sweeps(manual: Make) -> None:
    """No plan sees it, so there is a full scan once in a while."""
    logger = manual()
    put(logger, "young", 0)
    sweep(logger)
    put(logger, "moved in", 0).rename(logger.base_dir / "old.log")
    backdate(logger, logger.base_dir / "old.log", 3600)
    sweeps = next(number for number in count(1) if sweep(logger, 1).deleted)
    assert 1 < sweeps <= 11


def test_the_verbs_scan(manual: Make) -> None:
    """Who asks for a sweep gets one of all files."""
    logger = manual()
    put(logger, "young", 0)
    sweep(logger)
    assert logger.cleanup_completed_files().scanned == 1
    assert logger.cleanup_old_sessions(1).scanned == 1
    assert sweep(logger, 1).scanned == 0, "and forgets nothing by it"


def test_a_shorter_retention_holds_at_once(manual: Make) -> None:
    """What was seen ahead under other rules is forgotten."""
    logger = manual()
    put(logger, "old", 300)
    assert sweep(logger).deleted == 0
    logger._engine.settings._use(Config(file_retention_minutes=1, min_free_disk_mb=None))
    assert sweep(logger).deleted == 1


@pytest.mark.parametrize("fault", [PermissionError, OSError])
def test_after_a_fault_all_is_looked_at_again(
    manual: Make, monkeypatch: pytest.MonkeyPatch, fault: type[OSError]
) -> None:
    """A file that could not be looked at may be due at any time."""
    logger = manual()
    put(logger, "young", 0)
    with monkeypatch.context() as patch:

        def failing(*args: object) -> None:
            raise fault(5, "no")

        patch.setattr(Store, "claim", failing)
        put(logger, "old", 3600)
        assert sweep(logger).errors == 1
    assert sweep(logger).scanned == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(steps=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3)), max_size=30))
def test_each_file_goes_at_the_same_sweep_as_by_scans(
    tmp_path_factory: pytest.TempPathFactory, clock: ManualClock, steps: list[tuple[int, int]]
) -> None:
    """Whatever comes in, and whenever it is swept: nothing stays longer, nothing goes sooner."""
    retention = 10 * 60
    logger = ManualLogger(Config(min_free_disk_mb=None), tmp_path_factory.mktemp("logs"), clock=clock)
    alive: dict[str, float] = {}
    names = map(str, count())
    for seconds, files in steps:
        for _ in range(files):
            name = next(names)
            put(logger, name, 0)
            alive[name] = clock.wall()
        sweep(logger, seconds)
        alive = {name: born for name, born in alive.items() if clock.wall() - born <= retention}
        assert sorted(logs(logger.base_dir)) == sorted(alive)
    logger.close()


@given(st.lists(st.lists(st.floats(0, 100), max_size=9), max_size=9))
def test_oldest_first_over_all_slices(slices: list[list[float]]) -> None:
    """The merged order is that of one long sort."""
    parts = [[Entry("x.log", mtime, 1, False) for mtime in sorted(part)] for part in slices]
    assert [entry.mtime for entry in oldest_first(parts)] == sorted(chain(*slices))
