"""Log records that name a session go to its file; the library's own records never loop."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from streaming_logger.integrations.logging import SessionHandler
from streaming_logger.testing import ManualLogger, capture_streams


@pytest.fixture
def logger(manual: Callable[..., ManualLogger]) -> ManualLogger:
    return manual()


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    made = logging.getLogger("my_server")
    made.setLevel(logging.DEBUG)
    yield made
    made.handlers.clear()


def test_a_record_goes_to_its_sessions_file(logger: ManualLogger, log: logging.Logger) -> None:
    """Between the stream's own text, in order, by the handler's formatter; an id may be a number."""
    handler = SessionHandler(logger)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    log.addHandler(handler)
    logger.write("7", "Hello\n")
    log.warning("slow by %d s", 3, extra={"session": 7})
    logger.write("7", "World\n")
    log.info("other", extra={"session": "t"})
    assert logger.text == {"7": "Hello\nWARNING slow by 3 s\nWorld\n", "t": "INFO other\n"}


def test_records_without_a_session_are_left_to_other_handlers(logger: ManualLogger, log: logging.Logger) -> None:
    """So are those below the handler's level."""
    log.addHandler(SessionHandler(logger, field="request_id", level="WARNING"))
    log.warning("no session")
    log.warning("another field", extra={"session": "s"})
    log.warning("none", extra={"request_id": None})
    log.info("below", extra={"request_id": "s"})
    assert logger.text == {}
    log.warning("this one", extra={"request_id": "s"})
    assert logger.text == {"s": "this one\n"}


def test_the_librarys_own_records_never_loop(logger: ManualLogger) -> None:
    """Each session's end is such a record, with its session, on the root logger's handlers."""
    root, own = logging.getLogger(), logging.getLogger("streaming_logger")
    handler, level = SessionHandler(logger), own.level
    root.addHandler(handler)
    own.setLevel(logging.DEBUG)
    try:
        logger.write("s", "Hello")
        logger.complete_session("s")
        assert logger.outcomes == {"s": "completed"}
    finally:
        root.removeHandler(handler)
        own.setLevel(level)
    assert logger.text == {"s": "Hello"}
    assert logger.session_files == {}


def test_a_record_that_cannot_be_formatted_is_logging_s_own_affair(
    logger: ManualLogger, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is reported as for every handler, and the caller goes on."""
    log.propagate = False
    log.addHandler(SessionHandler(logger))
    try:
        log.warning("%d", "no number", extra={"session": "s"})
    finally:
        log.propagate = True
    assert "Logging error" in capsys.readouterr().err
    assert logger.text == {}


def test_a_configuration_makes_it_by_its_name() -> None:
    """With the process's logger."""
    handler = {"class": "streaming_logger.integrations.logging.SessionHandler", "field": "chat"}
    own = {"handlers": ["sessions"], "level": "INFO"}
    settings = {"version": 1, "disable_existing_loggers": False, "handlers": {"sessions": handler}}
    with capture_streams() as logger:
        logging.config.dictConfig({**settings, "loggers": {"my_server": own}})
        logging.getLogger("my_server").info("Hello", extra={"chat": "s"})
        assert logger.text == {"s": "Hello\n"}
    logging.getLogger("my_server").handlers.clear()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"logger": "logger"}, "logger must be a StreamingLogger, got 'logger'"),
        ({"field": ""}, "field must be the name of a record's attribute, got ''"),
        ({"field": 7}, "field must be the name of a record's attribute, got 7"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    """Not by the first record."""
    with pytest.raises(TypeError, match=message):
        SessionHandler(**arguments)


class BoolRaises:
    def __bool__(self) -> bool:
        raise RuntimeError("no bool")


@pytest.mark.parametrize("session", [Mock(), ["s"], {}, object(), BoolRaises(), "x" * 10_000_000], ids=type)
def test_session_that_is_no_id_costs_its_record_alone(
    logger: ManualLogger, log: logging.Logger, caplog: pytest.LogCaptureFixture, session: Any
) -> None:
    """The caller goes on, and one line says why the file has no such record."""
    log.addHandler(SessionHandler(logger))
    for _ in range(2):
        log.warning("Hello", extra={"session": session})
    assert logger.text == {}
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("logging: a session id is not usable: must ")
