"""Which completed files are deleted, when and why: facts and settings in, verdicts out."""

from __future__ import annotations

import ast
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streaming_logger
from streaming_logger import ArchiveConfig, Config
from streaming_logger._sweep.rules import (
    ARCHIVE_SETTINGS,
    SETTINGS,
    DeletedBy,
    Facts,
    Need,
    Room,
    Rules,
    Verdict,
    remarks,
)
from streaming_logger.integrations._metrics import _DELETIONS

MB = 1_000_000
DAY = 24 * 3600.0
ARCHIVE = ArchiveConfig(url="s3://bucket")

ages = st.floats(-1e6, 1e9)
limits = st.none() | st.floats(0, 1e8)
facts = st.builds(
    Facts, age=ages, failed=st.booleans(), in_use=st.booleans(), pinned=st.booleans(), archived=st.booleans()
)
configs = st.builds(
    Config,
    enabled=st.booleans(),
    file_retention_minutes=st.none() | st.floats(0, 5e6),
    failed_retention_minutes=st.none() | st.floats(0, 5e6),
    max_session_age_hours=st.none() | st.floats(0.001, 8e5),
    time_based_cleanup=st.booleans(),
    max_directory_mb=st.none() | st.floats(0.001, 1e9),
    min_free_disk_mb=st.none() | st.floats(0, 1e9),
    archive=st.builds(
        ArchiveConfig,
        url=st.sampled_from([None, "s3://bucket"]),
        when=st.sampled_from(["completed", "expired"]),
        only=st.sampled_from(["all", "trouble"]),
        delete_after_upload=st.booleans(),
    ),
)
rules = st.builds(Rules.of, configs, managed=st.booleans())


def judged(settings: dict[str, Any], **known: Any) -> tuple[bool, str]:
    verdict = Rules.of(Config(**settings)).judge(Facts(**known))
    return verdict.is_due, verdict.reason


# -- ages ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "age", "is_due", "reason"),
    [
        ({}, 599, False, "retention"),
        ({}, 600, False, "retention"),
        ({}, 601, True, "retention"),
        ({"file_retention_minutes": None}, 601, False, "max_age"),
        ({"file_retention_minutes": None}, DAY + 1, True, "max_age"),
        ({"file_retention_minutes": 5000}, DAY + 1, True, "max_age"),
        ({"file_retention_minutes": None, "max_session_age_hours": None}, 1e9, False, "no rule"),
        ({"file_retention_minutes": 0}, 0.001, True, "retention"),
        ({"time_based_cleanup": False}, 601, False, "max_age"),
        ({"time_based_cleanup": False}, DAY + 1, True, "max_age"),
        ({}, -1e6, False, "retention"),
        ({"enabled": False}, 1e9, False, "disabled"),
    ],
)
def test_age_and_settings_say_why_a_file_goes(settings: dict[str, Any], age: float, is_due: bool, reason: str) -> None:
    """Retention first, then the emergency age; a file from the future stays."""
    assert judged(settings, age=age) == (is_due, reason)


@pytest.mark.parametrize(
    ("settings", "age", "is_due", "reason"),
    [
        ({"failed_retention_minutes": 120}, 700, False, "retention"),
        ({"failed_retention_minutes": 120}, 7201, True, "retention"),
        ({"failed_retention_minutes": 1}, 599, False, "retention"),
        ({"failed_retention_minutes": 1}, 601, True, "retention"),
        ({"failed_retention_minutes": 5000}, DAY + 1, True, "max_age"),
        ({"failed_retention_minutes": 120, "file_retention_minutes": None}, 7201, False, "max_age"),
        ({"failed_retention_minutes": 120, "file_retention_minutes": 0}, 7199, False, "retention"),
        ({"failed_retention_minutes": 120, "time_based_cleanup": False, "archive": ARCHIVE}, 1, True, "retention"),
    ],
)
def test_failed_sessions_have_a_retention_of_their_own(
    settings: dict[str, Any], age: float, is_due: bool, reason: str
) -> None:
    """It only lengthens the common one, and never beyond max_session_age_hours."""
    assert judged(settings, age=age, failed=True) == (is_due, reason)


@pytest.mark.parametrize(
    ("known", "reason"),
    [({"pinned": True}, "pinned"), ({"in_use": True}, "active"), ({"in_use": True, "pinned": True}, "pinned")],
)
def test_what_is_pinned_or_in_use_is_kept(known: dict[str, Any], reason: str) -> None:
    """Past every limit, and in an emergency."""
    config_rules = Rules.of(Config(max_directory_mb=1))
    for is_emergency in (False, True):
        assert config_rules.judge(Facts(age=1e9, **known), is_emergency=is_emergency) == Verdict(False, reason)  # type: ignore[arg-type]


