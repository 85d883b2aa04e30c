"""The settings: one frozen value, read and validated whole before it has any effect.

`Config` is the single place where a setting is named, documented and bounded. The
manual's table and the shipped `logging_config.json` are held equal to it by tests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from streaming_logger._base.errors import ConfigError, Problem
from streaming_logger._config import rules
from streaming_logger._config.misplaced import misplaced
from streaming_logger._disk.regular import IrregularFileError, read_regular

__all__ = [
    "ENVIRONMENT_PREFIX",
    "MAX_FILE_BYTES",
    "SECTION",
    "WITHOUT_SECTION",
    "ArchiveConfig",
    "Config",
    "RadarConfig",
    "describe",
    "flattened",
    "load",
    "parse",
    "value_of",
    "variable_of",
]

SECTION = "streaming_logs"
ENVIRONMENT_PREFIX = "STREAMING_LOGS_"
#: No configuration is longer. The worker reads it between two flushes.
MAX_FILE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarConfig:
    """The settings of section `streaming_logs.radar`: what counts as a generation that loops.

    >>> RadarConfig(periodic_characters=1000).enabled
    True
    """

    enabled: bool = rules.switch(True, "recognise generations that loop")
    sensitivity: str = rules.choice(
        "normal; low: a loop must be twice as long before it is reported; high: 0.6 times", "normal", "low", "high"
    )
    on_runaway_minimum: str = rules.choice("high: on_runaway is not called for loops of low severity", "low", "high")
    except_sessions: str | None = rules.text(
        None, "sessions that are left alone: patterns of ids, as `eval-*, batch-*`", null="none"
    )
    periodic_characters: int = rules.number(
        150, 100, 1500, "expert: minimum length of an exact repetition, beyond one and a half periods", whole=True
    )
    counting_characters: int = rules.number(
        240, 100, 1500, "expert: minimum length where numbers count, beyond five periods", whole=True
    )
    near_characters: int = rules.number(
        480, 320, 1500, "expert: minimum length of text that recurs with small changes or in another order", whole=True
    )

    def __post_init__(self) -> None:
        _refuse_bad(self, "radar.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveConfig:
    """The settings of section `streaming_logs.archive`: which completed files go to object storage, where and when.

    >>> ArchiveConfig(url="s3://chat-logs/prod").when
    'completed'
    """

    url: str | None = rules.url("object storage for completed files", *rules.ARCHIVE_SCHEMES, null="no archive")
    when: str = rules.choice(
        "completed: uploaded when it completes; expired: when its retention is over", "completed", "expired"
    )
    only: str = rules.choice("trouble: only sessions that failed, or with a loop", "all", "trouble")
    compress: str = rules.choice("how texts are stored", "gzip", "none")
    delete_after_upload: bool = rules.switch(False, "true: a file is deleted as soon as it is uploaded")
    max_uploads: int = rules.number(8, 1, 256, "sessions uploaded at once", whole=True)
    max_retries: int = rules.number(
        3, 0, 100, "of one request, with backoff and jitter; the session is tried again later", whole=True
    )
    drain_seconds: float = rules.number(
        5, 0, 3600, "how long close() waits for uploads; the next process goes on with the rest"
    )
    host: str | None = rules.text(None, "this machine's name in the archive", null="its host name")

    def __post_init__(self) -> None:
        _refuse_bad(self, "archive.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting of section `streaming_logs`, with its default.

    Raises `ConfigError`, with all problems at once, for values out of bounds.

    >>> Config(file_retention_minutes=30).file_retention_minutes
    30
    """

    enabled: bool = rules.switch(True, "false: write nothing, sweep nothing")
    directory: str = rules.text("logs/streaming", "where the session files are; takes effect at the next start")
    flush_interval_seconds: float = rules.number(2, 0.01, 3600, "how often buffered chunks go to their files")
    cleanup_interval_seconds: float = rules.number(60, 0.01, 86400, "how often completed files are swept")
    file_retention_minutes: float | None = rules.number(
        10,
        0,
        5256000,
        "debugging window: how long a completed file is kept; 0 = deleted at completion",
        null="no limit by age",
    )
    failed_retention_minutes: float | None = rules.number(
        None,
        0,
        5256000,
        "retention of failed sessions, if longer than file_retention_minutes",
        null="the same",
    )
    max_session_age_hours: float | None = rules.number(
        24, 0.001, 876000, "emergency: no completed file outlives this, whatever the retention", null="no limit"
    )
    idle_timeout_minutes: float | None = rules.number(
        30, 0.001, 5256000, "an active session idle for this long is completed as abandoned", null="never"
    )
    stall_seconds: float | None = rules.number(
        None, 0.1, 86400, "an active session without text for this long is reported as stalled", null="never"
    )
    time_based_cleanup: bool = rules.switch(True, "false: delete each file at completion")
    max_directory_mb: float | None = rules.number(
        None, 0.001, 1e9, "emergency: above this size the oldest completed files are deleted first", null="no limit"
    )
    max_session_mb: float | None = rules.number(
        None, 0.001, 1e6, "a longer session keeps its beginning and its last part", null="no limit"
    )
    min_free_disk_mb: float | None = rules.number(
        100,
        0,
        1e9,
        "emergency: with less free disk space (at most a tenth of the volume), or when a write fails because the disk "
        "or a quota is full, the oldest completed files are deleted first",
        null="never",
    )
    max_buffer_mb: float = rules.number(64, 0.001, 1e6, "bound on memory for unwritten text")
    max_open_files: int | None = rules.number(
        None,
        1,
        1e7,
        "session files open at once; more sessions are parked",
        null="a quarter of the soft limit",
        whole=True,
    )
    radar: RadarConfig = field(default_factory=RadarConfig)
    record_timing: bool = rules.switch(
        False, "true: <session>.timing says when each chunk came; takes effect at the next start"
    )
    durability: str = rules.choice(
        "completed: files are synced to the medium at completion (fdatasync)", "none", "completed"
    )
    crash_journal: bool | Literal["auto"] = rules.auto(
        "auto",
        "auto: text not yet in its file outlives the process, where memory for it is; true: and a warning where not; "
        "at the next start",
    )
    crash_journal_mb: float = rules.number(16, 1, 100_000, "memory it may take; takes effect at the next start")
    crash_journal_directory: str = rules.text("/dev/shm", "storage in memory for it; takes effect at the next start")  # noqa: S108 - names in it are random
    archive: ArchiveConfig = field(default_factory=ArchiveConfig)
    adopt: bool = rules.switch(False, "true: sweep *.log files in a directory that this library did not create")

    def __post_init__(self) -> None:
        _refuse_bad(self, "")
        for name, kind in _INNER.items():
            if not isinstance(given := getattr(self, name), kind):
                raise ConfigError([Problem(name, f"must be a {kind.__name__}", given)])


