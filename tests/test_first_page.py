"""What a logger does without a configuration, and what without the section in one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import logs
from faults.programs import run
from streaming_logger import Config, StreamingLogger, _default, get_streaming_logger
from streaming_logger.testing import ManualClock, ManualLogger


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_default, "_published", {})
    yield
    for logger in _default._published.values():
        logger.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def stream(logger: StreamingLogger) -> dict[str, str]:
    """The files after a session has ended."""
    logger.write("s", "text")
    logger.complete_session("s")
    logger.close()
    return logs(logger.base_dir)


def test_logger_without_a_configuration_keeps_files(caplog: pytest.LogCaptureFixture) -> None:
    """The defaults, with the debugging window, in ./logs/streaming; there is nothing to warn of."""
    logger = StreamingLogger()
    assert logger._engine.settings.config == Config()
    assert logger.base_dir == Path("logs/streaming")
    assert stream(logger) == {"s": "text"}
    assert warnings(caplog) == []


@pytest.mark.parametrize("arguments", [(), (None,)])
def test_directory_changes_nothing_else(arguments: tuple[None, ...], tmp_path: Path) -> None:
    """One class, one default."""
    logger = StreamingLogger(*arguments, directory=tmp_path / "elsewhere")
    assert logger._engine.settings.config == Config()
    assert stream(logger) == {"s": "text"}


def test_environment_overrides_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it overrides a file's settings."""
    monkeypatch.setenv("STREAMING_LOGS_FILE_RETENTION_MINUTES", "3")
    assert StreamingLogger()._engine.settings.config == Config(file_retention_minutes=3)
    assert StreamingLogger({"version": 1})._engine.settings.config == Config(file_retention_minutes=3)


@pytest.mark.parametrize("config", [{}, {"version": 1, "handlers": {}}], ids=["empty", "server"])
def test_mapping_without_the_section_deletes_at_completion_and_warns_once(
    config: Mapping[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """As the older module; one line says so, and how to keep files."""
    assert stream(StreamingLogger(config)) == {}
    (line,) = warnings(caplog)
    assert "each file is deleted when its session completes" in line
    assert '"streaming_logs": {}' in line


@pytest.mark.parametrize("content", [None, "{}", '{"version": 1, "root": {}}'], ids=["missing", "empty", "server"])
@pytest.mark.parametrize("default", [False, True], ids=["from_file", "get_streaming_logger"])
def test_file_without_the_section_deletes_at_completion_and_warns_once(
    content: str | None, default: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing one, too; the line names the file, so that what it advises can be done."""
    path = Path("logging_config.json").absolute()
    if content is not None:
        path.write_text(content)
    assert stream(get_streaming_logger() if default else StreamingLogger.from_file(path)) == {}
    (line,) = warnings(caplog)
    assert f'add "streaming_logs": {{}} to {path} (' in line
    path.write_text(json.dumps({**json.loads(content or "{}"), "streaming_logs": {}}))
    assert stream(StreamingLogger.from_file(path)) == {"s": "text"}


@pytest.mark.parametrize("settings", [{"time_based_cleanup": False}, {"file_retention_minutes": 0}])
def test_deletion_that_was_asked_for_is_not_warned_of(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever writes it knows it."""
    assert stream(StreamingLogger({"streaming_logs": settings})) == {}
    assert stream(StreamingLogger(Config(**settings))) == {}
    assert warnings(caplog) == []


def test_section_that_is_removed_while_running_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From then on files are deleted at completion."""
    path = tmp_path / "logging_config.json"
    path.write_text('{"streaming_logs": {}}')
    with ManualLogger(Config(), tmp_path / "logs", clock=ManualClock(), config_file=path) as logger:
        path.write_text('{"version": 1}')
        logger.advance(2)
        logger.write("s", "text")
        logger.complete_session("s", wait=False)
        logger.run_pending()
        assert logs(logger.base_dir) == {}
        assert [line for line in warnings(caplog) if "each file is deleted" in line] != []


PROGRAM = """
import logging
from streaming_logger import get_streaming_logger
exec(sys.argv[2])
os.makedirs(sys.argv[1])
os.chdir(sys.argv[1])
logger = get_streaming_logger()
logger.write("s", "text")
logger.complete_session("s")
logger._engine.events.log(logging.INFO, "an information")
logger._engine.events.log(logging.DEBUG, "for debugging")
logger._engine.events.log(logging.ERROR, "an error")
logger.close()
"""


@pytest.mark.parametrize("level", ["", "logging.getLogger().setLevel(logging.DEBUG)"], ids=["unconfigured", "level"])
def test_warnings_and_errors_are_on_stderr_where_logging_is_not_configured(tmp_path: Path, level: str) -> None:
    """And nothing else: `logging.lastResort` shows what is worth a look."""
    status, output, errors = run(PROGRAM, tmp_path / "here", level)
    assert (status, output) == (0, ""), errors
    assert [line.split(":")[0] for line in errors.splitlines()] == [
        "no time-based cleanup is configured in section streaming_logs",
        "an error",
    ]


def test_application_decides_what_is_shown(tmp_path: Path) -> None:
    """A handler of its own, or NullHandler."""
    quiet = "logging.getLogger('streaming_logger').addHandler(logging.NullHandler())"
    assert run(PROGRAM, tmp_path / "quiet", quiet) == (0, "", "")
    status, _, errors = run(PROGRAM, tmp_path / "loud", "logging.basicConfig(level=logging.INFO)")
    assert status == 0
    assert "INFO:streaming_logger:an information" in errors
    assert errors.count("an error") == 1


WAITS = """
import logging
logger = open_logger(flush_interval_seconds=0.01)
logger.write("s", "text")
logger.flush()

def handle(signum, frame):
    begun = time.monotonic()
    logger.close()
    say("closed " + str(time.monotonic() - begun < 4))

signal.signal(signal.SIGUSR1, handle)
with logging.lastResort.lock:
    logger._engine.worker.submit(lambda: logger._engine.events.log(logging.ERROR, "from the worker"))
    os.kill(os.getpid(), signal.SIGUSR1)
    say("handled")
"""


def test_worker_does_not_wait_for_the_lock_of_the_last_resort(tmp_path: Path) -> None:
    """A signal handler that interrupts a record may close the logger, as with any other log handler."""
    status, output, errors = run(WAITS, tmp_path / "logs")
    assert (status, output.splitlines()) == (0, ["closed True", "handled"]), errors
    assert "from the worker" in errors
