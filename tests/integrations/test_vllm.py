"""The middleware for model servers, loaded as vLLM loads one: by an import string, without arguments."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from server_process import wait_until
from servers.harness import Server
from streaming_logger.integrations.vllm import StreamLog
from streaming_logger.testing import ManualLogger, capture_streams

Manual = Callable[..., ManualLogger]

STREAM_LOG = "streaming_logger.integrations.vllm.StreamLog"
UVICORN = ["-m", "uvicorn", "--port", "PORT", "--log-level", "critical", "--timeout-graceful-shutdown", "1"]
PATHS = {
    "chat/completions": "chatcmpl-",
    "completions": "cmpl-",
    "responses": "resp_",
    "messages": "msg_",
}


def serve(place: Path, *options: str) -> Server:
    place.mkdir()
    return Server([*UVICORN, *options, "integrations.vllm_server:app"], "", place)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One API-server process, with the flag alone; the environment asks for all kinds of text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDDLEWARE", STREAM_LOG)
        patch.setenv("STREAMING_LOGGER_INCLUDE", "reasoning, tool_calls")
        with serve(tmp_path_factory.mktemp("vllm") / "place") as server:
            assert server.port  # it starts with this environment
            yield server


def ask(server: Server, kind: str, model: str, name: str, *, stream: bool = True) -> httpx.Response:
    """A request whose id ends with this name."""
    url = f"http://127.0.0.1:{server.port}/v1/{kind}"
    return httpx.post(url, json={"model": model, "stream": stream}, headers={"x-request-id": name}, timeout=30)


@pytest.mark.parametrize(("kind", "prefix"), PATHS.items())
def test_stream_is_logged_under_the_id_of_its_response(server: Server, kind: str, prefix: str) -> None:
    """Which clients get, and the server's own log lines carry."""
    body = ask(server, kind, "plain", "whole").text
    assert f'"{prefix}whole"' in body
    assert server.outcomes(prefix + "whole") == {prefix + "whole": "completed"}
    assert server.text(prefix + "whole") == "Hello"


def test_answer_that_does_not_stream_is_not_logged(server: Server) -> None:
    """It is whole in one piece; without a warning."""
    assert ask(server, "chat/completions", "plain", "at-once", stream=False).json()["id"] == "chatcmpl-at-once"
    ask(server, "chat/completions", "plain", "after-it")
    server.outcomes("chatcmpl-after-it")
    assert "chatcmpl-at-once" not in json.dumps(server.ledger)
    assert "is not logged" not in (server.place / "output").read_text()


@pytest.mark.parametrize(
    ("model", "parts"), [("reasoning", ["Hm.", "Hello"]), ("tools", ["Hello", "look", '{"at": "sky"}'])]
)
def test_reasoning_and_tool_calls_are_logged_where_the_environment_asks(
    server: Server, model: str, parts: list[str]
) -> None:
    """A server that is configured by flags alone has no other place for it."""
    ask(server, "chat/completions", model, model)
    session = f"chatcmpl-{model}"
    assert server.outcomes(session) == {session: "completed"}
    text = server.text(session)
    assert [text.find(part) >= 0 for part in parts] == [True] * len(parts)
    assert sorted(parts, key=text.index) == parts


def test_first_of_several_choices_is_the_answer(server: Server) -> None:
    """The others do not get into its text."""
    ask(server, "chat/completions", "choices", "choices")
    server.outcomes("chatcmpl-choices")
    assert server.text("chatcmpl-choices") == "Hello"


def test_client_that_leaves_ends_its_session_as_closed(server: Server) -> None:
    """And the request with it."""
    url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
    asked = {"model": "endless", "stream": True}
    with httpx.stream("POST", url, json=asked, headers={"x-request-id": "left"}, timeout=30) as response:
        for _ in zip(range(5), response.iter_raw(), strict=False):
            pass
    assert server.outcomes("chatcmpl-left") == {"chatcmpl-left": "closed"}
    assert server.text("chatcmpl-left").startswith("Hello")


