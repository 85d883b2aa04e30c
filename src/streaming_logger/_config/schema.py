"""The settings: one frozen value, read and validated whole before it has any effect.

`Config` is the single place where a setting is named, documented and bounded. The
README's table and the shipped `logging_config.json` are held equal to it by tests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from streaming_logger._base.errors import ConfigError, Problem

__all__ = [
    "ENVIRONMENT_PREFIX",
    "SECTION",
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

_NUMBER, _SWITCH, _AUTO, _TEXT, _CHOICE = "number", "switch", "auto or switch", "text", "choice"


def _number(default: float | None, low: float, high: float, doc: str, *, null: str = "", whole: bool = False) -> Any:
    """A setting that is a number from low to high; `null` says what null means, where it is allowed."""
    return field(
        default=default, metadata={"kind": _NUMBER, "low": low, "high": high, "null": null, "whole": whole, "doc": doc}
    )


def _setting(default: object, kind: str, doc: str, *choices: str) -> Any:
    return field(default=default, metadata={"kind": kind, "choices": choices, "doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarConfig:
    """The settings of section `streaming_logs.radar`: what counts as a generation that loops.

    >>> RadarConfig(periodic_characters=1000).enabled
    True
    """

    enabled: bool = _setting(True, _SWITCH, "recognise generations that loop")
    periodic_characters: int = _number(
        150, 100, 1500, "so much repeats exactly, and one and a half periods", whole=True
    )
    counting_characters: int = _number(
        240, 100, 1500, "so much repeats but for a number or letter that grows, and five periods", whole=True
    )
    near_characters: int = _number(480, 320, 1500, "so much recurs with small changes or in another order", whole=True)

    def __post_init__(self) -> None:
        _refuse_bad(self, "radar.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting of section `streaming_logs`, with its default.

    Raises `ConfigError`, with all problems at once, for values out of bounds.

    >>> Config(file_retention_minutes=30).file_retention_minutes
    30
    """

    enabled: bool = _setting(True, _SWITCH, "false: write nothing, sweep nothing")
    directory: str = _setting("logs/streaming", _TEXT, "where the session files are; takes effect at the next start")
    flush_interval_seconds: float = _number(2, 0.01, 3600, "how often buffered chunks go to their files")
    cleanup_interval_seconds: float = _number(60, 0.01, 86400, "how often completed files are swept")
    file_retention_minutes: float | None = _number(
        10,
        0,
        5256000,
        "debugging window: how long a completed file is kept; 0 = deleted at completion",
        null="no limit by age",
    )
    failed_retention_minutes: float | None = _number(
        None,
        0,
        5256000,
        "the same, if longer, for sessions with any other outcome than completed",
        null="the same",
    )
    max_session_age_hours: float | None = _number(
        24, 0.001, 876000, "emergency: no completed file outlives this, whatever the retention", null="no limit"
    )
    idle_timeout_minutes: float | None = _number(
        30, 0.001, 5256000, "an active session idle for this long is completed as abandoned", null="never"
    )
    stall_seconds: float | None = _number(
        None, 0.1, 86400, "an active session without text for this long is reported as stalled", null="never"
    )
    time_based_cleanup: bool = _setting(True, _SWITCH, "false: delete each file at completion")
    max_directory_mb: float | None = _number(
        None, 0.001, 1e9, "emergency: above this size the oldest completed files are deleted first", null="no limit"
    )
    max_session_mb: float | None = _number(
        None, 0.001, 1e6, "a longer session keeps its beginning and its last part", null="no limit"
    )
    min_free_disk_mb: float | None = _number(
        100, 0, 1e9, "emergency: with less free disk space the oldest completed files are deleted first", null="never"
    )
    max_buffer_mb: float = _number(64, 0.001, 1e6, "bound on memory for unwritten text")
    max_open_files: int | None = _number(
        None,
        1,
        1e7,
        "session files open at once; more sessions are parked",
        null="a quarter of the soft limit",
        whole=True,
    )
    radar: RadarConfig = field(default_factory=RadarConfig)
    record_timing: bool = _setting(
        False, _SWITCH, "true: <session>.timing says when each chunk came; takes effect at the next start"
    )
    durability: str = _setting(
        "none",
        _CHOICE,
        "completed: files are synced to the medium at completion (fdatasync)",
        "none",
        "completed",
    )
    crash_journal: bool | Literal["auto"] = _setting(
        False,
        _AUTO,
        "true: text not yet in its file outlives the process, in /dev/shm; auto: where that is; at the next start",
    )
    crash_journal_mb: float = _number(16, 1, 100_000, "its size in memory; takes effect at the next start")
    adopt: bool = _setting(False, _SWITCH, "true: sweep *.log files in a directory that this library did not create")

    def __post_init__(self) -> None:
        _refuse_bad(self, "")
        if not isinstance(self.radar, RadarConfig):
            raise ConfigError([Problem("radar", "must be a RadarConfig", self.radar)])

    @property
    def immediate(self) -> bool:
        """Whether a file is deleted as soon as its session is complete."""
        return not self.time_based_cleanup or self.file_retention_minutes == 0

    @property
    def keeps_failed(self) -> bool:
        """Whether the files of failed sessions are kept longer than the others."""
        return self.time_based_cleanup and self.failed_seconds > (self.retention_seconds or 0.0)

    @property
    def failed_seconds(self) -> float:
        """How long the files of failed sessions are kept; 0 = as long as the others."""
        return 60 * (self.failed_retention_minutes or 0)

    @property
    def retention_seconds(self) -> float | None:
        """The age at which a completed file goes; None = never by this rule."""
        if not self.time_based_cleanup or self.file_retention_minutes is None:
            return None
        return self.file_retention_minutes * 60


