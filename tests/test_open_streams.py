"""Streams while they are read: when their session ends, what they hold, and that silence is not a stall."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from conftest import logs
from log_lines import without_page
from streaming_logger import StreamingLogger
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]


def events(logger: StreamingLogger, kind: str) -> list[dict[str, Any]]:
    """The events of a kind in the ledger."""
    path = logger.base_dir / ".streaming_logger" / "ledger.jsonl"
    return [line for line in map(json.loads, path.read_text().splitlines()) if line["event"] == kind]


# -- the end is the real end -----------------------------------------------------------


class Queue:
    """An async iterator that survives a wait that is cancelled, as a queue between producer and consumer does."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[str | None] = asyncio.Queue()

    def __aiter__(self) -> Queue:
        return self

    async def __anext__(self) -> str:
        item = await self.items.get()
        if item is None:
            raise StopAsyncIteration
        return item


def test_reader_with_a_heartbeat(manual: Make) -> None:
    """`wait_for(anext(stream), t)` gives up again and again: the stream goes on, in one turn, and completes."""
    logger = manual()

    async def main() -> None:
        queue = Queue()
        stream = logger.wrap("s", queue)
        for token in ("Hel", "lo"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.001)
            assert logger.session_files.keys() == {"s"}
            queue.items.put_nowait(token)
            assert await anext(stream) == token
        queue.items.put_nowait(None)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert stream.outcome == "completed"

    asyncio.run(main())
    assert (logger.text, logger.outcomes) == ({"s": "Hello"}, {"s": "completed"})
    assert logger.stats().sessions_completed == 1


class Unsteady:
    """An iterator that raises once and can be read on."""

    def __init__(self) -> None:
        self.count = 0

    def __iter__(self) -> Unsteady:
        return self

    def __next__(self) -> str:
        self.count += 1
        if self.count == 2:
            raise TimeoutError("read timeout")
        if self.count == 4:
            raise StopIteration
        return f"{self.count} "


def test_iterator_that_raises_and_is_read_on(manual: Make) -> None:
    """The session is one turn, and has the outcome of the stream's end."""
    logger = manual()
    stream = logger.wrap("s", Unsteady())
    assert next(stream) == "1 "
    with pytest.raises(TimeoutError):
        next(stream)
    assert stream.outcome == "error"
    assert list(stream) == ["3 "]
    assert (logger.text, logger.outcomes) == ({"s": "1 3 "}, {"s": "completed"})
    assert logger.stats().sessions_completed == 1


def test_iterator_that_raises_and_is_not_read_on(manual: Make) -> None:
    """It has ended with that error within a flush interval, also if somebody keeps it."""
    logger = manual()
    stream = logger.wrap("s", Unsteady())
    next(stream)
    with pytest.raises(TimeoutError):
        next(stream)
    logger.advance(2)
    assert logger.session_files == {}
    (end,) = events(logger, "completed")
    assert (end["outcome"], end["error"]) == ("error", "TimeoutError: read timeout")
    assert list(stream) == ["3 "]  # and if it is read all the same, that is a new turn, which ends, too
    assert logger.outcomes == {"s": "completed"}
    assert logger.session_files == {}


def test_generator_that_raises_has_ended_at_once(manual: Make) -> None:
    """Nobody can read it on."""

    def broken() -> Iterator[str]:
        yield "Hel"
        raise ConnectionError("reset")

    logger = manual()
    stream = logger.wrap("s", broken())
    with pytest.raises(ConnectionError):
        list(stream)
    assert logger.session_files == {}
    assert stream.outcome == "error"


def test_exception_that_cannot_be_shown_reaches_the_reader(manual: Make) -> None:
    """It is the stream's own, whatever its `__str__` does."""

    class UnshowableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def broken() -> Iterator[str]:
        yield "Hel"
        raise UnshowableError

    logger = manual()
    with pytest.raises(UnshowableError):
        list(logger.wrap("s", broken()))
    assert (logger.text, logger.outcomes) == ({"s": "Hel"}, {"s": "error"})


