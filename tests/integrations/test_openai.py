"""One call logs every stream of an OpenAI client: the real SDK against a server that replays recordings."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from unittest.mock import Mock

import httpx
import openai
import pytest

from cloud_server import serving_clouds
from log_lines import without_page
from replay_server import ReplayServer, spoken
from streaming_logger.integrations.openai import instrument
from streaming_logger.testing import ManualLogger, capture_streams

PROMPT: Any = [{"role": "user", "content": "Go on."}]
HEADERS = {"X-Session-Id": "s"}
MODEL = "logfile"


@pytest.fixture
def logger(manual: Callable[..., ManualLogger]) -> ManualLogger:
    return manual()


@pytest.fixture
def client(replay: ReplayServer, logger: ManualLogger) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=replay.url + "/v1", api_key="none", max_retries=0) as made:
        yield instrument(made, logger)


def asynchronous(replay: ReplayServer, logger: ManualLogger, use: Callable[[openai.AsyncOpenAI], Any]) -> Any:
    """Runs `use` with an instrumented client on an event loop."""

    async def run() -> Any:
        url = replay.url + "/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as made:
            return await use(instrument(made, logger))

    return asyncio.run(run())


CREATE: dict[str, Callable[[Any], Any]] = {
    "chat": lambda client: client.chat.completions.create(
        model=MODEL, messages=PROMPT, stream=True, extra_headers=HEADERS
    ),
    "responses": lambda client: client.responses.create(
        model=MODEL, input="Go on.", stream=True, extra_headers=HEADERS
    ),
    "completions": lambda client: client.completions.create(
        model=MODEL, prompt="Go on.", stream=True, extra_headers=HEADERS
    ),
}
HELPERS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda client: client.chat.completions.stream(model=MODEL, messages=PROMPT, extra_headers=HEADERS),
    "responses": lambda client: client.responses.stream(model=MODEL, input="Go on.", extra_headers=HEADERS),
}


@pytest.mark.parametrize("api", CREATE)
def test_a_stream_is_logged_and_stays_what_it_was(client: openai.OpenAI, logger: ManualLogger, api: str) -> None:
    """The SDK's own type, attributes and items; the whole text is in the session's file."""
    stream = CREATE[api](client)
    assert isinstance(stream, openai.Stream)
    assert stream.response.status_code == 200
    assert len(list(stream)) > 50
    assert logger.text == {"s": spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


@pytest.mark.parametrize("api", CREATE)
def test_an_async_stream_is_logged(replay: ReplayServer, logger: ManualLogger, api: str) -> None:
    """The same on an event loop."""

    async def use(client: openai.AsyncOpenAI) -> None:
        stream = await CREATE[api](client)
        assert isinstance(stream, openai.AsyncStream)
        assert len([item async for item in stream]) > 50

    asynchronous(replay, logger, use)
    assert logger.text == {"s": spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


#: How long the model below takes before it answers.
_THINKS_SECONDS = 0.2


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_time_to_first_chunk_is_counted_from_the_request(
    replay: ReplayServer, manual: Callable[..., ManualLogger], is_async: bool
) -> None:
    """The stream is there only when the model answers: most of the wait lies before it."""
    logger, url = manual(record_timing=True), replay.url + "/v1"

    async def think(response: httpx.Response) -> None:
        await asyncio.sleep(_THINKS_SECONDS)

    async def read() -> None:
        async with (
            httpx.AsyncClient(event_hooks={"response": [think]}) as http,
            openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=http) as made,
        ):
            async for _ in await CREATE["chat"](instrument(made, logger)):
                pass

    begun = time.monotonic()
    if is_async:
        asyncio.run(read())
    else:
        hooks = {"response": [lambda response: time.sleep(_THINKS_SECONDS)]}
        with (
            httpx.Client(event_hooks=hooks) as http,
            openai.OpenAI(base_url=url, api_key="none", max_retries=0, http_client=http) as made,
        ):
            for _ in CREATE["chat"](instrument(made, logger)):
                pass
    taken = time.monotonic() - begun
    logger.run_pending()
    first, *rest = (logger.base_dir / "s.timing").read_text().splitlines()
    assert _THINKS_SECONDS <= float(first.split()[0]) <= taken
    assert all(line.startswith("0.000000 ") for line in rest)  # this logger's clock stands still


def test_a_helper_is_logged_when_nobody_iterates(client: openai.OpenAI, logger: ManualLogger) -> None:
    """`get_final_completion` and `get_final_response` read the stream themselves."""
    with HELPERS["chat"](client) as chat:
        assert chat.get_final_completion().choices[0].message.content == spoken(MODEL)
    assert logger.text == {"s": spoken(MODEL)}
    with HELPERS["responses"](client) as responses:
        assert responses.get_final_response().output_text == spoken(MODEL)
    assert logger.text == {"s": 2 * spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


@pytest.mark.parametrize("api", HELPERS)
def test_an_async_helper_is_logged(replay: ReplayServer, logger: ManualLogger, api: str) -> None:
    """Its events are read one by one; the log has each text once."""

    async def use(client: openai.AsyncOpenAI) -> None:
        async with HELPERS[api](client) as stream:
            assert [event async for event in stream]

    asynchronous(replay, logger, use)
    assert logger.text == {"s": spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


@pytest.mark.parametrize("api", HELPERS)
def test_reasoning_and_tool_calls_are_logged_on_request(replay: ReplayServer, logger: ManualLogger, api: str) -> None:
    """`include` reaches the log of each stream."""
    model = "logfile+limit=30+reasoning=5+tools=5"
    with openai.OpenAI(base_url=replay.url + "/v1", api_key="none") as client:
        instrument(client, logger, session_id=lambda request: "s", include=["reasoning", "tool_calls"])
        if api == "chat":
            list(client.chat.completions.create(model=model, messages=PROMPT, stream=True))
        else:
            list(client.responses.create(model=model, input="Go on.", stream=True))
    parts = {kind: spoken(model, kind) for kind in ("reasoning", "text", "tool")}
    assert logger.text["s"] == (
        f"[streaming_logger: reasoning]\n{parts['reasoning']}\n[streaming_logger: answer]\n{parts['text']}\n"
        f"[streaming_logger: tool call]\nnote {parts['tool']}"
    )


def test_session_id_is_the_requests_or_made(replay: ReplayServer, logger: ManualLogger) -> None:
    """The header first, then the callable, then a new one, also where the callable raises or has none."""
    with openai.OpenAI(base_url=replay.url + "/v1", api_key="none") as client:
        instrument(client, logger, session_id=lambda request: request["user"])

        def ask(**request: Any) -> None:
            list(client.chat.completions.create(model=MODEL, messages=PROMPT, stream=True, **request))

        ask(user="alice")
        ask(user="bob", extra_headers={"x-session-id": "carol"})
        assert sorted(logger.text) == ["alice", "carol"]
        ask()
        assert len(logger.text) == 3
    assert set(logger.text.values()) == {spoken(MODEL)}


@pytest.mark.parametrize("api", CREATE)
@pytest.mark.parametrize(
    ("way", "outcome"), [("close", "closed"), ("with", "closed"), ("error", "error"), ("response", "closed")]
)
def test_leaving_early_completes_at_once(
    client: openai.OpenAI, logger: ManualLogger, api: str, way: str, outcome: str
) -> None:
    """While the reader still holds the stream; an exception in its `with` block is the outcome."""
    stream = CREATE[api](client)
    if way == "close":
        next(stream)
        stream.close()
    elif way == "response":
        stream.response.close()
    else:
        with contextlib.suppress(KeyError), stream:
            next(stream)
            if way == "error":
                raise KeyError
    assert stream.response.is_closed
    logger.run_pending()
    assert logger.outcomes == {"s": outcome}
    assert spoken(MODEL).startswith(logger.text.get("s", ""))
    assert list(stream) == []


@pytest.mark.parametrize("api", HELPERS)
def test_leaving_a_helper_early_completes_at_once(client: openai.OpenAI, logger: ManualLogger, api: str) -> None:
    """The helpers close the response, not the stream that they read."""
    with HELPERS[api](client) as stream:
        for _ in zip(range(10), stream, strict=False):
            pass
    logger.run_pending()
    assert logger.outcomes == {"s": "closed"}


def test_leaving_an_async_stream_early_completes_at_once(replay: ReplayServer, logger: ManualLogger) -> None:
    """Closed by its reader, by the helper's block, and before its first item."""

    async def use(client: openai.AsyncOpenAI) -> None:
        stream = await CREATE["chat"](client)
        await anext(stream)
        await stream.close()
        logger.run_pending()
        assert logger.outcomes == {"s": "closed"}
        async with HELPERS["chat"](client) as helper:
            await anext(helper)
        async with await CREATE["chat"](client):
            pass
        logger.run_pending()
        assert logger.stats().sessions_completed == 3

    asynchronous(replay, logger, use)
    assert logger.outcomes == {"s": "closed"}


