"""LiteLLM's streams, wrapped and by its proxy's callback: the real package against recordings."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import litellm
import pytest
from litellm.proxy.types_utils.utils import get_instance_fn

from conftest import wait_until
from log_lines import without_page
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


# -- what does not break a stream ------------------------------------------------------


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the library logged as errors."""
    return [without_page(record) for record in caplog.records if record.levelname == "ERROR"]


async def answer() -> AsyncIterator[dict[str, Any]]:
    for text in ("Hel", "lo"):
        yield {"choices": [{"delta": {"content": text}}]}


def served(logger: ManualLogger, request: Any, response: Any = None, **arguments: Any) -> list[Any]:
    """What the proxy's client receives."""

    async def serve() -> list[Any]:
        hook = proxy_handler(logger, **arguments).async_post_call_streaming_iterator_hook
        stream = hook(user_api_key_dict=None, response=response or answer(), request_data=request)
        return [chunk async for chunk in stream]

    return asyncio.run(serve())


@pytest.mark.parametrize(
    ("request_data", "problem"),
    [
        ({"metadata": "user-42"}, "metadata is a str, not a mapping"),
        ({"metadata": ["a"]}, "metadata is a list, not a mapping"),
        ({"litellm_metadata": 7}, "litellm_metadata is a int, not a mapping"),
        ({"metadata": {"session_id": {"id": "s"}}}, "must be a str, int or UUID, not dict"),
        ({"litellm_session_id": Mock()}, "must be a str, int or UUID, not Mock"),
        ({"litellm_session_id": "x" * 10_000_000}, "must have at most 1000 characters, got 10000000"),
        (None, None),
        (Mock(), "the request is a Mock, not a mapping"),
        ("text", "the request is a str, not a mapping"),
    ],
    ids=range(9),
)
def test_request_of_any_kind_is_served(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, request_data: Any, problem: str | None
) -> None:
    """The call's id counts, if there is one; what is wrong is reported once."""
    is_request = isinstance(request_data, dict)
    given = request_data | {"litellm_call_id": "c"} if is_request else request_data
    for _ in range(2):
        assert len(served(logger, given)) == 2
    assert list(logger.text.values()) == (["HelloHello"] if is_request else ["Hello", "Hello"])
    assert list(logger.text) == ["c"] or not is_request
    assert reports(caplog) == ([f"litellm: a session id is not usable: {problem}"] if problem else [])


def raising(request: Any) -> str:
    raise RuntimeError("no session")


@pytest.mark.parametrize(
    ("choose", "problem"),
    [
        (raising, "the callable raised RuntimeError('no session')"),
        (lambda request: request["user"], "the callable raised KeyError('user')"),
        (lambda request: request["metadata"].get("user"), "the callable raised KeyError('metadata')"),
        (lambda request: b"s", "must be a str, int or UUID, not bytes"),
        (lambda request: True, "must be a str, int or UUID, not bool"),
        (lambda request: None, None),
    ],
)
def test_callable_cannot_break_a_stream(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, choose: Any, problem: str | None
) -> None:
    """The request's own id counts instead."""
    assert len(served(logger, {"litellm_call_id": "c"}, session_id=choose)) == 2
    assert logger.text == {"c": "Hello"}
    assert reports(caplog) == ([f"litellm: a session id is not usable: {problem}"] if problem else [])


def test_id_that_is_a_number_is_taken(logger: ManualLogger) -> None:
    """A database's key."""
    served(logger, {"user": 7}, session_id=lambda request: request["user"])
    served(logger, {"metadata": {"session_id": 8}})
    assert logger.text == {"7": "Hello", "8": "Hello"}


class Response:
    """A provider's stream, which tells what is done to it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.chunks = [{"choices": [{"delta": {"content": text}}]} for text in ("Hel", "lo")]
        self.error = error
        self.calls: list[str] = []

    def __aiter__(self) -> Response:
        return self

    async def __anext__(self) -> Any:
        if self.chunks:
            return self.chunks.pop(0)
        raise self.error or StopAsyncIteration

    async def __aenter__(self) -> Response:
        self.calls.append("entered")
        return self

    async def __aexit__(self, *error: object) -> None:
        self.calls.append("left")

    async def aclose(self) -> None:
        self.calls.append("closed")
        raise OSError("no connection")


def test_response_is_read_and_nothing_else(logger: ManualLogger) -> None:
    """Not entered, and closed by the one who closes the hook's generator; what that raises stays here."""
    whole, broken, left = Response(), Response(ValueError("broken")), Response()
    assert len(served(logger, {"litellm_call_id": "whole"}, whole)) == 2
    with pytest.raises(ValueError, match="broken"):
        served(logger, {"litellm_call_id": "broken"}, broken)

    async def leave() -> None:
        hook = proxy_handler(logger).async_post_call_streaming_iterator_hook
        stream = hook(None, left, {"litellm_call_id": "left"})
        await anext(stream)
        await stream.aclose()

    asyncio.run(leave())
    assert (whole.calls, broken.calls, left.calls) == ([], [], ["closed"])
    assert logger.outcomes["whole"] == "completed"
    assert logger.outcomes["broken"] == "error"
    assert logger.text["left"] == "Hel"


