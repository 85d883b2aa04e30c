"""Which completed files go, and why: pure arithmetic over ages and sizes."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_logger import Config
from streaming_logger._disk.store import Entry
from streaming_logger._sweep.policy import Policy, oldest_first, shortfall

MB = 1_000_000
ages = st.floats(0, 1e9)
limits = st.none() | st.floats(0, 1e8)


@pytest.mark.parametrize(
    ("settings", "age", "reason"),
    [
        ({}, 599, None),
        ({}, 600, None),
        ({}, 601, "retention"),
        ({"file_retention_minutes": None}, 601, None),
        ({"file_retention_minutes": None}, 24 * 3600 + 1, "max_age"),
        ({"file_retention_minutes": 5000}, 24 * 3600 + 1, "max_age"),
        ({"file_retention_minutes": None, "max_session_age_hours": None}, 1e9, None),
        ({"file_retention_minutes": 0}, 0.001, "retention"),
        ({"time_based_cleanup": False}, 601, None),
        ({"time_based_cleanup": False}, 24 * 3600 + 1, "max_age"),
        ({}, -1e6, None),
    ],
)
def test_age_and_settings_say_why_a_file_goes(settings: dict[str, object], age: float, reason: str | None) -> None:
    """Retention first, then the emergency age; a file from the future stays."""
    assert Policy.of(Config(**settings)).reason(age) == reason  # type: ignore[arg-type]


@given(limits, limits, ages, ages)
def test_an_older_file_goes_no_later(retention: float | None, max_age: float | None, age: float, more: float) -> None:
    """Where a file goes, every older one goes too."""
    policy = Policy(retention, max_age)
    if policy.reason(age):
        assert policy.reason(age + more)


@given(limits, limits, ages)
def test_a_file_stays_within_both_limits(retention: float | None, max_age: float | None, age: float) -> None:
    """Nothing goes before one of its two ages."""
    within = all(limit is None or age <= limit for limit in (retention, max_age))
    assert (Policy(retention, max_age).reason(age) is None) == within


@pytest.mark.parametrize(
    ("settings", "size", "free", "needed"),
    [
        ({"min_free_disk_mb": 100}, 0, 100 * MB, 0),
        ({"min_free_disk_mb": 100}, 0, 99 * MB, 11 * MB),
        ({"min_free_disk_mb": 100}, 0, None, 0),
        ({"min_free_disk_mb": None}, 0, 0, 0),
        ({"max_directory_mb": 10}, 10 * MB, None, 0),
        ({"max_directory_mb": 10}, 12 * MB, None, 3 * MB),
        ({"max_directory_mb": None}, 10**15, None, 0),
        ({"max_directory_mb": 10, "min_free_disk_mb": 100}, 12 * MB, 60 * MB, 50 * MB),
    ],
)
def test_an_emergency_makes_room_with_slack(
    settings: dict[str, object], size: int, free: int | None, needed: int
) -> None:
    """A tenth more than it must, so that the next sweep is none; no emergency, nothing."""
    assert shortfall(Config(**settings), size, free) == needed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("least", "free", "volume", "deletable", "needed"),
    [
        (100, 20 * MB, 64 * MB, 1e9, 0),
        (100, 6 * MB, 64 * MB, 1e9, 1_040_000),
        (100, 6 * MB, 64 * MB, 400_000, 1_040_000),
        (100, 6 * MB, 64 * MB, 399_999, 0),
        (100, 60 * MB, 10**12, 1e9, 50 * MB),
        (1, 2 * MB, 64 * MB, 1e9, 0),
        (None, 0, 64 * MB, 1e9, 0),
    ],
)
def test_low_disk_space_is_bounded_by_the_volume_and_by_what_helps(
    least: float | None, free: int, volume: int, deletable: float, needed: int
) -> None:
    """At most a tenth of the volume is kept free; nothing goes where all that could go is not enough."""
    assert shortfall(Config(min_free_disk_mb=least), 0, free, volume, deletable) == needed


@given(st.floats(0.001, 1e6), st.integers(0, 10**12))
def test_after_an_emergency_there_is_none(limit: float, size: int) -> None:
    """What is left after it is below the limit."""
    config = Config(max_directory_mb=limit)
    needed = shortfall(config, size, None)
    assert 0 <= needed <= size
    assert shortfall(config, size - needed, None) == 0


@given(st.lists(st.lists(st.floats(0, 100), max_size=9), max_size=9))
def test_oldest_first_over_all_slices(slices: list[list[float]]) -> None:
    """The merged order is that of one long sort."""
    parts = [[Entry("x.log", mtime, 1, False) for mtime in sorted(part)] for part in slices]
    assert [entry.mtime for entry in oldest_first(parts)] == sorted(chain(*slices))
