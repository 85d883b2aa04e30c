"""What all integrations share: wrong arguments raise where they attach, and nothing raises after that."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from log_lines import without_page
from streaming_logger.integrations._guard import MAX_ID, Guard, logged
from streaming_logger.testing import ManualLogger


@pytest.fixture
def logger(manual: Callable[..., ManualLogger]) -> ManualLogger:
    return manual()


class ReprRaises:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the library logged as errors."""
    return [without_page(record) for record in caplog.records if record.levelname == "ERROR"]


async def asynchronous(request: Any) -> str:
    return "s"


@pytest.mark.parametrize(
    "wrong", ["my_logger", 7, Mock(), {"directory": "logs"}, ReprRaises()], ids=lambda wrong: type(wrong).__name__
)
def test_wrong_logger_is_refused(wrong: Any) -> None:
    """With the argument, its rule and what was found."""
    with pytest.raises(TypeError, match=r"^logger must be a StreamingLogger, got "):
        Guard("test", wrong)


@pytest.mark.parametrize("wrong", ["user", 7, {}, lambda: "s", lambda request, more: "s", asynchronous, AsyncMock()])
def test_wrong_callable_is_refused(logger: ManualLogger, wrong: Any) -> None:
    """Also one that takes no argument or two, and one that would have to be awaited."""
    with pytest.raises(TypeError, match=r"^session_id must be None or a function of one argument(, not async)?, got "):
        Guard("test", logger, wrong)


@pytest.mark.parametrize("right", [None, str, repr, Mock(), lambda *all: "s", lambda request, more=1: "s", {}.get])
def test_any_callable_of_one_argument_is_taken(logger: ManualLogger, right: Any) -> None:
    """Built-ins, too, which do not tell their parameters."""
    Guard("test", logger, right)


@pytest.mark.parametrize(
    "wrong", [None, 5, [5], [None], ReprRaises(), [["reasoning"]]], ids=lambda wrong: type(wrong).__name__
)
def test_include_that_is_no_list_of_names_is_refused(logger: ManualLogger, wrong: Any) -> None:
    """With the argument, its rule and what was found."""
    with pytest.raises(TypeError, match=r"^include must be a list of names, got "):
        Guard("test", logger, include=wrong)


def test_include_holds_for_every_stream(logger: ManualLogger) -> None:
    """Also when it is an iterator, which can be read once. An unknown name is refused."""
    guard = Guard("test", logger, include=iter(["reasoning"]))
    for session in "ab":
        list(guard.wrap([session], iter([{"choices": [{"delta": {"reasoning_content": "Hm."}}]}])))
    assert logger.text == dict.fromkeys("ab", "[streaming_logger: reasoning]\nHm.")
    with pytest.raises(ValueError, match="include"):
        Guard("test", logger, include=["thoughts"])


ID = uuid.UUID("6a1f6f0e-8f5f-4b1e-9d5f-0c1f2f3a4b5c")


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        (["s"], "s"),
        ([None, "", "s", "t"], "s"),
        ([7], "7"),
        ([0], "0"),
        ([ID], str(ID)),
        ([], None),
        ([None], None),
        (["x" * MAX_ID], "x" * MAX_ID),
    ],
)
def test_session_id_is_the_first_that_is_one(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, candidates: list[object], expected: str | None
) -> None:
    """A string that is not empty, an int, or a UUID; where there is none, that is no fault."""
    assert Guard("test", logger).session_id(candidates) == expected
    assert reports(caplog) == []


class StrRaises(str):
    def __str__(self) -> str:
        raise RuntimeError("no str")


def test_subclass_of_str_is_taken_as_a_plain_one(logger: ManualLogger) -> None:
    """What it overrides is not called."""
    found = Guard("test", logger).session_id([StrRaises("s")])
    assert (found, type(found)) == ("s", str)


class BoolRaises:
    def __bool__(self) -> bool:
        raise RuntimeError("no bool")

    __eq__ = __bool__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "wrong",
    [Mock(), MagicMock(), True, 7.5, b"s", ["s"], {"id": "s"}, object(), BoolRaises(), ReprRaises(), 10**9999],
    ids=lambda wrong: type(wrong).__name__,
)
def test_what_is_no_session_id_is_reported_and_passed_over(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, wrong: Any
) -> None:
    """Once for a minute, whatever the object does; the next candidate counts."""
    guard = Guard("test", logger)
    for _ in range(3):
        assert guard.session_id([wrong, "s"]) in ("s", None)  # None: that object ended the search
    (line,) = reports(caplog)
    assert re.match("test: a session id is not usable: (must be a str, int or UUID, not |cannot be read: )", line)


