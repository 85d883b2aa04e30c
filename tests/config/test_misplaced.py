"""Settings outside of the section, and sections with nearly its name: what was meant for us, and what was not."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from cli.tools import run
from streaming_logger import Config, ConfigError, StreamingLogger, _default, get_streaming_logger
from streaming_logger._config.schema import WITHOUT_SECTION, parse

SERVER = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(message)s"}},
    "filters": {},
    "handlers": {"stream": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"streaming_logger": {"level": "INFO"}, "streaming_logs": {"level": "INFO"}},
    "root": {"handlers": ["stream"]},
}


def problems(document: Any) -> dict[str, list[str]]:
    """The rules that a document breaks, by key."""
    with pytest.raises(ConfigError) as refused:
        parse(document, environ={})
    found: dict[str, list[str]] = {}
    for problem in refused.value.problems:
        found.setdefault(problem.key, []).append(f"{problem.rule} {problem.hint}".strip())
    return found


@pytest.mark.parametrize("beside", [{}, SERVER, {"my_app": {"port": 80}}], ids=["alone", "server", "app"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file_retention_minutes", 30),
        ("flush_interval_seconds", 1),
        ("time_based_cleanup", True),
        ("max_session_mb", None),
        ("crash_journal", True),
        ("record_timing", True),
    ],
)
def test_setting_outside_of_the_section_is_refused(key: str, value: object, beside: dict[str, Any]) -> None:
    """It had no effect, and files that somebody wanted to keep were deleted."""
    assert problems({**beside, key: value}) == {key: ["belongs in section streaming_logs"]}


def test_setting_of_an_inner_section_outside_of_the_section_is_refused() -> None:
    """By its dotted name, as always."""
    assert list(problems({**SERVER, "radar": {"periodic_characters": 200}})) == ["radar.periodic_characters"]
    assert list(problems({"archive": {"url": "s3://chat-logs"}})) == ["archive.url"]


@pytest.mark.parametrize(
    "name",
    [
        *("streaming_log", "streaminglogs", "stream_logs", "streaming-logs", "streamingLogs", "Streaming_Logs"),
        *("STREAMING_LOGS", "streaming logs", "steaming_logs", "streaming_lgos", "streaming_logger", "stream_log"),
        *("streaming_logging", "stream_logging"),
    ],
)
def test_section_with_nearly_the_name_is_refused(name: str) -> None:
    """Beside a server's other sections, too; with the name that was meant."""
    (rules,) = problems({**SERVER, name: {"file_retention_minutes": 30}}).values()
    assert rules == ["is not the name of the section did you mean 'streaming_logs'?"]
    assert name in problems({name: {}})


def test_section_of_another_name_with_our_settings_is_refused() -> None:
    """It is about streaming, and only we have settings of these names."""
    assert list(problems({"streaming": {"enabled": True, "file_retention_minutes": 30}})) == ["streaming"]


def test_all_problems_come_at_once() -> None:
    """Settings outside, what is wrong with their values, a section's name, what is wrong in it, the environment."""
    document = {"file_retention_minutes": "ten", "enabled": 1, "streaming_log": {"max_buffer_mb": 0, "directori": "x"}}
    with pytest.raises(ConfigError) as refused:
        parse(document, environ={"STREAMING_LOGS_STALL_SECONDS": "soon"})
    found = {(problem.key, problem.rule.partition(" ")[0]) for problem in refused.value.problems}
    assert found == {
        ("file_retention_minutes", "belongs"),
        ("file_retention_minutes", "must"),
        ("enabled", "belongs"),
        ("enabled", "must"),
        ("streaming_log", "is"),
        ("max_buffer_mb", "must"),
        ("directori", "is"),
        ("STREAMING_LOGS_STALL_SECONDS", "must"),
    }


def test_misspelled_setting_beside_others_is_named_too() -> None:
    """Else it would be the next surprise."""
    found = problems({"file_retention_minutes": 30, "flush_interval_second": 1})
    assert found["flush_interval_second"] == [
        "belongs in section streaming_logs",
        "is not a setting did you mean 'flush_interval_seconds'?",
    ]
    assert "file_retention_minute" in problems({"file_retention_minute": 30})


def test_common_words_are_ours_where_there_is_nothing_else() -> None:
    """A mapping with nothing but our settings was meant for us."""
    assert list(problems({"enabled": False})) == ["enabled"]
    assert list(problems({"enabled": True, "directory": "/var/log/chat"})) == ["enabled", "directory"]
    assert "enabled" in problems({**SERVER, "enabled": False, "max_buffer_mb": 3})


@pytest.mark.parametrize(
    "document",
    [
        *({}, SERVER, {**SERVER, "enabled": True}, {**SERVER, "directory": "logs"}, {"logging": SERVER}),
        *({**SERVER, "enabled": True, "directory": "logs"}, {**SERVER, "archive": {"url": "s3://x", "bucket": "y"}}),
        *({**SERVER, "archive": {"max_retries": 3}}, {**SERVER, "radar": {"enabled": True}}, {**SERVER, "archive": 1}),
        *({"streaming": {"chunk_size": 10}}, {"streams": {}}, {"log_stream": "ext://sys.stderr", "logs": {}}),
        *({"stream": {"level": "INFO"}}, {1: 2}, {"flush_interval": 3, "retention": 4, "log_level": "INFO"}),
    ],
    ids=lambda document: ",".join(map(str, document))[-40:] or "empty",
)
def test_configuration_of_others_is_not_refused(document: dict[Any, Any]) -> None:
    """An existing server goes on: its sections and keys are its own, also by a common word."""
    assert parse(document, environ={}) is WITHOUT_SECTION


def test_file_with_the_section_may_hold_anything_else() -> None:
    """Also what would be refused without it."""
    document = {**SERVER, "streaming_logs": {}, "file_retention_minutes": 3, "streaming_log": {"x": 1}}
    assert parse(document, environ={}) == Config()


def test_secrets_in_a_misplaced_section_are_not_shown() -> None:
    """As everywhere."""
    with pytest.raises(ConfigError) as refused:
        parse({"streaming_log": {"archive": {"url": "s3://key:pass-word@chat-logs"}}}, environ={})
    assert "pass-word" not in str(refused.value)


def test_long_configuration_of_others_is_read_soon() -> None:
    """The worker reads it between two flushes: no key is compared with every setting."""
    assert parse({f"somebody_elses_key_{number}": {} for number in range(20_000)}, environ={}) is WITHOUT_SECTION


def test_misplaced_settings_are_refused_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the constructor, from a file, by the command; the one logger of a process goes on with the defaults."""
    document = {"file_retention_minutes": 30}
    path = tmp_path / "logging_config.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="file_retention_minutes: belongs in section streaming_logs, got 30"):
        StreamingLogger(document)
    with pytest.raises(ConfigError, match="belongs in section streaming_logs"):
        StreamingLogger.from_file(path)
    assert "file_retention_minutes: belongs in section streaming_logs, got 30" in run("check-config", check=2).stderr
    monkeypatch.setattr(_default, "_published", {})
    logger = get_streaming_logger()
    assert logger._engine.settings.config == Config()
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert line.startswith("using the default settings: ")
    logger.close()