def test_nothing_is_deleted_in_a_directory_that_is_not_ours() -> None:
    """Not by age, not in an emergency."""
    config_rules = Rules.of(Config(max_directory_mb=1), managed=False)
    assert config_rules.judge(Facts(age=1e9)) == Verdict(False, "not managed")
    assert not config_rules.need(Room(used=100 * MB))


# -- archive ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "archived", "is_due", "reason", "due_in"),
    [
        (599, False, False, "retention", 1),
        (700, True, True, "retention", -100),
        (700, False, False, "not archived", DAY - 700),
        (DAY, False, False, "not archived", 0),
        (DAY + 1, False, True, "max_age", -1),
    ],
)
def test_retention_waits_for_the_archive(age: float, archived: bool, is_due: bool, reason: str, due_in: float) -> None:
    """And no other rule does."""
    config_rules = Rules.of(Config(archive=ARCHIVE))
    assert config_rules.judge(Facts(age=age, archived=archived)) == (is_due, reason, due_in)
    assert config_rules.judge(Facts(age=age, archived=archived), is_emergency=True).reason == "disk"


def test_what_is_not_archived_may_be_kept_for_ever() -> None:
    """Without max_session_age_hours nothing else makes it due."""
    config_rules = Rules.of(Config(archive=ARCHIVE, max_session_age_hours=None))
    assert config_rules.judge(Facts(age=1e9, archived=False)) == Verdict(False, "not archived")


def test_whether_it_is_archived_does_not_matter_without_an_archive() -> None:
    """A mark of an archive that is not set any more delays nothing."""
    assert judged({}, age=700, archived=False) == (True, "retention")


@pytest.mark.parametrize(
    ("archive", "age", "uploads"),
    [
        ({}, 0, True),
        ({"when": "expired"}, 600, False),
        ({"when": "expired"}, 601, True),
    ],
)
def test_when_a_file_is_uploaded(archive: dict[str, Any], age: float, uploads: bool) -> None:
    """At completion, or when its retention is over."""
    config = Config(archive=ArchiveConfig(url="s3://b", **archive), failed_retention_minutes=100)
    assert Rules.of(config).uploads(Facts(age=age)) == uploads


@pytest.mark.parametrize(
    ("only", "failed", "looped", "wanted"),
    [
        ("all", False, False, True),
        ("trouble", False, False, False),
        ("trouble", True, False, True),
        ("trouble", False, True, True),
    ],
)
def test_which_sessions_the_archive_wants(only: str, failed: bool, looped: bool, wanted: bool) -> None:
    """All, or those that failed or looped."""
    config = Config(archive=ArchiveConfig(url="s3://b", only=only))
    assert Rules.of(config).wants(failed=failed, looped=looped) == wanted


def test_uploaded_file_is_deleted_where_that_is_the_rule() -> None:
    """Unless it is pinned or a new turn writes it."""
    deletes = Rules.of(
        Config(archive=ArchiveConfig(url="s3://b", delete_after_upload=True), max_session_age_hours=None)
    )
    assert deletes.after_upload(Facts(age=0)) == Verdict(True, "archived", 0.0)
    assert not deletes.after_upload(Facts(age=0, pinned=True)).is_due
    assert not deletes.after_upload(Facts(age=0, in_use=True)).is_due
    assert not Rules.of(Config(archive=ARCHIVE)).after_upload(Facts(age=0)).is_due