def test_aclose_while_the_generator_runs(manual: Make) -> None:
    """It is refused, and the stream goes on to its own end."""
    logger = manual()

    async def tokens() -> AsyncIterator[str]:
        yield "Hel"
        await going.wait()
        yield "lo"

    async def main() -> None:
        nonlocal going
        going = asyncio.Event()
        stream = logger.wrap("s", tokens())
        await anext(stream)
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running"):
            await stream.aclose()
        assert stream.outcome is None
        going.set()
        assert await reading == "lo"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    going: asyncio.Event
    asyncio.run(main())
    assert (logger.text, logger.outcomes) == ({"s": "Hello"}, {"s": "completed"})


@pytest.mark.parametrize("settings", [{}, {"time_based_cleanup": False}], ids=["kept", "deleted at completion"])
def test_session_of_two_streams_completes_with_the_last(manual: Make, settings: dict[str, Any]) -> None:
    """An answer and its title under one id: nothing of the one that runs is completed, deleted or lost."""
    logger = manual(**settings)
    answer, title = logger.wrap("s", iter(["Ans", "wer"])), logger.wrap("s", iter(["TI", "TLE"]))
    assert [next(answer), next(title)] == ["Ans", "TI"]
    assert list(title) == ["TLE"]
    logger.advance(2)
    assert (title.outcome, dict(logger.outcomes)) == ("completed", {})
    assert logs(logger.base_dir) == {"s": "AnsTITLE"}
    assert list(answer) == ["wer"]
    assert logger.outcomes == {"s": "completed"}
    assert logs(logger.base_dir) == ({} if settings else {"s": "AnsTITLEwer"})


def test_failure_of_one_of_two_streams_is_the_outcome(manual: Make) -> None:
    """An operator wants to see it, also if the other one went well."""
    logger = manual()
    good, bad = logger.wrap("s", iter(["good"])), logger.wrap("s", Unsteady())
    next(bad)
    with pytest.raises(TimeoutError):
        list(bad)
    bad.close()
    with pytest.raises(TimeoutError):
        list(failing := logger.wrap("s", Unsteady()))
    del failing, bad
    list(good)
    assert logger.outcomes == {"s": "error"}


def test_text_after_the_end_is_a_turn_that_ends(manual: Make) -> None:
    """A reader on another thread was in the middle of it when the stream was closed."""
    logger = manual()
    stream = logger.wrap("s", iter(["a", "b"]))
    next(stream)
    stream.close()
    assert logger.outcomes == {"s": "closed"}
    assert list(stream) == ["b"]
    assert (logger.text, logger.outcomes) == ({"s": "ab"}, {"s": "completed"})
    assert logger.session_files == {}


# -- what is held ------------------------------------------------------------------------


def test_held_text_is_counted_and_logged_within_a_flush_interval(manual: Make) -> None:
    """Of a stream that stopped where its text may still become an event."""
    logger = manual()
    stream = logger.wrap("s", iter(["da", "ta"]))
    next(stream)
    assert logger.stats().bytes_buffered == 2
    logger.advance(2)
    assert logs(logger.base_dir) == {"s": "da"}
    next(stream)
    logger.advance(2)
    assert logs(logger.base_dir) == {"s": "data"}


def test_held_text_is_in_the_file_when_the_logger_closes(manual: Make) -> None:
    """A stream that is still read then."""
    logger = manual()
    stream = logger.wrap("s", iter(["da", "ta"]))
    next(stream)
    logger.close()
    assert logs(logger.base_dir) == {"s": "da"}


def test_worker_and_reader_keep_the_order(live: Callable[..., StreamingLogger]) -> None:
    """While the worker lets text go the stream yields more: nothing is doubled, lost or out of order."""
    logger = live(flush_interval_seconds=0.01)
    expected = {}
    for number in range(60):
        items = ["d", "a", "t", "a", ": ", *map(str, range(10))]

        def pace(items: list[str] = items, number: int = number) -> Iterator[str]:
            for item in items:
                yield item
                time.sleep(0.001 * (number % 7))

        list(logger.wrap(f"s{number}", pace()))
        expected[f"s{number}"] = "".join(items)
    logger.flush()
    assert logs(logger.base_dir) == expected


