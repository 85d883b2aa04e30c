"""The settings: whole validation, all problems at once, and the defaults that are shipped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyfakefs.fake_filesystem import FakeFilesystem

from streaming_logger import ArchiveConfig, Config, ConfigError
from streaming_logger._config.schema import SECTION, RadarConfig, describe, flattened, load, parse, value_of

ROOT = Path(__file__).parents[2]
OTHERS = {
    "enabled",
    "directory",
    "time_based_cleanup",
    "durability",
    "adopt",
    "record_timing",
    "radar.enabled",
    "crash_journal",
}
OTHERS |= {"crash_journal_directory", "radar.sensitivity", "radar.on_runaway_minimum", "radar.except_sessions"}
OTHERS |= {f"archive.{name}" for name in ("url", "when", "only", "compress", "delete_after_upload", "host")}
NUMBERS = [name for name, *_ in describe() if name not in OTHERS]
HUGE = pytest.param(10**400, id="huge")  # no float is so large: math.isfinite raises
MAY_BE_NULL = {name for name, _, meaning in describe() if "null =" in meaning}


def problems(section: object, **environ: str) -> list[tuple[str, str, Any, str]]:
    """What is wrong with a section, as plain tuples."""
    with pytest.raises(ConfigError) as caught:
        parse({SECTION: section}, environ=environ)
    return [tuple(problem) for problem in caught.value.problems]  # type: ignore[misc]


def test_shipped_file_is_equal_to_the_defaults() -> None:
    """`logging_config.json` shows every setting, with the default it has anyway."""
    assert load(ROOT / "logging_config.json", environ={}) == Config()
    shipped = json.loads((ROOT / "logging_config.json").read_text())
    assert list(flattened(shipped[SECTION]).items()) == [(name, default) for name, default, _ in describe()]


def test_empty_section_is_the_defaults() -> None:
    """A section `streaming_logs` with nothing in it means time-based cleanup."""
    assert parse({SECTION: {}}, environ={}) == Config()


@pytest.mark.parametrize("document", [{}, {"logging": {"level": 3}, "handlers": [1]}])
def test_no_section_is_deletion_at_completion(document: dict[str, object]) -> None:
    """The older module's behaviour; other sections are other people's and ignored."""
    assert parse(document, environ={}) == Config(time_based_cleanup=False)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, True, False, "5", [], {}, math.nan, math.inf, -math.inf, 1e300, HUGE])
def test_no_number_is_refused(name: str, value: object) -> None:
    """Text, booleans, NaN, infinities and huge values are no numbers of seconds or megabytes."""
    ((key, rule, got, _),) = problems({name: value})
    assert key == name
    assert "number from" in rule
    assert got is value


@pytest.mark.parametrize("name", NUMBERS)
def test_null_is_allowed_where_it_has_a_meaning(name: str) -> None:
    """And refused where it has none."""
    if name in MAY_BE_NULL:
        assert getattr(parse({SECTION: {name: None}}, environ={}), name) is None
    else:
        assert problems({name: None})[0][0] == name


@pytest.mark.parametrize("name", ["enabled", "time_based_cleanup", "adopt"])
@pytest.mark.parametrize("value", [0, 1, "true", None, []])
def test_no_switch_is_refused(name: str, value: object) -> None:
    """A switch is true or false."""
    assert problems({name: value}) == [(name, "must be true or false", value, "")]


@pytest.mark.parametrize("value", ["", "  ", 3, None, "a\0b", ["logs"]])
def test_no_path_is_refused(value: object) -> None:
    """The directory is a non-empty path."""
    assert problems({"directory": value}) == [("directory", "must be a non-empty path", value, "")]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("file_retention_minute", "did you mean 'file_retention_minutes'?"),
        ("Enabled", "did you mean 'enabled'?"),
        ("max_bufer_mb", "did you mean 'max_buffer_mb'?"),
        ("colour", ""),
    ],
)
def test_unknown_key_is_refused_with_a_hint(key: str, hint: str) -> None:
    """A typo never passes silently."""
    assert problems({key: 1}) == [(key, "is not a setting", 1, hint)]


def test_unknown_choice_is_refused_with_a_hint() -> None:
    """The rule names all choices."""
    expected = ("durability", "must be one of none, completed", "complete", "did you mean 'completed'?")
    assert problems({"durability": "complete"}) == [expected]


@pytest.mark.parametrize("value", [{}, [], ["none"], None, 1, True])
def test_choice_of_another_type_is_refused(value: object) -> None:
    """Nothing unhashable or foreign gets through."""
    assert problems({"durability": value})[0][0] == "durability"


def test_whole_number_is_refused_as_a_fraction() -> None:
    """There is no half an open file."""
    assert "whole number" in problems({"max_open_files": 1.5})[0][1]


def test_all_problems_come_at_once() -> None:
    """In one error, each with key, rule, value and hint; environment included."""
    found = problems(
        {"enabled": 1, "flush_interval_seconds": -2, "retention": 5, "durability": "no"},
        STREAMING_LOGS_MAX_BUFFER_MB="lots",
        STREAMING_LOGS_ENABLE="true",
    )
    assert {key for key, *_ in found} == {
        *("enabled", "flush_interval_seconds", "retention", "durability"),
        *("STREAMING_LOGS_MAX_BUFFER_MB", "STREAMING_LOGS_ENABLE"),
    }
    assert [hint for *_, hint in found if "ENABLE" in hint] == ["did you mean 'STREAMING_LOGS_ENABLED'?"]


def test_error_text_is_one_line_with_everything() -> None:
    """What the operator reads in the log."""
    with pytest.raises(ConfigError) as caught:
        parse({SECTION: {"enabled": "x" * 500, "adopt": 1}}, environ={}, source="here.json")
    text = str(caught.value)
    assert text.startswith("here.json: enabled: must be true or false, got 'xxx")
    assert text.endswith("...; adopt: must be true or false, got 1")
    assert "\n" not in text


@pytest.mark.parametrize("section", [None, [], "on", 3, True])
def test_section_that_is_no_object_is_refused(section: object) -> None:
    """A section in another shape is a mistake, not an absence."""
    assert problems(section)[0][:2] == (SECTION, "must be an object with settings")


@pytest.mark.parametrize("document", [None, [], "x", 3, True])
def test_document_that_is_no_object_is_refused(document: object) -> None:
    """So is a whole document in another shape."""
    with pytest.raises(ConfigError, match="must be an object with sections"):
        parse(document, environ={})


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("FLUSH_INTERVAL_SECONDS", "0.5", "flush_interval_seconds", 0.5),
        ("FILE_RETENTION_MINUTES", " null ", "file_retention_minutes", None),
        ("TIME_BASED_CLEANUP", "False", "time_based_cleanup", False),
        ("DIRECTORY", "/var/log/llm", "directory", "/var/log/llm"),
        ("DIRECTORY", "7", "directory", "7"),
        ("DURABILITY", "completed", "durability", "completed"),
        ("MAX_OPEN_FILES", "12", "max_open_files", 12),
    ],
)
def test_environment_overrides_the_file(variable: str, text: str, key: str, value: object) -> None:
    """STREAMING_LOGS_<KEY> wins over the section, and makes one where there is none."""
    environ = {"STREAMING_LOGS_" + variable: text, "PATH": "/bin"}
    for document in ({}, {SECTION: {"flush_interval_seconds": 7, "directory": "d"}}):
        assert getattr(parse(document, environ=environ), key) == value
    assert parse({}, environ=environ).time_based_cleanup == (key != "time_based_cleanup")


def test_config_is_frozen() -> None:
    """One value, swapped as a whole, never changed."""
    with pytest.raises(AttributeError):
        Config().enabled = False  # type: ignore[misc]


def test_config_by_keywords_is_checked_too() -> None:
    """Building it in Python gives the same error."""
    with pytest.raises(ConfigError) as caught:
        Config(enabled=1, max_buffer_mb=-1)  # type: ignore[arg-type]
    assert [problem.key for problem in caught.value.problems] == ["enabled", "max_buffer_mb"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([name for name, *_ in describe()]) | st.text(), json_values, max_size=6))
def test_any_section_is_taken_whole_or_refused_whole(section: dict[str, object]) -> None:
    """Never another exception, and a problem for nothing but what was given."""
    refused: set[str] = set()
    config = Config()
    try:
        config = parse({SECTION: section}, environ={})
    except ConfigError as error:
        refused = {problem.key for problem in error.problems}
    assert refused <= set(section)
    assert refused or all(value_of(config, key) == value for key, value in section.items())


# -- files ---------------------------------------------------------------------------


def test_missing_file_counts_as_one_without_settings(fs: FakeFilesystem) -> None:
    """No file, no section: deletion at completion."""
    assert load(Path("/app/logging_config.json"), environ={}) == Config(time_based_cleanup=False)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"hello", b'{"streaming_logs": {"enabled": true,}}', b"\xff\xfe\xfd", b"[" * 100_000, b'{"a": 01}'],
    ids=["empty", "cut", "text", "comma", "binary", "deep", "octal"],
)
def test_file_that_is_not_json_is_refused(fs: FakeFilesystem, content: bytes) -> None:
    """With the file's name in the error."""
    fs.create_file("/app/c.json", contents=content)
    with pytest.raises(ConfigError, match=r"/app/c\.json: \(file\): must be JSON"):
        load(Path("/app/c.json"), environ={})


