"""Logs the streamed responses of an ASGI app, and closes the logger when the server shuts down.

A server that ends by a signal may never run Python's exit handlers (uvicorn raises SIGTERM
again once it is done); the lifespan protocol is the one place that always runs. Closing
waits for the disk, so it is done in a thread: other shutdown work goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from streaming_logger._base.errors import outcome_of
from streaming_logger._base.stats import Outcome
from streaming_logger._logger import StreamingLogger
from streaming_logger._stream_log import StreamLog
from streaming_logger.integrations._selection import STREAMED_TYPES, Selection

__all__ = ["CloseOnShutdown", "StreamLogMiddleware", "lifespan"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


#: Seconds that a shutdown waits for the streams which the server has cancelled, but not awaited (uvicorn).
_GRACE = 0.25


async def _close(logger: StreamingLogger) -> None:
    """Closes the logger, once cancelled streams have ended as such: it would end them as "released"."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _GRACE
    while logger.session_files and loop.time() < deadline:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(logger.close)


def lifespan(logger: StreamingLogger) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """What FastAPI and Starlette take as `lifespan=`: closes the logger at shutdown.

    >>> import asyncio, tempfile
    >>> logger = StreamingLogger(directory=tempfile.mkdtemp())
    >>> async def serve():
    ...     async with lifespan(logger)(None):  # app = FastAPI(lifespan=lifespan(logger))
    ...         logger.write("sess_1", "Hello")
    >>> asyncio.run(serve())
    >>> (logger.base_dir / "sess_1.log").read_text()
    'Hello'
    """

    @asynccontextmanager
    async def closing(app: object) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await _close(logger)

    return closing


class CloseOnShutdown:
    """ASGI middleware for any framework: closes the logger once the app has shut down.

    An app that does not speak the lifespan protocol is spoken for.

    >>> import asyncio, tempfile
    >>> logger = StreamingLogger(directory=tempfile.mkdtemp())
    >>> async def app(scope, receive, send):
    ...     logger.write("sess_1", "Hello")
    >>> async def receive():
    ...     return {"type": "lifespan.shutdown"}
    >>> async def send(message):
    ...     print(message["type"])
    >>> asyncio.run(CloseOnShutdown(app, logger)({"type": "lifespan"}, receive, send))
    lifespan.shutdown.complete
    """

    def __init__(self, app: _App, logger: StreamingLogger) -> None:
        self.app = app
        self.logger = logger

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        heard = answered = ""

        async def overhear() -> _Message:
            nonlocal heard
            message = await receive()
            heard = message["type"]
            return message

        async def close_first(message: _Message) -> None:
            nonlocal answered
            answered = message["type"]
            if answered.startswith("lifespan.shutdown."):  # once it is sent, the server may end at any moment
                await _close(self.logger)
            await send(message)

        try:
            await self.app(scope, overhear, close_first)
        except Exception:
            if answered:  # it spoke the protocol, so this is a fault of its own
                await _close(self.logger)
                raise
        await self._speak_for_it(heard, answered, receive, send)

    async def _speak_for_it(self, heard: str, answered: str, receive: _Receive, send: _Send) -> None:
        """The rest of the protocol, where the app left before its end."""
        if answered.endswith(".failed") or answered.startswith("lifespan.shutdown."):
            return
        while heard != "lifespan.shutdown":
            if heard == "lifespan.startup" and not answered:
                await send({"type": "lifespan.startup.complete"})
            heard = (await receive())["type"]
        await _close(self.logger)
        await send({"type": "lifespan.shutdown.complete"})


