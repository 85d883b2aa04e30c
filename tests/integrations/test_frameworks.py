"""Real frameworks behind real servers on loopback: clients that stay, and clients that leave in the middle."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import fastapi
import pytest
import starlette.applications
import starlette.routing
import uvicorn
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import StreamingResponse

from conftest import logs
from integrations.framework_apps import ASGI, WSGI, aevents
from server_process import Client, wait_until
from streaming_logger.integrations.asgi import StreamLogMiddleware
from streaming_logger.testing import ManualLogger

#: A stream that only its client's end can end before the test's deadline.
ENDLESS = "left-100000"


@contextlib.contextmanager
def asgi_server(app: Any) -> Iterator[int]:
    """uvicorn, in a thread; its port."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", ws="none", log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_until(lambda: server.started, "it starts")
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


@contextlib.contextmanager
def wsgi_server(app: Any) -> Iterator[int]:
    """wsgiref's, in a thread; its port."""

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class has this name
            pass

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(20)


def stay(port: int, session_id: str) -> bytes:
    """A client that reads to the end."""
    return Client(port, f"/chat/{session_id}").read()


def leave(port: int) -> None:
    """A client that goes after the third event, without a word."""
    client = Client(port, f"/chat/{ENDLESS}")
    client.read(3 * len('data: {"text": "0;"}\n\n'))
    client.reset()


@pytest.mark.parametrize(
    ("serve", "make_app"),
    [
        *(pytest.param(asgi_server, make, id=f"asgi-{name}") for name, make in ASGI.items()),
        *(pytest.param(wsgi_server, make, id=f"wsgi-{name}") for name, make in WSGI.items()),
    ],
)
def test_streams_of_a_framework(manual: Callable[..., ManualLogger], serve: Any, make_app: Any) -> None:
    """A client that stays gets all, "completed"; one that leaves ends the stream, "closed"."""
    logger = manual()
    with serve(make_app(logger)) as port:
        body = stay(port, "whole-3")
        leave(port)
        wait_until(lambda: len(logger.outcomes) == 2, "both sessions end")
    assert body == b"".join(b'data: {"text": "%d;"}\n\n' % number for number in range(3))
    assert logger.outcomes == {"whole-3": "completed", ENDLESS: "closed"}
    text = logs(logger.base_dir)
    assert text["whole-3"] == "0;1;2;"
    assert text[ENDLESS].startswith("0;1;2;")
    assert logger.stats().sessions_completed == 2


@pytest.mark.parametrize(
    ("serve", "make_app"),
    [
        *(pytest.param(asgi_server, make, id=f"asgi-{name}") for name, make in ASGI.items()),
        *(pytest.param(wsgi_server, make, id=f"wsgi-{name}") for name, make in WSGI.items()),
    ],
)
def test_stream_with_a_frameworks_default_content_type(
    manual: Callable[..., ManualLogger], serve: Any, make_app: Any
) -> None:
    """None, or text/html: nobody has said what the body is, and it is logged."""
    logger = manual()
    with serve(make_app(logger)) as port:
        assert Client(port, "/default/s").read() == b"Hello"
        wait_until(lambda: bool(logger.outcomes), "the session ends")
    assert (logger.text, logger.outcomes) == ({"s": "Hello"}, {"s": "completed"})


@pytest.mark.parametrize("make_app", ASGI.values(), ids=ASGI)
def test_server_that_stops_closes_the_logger(manual: Callable[..., ManualLogger], make_app: Any) -> None:
    """The lifespan passes through the framework, and comes to the logger: what is written is in the file."""
    logger = manual()
    with asgi_server(make_app(logger)):
        logger.write("s", "text")
    assert (logger.base_dir / "s.log").read_text() == "text"


@pytest.mark.parametrize("is_outside", [True, False])
def test_compression_belongs_outside(
    manual: Callable[..., ManualLogger], caplog: pytest.LogCaptureFixture, is_outside: bool
) -> None:
    """Compressed inside of the middleware the text cannot be read, which the log says; the client gets all."""
    logger = manual()
    app = starlette.applications.Starlette(routes=[starlette.routing.Route("/chat/{session_id}", ndjson)])
    both: list[tuple[Any, dict[str, Any]]] = [
        (StreamLogMiddleware, {"logger": logger, "paths": ["*"], "session_id": "{session_id}"}),
        (GZipMiddleware, {"minimum_size": 1}),
    ]
    for middleware, options in both if is_outside else reversed(both):  # the last one added is the outermost
        app.add_middleware(middleware, **options)
    with asgi_server(app) as port, contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, 20)) as client:
        client.request("GET", "/chat/s", headers={"Accept-Encoding": "gzip"})
        response = client.getresponse()
        assert response.headers["content-encoding"] == "gzip"
        assert gzip.decompress(response.read()) == LINE * 3
    assert logger.text == ({"s": "Hello" * 3} if is_outside else {})
    assert any("compressed (gzip)" in record.getMessage() for record in caplog.records) != is_outside


LINE = b'{"response": "Hello"}\n'


async def ndjson(request: Any) -> StreamingResponse:
    async def lines() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield LINE

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@pytest.mark.parametrize("is_outside", [True, False])
def test_client_that_leaves_behind_starlettes_own_middleware(
    manual: Callable[..., ManualLogger], is_outside: bool
) -> None:
    """`BaseHTTPMiddleware` runs the app in a task of its own and hands its body on: the outcome is the same."""
    logger = manual()
    app = fastapi.FastAPI()

    @app.get("/chat/{session_id}")
    async def chat(session_id: str) -> StreamingResponse:
        return StreamingResponse(aevents(session_id), media_type="text/event-stream")

    async def hand_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    if is_outside:
        app.add_middleware(StreamLogMiddleware, logger=logger, paths=["*"])
    app.add_middleware(BaseHTTPMiddleware, dispatch=hand_on)
    if not is_outside:
        app.add_middleware(StreamLogMiddleware, logger=logger, paths=["*"])
    with asgi_server(app) as port:
        stay(port, "whole-3")
        leave(port)
        wait_until(lambda: len(logger.outcomes) == 2, "both sessions end")
    assert sorted(logger.outcomes.values()) == ["closed", "completed"]


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_generator_that_raises_behind_starlettes_own_middleware(
    manual: Callable[..., ManualLogger], layers: int
) -> None:
    """`BaseHTTPMiddleware` ends the body of an app that raised as if it were whole: it is an error all the same."""
    logger = manual()
    app = fastapi.FastAPI()

    @app.get("/chat/{session_id}")
    async def chat(session_id: str) -> StreamingResponse:
        async def stream() -> AsyncIterator[bytes]:
            yield b"Hello"
            raise RuntimeError("the model died")

        return StreamingResponse(stream(), media_type="text/plain")

    async def hand_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    for _ in range(layers):
        app.add_middleware(BaseHTTPMiddleware, dispatch=hand_on)
    app.add_middleware(StreamLogMiddleware, logger=logger, paths=["/chat/{session_id}"])
    with asgi_server(app) as port:
        stay(port, "broken")
        wait_until(lambda: bool(logger.outcomes), "the session ends")
    assert (logger.text, logger.outcomes) == ({"broken": "Hello"}, {"broken": "error"})