def test_directory_in_its_place_is_refused(fs: FakeFilesystem) -> None:
    """What cannot be read is a problem, not an absence."""
    fs.create_dir("/app/c.json")
    with pytest.raises(ConfigError, match="must be readable"):
        load(Path("/app/c.json"), environ={})


def test_unreadable_file_is_refused(fs: FakeFilesystem) -> None:
    """A file without read permission, for a user who is not root."""
    from pyfakefs.helpers import set_uid

    fs.create_file("/app/c.json", contents="{}", st_mode=0o100000)
    set_uid(1000)
    try:
        with pytest.raises(ConfigError, match="must be readable"):
            load(Path("/app/c.json"), environ={})
    finally:
        set_uid(0)


def test_setting_given_twice_is_refused(fs: FakeFilesystem) -> None:
    """JSON would silently take the last one; so is a section given twice, other people's are not looked at."""
    text = '{"x": {"a": 1, "a": 2}, "x": 3, "streaming_logs": {"adopt": true, "enabled": 1, "adopt": false}}'
    fs.create_file("/app/c.json", contents=text)
    with pytest.raises(ConfigError) as caught:
        load(Path("/app/c.json"), environ={})
    found = sorted((problem.key, problem.rule) for problem in caught.value.problems)
    assert found == [("adopt", "must stand once"), ("enabled", "must be true or false")]
    fs.create_file("/app/d.json", contents='{"streaming_logs": {}, "streaming_logs": {}}')
    with pytest.raises(ConfigError, match="streaming_logs: must stand once"):
        load(Path("/app/d.json"), environ={})