def test_exception_in_the_generator_is_an_error(server: Server) -> None:
    """What came before it is in the file."""
    with pytest.raises(httpx.RemoteProtocolError):
        ask(server, "chat/completions", "raises", "raised")
    assert server.outcomes("chatcmpl-raised") == {"chatcmpl-raised": "error"}
    assert server.text("chatcmpl-raised") == "Hello"


def test_error_chunk_is_an_error(server: Server) -> None:
    """By which vLLM says that the engine has failed; its stream ends with [DONE] like any other."""
    ask(server, "chat/completions", "fails", "failed")
    assert server.outcomes("chatcmpl-failed") == {"chatcmpl-failed": "error"}
    assert server.text("chatcmpl-failed").startswith("Hello")


def test_several_api_servers_and_a_middleware_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process logs its own streams into the one directory; SIGTERM writes what is open."""
    monkeypatch.setenv("MIDDLEWARE", f"integrations.vllm_server.hand_on {STREAM_LOG}")
    with serve(tmp_path / "place", "--workers", "2") as server:
        assert server.port
        with ThreadPoolExecutor(20) as pool:
            served = list(pool.map(lambda number: ask(server, "completions", "plain", str(number)), range(60)))
        sessions = [f"cmpl-{number}" for number in range(60)]
        assert len({response.headers["served-by"] for response in served}) == 2
        assert server.outcomes(*sessions) == dict.fromkeys(sessions, "completed")
        assert server.texts(*sessions) == dict.fromkeys(sessions, "Hello")
        ask(server, "chat/completions", "raises", "raised")  # the middleware within ends its body as if it were whole
        assert server.outcomes("chatcmpl-raised") == {"chatcmpl-raised": "error"}
        with ThreadPoolExecutor(1) as pool:
            open_one = pool.submit(ask, server, "chat/completions", "endless", "open")
            wait_until(lambda: bool(server.text("chatcmpl-open")), "it streams")
            server.stop()
            open_one.exception()
        assert server.ended("chatcmpl-open") == {"chatcmpl-open": ["closed"]}
        assert server.active() == []


# -- the same without a server ---------------------------------------------------------


STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]
SCOPE = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}


async def ignore(message: Any) -> None:
    """A server's `send`."""


def respond(middleware: Callable[..., Any], chunks: list[bytes], path: str = "/v1/chat/completions") -> list[Any]:
    """One streamed response through it; what the server got."""
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        got.append(message)

    asyncio.run(middleware(app)({**SCOPE, "path": path}, None, send))
    return got


def chunk(text: str, **fields: Any) -> bytes:
    return b"data: %s\n\n" % json.dumps({**fields, "choices": [{"index": 0, "delta": {"content": text}}]}).encode()


def test_any_model_server_by_one_line(manual: Manual) -> None:
    """With its own logger and paths; the response passes as it is."""
    logger = manual()
    chunks = [chunk("Hel", id="gen-1"), chunk("lo", id="gen-1")]
    got = respond(lambda app: StreamLog(app, logger=logger, paths=["/generate"]), chunks, "/generate")
    assert [message["body"] for message in got[1:]] == [*chunks, b""]
    assert got[0]["headers"] == STREAM
    assert (logger.text, logger.outcomes) == ({"gen-1": "Hello"}, {"gen-1": "completed"})


def test_logger_of_the_process_is_the_default() -> None:
    """That of `get_streaming_logger`, with the settings of `logging_config.json` and the environment."""
    with capture_streams() as logger:
        respond(StreamLog, [chunk("Hello", id="chatcmpl-1")])
        assert logger.text == {"chatcmpl-1": "Hello"}


