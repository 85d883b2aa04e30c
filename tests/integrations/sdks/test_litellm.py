"""LiteLLM's streams, wrapped and by its proxy's callback: the real package against recordings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import litellm
import pytest
from litellm.proxy.types_utils.utils import get_instance_fn

from replay_server import ReplayServer, spoken
from streaming_logger.integrations.litellm import proxy_handler
from streaming_logger.testing import ManualLogger, capture_streams

MODEL = "logfile"
pytestmark = [  # LiteLLM's own: how it defines its types, and an event loop and clients that it does not close
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def logger(manual: Callable[..., ManualLogger]) -> ManualLogger:
    return manual()


def arguments(replay: ReplayServer, model: str = MODEL) -> dict[str, Any]:
    prompt = [{"role": "user", "content": "Go on."}]
    url = replay.url + "/v1"
    return {"model": f"openai/{model}", "messages": prompt, "api_base": url, "api_key": "none", "stream": True}


def test_a_wrapped_stream_is_logged(replay: ReplayServer, logger: ManualLogger) -> None:
    """LiteLLM's stream can be read both ways; each is logged."""
    chunks = list(logger.wrap("s", litellm.completion(**arguments(replay))))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == spoken(MODEL)

    async def read() -> None:
        async for _ in logger.wrap("s", await litellm.acompletion(**arguments(replay))):
            pass

    asyncio.run(read())
    assert logger.text == {"s": 2 * spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


def test_a_broken_connection_is_an_error(replay: ReplayServer, logger: ManualLogger) -> None:
    """The file has what came before it."""
    with pytest.raises(Exception, match=r"Connection error|incomplete chunked read"):
        list(logger.wrap("s", litellm.completion(**arguments(replay, "logfile+break=10"), num_retries=0)))
    assert spoken("logfile+limit=10").startswith(logger.text["s"])
    assert logger.outcomes == {"s": "error"}


@pytest.mark.parametrize(
    "request_data",
    [
        {"litellm_session_id": "s", "litellm_call_id": "c"},
        {"metadata": {"session_id": "s"}, "litellm_call_id": "c"},
        {"litellm_metadata": {"session_id": "s"}, "metadata": None},
        {"litellm_call_id": "s"},
    ],
)
def test_the_proxys_hook_logs_and_passes_each_chunk(
    replay: ReplayServer, logger: ManualLogger, request_data: dict[str, Any]
) -> None:
    """The session id is the request's, or the call's."""

    async def serve() -> list[Any]:
        stream = await litellm.acompletion(**arguments(replay))
        hook = proxy_handler(logger).async_post_call_streaming_iterator_hook
        return [chunk async for chunk in hook(user_api_key_dict=None, response=stream, request_data=request_data)]

    chunks = asyncio.run(serve())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == spoken(MODEL)
    assert logger.text == {"s": spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


def test_the_hook_knows_raw_events_and_the_end_of_the_client(logger: ManualLogger) -> None:
    """`/v1/messages` streams bytes; a client that leaves closes the hook's generator."""

    async def events() -> AsyncIterator[bytes]:
        for text in ("Hel", "lo", "!"):
            event = f'{{"type": "content_block_delta", "delta": {{"type": "text_delta", "text": "{text}"}}}}'
            yield f"event: content_block_delta\ndata: {event}\n\n".encode()

    async def serve() -> None:
        hook = proxy_handler(logger, session_id=lambda request: request["user"])
        stream = hook.async_post_call_streaming_iterator_hook(None, events(), {"user": "s"})
        await anext(stream)
        await anext(stream)
        await stream.aclose()

    asyncio.run(serve())
    assert logger.text == {"s": "Hello"}
    assert logger.outcomes == {"s": "closed"}


def test_the_proxy_finds_the_instance_by_its_name() -> None:
    """As its configuration names it: one instance, with the process's logger."""
    handler = get_instance_fn("streaming_logger.integrations.litellm.proxy_handler_instance")
    assert handler is get_instance_fn("streaming_logger.integrations.litellm.proxy_handler_instance")
    assert "async_post_call_streaming_iterator_hook" in vars(type(handler))  # how the proxy knows who overrides it

    async def serve() -> None:
        async def chunks() -> AsyncIterator[str]:
            yield "Hello"

        async for _ in handler.async_post_call_streaming_iterator_hook(None, chunks(), {"litellm_session_id": "s"}):
            pass

    with capture_streams() as logger:
        asyncio.run(serve())
        assert logger.text == {"s": "Hello"}