# -- completion ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "known", "what"),
    [
        ({}, {}, "keep"),
        ({}, {"inline": True}, "delete"),
        ({"time_based_cleanup": False}, {}, "delete"),
        ({"file_retention_minutes": 0}, {}, "delete"),
        ({"file_retention_minutes": 0}, {"released": True}, "keep"),
        ({"file_retention_minutes": 0, "archive": ARCHIVE}, {}, "keep"),
        ({"time_based_cleanup": False, "archive": ARCHIVE}, {}, "keep"),
        ({"archive": ARCHIVE}, {"inline": True}, "keep"),
        ({"file_retention_minutes": 0, "failed_retention_minutes": 5}, {}, "delete"),
        ({"file_retention_minutes": 0, "failed_retention_minutes": 5}, {"failed": True}, "keep"),
        ({"failed_retention_minutes": 5}, {"failed": True, "inline": True}, "delete"),
        ({"failed_retention_minutes": 50}, {"failed": True, "inline": True}, "keep"),
        ({"time_based_cleanup": False, "failed_retention_minutes": 5}, {"failed": True}, "delete"),
        ({}, {"silent": 59.0}, "keep"),
        ({}, {"silent": 61.0}, "restart"),
        ({"file_retention_minutes": 0.1}, {"silent": 0.9}, "keep"),
        ({"file_retention_minutes": None}, {"silent": 61.0}, "restart"),
        ({"file_retention_minutes": 0}, {"silent": 61.0}, "delete"),
    ],
)
def test_what_happens_to_a_file_at_the_end_of_its_session(
    settings: dict[str, Any], known: dict[str, Any], what: str
) -> None:
    """Deleted, kept, or kept with a retention that begins now."""
    assert Rules.of(Config(**settings)).at_completion(**{"failed": False, **known}) == what


# -- emergencies -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "used", "free", "needed"),
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
def test_emergency_frees_a_tenth_more_than_it_must(
    settings: dict[str, Any], used: int, free: int | None, needed: int
) -> None:
    """So that the next sweep is none; no emergency, nothing."""
    assert Rules.of(Config(**settings)).need(Room(used=used, free=free)) == Need(needed)


@pytest.mark.parametrize(
    ("least", "free", "volume", "deletable", "need"),
    [
        (100, 20 * MB, 64 * MB, 1e9, Need()),
        (100, 6 * MB, 64 * MB, 1e9, Need(1_040_000)),
        (100, 6 * MB, 64 * MB, 400_000, Need(1_040_000)),
        (100, 6 * MB, 64 * MB, 399_999, Need(is_hopeless=True)),
        (100, 60 * MB, 10**12, 1e9, Need(50 * MB)),
        (1, 2 * MB, 64 * MB, 1e9, Need()),
        (None, 0, 64 * MB, 1e9, Need()),
    ],
)
def test_low_disk_space_is_bounded_by_the_volume_and_by_what_helps(
    least: float | None, free: int, volume: int, deletable: float, need: Need
) -> None:
    """At most a tenth of the volume is kept free; nothing is deleted where deleting everything is not enough."""
    room = Room(used=0, deletable=deletable, free=free, volume=volume)
    assert Rules.of(Config(min_free_disk_mb=least)).need(room) == need


def test_refused_write_takes_a_tenth_of_the_completed_files() -> None:
    """Whatever the free bytes say; never where the disk is no reason."""
    room = Room(used=2000, deletable=1000, files=20, free=10**12, refused=True)
    assert Rules.of(Config()).need(room) == Need(100, 3)
    assert Rules.of(Config()).is_short(10**12, None, refused=True)
    assert not Rules.of(Config(min_free_disk_mb=None)).need(room)
    assert not Rules.of(Config(min_free_disk_mb=None)).is_short(10**12, None, refused=True)
    assert not Rules.of(Config()).need(room._replace(files=0, deletable=0))


def test_need_ends_with_enough_bytes_and_enough_files() -> None:
    """Both must be reached."""
    need = Need(100, 2)
    assert need
    assert need.after(100)
    assert not need.after(100).after(0)
    assert need.after(50).after(49)


def test_older_than_knows_its_age_alone() -> None:
    """No retention, no emergency, no archive."""
    old = Rules.older_than(3600)
    assert old.judge(Facts(age=3601, archived=False)) == Verdict(True, "max_age", -1)
    assert not old.judge(Facts(age=3599)).is_due
    assert not old.is_short(0, 1, refused=True)
    assert not old.need(Room(used=10**15, free=0))


# -- properties ------------------------------------------------------------------


@given(rules, facts, st.floats(0, 1e9))
def test_older_file_goes_no_later(config_rules: Rules, known: Facts, more: float) -> None:
    """Where a file is due, every older one is due too."""
    if config_rules.judge(known).is_due:
        assert config_rules.judge(known._replace(age=known.age + more)).is_due


@given(rules, facts)
def test_file_goes_only_past_a_limit(config_rules: Rules, known: Facts) -> None:
    """What is due is older than the retention or the emergency age, and nothing keeps it."""
    verdict = config_rules.judge(known)
    if verdict.is_due:
        assert known.age > config_rules.least_age
        assert not known.pinned
        assert not known.in_use
        assert not config_rules.refusal
        assert verdict.due_in is not None
        assert verdict.due_in < 0
    elif verdict.due_in is not None:
        assert verdict.due_in >= 0