def test_nan_in_a_file_is_refused(fs: FakeFilesystem) -> None:
    """Python's JSON reads NaN; no setting is one."""
    fs.create_file("/app/c.json", contents='{"streaming_logs": {"max_buffer_mb": NaN, "max_open_files": Infinity}}')
    with pytest.raises(ConfigError) as caught:
        load(Path("/app/c.json"), environ={})
    assert [problem.key for problem in caught.value.problems] == ["max_buffer_mb", "max_open_files"]


def test_settings_of_an_inner_section_have_dotted_names() -> None:
    """Their problems are named so, with a hint; a section that is no object is one problem."""
    section = {"radar": {"enabled": "yes", "periodic_character": 5}, "flush_interval_seconds": -1}
    found = problems(section)
    assert [(key, hint) for key, _, _, hint in found] == [
        ("radar.enabled", ""),
        ("radar.periodic_character", "did you mean 'radar.periodic_characters'?"),
        ("flush_interval_seconds", ""),
    ]
    assert [problem[:2] for problem in problems({"radar": 5})] == [("radar", "must be an object with settings")]


def test_inner_section_from_file_environment_and_code() -> None:
    """The environment wins over the file, as for any setting."""
    config = parse({SECTION: {"radar": {"enabled": False}}}, environ={})
    assert config == Config(radar=RadarConfig(enabled=False))
    environ = {"STREAMING_LOGS_RADAR_PERIODIC_CHARACTERS": "900", "STREAMING_LOGS_RADAR_ENABLED": "true"}
    config = parse({SECTION: {"radar": {"enabled": False}}}, environ=environ)
    assert config.radar == RadarConfig(periodic_characters=900)
    ((key, rule, _, _),) = problems({}, STREAMING_LOGS_RADAR_PERIODIC_CHARACTERS="few")
    assert (key, rule) == (
        "STREAMING_LOGS_RADAR_PERIODIC_CHARACTERS",
        "must be a whole number from 100 to 1500",
    )
    with pytest.raises(ConfigError, match=r"radar\.periodic_characters"):
        RadarConfig(periodic_characters=1)
    with pytest.raises(ConfigError, match="radar: must be a RadarConfig"):
        Config(radar={"enabled": True})  # type: ignore[arg-type]


def test_repeated_key_of_an_inner_section_is_refused(tmp_path: Path) -> None:
    """As one of the section itself."""
    path = tmp_path / "logging_config.json"
    path.write_text('{"streaming_logs": {"radar": {"enabled": true, "enabled": false}}}')
    with pytest.raises(ConfigError, match="enabled: must stand once"):
        load(path, environ={})


