"""One call logs every stream of an OpenAI client: the real SDK against a server that replays recordings."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

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