@given(rules, facts)
def test_what_speaks_for_a_file_makes_it_due_no_sooner(config_rules: Rules, known: Facts) -> None:
    """Failed, active, pinned, not archived: each can only keep a file."""
    plain = config_rules.judge(known._replace(failed=False, in_use=False, pinned=False, archived=True))
    assert plain.is_due or not config_rules.judge(known).is_due


@given(rules, facts)
def test_file_is_due_at_the_time_that_was_foretold(config_rules: Rules, known: Facts) -> None:
    """`due_in` seconds later, and not before that, if the archive has not come to it meanwhile."""
    due_in = config_rules.judge(known).due_in
    if due_in is not None and 0 < due_in < 1e8:
        later = known._replace(age=known.age + due_in * 1.001 + 1)
        sooner = known._replace(age=known.age + due_in * 0.999 - 1)
        verdict = config_rules.judge(later)
        assert verdict.is_due or verdict.reason == "not archived"
        assert not config_rules.judge(sooner).is_due


@given(rules, facts)
def test_rules_without_limits_never_end_the_wait(config_rules: Rules, known: Facts) -> None:
    """No retention and no age: nothing is due by age."""
    lasting = replace(config_rules, retention=None, failed_retention=None, max_age=None)
    assert not lasting.judge(known).is_due


@given(st.floats(0.001, 1e6), st.integers(0, 10**12))
def test_after_an_emergency_there_is_none(limit: float, used: int) -> None:
    """What is left after it is below the limit."""
    config_rules = Rules.of(Config(max_directory_mb=limit))
    needed = config_rules.need(Room(used=used)).bytes
    assert 0 <= needed <= used
    assert not config_rules.need(Room(used=used - needed))


@given(rules, st.integers(0, 10**15), st.integers(0, 10**9), st.integers(0, 10**15), st.booleans())
def test_need_is_only_where_space_may_be_short(
    config_rules: Rules, used: int, files: int, free: int, refused: bool
) -> None:
    """The cheap question before a sweep misses no emergency."""
    room = Room(used=used, deletable=used, files=files, free=free, refused=refused)
    if config_rules.need(room):
        assert config_rules.is_short(free, None, refused=refused)


# -- prose -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "remark"),
    [
        (Verdict(True, "retention", -5.0), "due (retention)"),
        (Verdict(True, "disk", 0.0), "due (disk)"),
        (Verdict(False, "retention", 180.0), "due in 180 s"),
        (Verdict(False, "not archived", 180.0), "kept: not archived yet"),
        (Verdict(False, "pinned"), "kept: pinned"),
        (Verdict(False, "no rule"), "kept: no limit by age"),
        (Verdict(False, "disabled"), "kept: logging is disabled"),
    ],
)
def test_remark_says_whether_and_why(verdict: Verdict, remark: str) -> None:
    """One text for all verbs."""
    assert verdict.remark("{:.0f} s".format) == remark


def test_settings_that_are_hardly_meant_are_remarked_on() -> None:
    """And the defaults are not."""
    assert remarks(Config()) == []
    (found,) = remarks(Config(file_retention_minutes=20, failed_retention_minutes=10))
    assert found.startswith("failed_retention_minutes is shorter")
    (found,) = remarks(Config(time_based_cleanup=False))
    assert found.startswith("time_based_cleanup is false")


# -- one place -------------------------------------------------------------------


def test_settings_of_the_rules_are_settings() -> None:
    """The lists that the next test goes by have no name that is none."""
    assert set(SETTINGS) <= {field.name for field in fields(Config)}
    assert set(ARCHIVE_SETTINGS) <= {field.name for field in fields(ArchiveConfig)}


def test_metrics_know_every_rule_that_deletes() -> None:
    """Integrations may not import the rules; their list of reasons is the same."""
    assert get_args(DeletedBy) == _DELETIONS


def test_rules_alone_read_the_retention_settings() -> None:
    """No other module of the package takes one of them from a configuration, by attribute or by name."""
    package = Path(streaming_logger.__file__).parent
    readers = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            by_attribute = isinstance(node, ast.Attribute) and node.attr in (*SETTINGS, *ARCHIVE_SETTINGS)
            by_name = isinstance(node, ast.Constant) and node.value in SETTINGS
            if by_attribute or by_name:
                readers.add(str(path.relative_to(package)))
    assert readers == {"_sweep/rules.py"}