def test_very_long_session_id_is_not_used(logger: ManualLogger, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is it in the log."""
    assert Guard("test", logger).session_id(["x" * 10_000_000]) is None
    assert reports(caplog) == ["test: a session id is not usable: must have at most 1000 characters, got 10000000"]


def test_candidates_that_raise_are_reported(logger: ManualLogger, caplog: pytest.LogCaptureFixture) -> None:
    """An attribute of a foreign object."""

    def candidates() -> Iterator[object]:
        yield None
        raise KeyError("user")

    assert Guard("test", logger).session_id(candidates()) is None
    assert reports(caplog) == ["test: a session id is not usable: cannot be read: KeyError('user')"]


class NoReprError(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize("error", [KeyError("user"), NoReprError(), ValueError("x" * 10_000_000)], ids=type)
def test_callable_that_raises_is_reported(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """In one short line, even if the exception cannot be shown."""
    guard = Guard("test", logger, Mock(side_effect=error))
    for _ in range(3):
        assert guard.chosen({}) is None
    (line,) = reports(caplog)
    assert line.startswith("test: a session id is not usable: the callable raised ")
    assert len(line) < 400


def test_callable_that_returns_a_coroutine_is_reported(logger: ManualLogger, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody awaits it, and Python does not warn of that."""
    guard = Guard("test", logger, lambda request: asynchronous(request))
    assert guard.session_id([guard.chosen({})]) is None
    assert reports(caplog) == ["test: a session id is not usable: must be a str, int or UUID, not coroutine"]


def broken(logger: ManualLogger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The logger cannot log a stream: whatever that needs raises."""
    monkeypatch.setattr(logger._engine, "begin_stream", Mock(side_effect=OSError("out of order")))


def test_stream_that_cannot_be_logged_passes_as_it_is(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same object, and one line in the log."""
    broken(logger, monkeypatch)
    guard = Guard("test", logger)
    stream = iter("abc")
    assert guard.wrap(["s"], stream) is stream
    assert guard.open(["s"]) is None
    assert reports(caplog) == ["test: a stream is not logged: OSError('out of order')"]
    assert logger.health().status == "degraded"


def test_what_is_no_stream_passes_as_it_is(logger: ManualLogger, caplog: pytest.LogCaptureFixture) -> None:
    """It is for its reader to find out."""
    assert Guard("test", logger).wrap(["s"], 7) == 7
    assert reports(caplog) == [
        "test: a stream is not logged: TypeError('stream must be an iterator or async iterator, not int')"
    ]


def test_process_without_a_logger_reports_all_the_same(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not even the default logger can be made."""
    monkeypatch.setattr("streaming_logger.integrations._guard.get_streaming_logger", Mock(side_effect=OSError("none")))
    stream = iter("abc")
    assert Guard("no logger", None).wrap(["s"], stream) is stream
    assert reports(caplog) == ["no logger: a stream is not logged: OSError('none')"]


def test_closed_and_disabled_loggers_are_no_fault(
    manual: Callable[..., ManualLogger], caplog: pytest.LogCaptureFixture
) -> None:
    """Each item passes."""
    disabled, closed = manual(enabled=False), manual()
    closed.close()
    for logger in (disabled, closed):
        assert list(Guard("test", logger).wrap(["s"], iter("abc"))) == ["a", "b", "c"]
    assert reports(caplog) == []


def test_logged_items_end_with_their_stream(logger: ManualLogger) -> None:
    """By its end, its exception, or its reader, who alone closes it."""
    closed: list[str] = []

    class Items:
        def __init__(self, error: Exception) -> None:
            self.left: list[object] = ["a", "b", error]

        def __aiter__(self) -> Items:
            return self

        async def __anext__(self) -> object:
            item = self.left.pop(0)
            if isinstance(item, Exception):
                raise item
            return item

        async def aclose(self) -> None:
            closed.append("closed")

    def items(session: str, error: Exception) -> AsyncIterator[Any]:
        log = Guard("test", logger).open([session])
        assert log is not None
        return logged(log, Items(error))

    async def read() -> None:
        assert [item async for item in items("end", StopAsyncIteration())] == ["a", "b"]
        with pytest.raises(OSError, match="broken"):
            [item async for item in items("broken", OSError("broken"))]
        leaving: Any = items("left", StopAsyncIteration())
        await anext(leaving)
        await leaving.aclose()

    asyncio.run(read())
    assert logger.outcomes == {"end": "completed", "broken": "error", "left": "closed"}
    assert logger.text == {"end": "ab", "broken": "ab", "left": "a"}
    assert closed == []