def test_a_cancelled_task_is_the_outcome(replay: ReplayServer, logger: ManualLogger) -> None:
    """A task that waits for a chunk is cancelled; what came before is in the file."""

    async def use(client: openai.AsyncOpenAI) -> None:
        model = "logfile+stall=10"
        stream = await client.chat.completions.create(model=model, messages=PROMPT, stream=True, extra_headers=HEADERS)

        async def read() -> None:
            async with stream:
                async for chunk in stream:
                    if chunk.choices[0].delta.content:
                        seen.append(chunk.choices[0].delta.content)
                    if len(seen) == 10:
                        all_seen.set()

        seen: list[str] = []
        all_seen = asyncio.Event()
        task = asyncio.create_task(read())
        await asyncio.wait_for(all_seen.wait(), 10)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        logger.run_pending()
        assert logger.text == {"s": "".join(seen)}

    asynchronous(replay, logger, use)
    assert logger.outcomes == {"s": "closed"}


def test_a_broken_connection_is_an_error(client: openai.OpenAI, logger: ManualLogger) -> None:
    """The reader gets the SDK's own exception, the file what came before it."""
    stream = client.chat.completions.create(
        model="logfile+break=10", messages=PROMPT, stream=True, extra_headers=HEADERS
    )
    with pytest.raises(Exception, match=r"Connection error|incomplete chunked read"):
        list(stream)
    assert logger.text == {"s": spoken("logfile+limit=10")}
    assert logger.outcomes == {"s": "error"}


