"""The contract, row by row, on the real logger with its thread."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import logs
from streaming_logger import Config, ConfigError, StreamingLogger
from streaming_logger._events.ledger import read_events
from streaming_logger._events.model import SessionEnded

Make = Callable[..., StreamingLogger]


class Text(str):
    """A string of the caller's own kind."""

    __slots__ = ()


@pytest.mark.parametrize(("session_id", "chunk"), [("s", None), ("s", ""), (None, "x"), ("", "x"), (None, None)])
def test_empty_or_none_is_ignored(live: Make, session_id: str | None, chunk: str | None) -> None:
    """Deltas are often None."""
    logger = live()
    logger.write(session_id, chunk)
    logger.complete_session(session_id)
    assert (logger.stats().chunks_written, logger.stats().sessions_active) == (0, 0)
    assert logs(logger.base_dir) == {}


@pytest.mark.parametrize("wrong", [b"x", 1, 0, [], ["x"], {}, object(), 1.5, True])
@pytest.mark.parametrize("argument", ["session_id", "chunk"])
def test_another_type_is_a_type_error_on_the_callers_line(live: Make, wrong: Any, argument: str) -> None:
    """It names the argument and the type, for a new session and for one that is live."""
    logger = live()
    for _ in range(2):
        call = {"session_id": "s", "chunk": "x", argument: wrong}
        with pytest.raises(TypeError, match=f"{argument} must be str, not {type(wrong).__name__}"):
            logger.write(**call)
        logger.write("s", "x")


def test_complete_with_another_type_is_a_type_error(live: Make) -> None:
    """For the id and for the outcome."""
    logger = live()
    with pytest.raises(TypeError, match="not bytes"):
        logger.complete_session(b"s")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not int"):
        logger.complete_session("s", outcome=3)  # type: ignore[arg-type]


def test_subclass_of_str_is_text(live: Make) -> None:
    """As chunk and as id."""
    logger = live()
    logger.write(Text("s"), Text("text"))
    logger.complete_session("s")
    assert logs(logger.base_dir) == {"s": "text"}


def test_chunk_of_100_mb_is_written_or_counted(live: Make) -> None:
    """Larger than the buffer: dropped, marked; smaller: whole."""
    logger = live(max_buffer_mb=128)
    logger.write("s", "x" * 100_000_000)
    logger.complete_session("s")
    assert (logger.base_dir / "s.log").stat().st_size == 100_000_000
    logger.write("t", "x" * 200_000_000)
    logger.complete_session("t")
    assert logs(logger.base_dir)["t"] == "[streaming_logger: 200,000,000 characters dropped: buffer full]"


def test_write_after_completion_is_a_new_turn(live: Make) -> None:
    """Same file, appended, active again."""
    logger = live()
    for turn in ("one ", "two ", "three"):
        logger.write("s", turn)
        assert logger.stats().sessions_active == 1
        logger.complete_session("s")
    assert logs(logger.base_dir) == {"s": "one two three"}
    assert logger.stats().sessions_completed == 3


def test_complete_returns_when_the_file_is_whole(live: Make) -> None:
    """With wait, which is the default."""
    logger = live(flush_interval_seconds=3600)
    for number in range(100):
        logger.write(f"s{number}", "text")
        logger.complete_session(f"s{number}")
        assert (logger.base_dir / f"s{number}.log").read_text() == "text"


def test_complete_twice_or_of_an_unknown_id_is_fine(live: Make) -> None:
    """Counted once, nothing leaked."""
    logger = live()
    logger.complete_session("never heard of")
    logger.write("s", "text")
    logger.complete_session("s")
    logger.complete_session("s")
    logger.complete_session("s", wait=False)
    stats = logger.stats()
    assert (stats.sessions_completed, stats.sessions_active, stats.files_open) == (1, 0, 0)


def test_flush_returns_when_all_is_in_the_files(live: Make) -> None:
    """Sessions stay active."""
    logger = live(flush_interval_seconds=3600)
    logger.write("a", "1")
    logger.write("b", "2")
    logger.flush()
    assert logs(logger.base_dir) == {"a": "1", "b": "2"}
    assert logger.stats().sessions_active == 2