def test_stream_that_a_forked_child_reads_on(live: Callable[..., StreamingLogger]) -> None:
    """It is logged and completed there, too."""
    logger = live()
    stream = logger.wrap("s", iter(["da", "ta", "!"]))
    next(stream)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            list(stream)
            logger.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert "ta!" in logs(logger.base_dir)["s"]
    stream.close()


# -- silence -----------------------------------------------------------------------------


def thinking(logger: ManualLogger, delta: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A model that streams something that is not logged for 40 s."""
    for _ in range(20):
        logger.advance(2)
        yield {"choices": [{"index": 0, "delta": delta}]}


@pytest.mark.parametrize(
    "delta", [{"reasoning_content": "hm "}, {"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}]
)
def test_items_without_text_are_signs_of_life(manual: Make, delta: dict[str, Any]) -> None:
    """A model that thinks, or calls a tool, has not stalled and is not idle."""
    logger = manual(stall_seconds=5, idle_timeout_minutes=0.2)
    stream = logger.wrap("s", thinking(logger, delta))
    logger.write("s", "Hello")
    list(stream)
    assert logger.stats().stalls == 0
    assert logger.stats().sessions_abandoned == 0
    assert logger.outcomes == {"s": "completed"}


def test_stream_without_items_stalls(manual: Make) -> None:
    """That is silence."""
    logger = manual(stall_seconds=5)
    stream = logger.wrap("s", iter(["text"]))
    next(stream)
    for _ in range(5):
        logger.advance(2)
    assert logger.stats().stalls == 1
    stream.close()


# -- no silent loss ----------------------------------------------------------------------


def test_stream_without_text_is_reported(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Counted, in the ledger and in `health()`; one line names the item's type and keys and what to do."""
    logger = manual()
    for session in "st":
        list(logger.wrap(session, [{"status": 1, "seq": 2}, {"status": 2}]))
    logger.advance(2)
    assert logger.stats().streams_without_text == 2
    (line,) = [without_page(record) for record in caplog.records if record.levelname == "ERROR"]
    assert line == "no text found in a stream of dict with status, seq; pass text= to say where it is"
    assert logger.health().status == "degraded"
    assert line in logger.health().reasons
    assert [(event["session"], event["text"]) for event in events(logger, "no_text")] == [
        ("s", "dict with status, seq"),
        ("t", "dict with status, seq"),
    ]


def test_item_that_cannot_be_compared_passes(manual: Make) -> None:
    """An array of numpy's raises where it is compared, a key of a dict where it is shown: the stream has both."""

    class Array:
        values = 1

        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value of an array is ambiguous")

        __hash__ = object.__hash__

    class Key:
        def __str__(self) -> str:
            raise ValueError("no text")

    items: list[Any] = [Array(), {Key(): 1}]
    logger = manual()
    for session, item in zip("st", items, strict=True):
        (got,) = logger.wrap(session, [item])
        assert got is item
    assert logger.outcomes == {"s": "completed", "t": "completed"}
    assert logger.stats().streams_without_text == 2


@pytest.mark.parametrize(
    "items",
    [
        [],
        [None, "", b""],
        ["text"],
        [{"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}}]}],
        [{"choices": [{"index": 0, "delta": {"reasoning_content": "Hm"}}]}],
        [{"error": "model not found"}],
    ],
)  # fmt: skip
def test_stream_whose_text_was_found_is_not_reported(manual: Make, items: list[Any]) -> None:
    """Also if it was not asked for."""
    logger = manual()
    list(logger.wrap("s", items))
    assert logger.stats().streams_without_text == 0
    assert logger.health().status == "ok"


def test_threads_that_stream_into_one_session(live: Callable[..., StreamingLogger]) -> None:
    """Eight hundred streams of one session on eight threads: all text is there, and no turn is left open."""
    logger = live(flush_interval_seconds=0.01)

    def read() -> None:
        for _ in range(100):
            list(logger.wrap("s", iter(["x", "y"])))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logger.flush()
    assert logger.stats().sessions_active == 0
    text = (logger.base_dir / "s.log").read_text()
    assert (text.count("x"), text.count("y")) == (800, 800)