#: Sections inside the section: their settings are known by dotted names, as `radar.enabled`.
_INNER: dict[str, type[RadarConfig | ArchiveConfig]] = {"radar": RadarConfig, "archive": ArchiveConfig}
_FIELDS = {
    f"{f.name}.{inner.name}" if f.name in _INNER else f.name: inner
    for f in fields(Config)
    for inner in (fields(_INNER[f.name]) if f.name in _INNER else (f,))
}


def value_of(config: Config, key: str) -> object:
    """The value of a setting by its name, dotted or not.

    >>> value_of(Config(), "radar.enabled")
    True
    """
    return attrgetter(key)(config)


def variable_of(key: str) -> str:
    """The environment variable of a setting.

    >>> variable_of("radar.enabled")
    'STREAMING_LOGS_RADAR_ENABLED'
    """
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "_")


def flattened(section: Mapping[Any, Any]) -> dict[Any, Any]:
    """A section with the settings of its inner sections by their dotted names.

    >>> flattened({"enabled": True, "radar": {"enabled": False}})
    {'enabled': True, 'radar.enabled': False}
    """
    flat: dict[Any, Any] = {}
    for key, value in section.items():
        if key in _INNER and isinstance(value, Mapping):
            flat.update({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            flat[key] = value
    return flat


def _made(values: Mapping[str, Any]) -> Config:
    """The configuration of settings by their dotted names."""
    outer = {key: value for key, value in values.items() if "." not in key}
    for name, kind in _INNER.items():
        inner = {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}
        outer[name] = kind(**inner)
    return Config(**outer)


def _refuse_bad(settings: Config | RadarConfig | ArchiveConfig, prefix: str) -> None:
    problems = [
        problem
        for f in fields(settings)
        if (key := prefix + f.name) in _FIELDS and (problem := _check(key, key, getattr(settings, f.name)))
    ]
    if problems:
        raise ConfigError(problems)


def describe() -> list[tuple[str, object, str]]:
    """(key, default, meaning) of every setting, for the manual's table and the command's help.

    >>> describe()[2]
    ('flush_interval_seconds', 2, 'how often buffered chunks go to their files')
    """
    rows = []
    for name, f in _FIELDS.items():
        null = f.metadata.get("null")
        rows.append((name, f.default, f.metadata["doc"] + (f"; null = {null}" if null else "")))
    return rows


def parse(document: object, *, environ: Mapping[str, str] | None = None, source: str = "configuration") -> Config:
    """The configuration in a whole `logging_config.json` document; other sections are ignored.

    Without a section `streaming_logs` (and without environment overrides) this is
    `WITHOUT_SECTION`, if nothing else in the document was meant for it. Raises `ConfigError`
    with every problem of the document and the environment at once.

    >>> parse({"streaming_logs": {"file_retention_minutes": 5}}, environ={}).file_retention_minutes
    5
    >>> parse({}, environ={}).time_based_cleanup
    False
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    overrides = _from_environment(os.environ if environ is None else environ, problems)
    section: object = None
    if not isinstance(document, Mapping):
        problems.append(Problem("(document)", "must be an object with sections", document))
    elif SECTION in document:
        section = document[SECTION]
        if isinstance(section, Mapping):
            _collect({key: (key, value) for key, value in flattened(section).items()}, values, problems)
        else:
            problems.append(Problem(SECTION, "must be an object with settings", section))
    else:
        meant, given = misplaced(document, SECTION, _FIELDS)
        problems += meant
        _collect({key: (key, value) for key, value in flattened(given).items()}, values, problems)
    _collect(overrides, values, problems)
    if problems:
        raise ConfigError(problems, source=source)
    if section is None and not overrides:
        return WITHOUT_SECTION
    return _made(values)


def load(path: Path, *, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file; a file that is missing counts as one without our section.

    Raises `ConfigError` for a file that cannot be read, is not a regular one, or is not JSON, too. Never waits for it.
    """
    source = str(path)
    try:
        document = json.loads(read_regular(path, MAX_FILE_BYTES), object_pairs_hook=_Pairs)
    except FileNotFoundError:
        document = {}
    except IrregularFileError as error:
        rule = f"must be readable: a regular file of at most {MAX_FILE_BYTES:,} bytes"
        raise ConfigError([Problem("(file)", rule, error.strerror)], source=source) from error
    except OSError as error:
        raise ConfigError([Problem("(file)", "must be readable", error.strerror)], source=source) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError([Problem("(file)", "must be JSON", str(error))], source=source) from error
    problems = []
    if isinstance(document, _Pairs):
        problems += [Problem(key, "must stand once", key) for key in document.repeated if key == SECTION]
        section = document.get(SECTION)
        if isinstance(section, _Pairs):
            inner = [value for value in section.values() if isinstance(value, _Pairs)]
            problems += [Problem(key, "must stand once", of[key]) for of in (section, *inner) for key in of.repeated]
    try:
        config = parse(document, environ=environ, source=source)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems, source=source)
    return config


class _Pairs(dict[str, Any]):
    """A JSON object that remembers which keys it was given more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.repeated = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]


def _check(key: object, label: str, value: object) -> Problem | None:
    """What is wrong with one setting, if anything."""
    if key in _INNER:
        return Problem(label, "must be an object with settings", value)
    if key not in _FIELDS:
        return Problem(str(label), "is not a setting", value, rules.did_you_mean(str(key), _FIELDS))
    return rules.check(_FIELDS[str(key)].metadata, label, value)


def _collect(given: Mapping[Any, tuple[str, Any]], values: dict[str, Any], problems: list[Problem]) -> None:
    """Adds each good setting of `given` (key -> label, value) to values, each bad one to problems."""
    for key, (label, value) in given.items():
        problem = _check(key, label, value)
        if problem:
            problems.append(problem)
        else:
            values[key] = value


def _from_environment(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, tuple[str, Any]]:
    """Settings from variables such as STREAMING_LOGS_FILE_RETENTION_MINUTES=5, JSON or plain text."""
    found: dict[str, tuple[str, Any]] = {}
    keys = {variable_of(name): name for name in _FIELDS}
    for label, given in environ.items():
        if not label.startswith(ENVIRONMENT_PREFIX):
            continue
        key = keys.get(label.upper(), "")
        known = _FIELDS[key].metadata if key else None
        if known is None:
            problems.append(Problem(label, "is not a setting", given, rules.did_you_mean(label, keys)))
        else:
            found[key] = (label, rules.from_text(known, given))
    return found


#: What a document without our section stands for: as in the older module each file is deleted at completion.
#: It is told by its identity from a configuration that has these settings by choice.
WITHOUT_SECTION = Config(time_based_cleanup=False)

assert all(f.default is not MISSING for f in _FIELDS.values()), "every setting has a default"  # noqa: S101
