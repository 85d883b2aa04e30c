"""`logger.wrap`: every item passes unchanged, its text is logged, and the session completes once, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from log_lines import without_page
from streaming_logger import StreamingLogger
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]


@pytest.fixture
def logger(manual: Make) -> ManualLogger:
    return manual()


def tokens(error: BaseException | None = None) -> Generator[str, Any, None]:
    """A generator that logs what it is sent, and ends, or breaks."""
    for token in ("The", " answer"):
        sent = yield token
        while sent:
            sent = yield sent
    if error is not None:
        raise error


async def atokens(error: BaseException | None = None) -> AsyncIterator[str]:
    for token in tokens(error):
        await asyncio.sleep(0)
        yield token


# -- how a stream ends -----------------------------------------------------------------


def exhausted(stream: Any) -> None:
    assert list(stream) == ["The", " answer"]


def left(stream: Any) -> None:
    for _ in stream:
        break


def closed(stream: Any) -> None:
    next(stream)
    stream.close()


def left_block(stream: Any) -> None:
    with stream as entered:
        next(entered)


def failed_block(stream: Any) -> None:
    with contextlib.suppress(KeyError), stream:
        next(stream)
        raise KeyError


def thrown_into(stream: Any) -> None:
    next(stream)
    with contextlib.suppress(OSError):
        stream.throw(OSError())


def never_read(stream: Any) -> None:
    pass


def in_a_circle(stream: Any) -> None:
    next(stream)
    circle = [stream]
    circle.append(circle)


def in_another_thread(stream: Any) -> None:
    next(stream)
    thread = threading.Thread(target=lambda: list(stream))
    thread.start()
    thread.join()


ENDS = [
    (exhausted, None, "completed"),
    (exhausted, OSError(), "error"),
    (exhausted, KeyboardInterrupt(), "error"),
    (exhausted, asyncio.CancelledError(), "cancelled"),
    (left, None, "closed"),
    (closed, None, "closed"),
    (left_block, None, "closed"),
    (failed_block, None, "error"),
    (thrown_into, None, "error"),
    (never_read, None, "abandoned"),
    (in_a_circle, None, "abandoned"),
    (in_another_thread, None, "completed"),
]


@pytest.mark.parametrize(("read", "error", "outcome"), ENDS)
def test_outcome_of_a_sync_stream(
    logger: ManualLogger, read: Callable[[Any], None], error: BaseException | None, outcome: str
) -> None:
    """Each way to leave it has its outcome; an exception passes on unchanged; the session ends once."""
    with pytest.raises(type(error)) if error else contextlib.nullcontext() as raised:
        read(logger.wrap("s", tokens(error)))
    if error:
        assert raised.value is error
        del raised
        error.__traceback__ = None  # it holds the stream
    gc.collect()
    assert logger.outcomes == {"s": outcome}
    assert logger.stats().sessions_completed == 1
    assert logger.session_files == {}


async def aexhausted(stream: Any) -> None:
    assert [token async for token in stream] == ["The", " answer"]


async def aleft(stream: Any) -> None:
    async for _ in stream:
        break


async def aclosed(stream: Any) -> None:
    await anext(stream)
    await stream.aclose()


async def aleft_block(stream: Any) -> None:
    async with stream as entered:
        await anext(entered)


async def athrown_into(stream: Any) -> None:
    await anext(stream)
    with contextlib.suppress(OSError):
        await stream.athrow(OSError())


async def acancelled(stream: Any) -> None:
    async def read() -> None:
        async for _ in stream:
            if stream.session_id == "s":
                reading.set()

    reading = asyncio.Event()
    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def anever_read(stream: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("read", "error", "outcome"),
    [
        (aexhausted, None, "completed"),
        (aexhausted, OSError(), "error"),
        (aleft, None, "closed"),
        (aclosed, None, "closed"),
        (aleft_block, None, "closed"),
        (athrown_into, None, "error"),
        (acancelled, None, "closed"),
        (anever_read, None, "abandoned"),
    ],
)
def test_outcome_of_an_async_stream(
    logger: ManualLogger, read: Callable[[Any], Any], error: BaseException | None, outcome: str
) -> None:
    """The same on an event loop."""

    async def main() -> None:
        await read(logger.wrap("s", atokens(error)))

    with pytest.raises(type(error)) if error else contextlib.nullcontext():
        asyncio.run(main())
    if error:
        error.__traceback__ = None
    gc.collect()
    assert logger.outcomes == {"s": outcome}
    assert logger.stats().sessions_completed == 1
    assert logger.session_files == {}


def test_async_stream_that_no_loop_closes(logger: ManualLogger) -> None:
    """The loop ends while a task reads: the stream is completed when it is collected."""
    loop = asyncio.new_event_loop()
    stream = logger.wrap("s", atokens())
    assert loop.run_until_complete(anext(stream)) == "The"
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    del stream
    assert logger.outcomes == {"s": "closed"}


def test_stream_that_breaks_before_its_first_item_is_in_the_ledger(logger: ManualLogger) -> None:
    """No file is made, but how it ended is known."""

    def broken() -> Iterator[str]:
        raise ConnectionError
        yield ""

    with pytest.raises(ConnectionError):
        next(logger.wrap("s", broken()))
    logger.advance(2)
    assert logger.text == {}
    ledger = (logger.base_dir / ".streaming_logger" / "ledger.jsonl").read_text().splitlines()
    assert [(line["outcome"], line["bytes"]) for line in map(json.loads, ledger)] == [("error", 0)]


def test_many_threads_end_one_stream(live: Callable[..., StreamingLogger]) -> None:
    """Eight threads close and read at the same moment: no text is lost, no session stays active.

    What is read after the end is a turn of its own, and ended, too.
    """
    logger = live(flush_interval_seconds=0.01)
    for number in range(50):
        stream = logger.wrap(f"s{number}", iter("abc"))
        together = threading.Barrier(8)
        read: list[str] = []

        def end(
            kind: int, stream: Any = stream, together: threading.Barrier = together, read: list[str] = read
        ) -> None:
            together.wait()
            if kind % 2:
                stream.close()
            else:
                read.extend(stream)

        threads = [threading.Thread(target=end, args=(kind,)) for kind in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stream.outcome in ("completed", "closed")
        logger.flush()
        assert sorted((logger.base_dir / f"s{number}.log").read_text()) == sorted("".join(read)) == list("abc")
    assert logger.stats().sessions_active == 0
    assert logger.stats().sessions_completed >= 50


def test_end_of_an_old_stream_does_not_end_a_new_turn(logger: ManualLogger) -> None:
    """A stream that has ended may be collected while the same session streams again."""
    old = logger.wrap("s", tokens())
    exhausted(old)
    new = logger.wrap("s", tokens())
    assert next(new) == "The"
    del old
    gc.collect()
    assert list(logger.session_files) == ["s"]
    new.close()
    assert logger.text == {"s": "The answerThe"}


# -- what passes through -------------------------------------------------------------------


def test_items_are_the_same_objects(logger: ManualLogger) -> None:
    """Of whatever type, with text or without."""
    items: list[Any] = ["a", b"b", {"text": "c"}, None, {"status": 1}, ("d", {}), ""]
    assert all(given is got for given, got in zip(items, logger.wrap("s", items), strict=True))
    assert logger.text == {"s": "abc"}


def test_generator_protocol_passes_through(logger: ManualLogger) -> None:
    """`send` and `throw` reach the generator; what they yield is logged."""
    stream = logger.wrap("s", tokens())
    assert [next(stream), stream.send("sent"), next(stream)] == ["The", "sent", " answer"]
    with pytest.raises(StopIteration):
        stream.send(None)
    assert (logger.text, logger.outcomes) == ({"s": "Thesent answer"}, {"s": "completed"})


class SdkStream:
    """As the SDKs' streams are: iterated, closed and entered, with attributes beside."""

    def __init__(self) -> None:
        self.response = object()
        self.was_closed = False
        self._iterator = tokens()

    def __iter__(self) -> Iterator[str]:
        yield from self._iterator

    def __next__(self) -> str:
        return next(self._iterator)

    def __enter__(self) -> SdkStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.was_closed = True

    def get_final_message(self) -> str:
        return "".join(self)

    @property
    def text_stream(self) -> Iterator[str]:
        return (token.upper() for token in self)