class StreamLogMiddleware:
    """ASGI middleware that logs the text of the responses that `paths` and `content_types` select.

    In `paths`, `{name}` stands for one segment and `*` for anything, as in `["/chat/{session_id}"]`.
    A response with a content-length is not a stream, and a compressed body cannot be read: neither
    is logged. The session id is in the header `session_id` of the response, else in the path's
    `{session_id}`, else in that header of the request; without any of them one is made and added to
    the response's headers. It may also be a function of the scope that returns the id, or None for
    a response that is not logged. `text` and `include` are as in `StreamingLogger.wrap`. Raises
    `TypeError` and `ValueError` for a bad option.

    The outcome is "completed" when the app sends the end of the body, "error" when it raises,
    "cancelled" when its task is cancelled, and "closed" when the app learns that the client is gone
    or returns in the middle of the body. An app that never learns it streams to the end. At the
    server's shutdown the logger is closed, as by `CloseOnShutdown`.

    >>> import asyncio, tempfile
    >>> logger = StreamingLogger(directory=tempfile.mkdtemp())
    >>> async def app(scope, receive, send):
    ...     await send({"type": "http.response.start", "headers": [(b"content-type", b"text/event-stream")]})
    ...     await send({"type": "http.response.body", "body": b'data: {"text": "Hello"}\\n\\n', "more_body": True})
    ...     await send({"type": "http.response.body"})
    >>> async def send(message):
    ...     print(dict(logger.session_buffers))
    >>> app = StreamLogMiddleware(app, logger, paths=["/chat/{session_id}"])
    >>> asyncio.run(app({"type": "http", "path": "/chat/sess_1", "headers": []}, None, send))
    {'sess_1': []}
    {'sess_1': ['Hello']}
    {}
    >>> logger.close()
    """

    def __init__(
        self,
        app: _App,
        logger: StreamingLogger,
        *,
        paths: Iterable[str],
        content_types: Iterable[str] = STREAMED_TYPES,
        session_id: str | Callable[[_Message], str | None] = "x-session-id",
        text: Callable[[Any], str | None] | None = None,
        include: Iterable[str] = (),
    ) -> None:
        self._selection = Selection(logger, paths, content_types, session_id, text, include)
        self.app = CloseOnShutdown(app, logger)

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        path_params = self._selection.match(_route_path(scope)) if scope["type"] == "http" else None
        if path_params is None:
            await self.app(scope, receive, send)
            return
        response = _Response(self._selection, scope, path_params, receive, send)
        try:
            await self.app(scope, response.receive, response.send)
        except BaseException as error:
            response.end(outcome_of(type(error)))
            raise
        response.end("closed")  # does nothing if the body has ended


class _Response:
    """One response of a selected path: the app's `receive` and `send`, and the log between them."""

    __slots__ = ("_is_client_gone", "_log", "_path_params", "_receive", "_scope", "_selection", "_send")

    def __init__(
        self, selection: Selection, scope: _Message, path_params: dict[str, str], receive: _Receive, send: _Send
    ) -> None:
        self._selection = selection
        self._scope = scope
        self._path_params = path_params
        self._receive = receive
        self._send = send
        self._is_client_gone = False
        self._log: StreamLog | None = None

    async def receive(self) -> _Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._is_client_gone = True
        return message

    async def send(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            message = self._start(message)
        elif self._log is not None and message["type"] == "http.response.body":
            self._log.log(message.get("body"))
            if not message.get("more_body"):
                self.end("completed")  # before it is sent: a client may go as soon as it has it
        try:
            await self._send(message)
        except OSError:
            self._is_client_gone = True
            raise

    def _start(self, message: _Message) -> _Message:
        """Decides whether the response is logged; by now a router has set its path parameters."""
        path_params = self._scope.get("path_params") or {}
        asked, answered = _decoded(self._scope.get("headers", ())), _decoded(message.get("headers", ()))
        self._log, added = self._selection.open(self._scope, {**path_params, **self._path_params}, asked, answered)
        if not added:
            return message
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in added]
        return {**message, "headers": [*message.get("headers", ()), *headers]}

    def end(self, outcome: Outcome) -> None:
        """Completes the session; only the first end counts."""
        if self._log is not None:
            self._log.end("closed" if self._is_client_gone else outcome)


def _route_path(scope: _Message) -> str:
    """The path as the app's own routes have it: without the prefix that the app is mounted under."""
    path: str = scope["path"]
    inner = path.removeprefix(scope.get("root_path", ""))
    return inner if inner.startswith("/") else path


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {_str(name).lower(): _str(value) for name, value in headers}


def _str(value: bytes | str) -> str:
    """A name or value of a header; some servers let apps send str."""
    return value if isinstance(value, str) else value.decode("latin-1")