#: Sections inside the section: their settings are known by dotted names, as `radar.enabled`.
_INNER = {"radar": RadarConfig}
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


def _refuse_bad(settings: Config | RadarConfig, prefix: str) -> None:
    problems = [
        problem
        for f in fields(settings)
        if (key := prefix + f.name) in _FIELDS and (problem := _check(key, key, getattr(settings, f.name)))
    ]
    if problems:
        raise ConfigError(problems)


def describe() -> list[tuple[str, object, str]]:
    """(key, default, meaning) of every setting, for the README's table and the command's help.

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

    Without a section `streaming_logs` (and without environment overrides) this is the
    older module's behaviour: each file is deleted at completion. Raises `ConfigError`
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
    _collect(overrides, values, problems)
    if problems:
        raise ConfigError(problems, source=source)
    if section is None and not overrides:
        return Config(time_based_cleanup=False)
    return _made(values)


def load(path: Path, *, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file; a file that is missing counts as one without our section.

    Raises `ConfigError` for a file that cannot be read or is not JSON, too.
    """
    source = str(path)
    try:
        document = json.loads(path.read_bytes(), object_pairs_hook=_Pairs)
    except FileNotFoundError:
        document = {}
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


def _collect(given: Mapping[Any, tuple[str, Any]], values: dict[str, Any], problems: list[Problem]) -> None:
    """Adds each good setting of `given` (key -> label, value) to values, each bad one to problems."""
    for key, (label, value) in given.items():
        problem = _check(key, label, value)
        if problem:
            problems.append(problem)
        else:
            values[key] = value


def _check(key: object, label: str, value: object) -> Problem | None:
    """What is wrong with one setting, if anything."""
    if key in _INNER:
        return Problem(label, "must be an object with settings", value)
    if key not in _FIELDS:
        return Problem(str(label), "is not a setting", value, _did_you_mean(str(key), _FIELDS))
    rules = _FIELDS[str(key)].metadata
    kind = rules["kind"]
    if kind == _SWITCH:
        good, rule = isinstance(value, bool), "must be true or false"
    elif kind == _AUTO:
        good, rule = isinstance(value, bool) or value == "auto", "must be true, false or auto"
    elif kind == _CHOICE:
        good, rule = value in rules["choices"], "must be one of " + ", ".join(rules["choices"])
        if not good:
            return Problem(label, rule, value, _did_you_mean(str(value), rules["choices"]))
    elif kind == _TEXT:
        good, rule = isinstance(value, str) and bool(value.strip()) and "\0" not in value, "must be a non-empty path"
    else:
        low, high, null = rules["low"], rules["high"], rules["null"]
        rule = (
            f"must be a {'whole ' if rules['whole'] else ''}number from {low:g} to {high:g}{' or null' if null else ''}"
        )
        if value is None:
            good = bool(null)
        else:
            number = isinstance(value, int if rules["whole"] else (int, float)) and not isinstance(value, bool)
            good = number and low <= value <= high  # never for NaN and infinities
    return None if good else Problem(label, rule, value)


def _did_you_mean(given: str, known: Iterable[str]) -> str:
    """A hint at the name that was probably meant, or nothing."""
    import difflib  # only for who made a mistake

    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(given.lower(), by_lower, 1)
    return f"did you mean {by_lower[close[0]]!r}?" if close else ""


def _from_environment(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, tuple[str, Any]]:
    """Settings from variables such as STREAMING_LOGS_FILE_RETENTION_MINUTES=5, JSON or plain text."""
    found: dict[str, tuple[str, Any]] = {}
    keys = {variable_of(name): name for name in _FIELDS}
    for label, text in environ.items():
        if not label.startswith(ENVIRONMENT_PREFIX):
            continue
        key = keys.get(label.upper(), "")
        rules = _FIELDS[key].metadata if key else None
        if rules is None:
            problems.append(Problem(label, "is not a setting", text, _did_you_mean(label, keys)))
        elif rules["kind"] in (_TEXT, _CHOICE):
            found[key] = (label, text)
        else:
            try:
                found[key] = (label, json.loads(text.strip().lower()))
            except (ValueError, RecursionError):
                found[key] = (label, text)
    return found


assert all(f.default is not MISSING for f in _FIELDS.values()), "every setting has a default"  # noqa: S101
