"""The settings: one frozen value, read and validated whole before it has any effect.

`Config` is the single place where a setting is named, documented and bounded. The
README's table and the shipped `logging_config.json` are held equal to it by tests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from streaming_logger._base.errors import ConfigError, Problem

__all__ = ["ENVIRONMENT_PREFIX", "SECTION", "Config", "describe", "load", "parse"]

SECTION = "streaming_logs"
ENVIRONMENT_PREFIX = "STREAMING_LOGS_"

_NUMBER, _SWITCH, _TEXT, _CHOICE = "number", "switch", "text", "choice"


def _number(default: float | None, low: float, high: float, doc: str, *, null: str = "", whole: bool = False) -> Any:
    """A setting that is a number from low to high; `null` says what null means, where it is allowed."""
    return field(
        default=default, metadata={"kind": _NUMBER, "low": low, "high": high, "null": null, "whole": whole, "doc": doc}
    )


def _setting(default: object, kind: str, doc: str, *choices: str) -> Any:
    return field(default=default, metadata={"kind": kind, "choices": choices, "doc": doc})


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
    adopt: bool = _setting(False, _SWITCH, "true: sweep *.log files in a directory that this library did not create")

    def __post_init__(self) -> None:
        problems = [p for f in fields(self) if (p := _check(f.name, f.name, getattr(self, f.name)))]
        if problems:
            raise ConfigError(problems)

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


_FIELDS = {f.name: f for f in fields(Config)}


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
            _collect({key: (key, value) for key, value in section.items()}, values, problems)
        else:
            problems.append(Problem(SECTION, "must be an object with settings", section))
    _collect(overrides, values, problems)
    if problems:
        raise ConfigError(problems, source=source)
    if section is None and not overrides:
        return Config(time_based_cleanup=False)
    return Config(**values)


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
            problems += [Problem(key, "must stand once", section[key]) for key in section.repeated]
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
    if key not in _FIELDS:
        return Problem(str(label), "is not a setting", value, _did_you_mean(str(key), _FIELDS))
    rules = _FIELDS[str(key)].metadata
    kind = rules["kind"]
    if kind == _SWITCH:
        good, rule = isinstance(value, bool), "must be true or false"
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
    for label, text in environ.items():
        if not label.startswith(ENVIRONMENT_PREFIX):
            continue
        key = label.removeprefix(ENVIRONMENT_PREFIX).lower()
        rules = _FIELDS[key].metadata if key in _FIELDS else None
        if rules is None:
            names = [ENVIRONMENT_PREFIX + name.upper() for name in _FIELDS]
            problems.append(Problem(label, "is not a setting", text, _did_you_mean(label, names)))
        elif rules["kind"] in (_TEXT, _CHOICE):
            found[key] = (label, text)
        else:
            try:
                found[key] = (label, json.loads(text.strip().lower()))
            except (ValueError, RecursionError):
                found[key] = (label, text)
    return found


assert all(f.default is not MISSING for f in _FIELDS.values()), "every setting has a default"  # noqa: S101