@pytest.mark.parametrize("url", ["logs", "s3:", "s3://", "ftp://x/y", "file://host-only", "http://[", 5, "", True, []])
def test_what_is_no_url_of_an_archive_is_refused(url: object) -> None:
    """The rule names the schemes."""
    rule = "must be a URL: s3://..., gs://..., az://..., file://... or null"
    assert [problem[:2] for problem in problems({"archive": {"url": url}})] == [("archive.url", rule)]


@pytest.mark.parametrize(
    "url", ["s3://bucket", "s3://bucket/a/b", "gs://b/p", "az://container/p", "file:///a%20b", None]
)
def test_url_of_an_archive_is_taken(url: str | None) -> None:
    """With a folder or without; null means no archive."""
    assert parse({SECTION: {"archive": {"url": url}}}, environ={}).archive.url == url
    environ = {"STREAMING_LOGS_ARCHIVE_URL": url or "null"}
    assert parse({SECTION: {"archive": {"url": "s3://other"}}}, environ=environ).archive.url == url


SECRETS = [
    "s3://AKIAKEY:pass-word@bucket/prefix",
    "s3://pass-word@bucket",
    "s3://AKIAKEY:pass-word/with/slash@bucket",
    "s3://key%3Apass-word%40bucket",
    "s3://bucket:pass-word/x",
    "s3://bucket/prefix?secret=pass-word",
    "s3://bucket?X-Amz-Signature=pass-word",
    "s3://bucket#pass-word",
    "gs://bucket/p?token=pass-word",
    "az://container/p?sv=2020&sig=pass-word",
    "file://user:pass-word@host/path",
    "https://user:pass-word@s3.example.com/bucket",
    "http://s3.example.com/bucket?sig=pass-word",
]


@pytest.mark.parametrize("url", SECRETS)
def test_url_with_credentials_or_a_query_is_refused_without_repeating_it(url: str, tmp_path: Path) -> None:
    """In a mapping, a file, the environment, the class: neither the message nor the exception has it."""
    path = tmp_path / "logging_config.json"
    path.write_text(json.dumps({SECTION: {"archive": {"url": url}}}))
    environ = {"STREAMING_LOGS_ARCHIVE_URL": url}
    for make in (
        lambda: parse({SECTION: {"archive": {"url": url}}}, environ={}),
        lambda: load(path, environ={}),
        lambda: parse({}, environ=environ),
        lambda: ArchiveConfig(url=url),
    ):
        with pytest.raises(ConfigError, match="must not have credentials or a query") as caught:
            make()
        assert "pass-word" not in f"{caught.value} {caught.value!r} {caught.value.args} {caught.value.problems}"


@pytest.mark.parametrize(
    "section",
    [
        {"archive": {"ulr": "s3://key:pass-word@bucket"}},
        {"archive": "s3://key:pass-word@bucket"},
        {"archive_url": "s3://bucket?sig=pass-word"},
        {"archive": {"secret_access_key": "pass-word"}},
        {"archive": {"password": "pass-word"}},
        {"archive": {"url": {"access_key": "pass-word"}}},
        {"archive": {"url": ["s3://key:pass-word@bucket"]}},
        {"archive": {"host": ["s3://key:pass-word@bucket"]}},
        {"archive": [{"sas_token": "pass-word"}]},
        {"directory": ["s3://key:pass-word@bucket"]},
        ["s3://key:pass-word@bucket"],
    ],
)
def test_secret_under_another_name_is_not_repeated(section: object) -> None:
    """A typo, a setting that does not exist, an object in the place of a text."""
    with pytest.raises(ConfigError) as caught:
        parse({SECTION: section}, environ={})
    assert "pass-word" not in f"{caught.value} {caught.value!r} {caught.value.problems}"
    with pytest.raises(ConfigError) as caught:
        parse({}, environ={"STREAMING_LOGS_ARCHIVE_SECRET_KEY": "pass-word"})
    assert "pass-word" not in f"{caught.value} {caught.value!r} {caught.value.problems}"


@pytest.mark.parametrize("url", ["s3://bucket\nname", "s3://bucket/a\x1b[2J", "file://host/path", "s3://a b/x"])
def test_url_of_an_archive_is_one_line_and_one_bucket(url: str) -> None:
    """It stands in log lines; `urlsplit` leaves line breaks out."""
    with pytest.raises(ConfigError, match="must be a URL"):
        ArchiveConfig(url=url)