def test_a_refused_request_has_no_session(client: openai.OpenAI, logger: ManualLogger) -> None:
    """There was no stream."""
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="logfile+status=500", messages=PROMPT, stream=True)
    assert logger.text == logger.outcomes == {}


def test_a_dropped_stream_is_completed_by_the_collector(client: openai.OpenAI, logger: ManualLogger) -> None:
    """Nobody closed it and nobody holds it."""
    stream = CREATE["chat"](client)
    next(stream)
    del stream
    gc.collect()
    logger.run_pending()
    assert logger.outcomes["s"] in ("closed", "abandoned")


def test_twice_logs_once_and_copies_are_logged(client: openai.OpenAI, logger: ManualLogger) -> None:
    """`with_options` is how a request gets its own timeout."""
    assert instrument(client, logger) is client
    list(CREATE["chat"](client))
    assert logger.text == {"s": spoken(MODEL)}
    list(CREATE["chat"](client.with_options(timeout=30)))
    list(CREATE["chat"](client.copy().with_options(timeout=30)))
    assert logger.text == {"s": 3 * spoken(MODEL)}


def test_what_is_no_stream_passes_untouched(client: openai.OpenAI, logger: ManualLogger) -> None:
    """Whole answers and raw responses are as without the call, and are not logged."""
    whole = client.chat.completions.create(model=MODEL, messages=PROMPT)
    assert whole.choices[0].message.content == spoken(MODEL)
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=PROMPT, stream=True)
    assert len(list(raw.parse())) > 50
    with client.chat.completions.with_streaming_response.create(model=MODEL, messages=PROMPT, stream=True) as response:
        assert b"[DONE]" in response.read()
    assert logger.text == {}


def test_logger_is_the_processs_own_by_default(replay: ReplayServer) -> None:
    """Looked up when a stream begins."""
    with openai.OpenAI(base_url=replay.url + "/v1", api_key="none") as client:
        instrument(client)
        with capture_streams() as logger:
            list(CREATE["completions"](client))
            assert logger.text == {"s": spoken(MODEL)}