class SdkManager:
    """As `client.messages.stream(...)`: only its block gives the stream."""

    def __init__(self, stream: SdkStream) -> None:
        self.stream = stream

    def __enter__(self) -> SdkStream:
        return self.stream

    def __exit__(self, *exc: object) -> None:
        self.stream.close()


def test_attributes_of_the_wrapped_object_pass_through(logger: ManualLogger) -> None:
    """`response`, `get_final_message`, `close`, the block; a missing attribute is missing."""
    inner = SdkStream()
    with logger.wrap("s", inner) as stream:
        assert stream.response is inner.response
        assert next(stream) == "The"
        assert stream.get_final_message() == " answer"
        assert not hasattr(stream, "nothing")
    assert inner.was_closed
    assert logger.outcomes == {"s": "closed"}


def test_context_manager_that_gives_the_stream(logger: ManualLogger) -> None:
    """It is entered by the block, and left by it."""
    inner = SdkStream()
    with logger.wrap("s", SdkManager(inner)) as stream:
        assert list(stream) == ["The", " answer"]
        assert stream.response is inner.response
    assert inner.was_closed
    assert (logger.text, logger.outcomes) == ({"s": "The answer"}, {"s": "completed"})


def test_iterator_among_the_attributes_is_logged(logger: ManualLogger) -> None:
    """Anthropic's `text_stream` is another way to read the same stream."""
    with logger.wrap("s", SdkManager(SdkStream())) as stream:
        assert list(stream.text_stream) == ["THE", " ANSWER"]
    assert (logger.text, logger.outcomes) == ({"s": "THE ANSWER"}, {"s": "completed"})


