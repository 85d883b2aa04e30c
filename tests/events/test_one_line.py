"""A session is named in one way, escaped, in every log line, message and table."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import logs, make_old
from streaming_logger import ConfigError
from streaming_logger._base.escape import one_line
from streaming_logger._config.schema import parse
from streaming_logger._disk.names import file_name_of
from streaming_logger._disk.store import Store
from streaming_logger._events.records import log
from streaming_logger._sweep.files import Files
from streaming_logger._sweep.rules import Rules
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]

#: As a client puts it into a URL: line breaks of all kinds, escapes, bidi, nothing to see, a lone surrogate.
ID = "x\n2026-01-01 ERROR all is lost\r\x1b[31m\x85\u2028\u202e\u200b\x9b\t\ud800"
FORMAT = logging.Formatter("%(levelname)s %(message)s %(session)s", defaults={"session": ""})


def assert_one_line(caplog: pytest.LogCaptureFixture, logger: ManualLogger | None = None) -> None:
    lines = [FORMAT.format(record) for record in caplog.records]
    lines += [] if logger is None else logger.health().reasons
    assert lines
    for line in lines:
        assert one_line(line) == line


def test_lines_of_a_stream_that_stalls_loops_and_fails(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Each line names it as `ls` does; at every level, also by the record's own field."""
    caplog.set_level(logging.DEBUG, "streaming_logger")
    logger = manual(stall_seconds=5, max_session_mb=0.01)
    logger.write(ID, "the same again, " * 2000)
    logger.advance(2)
    logger.advance(2)
    logger.advance(10)
    logger.write(ID, "more")
    logger.advance(2)
    logger._engine.extraction_failed(ID, ValueError(ID))
    logger.complete_session(ID, outcome="error", wait=False)
    logger.advance(2)
    text = caplog.text
    assert f"{one_line(ID)} stalled" in text
    assert f"{one_line(ID)} loops" in text
    assert f"{one_line(ID)} is longer than max_session_mb" in text
    assert "cannot extract text from a stream item" in text
    assert {record.session for record in caplog.records if hasattr(record, "session")} == {one_line(ID)}
    assert_one_line(caplog, logger)


def test_lines_of_faults(manual: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropped text, a file that cannot be opened, an exception whose text is the model's."""
    logger = manual(max_buffer_mb=0.1)

    def refused(self: Store, name: str) -> None:
        raise ValueError(ID)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "open", refused)
        for _ in range(300):
            logger.write(ID, "x" * 1000)
        logger.advance(2)
        logger.complete_session(ID, wait=False)
        logger.advance(2)
    assert f"characters of {one_line(ID)} dropped: buffer full" in caplog.text
    assert "cannot write" in caplog.text
    assert_one_line(caplog, logger)


def test_lines_of_files_that_are_not_ours(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A stranger's file name in the directory."""
    logger = manual(file_retention_minutes=1)
    name = "a\nERROR b\x1b.log"
    (logger.base_dir / name).write_text("")
    make_old(logger.base_dir / name, 1000)
    logger._engine.sweeper.sweep_at_once()
    context = logger._engine.context
    Files(context, Rules.of(context.settings.config), context.events.report).failed(name, OSError(5, name))
    assert r"a\nERROR b\x1b.log" in caplog.text
    assert_one_line(caplog, logger)


def test_lines_of_the_integrations(caplog: pytest.LogCaptureFixture) -> None:
    """They log by the same stdlib logger: a header's value is escaped, too."""
    logging.getLogger("streaming_logger").warning("a %s response is not logged: %r", ID, ID)
    assert log is logging.getLogger("streaming_logger")
    assert_one_line(caplog)


def test_numbers_and_plain_text_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """Handlers that look at a record's arguments find them."""
    log.warning("%s %d %.1f %r", "日本語", 3, 1.5, "it's", extra={"session": "chat-42", "characters": 7})
    (record,) = caplog.records
    assert record.args == ("日本語", 3, 1.5, "it's")
    assert record.getMessage() == '日本語 3 1.5 "it\'s"'
    assert (record.session, record.characters) == ("chat-42", 7)  # type: ignore[attr-defined]


def test_messages_of_exceptions_are_one_line(manual: Make, tmp_path: Path) -> None:
    """What a key, a value or a file's name holds."""
    with pytest.raises(ConfigError) as refused:
        parse({"streaming_logs": {ID: ID, "enabled": ID, "directory": ""}}, environ={}, source=ID)
    for problem in refused.value.problems:
        assert one_line(str(problem)) == str(problem)
    assert one_line(str(refused.value)) == str(refused.value)
    logger = manual()
    os.mkfifo(logger.base_dir / file_name_of(ID))
    logger.write(ID, "text")
    logger.advance(2)
    (reason,) = logger.health().reasons
    assert one_line(reason) == reason
    assert logs(logger.base_dir / "none") == {}