def test_wrong_arguments_are_refused_at_once(client: openai.OpenAI, logger: ManualLogger) -> None:
    """Not by the first request."""
    with pytest.raises(TypeError, match="must be a client of openai, not ManualLogger"):
        instrument(logger)
    with pytest.raises(ValueError, match="must be of reasoning, tool_calls"):
        instrument(client, logger, include=["thoughts"])


# -- what does not break a stream ------------------------------------------------------


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the library logged as errors."""
    return [without_page(record) for record in caplog.records if record.levelname == "ERROR"]


def contents(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def raising(request: Any) -> str:
    raise KeyError("user")


@pytest.mark.parametrize(
    ("choose", "problem"),
    [
        (raising, "the callable raised KeyError('user')"),
        (lambda request: request["metadata"]["user"], "the callable raised KeyError('metadata')"),
        (lambda request: ["s"], "must be a str, int or UUID, not list"),
        (lambda request: Mock(), "must be a str, int or UUID, not Mock"),
        (lambda request: "x" * 10_000_000, "must have at most 1000 characters, got 10000000"),
        (lambda request: raising, "must be a str, int or UUID, not function"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_callable_cannot_break_a_stream(
    replay: ReplayServer,
    logger: ManualLogger,
    caplog: pytest.LogCaptureFixture,
    choose: Any,
    problem: str,
    is_async: bool,
) -> None:
    """The stream has a new id, and the log one line for all requests."""
    url = replay.url + "/v1"
    if is_async:

        async def use() -> None:
            async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
                instrument(client, logger, session_id=choose)
                for _ in range(2):
                    stream = await client.chat.completions.create(model=MODEL, messages=PROMPT, stream=True)
                    assert contents([chunk async for chunk in stream]) == spoken(MODEL)

        asyncio.run(use())
    else:
        with openai.OpenAI(base_url=url, api_key="none") as client:
            instrument(client, logger, session_id=choose)
            for _ in range(2):
                stream = client.chat.completions.create(model=MODEL, messages=PROMPT, stream=True)
                assert contents(stream) == spoken(MODEL)
    assert list(logger.text.values()) == [spoken(MODEL)] * 2
    assert reports(caplog) == [f"openai: a session id is not usable: {problem}"]


def test_ids_that_are_numbers_are_taken(replay: ReplayServer, logger: ManualLogger) -> None:
    """A database's key."""
    with openai.OpenAI(base_url=replay.url + "/v1", api_key="none") as client:
        instrument(client, logger, session_id=lambda request: 7)
        list(client.chat.completions.create(model=MODEL, messages=PROMPT, stream=True))
    assert logger.text == {"7": spoken(MODEL)}


def test_callable_cannot_change_the_request(replay: ReplayServer, logger: ManualLogger) -> None:
    """It gets a mapping of its own."""
    with openai.OpenAI(base_url=replay.url + "/v1", api_key="none") as client:
        instrument(client, logger, session_id=lambda request: request.pop("user"))
        for _ in range(2):
            list(client.chat.completions.create(model=MODEL, messages=PROMPT, stream=True, user="s"))
    assert logger.text == {"s": 2 * spoken(MODEL)}


@pytest.mark.parametrize("reading", ["iterate", "with", "close"])
def test_logger_that_is_out_of_order_cannot_break_a_stream(
    client: openai.OpenAI,
    logger: ManualLogger,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    reading: str,
) -> None:
    """Each chunk, the context manager and `close` are those of the SDK; one line says that it is not logged."""
    monkeypatch.setattr(logger._engine, "begin_stream", Mock(side_effect=OSError("out of order")))
    stream = CREATE["chat"](client)
    if reading == "close":
        next(stream)
        stream.close()
    elif reading == "with":
        with stream:
            assert contents(stream) == spoken(MODEL)
    else:
        assert contents(stream) == spoken(MODEL)
    assert stream.response.is_closed
    assert reports(caplog) == ["openai: a stream is not logged: OSError('out of order')"]
    assert logger.text == {}