class BothWays:
    """As LiteLLM's stream: read by `for` or by `async for`."""

    def __init__(self) -> None:
        self._sync, self._async = tokens(), atokens()

    def __iter__(self) -> BothWays:
        return self

    def __aiter__(self) -> BothWays:
        return self

    def __next__(self) -> str:
        return next(self._sync)

    async def __anext__(self) -> str:
        return await anext(self._async)


def test_stream_that_can_be_read_both_ways(logger: ManualLogger) -> None:
    """Either way is logged."""
    exhausted(logger.wrap("sync", BothWays()))
    asyncio.run(aexhausted(logger.wrap("async", BothWays())))
    assert logger.text == {"async": "The answer", "sync": "The answer"}
    assert logger.outcomes == {"async": "completed", "sync": "completed"}


def test_async_iterable_is_closed_with_its_iterator(logger: ManualLogger) -> None:
    """As OpenAI's AsyncStream: `__aiter__` makes a generator, `close` is the stream's."""

    class AsyncSdkStream:
        closed = False

        async def __aiter__(self) -> AsyncIterator[str]:
            async for token in atokens():
                yield token

        async def close(self) -> None:
            self.closed = True

    inner = AsyncSdkStream()
    asyncio.run(aclosed(logger.wrap("s", inner)))
    assert inner.closed
    assert logger.outcomes == {"s": "closed"}


# -- ids and text ---------------------------------------------------------------------------


def test_async_stream_has_the_close_of_what_it_wraps(logger: ManualLogger) -> None:
    """An async generator has none: Django calls what it finds by this name without awaiting it."""

    class Stream:
        def __aiter__(self) -> AsyncIterator[str]:
            return atokens()

        async def close(self) -> None: ...

    async def use() -> None:
        assert not hasattr(logger.wrap("s", atokens()), "close")
        await logger.wrap("t", Stream()).close()

    asyncio.run(use())
    assert logger.outcomes["t"] == "closed"


def test_session_id_is_made_where_none_is_given(logger: ManualLogger) -> None:
    """And exposed; two streams never share one."""
    first, second = logger.wrap(None, tokens()), logger.wrap("", tokens())
    assert first.session_id != second.session_id
    exhausted(first)
    exhausted(second)
    assert logger.text == dict.fromkeys((first.session_id, second.session_id), "The answer")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, "text"), "session_id must be str or None, not int"),
        (("s", 5), "stream must be an iterator or async iterator, not int"),
        (("s", "text", "content"), "text must be callable or None, not str"),
    ],
)
def test_wrong_arguments_are_named(logger: ManualLogger, arguments: tuple[Any, ...], message: str) -> None:
    """Field, rule and what was given; nothing is begun."""
    with pytest.raises(TypeError, match=message):
        logger.wrap(*arguments)
    assert logger.session_files == {}


