"""Chat servers of the known frameworks, as small as they get.

GET /chat/NAME-3 streams three server-sent events, GET /default/NAME two words, with the framework's content type.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
import fastapi
import flask
import starlette.applications
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import StreamingHttpResponse
from django.urls import path
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from streaming_logger import StreamingLogger
from streaming_logger.integrations import asgi, wsgi

__all__ = ["ASGI", "WSGI", "aevents"]

KIND = "text/event-stream"
PATHS = ["/chat/{session_id}", "/default/{session_id}"]
WORDS = (b"Hel", b"lo")


def events(session_id: str) -> Iterator[bytes]:
    """As a model streams: some time passes between two tokens."""
    for number in range(int(session_id.rpartition("-")[2])):
        time.sleep(0.005)
        yield b'data: {"text": "%d;"}\n\n' % number


async def aevents(session_id: str) -> AsyncIterator[bytes]:
    for number in range(int(session_id.rpartition("-")[2])):
        await asyncio.sleep(0.005)
        yield b'data: {"text": "%d;"}\n\n' % number


async def awords() -> AsyncIterator[bytes]:
    for word in WORDS:
        yield word


def starlette_app(logger: StreamingLogger) -> Any:
    async def chat(request: Request) -> StreamingResponse:
        return StreamingResponse(aevents(request.path_params["session_id"]), media_type=KIND)

    async def default(request: Request) -> StreamingResponse:
        return StreamingResponse(awords())

    return starlette.applications.Starlette(
        routes=[Route("/chat/{session_id}", chat), Route("/default/{session_id}", default)],
        middleware=[Middleware(asgi.StreamLogMiddleware, logger=logger, paths=PATHS)],
    )


def fastapi_app(logger: StreamingLogger) -> Any:
    app = fastapi.FastAPI()
    app.add_middleware(asgi.StreamLogMiddleware, logger=logger, paths=PATHS)

    @app.get("/chat/{session_id}")
    async def chat(session_id: str) -> StreamingResponse:
        return StreamingResponse(aevents(session_id), media_type=KIND)

    @app.get("/default/{session_id}")
    async def default(session_id: str) -> StreamingResponse:
        return StreamingResponse(awords())

    return app


def plain_asgi_app(logger: StreamingLogger) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Listens for the client's end while it streams, as the protocol asks."""

        async def stream() -> None:
            is_default = scope["path"].startswith("/default/")
            headers = [] if is_default else [(b"content-type", KIND.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for event in awords() if is_default else aevents(scope["path"]):
                await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body"})

        if scope["type"] == "http":
            assert (await receive())["type"] == "http.request"
            streaming, listening = asyncio.ensure_future(stream()), asyncio.ensure_future(receive())
            await asyncio.wait([streaming, listening], return_when=asyncio.FIRST_COMPLETED)
            streaming.cancel()
            listening.cancel()

    return asgi.StreamLogMiddleware(app, logger=logger, paths=PATHS)


def flask_app(logger: StreamingLogger) -> Any:
    app = flask.Flask(__name__)
    app.wsgi_app = wsgi.StreamLogMiddleware(app.wsgi_app, logger=logger, paths=PATHS)  # type: ignore[method-assign]

    @app.get("/chat/<session_id>")
    def chat(session_id: str) -> flask.Response:
        return flask.Response(events(session_id), mimetype=KIND)

    @app.get("/default/<session_id>")
    def default(session_id: str) -> flask.Response:
        return flask.Response(iter(WORDS))

    return app


def plain_wsgi_app(logger: StreamingLogger) -> Any:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        is_default = environ["PATH_INFO"].startswith("/default/")
        start_response("200 OK", [] if is_default else [("Content-Type", KIND)])
        yield from WORDS if is_default else events(environ["PATH_INFO"])

    return wsgi.StreamLogMiddleware(app, logger=logger, paths=PATHS)


def _set_up_django() -> None:
    if not settings.configured:
        settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="not one", ALLOWED_HOSTS=["*"])  # noqa: S106 - no secret
        django.setup()


def chat(request: Any, session_id: str) -> StreamingHttpResponse:
    """Django's view."""
    stream = aevents if hasattr(request, "scope") else events
    return StreamingHttpResponse(stream(session_id), content_type=KIND)


def default(request: Any, session_id: str) -> StreamingHttpResponse:
    return StreamingHttpResponse(awords() if hasattr(request, "scope") else iter(WORDS))


urlpatterns = [path("chat/<session_id>", chat), path("default/<session_id>", default)]


def django_asgi_app(logger: StreamingLogger) -> Any:
    _set_up_django()
    return asgi.StreamLogMiddleware(get_asgi_application(), logger=logger, paths=PATHS)


def django_wsgi_app(logger: StreamingLogger) -> Any:
    _set_up_django()
    return wsgi.StreamLogMiddleware(get_wsgi_application(), logger=logger, paths=PATHS)


ASGI = {"plain": plain_asgi_app, "starlette": starlette_app, "fastapi": fastapi_app, "django": django_asgi_app}
WSGI = {"plain": plain_wsgi_app, "flask": flask_app, "django": django_wsgi_app}