def test_logger_that_is_out_of_order_costs_the_log_alone(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for any number of streams."""
    monkeypatch.setattr(logger._engine, "begin_stream", Mock(side_effect=OSError("out of order")))
    for _ in range(2):
        assert len(served(logger, {})) == 2
    assert reports(caplog) == ["litellm: a stream is not logged: OSError('out of order')"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"logger": "logger"}, TypeError, "logger must be a StreamingLogger, got 'logger'"),
        ({"session_id": "user"}, TypeError, "session_id must be None or a function of one argument, got 'user'"),
        ({"include": None}, TypeError, "include must be a list of names, got None"),
        ({"include": ["thoughts"]}, ValueError, "'thoughts'"),
    ],
)
def test_each_wrong_argument_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """Not by the first request."""
    with pytest.raises(error, match=message):
        proxy_handler(**arguments)


# -- the proxy itself ------------------------------------------------------------------

PROXY = """
model_list:
  - model_name: openai
    litellm_params: {{model: openai/logfile, api_base: "{url}/v1", api_key: none}}
  - model_name: anthropic
    litellm_params: {{model: anthropic/logfile, api_base: "{url}", api_key: none}}
litellm_settings:
  callbacks: streaming_logger.integrations.litellm.proxy_handler_instance
"""


def has_proxy() -> bool:
    """Whether all is installed that the proxy imports."""
    return all(importlib.util.find_spec(name) for name in ("apscheduler", "backoff", "fastapi_sso", "multipart"))


@pytest.mark.timeout(180)
@pytest.mark.skipif(not has_proxy(), reason="needs litellm[proxy]")
def test_real_proxy_logs_what_it_serves(tmp_path: Path, replay: ReplayServer) -> None:
    """With nothing but its configuration: each API, each way to name a session, and a request that is wrong."""
    (tmp_path / "proxy.yaml").write_text(PROXY.format(url=replay.url))
    (tmp_path / "logging_config.json").write_text('{"streaming_logs": {"flush_interval_seconds": 0.1}}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = ["--config", "proxy.yaml", "--host", "127.0.0.1", "--port", str(port)]
    proxy = subprocess.Popen(
        [sys.executable, "-c", "from litellm import run_server; run_server()", *command],
        cwd=tmp_path,
        env=environment,
        stdout=(tmp_path / "proxy.out").open("w"),
        stderr=subprocess.STDOUT,
    )
    url = f"http://127.0.0.1:{port}"
    prompt = {"messages": [{"role": "user", "content": "Go on."}]}

    def post(path: str, session: str | None = None, **body: Any) -> None:
        headers = {"x-litellm-session-id": session} if session else {}
        with httpx.stream("POST", url + path, headers=headers, json=body | {"stream": True}, timeout=30) as answer:
            assert answer.read()
            assert answer.status_code == 200

    def is_up() -> bool:
        assert proxy.poll() is None, (tmp_path / "proxy.out").read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url + "/health/liveliness").status_code == 200
        return False

    def logged() -> list[str]:
        return [path.read_text() for path in sorted((tmp_path / "logs" / "streaming").glob("*.log"))]

    try:
        wait_until(is_up, "the proxy did not start", seconds=100)
        post("/v1/chat/completions", "chat", model="openai", **prompt)
        post("/v1/messages", "messages", model="anthropic", max_tokens=100, **prompt)
        post("/v1/responses", "responses", model="openai", input="Go on.")
        post("/v1/chat/completions", model="openai", metadata={"session_id": 7}, **prompt)
        post("/v1/chat/completions", model="openai", metadata="user-42", **prompt)
        wait_until(lambda: logged() == [spoken(MODEL)] * 5)
        names = {path.stem for path in (tmp_path / "logs" / "streaming").glob("*.log")}
        assert {"chat", "messages", "responses", "7"} < names
    finally:
        proxy.terminate()
        proxy.wait(30)