def test_log_that_cannot_be_ended_cannot_break_close(
    client: openai.OpenAI, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response is closed, as its reader asked."""
    stream = CREATE["chat"](client)
    next(stream)
    monkeypatch.setattr("streaming_logger._wrap.WrappedStream.__exit__", Mock(side_effect=OSError("out of order")))
    stream.close()
    assert stream.response.is_closed
    assert reports(caplog) == ["openai: a stream is not logged: OSError('out of order')"]


Item = TypeVar("Item")


class NoIterator(openai.Stream[Item]):
    """A stream of a future SDK, which is read by another attribute."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.events = self.__dict__.pop("_iterator")

    def __iter__(self) -> Iterator[Any]:
        return iter(self.events)

    def __next__(self) -> Any:
        return next(self.events)


def test_stream_without_the_private_attribute_passes(
    client: openai.OpenAI, logger: ManualLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """One stream may be of another kind than those that were checked."""
    body: Any = {"model": MODEL, "messages": PROMPT, "stream": True}
    kind = NoIterator[openai.types.chat.ChatCompletionChunk]
    for _ in range(2):
        stream = client.post(
            "/chat/completions", cast_to=openai.types.chat.ChatCompletionChunk, body=body, stream=True, stream_cls=kind
        )
        assert contents(stream) == spoken(MODEL)
    (line,) = reports(caplog)
    assert line.startswith("openai: a stream is not logged: AttributeError(")
    assert logger.text == {}


def test_response_that_cannot_be_watched_passes(
    logger: ManualLogger, replay: ReplayServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An HTTP library whose response's class cannot be replaced."""

    with openai.OpenAI(base_url=replay.url + "/v1", api_key="none") as client:
        instrument(client, logger)
        real = client._process_response

        def refuse(response: Any, name: str, value: object) -> None:
            if name == "__class__":
                raise TypeError("it is fixed")
            object.__setattr__(response, name, value)

        def process(*args: Any, response: Any, **more: Any) -> Any:
            response.__class__ = type("Fixed", (type(response),), {"__setattr__": refuse})
            return real(*args, response=response, **more)

        monkeypatch.setattr(client, "_process_response", process)
        stream = CREATE["chat"](client)
        assert contents(stream) == spoken(MODEL)
        stream.close()
    assert reports(caplog) == ["openai: a stream is not logged: TypeError('it is fixed')"]
    assert logger.text == logger.outcomes == {}


def moved(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An SDK in which a part is elsewhere."""
    if name == "BaseClient":
        monkeypatch.delattr(openai._base_client, "BaseClient")
    elif name == "AsyncStream":
        monkeypatch.delattr(openai, "AsyncStream")
    elif name == "version":
        monkeypatch.setattr(openai, "__version__", "99.0.0")
    else:
        monkeypatch.setattr(openai.OpenAI, name, None)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("version", "openai 99.0.0 cannot be instrumented: it is not tested"),
        ("BaseClient", "_base_client.BaseClient is missing"),
        ("request", "OpenAI.request is missing"),
        ("copy", "OpenAI.copy is missing"),
        ("with_options", "OpenAI.with_options is missing"),
        ("AsyncStream", "AsyncStream is not read by its _iterator"),
    ],
)
def test_sdk_whose_parts_have_moved_is_refused(
    replay: ReplayServer, logger: ManualLogger, monkeypatch: pytest.MonkeyPatch, part: str, reason: str
) -> None:
    """By name, with the way round it; the client stays as it was."""
    with openai.OpenAI(base_url=replay.url + "/v1", api_key="none") as client:
        before = dict(client.__dict__)
        with monkeypatch.context() as changed:
            moved(changed, part)
            with pytest.raises(ImportError, match=reason) as raised:
                instrument(client, logger)
        assert "Log its streams with StreamingLogger.wrap instead" in str(raised.value)
        assert client.__dict__.keys() == before.keys()


@pytest.mark.parametrize(
    "kind", [lambda self: iter("x"), lambda self: self._events.__next__(), lambda self: (_ for _ in "x").__next__()]
)
def test_sdk_whose_streams_are_read_otherwise_is_refused(
    client: openai.OpenAI, logger: ManualLogger, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """What is read is not what `_iterator` gives, or there is no such attribute."""
    monkeypatch.setattr(openai.Stream, "__next__", kind)
    with pytest.raises(ImportError, match="Stream is not read by its _iterator"):
        instrument(client.copy(), logger)


def test_copy_that_cannot_be_instrumented_is_returned(
    client: openai.OpenAI, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its streams are not logged, and the log says that."""
    monkeypatch.delattr(openai._base_client.SyncAPIClient, "request")
    assert isinstance(client.copy(), openai.OpenAI)
    (line,) = reports(caplog)
    assert line.startswith("openai: a stream is not logged: AttributeError(")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"logger": "logger"}, TypeError, "logger must be a StreamingLogger, got 'logger'"),
        ({"session_id": "user"}, TypeError, "session_id must be None or a function of one argument, got 'user'"),
        ({"include": None}, TypeError, "include must be a list of names, got None"),
        ({"include": ["thoughts"]}, ValueError, "got 'thoughts'"),
    ],
)
def test_each_wrong_argument_is_refused(
    replay: ReplayServer, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """With its name, its rule and its value; the client stays as it was."""
    with openai.OpenAI(base_url=replay.url + "/v1", api_key="none") as client:
        with pytest.raises(error, match=message):
            instrument(client, **arguments)
        assert "request" not in client.__dict__


@pytest.mark.parametrize("wrong", [None, openai, openai.OpenAI, Mock(), "client"])
def test_what_is_no_client_is_refused(wrong: Any) -> None:
    """Nor is the class, or the module."""
    with pytest.raises(TypeError, match="client must be a client of openai, not "):
        instrument(wrong)


# -- its relatives ---------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
def test_azures_clients_are_logged(logger: ManualLogger, is_async: bool) -> None:
    """They name the model in the path."""
    with serving_clouds() as clouds:
        settings: Any = {"azure_endpoint": clouds.url, "api_key": "none", "api_version": "2024-10-21"}
        asked: Any = {"model": MODEL, "messages": PROMPT, "stream": True, "extra_headers": HEADERS}
        if is_async:

            async def use() -> None:
                async with openai.AsyncAzureOpenAI(**settings) as client:
                    stream = await instrument(client, logger).chat.completions.create(**asked)
                    assert contents([chunk async for chunk in stream]) == spoken(MODEL)

            asyncio.run(use())
        else:
            with openai.AzureOpenAI(**settings) as client:
                assert contents(instrument(client, logger).chat.completions.create(**asked)) == spoken(MODEL)
                list(client.with_options(timeout=30).chat.completions.create(**asked))
    assert logger.text == {"s": spoken(MODEL) * (1 if is_async else 2)}
    assert logger.outcomes == {"s": "completed"}


@pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning")
def test_assistants_runs_are_logged(logger: ManualLogger) -> None:
    """The helper's own stream is made of the one that is logged."""
    with serving_clouds() as clouds, openai.OpenAI(base_url=clouds.url + "/v1", api_key="none") as client:
        instrument(client, logger)
        with client.beta.threads.runs.stream(thread_id=MODEL, assistant_id="a", extra_headers=HEADERS) as stream:
            events = list(stream)
        assert "".join(event.data.delta.content[0].text.value for event in events[1:]) == spoken(MODEL)
        with client.beta.threads.runs.stream(
            thread_id=MODEL, assistant_id="a", extra_headers=HEADERS | {"X-Session-Id": "t"}
        ) as stream:
            next(stream)
    assert logger.outcomes == {"s": "completed", "t": "closed"}


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_parsed_response_is_logged(client: openai.OpenAI, logger: ManualLogger, api: str) -> None:
    """Once, however often it is parsed; its own type stays what it was, and its end is the stream's."""
    asked: Any = {"messages": PROMPT} if api == "chat" else {"input": "Go on."}
    resource = client.chat.completions if api == "chat" else client.responses
    with resource.with_streaming_response.create(model=MODEL, stream=True, extra_headers=HEADERS, **asked) as response:
        assert isinstance(response, openai.APIResponse)
        assert response.parse() is response.parse()
        assert len(list(response.parse())) > 50
    with resource.with_streaming_response.create(
        model=MODEL, stream=True, extra_headers={"X-Session-Id": "t"}, **asked
    ) as response:
        next(response.parse())
    assert logger.text["s"] == spoken(MODEL)
    assert logger.outcomes == {"s": "completed", "t": "closed"}