@pytest.mark.parametrize(
    "body",
    [
        chunk("Hel", id="a") + chunk("lo", id="a"),
        b": ping\r\n\r\n" + chunk("Hel", id="a").replace(b"\n", b"\r\n") + chunk("lo", id="a"),
        b"event: x\n" + chunk("", id="") + chunk("Hel") + chunk("lo", id="a"),
        b'data: {"prompt_filter_results": []}\n\n' + chunk("Hello", id="a"),
    ],
)
def test_id_is_found_wherever_the_body_is_cut(manual: Manual, body: bytes) -> None:
    """Also after a comment, or chunks without an id (Azure's first one); what came before is logged, too."""
    for size in (1, 7, len(body)):
        logger = manual()
        respond(
            lambda app, logger=logger: StreamLog(app, logger=logger),
            [body[at : at + size] for at in range(0, len(body), size)],
        )
        assert (logger.text, logger.outcomes) == ({"a": "Hello"}, {"a": "completed"})
        logger.close()
        (logger.base_dir / "a.log").unlink()


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk("Hel"), chunk("lo")],
        [chunk("Hello", id=7)],
        [chunk("H")] + [chunk(letter) for letter in "ello"],
        [b"data: Hel\n\n", b"data: lo\n\n"],
        [b'data: {"text": "Hello"'],
    ],
)
def test_stream_without_an_id_gets_one(manual: Manual, chunks: list[bytes]) -> None:
    """And nothing of it is lost."""
    logger = manual()
    respond(lambda app: StreamLog(app, logger=logger), chunks)
    ((session, text),) = logger.text.items()
    assert len(session) == 32
    assert "".join(text.split()).endswith("Hello") or text == 'data: {"text": "Hello"'
    assert logger.outcomes == {session: "completed"}


def test_what_is_held_for_an_id_is_bounded(manual: Manual) -> None:
    """A few chunks without one, words, or a long line: the session begins, and is readable while it streams."""
    for early in (
        [chunk("Hello")] * 4,
        [b"data: Hello\n\n"],
        [chunk("Hello" + "x" * 300_000)[:280_000]],
    ):
        logger = manual()
        active: list[int] = []

        async def app(
            scope: Any, receive: Any, send: Any, early: Any = early, active: Any = active, logger: Any = logger
        ) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": STREAM})
            for part in early:
                active.append(len(logger.session_buffers))
                await send({"type": "http.response.body", "body": part, "more_body": True})
            active.append(len(logger.session_buffers))

        asyncio.run(StreamLog(app, logger=logger)(SCOPE, None, ignore))
        assert active == [0] * len(early) + [1]


def test_chunk_without_an_id_is_not_held_for_long(manual: Manual) -> None:
    """Where the next one is long in coming, the session begins after one flush interval; a comment begins none."""
    logger = manual(flush_interval_seconds=0.05)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM})
        await send({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})
        await asyncio.sleep(0.1)
        assert not logger.session_buffers
        await send({"type": "http.response.body", "body": chunk("Hello"), "more_body": True})
        while not logger.session_buffers:
            await asyncio.sleep(0.01)

    asyncio.run(StreamLog(app, logger=logger)(SCOPE, None, ignore))
    assert [*logger.text.values()] == ["Hello"]


def test_long_id_of_a_response_is_bounded(manual: Manual) -> None:
    """vLLM takes it from a header that a client sends."""
    logger = manual()
    respond(lambda app: StreamLog(app, logger=logger), [chunk("Hello", id="chatcmpl-" + "x" * 5000)])
    ((session, outcome),) = logger.outcomes.items()
    assert (len(session), outcome) == (1024, "completed")
    assert [*logger.text.values()] == ["Hello"]


def test_include_by_keyword_wins(manual: Manual, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the environment; a bad one is the developer's to mend."""
    monkeypatch.setenv("STREAMING_LOGGER_INCLUDE", "reasoning")
    logger = manual()
    delta = {"id": "a", "choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]}
    respond(lambda app: StreamLog(app, logger=logger, include=[]), [event_of(delta), chunk("Hello", id="a")])
    assert logger.text == {"a": "Hello"}
    with pytest.raises(ValueError, match="include"):
        StreamLog(lambda *_: None, logger=logger, include=["thoughts"])


def event_of(data: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps(data).encode()


def test_bad_environment_does_not_keep_the_server_from_starting(
    manual: Manual, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line of the log says what is wrong, and the answers are logged."""
    monkeypatch.setenv("STREAMING_LOGGER_INCLUDE", "reasoning,thoughts")
    logger = manual()
    respond(lambda app: StreamLog(app, logger=logger), [chunk("Hello", id="a")])
    assert logger.text == {"a": "Hello"}
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("streaming_logger", logging.ERROR)
    assert "STREAMING_LOGGER_INCLUDE is ignored: include: " in record.getMessage()
    assert "'thoughts'" in record.getMessage()