def test_session_completes_on_every_way_out(live: Make) -> None:
    """Normally, by return, by exception; outcome "error" for the last."""
    logger = live()
    with logger.session("good") as stream:
        stream.write("text")
        stream.write(None)

    def failing_stream() -> None:
        with logger.session("bad") as stream:
            stream.write("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_stream()
    assert logs(logger.base_dir) == {"bad": "half", "good": "text"}
    assert logger.stats().sessions_completed == 2
    logger.flush()
    outcomes = {
        event.session: event.outcome
        for event in read_events(logger._engine.directory)
        if isinstance(event, SessionEnded)
    }
    assert outcomes == {"good": "completed", "bad": "error"}


def test_with_closes(tmp_path: Path) -> None:
    """Open sessions are written and kept."""
    with StreamingLogger(Config(), directory=tmp_path / "logs") as logger:
        logger.write("s", "text")
    assert logs(tmp_path / "logs") == {"s": "text"}
    assert not logger.stats().worker_alive


def test_close_twice_is_fine_and_later_writes_go_straight_to_the_file(live: Make) -> None:
    """Nothing is buffered that nobody would flush."""
    logger = live()
    logger.write("s", "before ")
    logger.close()
    logger.close()
    logger.write("s", "after")
    assert logs(logger.base_dir) == {"s": "before after"}
    logger.complete_session("s")
    logger.flush()
    logger.write("s", "!")
    assert logs(logger.base_dir) == {"s": "before after!"}
    assert logger.stats().bytes_buffered == 0


def test_close_without_a_single_write_is_fine(live: Make) -> None:
    """And after it the logger sweeps nothing by itself."""
    live().close()


def test_close_does_not_delete_at_completion_what_was_not_completed(live: Make) -> None:
    """A server that stops in the middle of a stream leaves what it has."""
    logger = live(time_based_cleanup=False)
    logger.write("s", "half a sent")
    logger.close()
    assert logs(logger.base_dir) == {"s": "half a sent"}


def test_disabled_writes_nothing_and_makes_nothing(live: Make) -> None:
    """`enabled: false`: not even a directory."""
    logger = live(enabled=False)
    logger.write("s", "text")
    logger.complete_session("s")
    logger.flush()
    logger.close()
    assert not logger.enabled
    assert not logger.base_dir.exists()


@pytest.mark.parametrize("name", ["enabled", "flush_interval", "base_dir", "session_files", "session_buffers"])
def test_attribute_is_read_only(live: Make, name: str) -> None:
    """As existing servers know them, and no more."""
    logger = live()
    value = getattr(logger, name)
    with pytest.raises(AttributeError):
        setattr(logger, name, value)
    if isinstance(value, Mapping):
        with pytest.raises(TypeError):
            value["x"] = 1  # type: ignore[index]


def test_attributes_show_the_state(live: Make) -> None:
    """Snapshots of what is active."""
    logger = live(flush_interval_seconds=3600)
    logger.write("a/b", "text")
    assert logger.flush_interval == 3600
    assert dict(logger.session_files) == {"a/b": logger.base_dir / "a%2Fb.log"}
    assert dict(logger.session_buffers) == {"a/b": ["text"]}
    logger.complete_session("a/b")
    assert (dict(logger.session_files), dict(logger.session_buffers)) == ({}, {})


def test_signatures_are_those_of_the_contract() -> None:
    """Names, defaults and keyword-only arguments that callers rely on."""
    shown = {name: str(inspect.signature(getattr(StreamingLogger, name))) for name in ("complete_session", "session")}
    assert "outcome: 'Outcome' = 'completed', wait: 'bool' = True" in shown["complete_session"]
    assert StreamingLogger.append_chunk is StreamingLogger.write
    assert inspect.signature(StreamingLogger.cleanup_old_sessions).parameters["max_age_hours"].default == 24
    assert inspect.signature(StreamingLogger.from_file).parameters["path"].default == "logging_config.json"


@pytest.mark.parametrize(("hours", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)])
def test_cleanup_old_sessions_refuses_what_is_no_age(live: Make, hours: Any, error: type[Exception]) -> None:
    """Nothing is deleted by mistake."""
    with pytest.raises(error, match="max_age_hours"):
        live().cleanup_old_sessions(hours)


def test_bad_configuration_is_an_error_before_any_effect(tmp_path: Path) -> None:
    """Given as a mapping or in a file: no directory, no thread."""
    with pytest.raises(ConfigError) as caught:
        StreamingLogger({"streaming_logs": {"enabled": 3, "retention": 1}}, directory=tmp_path / "logs")
    assert [problem.key for problem in caught.value.problems] == ["enabled", "retention"]
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ConfigError):
        StreamingLogger.from_file(tmp_path / "c.json")
    assert not (tmp_path / "logs").exists()


def test_from_file_takes_the_settings_of_the_file(tmp_path: Path) -> None:
    """Directory and all."""
    (tmp_path / "c.json").write_text('{"streaming_logs": {"directory": "here", "flush_interval_seconds": 7}}')
    with StreamingLogger.from_file(tmp_path / "c.json") as logger:
        assert (logger.flush_interval, logger.base_dir) == (7, Path("here"))


def test_logger_that_nobody_holds_closes_itself(tmp_path: Path) -> None:
    """Its text is written, its thread ends."""
    logger = StreamingLogger(Config(flush_interval_seconds=3600), directory=tmp_path / "logs")
    logger.write("s", "text")
    gone = weakref.ref(logger)
    del logger
    gc.collect()
    assert gone() is None
    assert logs(tmp_path / "logs") == {"s": "text"}