def test_coroutine_is_to_be_awaited_first(logger: ManualLogger) -> None:
    """The usual mistake with an async client."""

    async def create() -> AsyncIterator[str]:
        return atokens()

    coroutine = create()
    with pytest.raises(TypeError, match="not coroutine: await it first"):
        logger.wrap("s", coroutine)
    coroutine.close()


def test_extractor_that_raises_does_not_break_the_stream(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """Counted, reported once, and the item passes; so does one that returns no string."""
    answers = iter([lambda: 1 / 0, lambda: 7, lambda: None, lambda: "text"])
    items = list(logger.wrap("s", "abcd", lambda item: next(answers)()))
    assert items == ["a", "b", "c", "d"]
    assert (logger.text, logger.outcomes) == ({"s": "text"}, {"s": "completed"})
    assert logger.stats().extraction_errors == 2
    assert [without_page(record) for record in caplog.records if record.levelname == "ERROR"] == [
        "cannot extract text from a stream item: ZeroDivisionError('division by zero')"
    ]


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_last_line_that_cannot_be_told_does_not_break_the_end(logger: ManualLogger) -> None:
    """What the extractor holds back until the end is foreign, too: the session is completed all the same."""
    items = [b'{"choices": []}\n', b'{"choices": 5}']
    assert list(logger.wrap("s", iter(items))) == items
    assert logger.outcomes == {"s": "completed"}
    assert logger.stats().extraction_errors == 1


def test_timeout_that_comes_while_the_text_is_looked_for_is_no_extraction_error(logger: ManualLogger) -> None:
    """The application's own signal handler raised it: it passes, and the session ends with an error."""

    def on_alarm(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("too slow")

    before = signal.signal(signal.SIGTERM, on_alarm)
    try:
        with pytest.raises(TimeoutError):
            list(logger.wrap("s", iter("abc"), lambda item: signal.raise_signal(signal.SIGTERM)))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert logger.outcomes == {"s": "error"}
    assert logger.stats().extraction_errors == 0


def test_rest_of_an_event_stream_is_logged_at_its_end(logger: ManualLogger) -> None:
    """A body that ends inside an event, or is left there."""
    for session in ("completed", "closed"):
        stream = logger.wrap(session, iter([b"data: 1\n\ndata: plain", b" words"]), format="sse")
        list(stream) if session == "completed" else (next(stream), stream.close())
    assert logger.text == {"closed": "1plain", "completed": "1plain words"}


def test_recorded_answer_as_openai_events(logger: ManualLogger) -> None:
    """A real model's stream, in the chunks of a real API."""
    path = Path(__file__).parents[1] / "examples" / "streams" / "essay_t0.8.jsonl"
    words = [json.loads(line)[1] for line in path.read_text().splitlines()]
    chunks = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
    assert list(logger.wrap("s", iter(chunks))) == chunks
    assert logger.text == {"s": "".join(words)}


def test_disabled_logger_passes_everything(manual: Make) -> None:
    """Nothing is logged, and nothing is active."""
    logger = manual(enabled=False)
    exhausted(logger.wrap("s", tokens()))
    assert (logger.text, logger.stats().sessions_active) == ({}, 0)


def test_stream_read_after_close_goes_on(manual: Make) -> None:
    """The logger was closed while a stream runs: its text goes straight to the file."""
    logger = manual()
    stream = logger.wrap("s", tokens())
    next(stream)
    logger.close()
    assert list(stream) == [" answer"]
    assert (logger.base_dir / "s.log").read_text() == "The answer"


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="reference counts")
def test_wrapper_is_no_circle(logger: ManualLogger) -> None:
    """It goes with its last reference, so that a `break` completes the session at once."""
    gc.disable()
    try:
        left(logger.wrap("s", tokens()))
        assert logger.outcomes == {"s": "closed"}
    finally:
        gc.enable()


def test_disabled_logger_does_not_look_for_text(manual: Make) -> None:
    """A stream costs nothing then: its extractor is not called."""

    def never(item: str) -> str:
        raise AssertionError

    logger = manual(enabled=False)
    exhausted(logger.wrap("s", tokens(), never))
    assert logger.stats().extraction_errors == 0
