"""Logs the streamed responses of an ASGI app, and closes the logger when the server shuts down.

A server that ends by a signal may never run Python's exit handlers (uvicorn raises SIGTERM
again once it is done); the lifespan protocol is the one place that always runs. Closing
waits for the disk, so it is done in a thread: other shutdown work goes on meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from streaming_logger._base.errors import outcome_of
from streaming_logger._base.loop import call_later, run_in_thread, sleep
from streaming_logger._base.outcomes import Outcome
from streaming_logger._logger import StreamingLogger
from streaming_logger.integrations._identity import Head, Identity, NotLogged
from streaming_logger.integrations._selection import Log, Logs, Opened, Selection, end_of_body

__all__ = ["CloseOnShutdown", "LoggedApp", "StreamLogMiddleware", "lifespan"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


#: Seconds that a shutdown waits for the streams which the server has cancelled, but not awaited (uvicorn).
_GRACE = 0.25
#: Seconds after the end of a body in which an exception of the app still counts: `BaseHTTPMiddleware` ends the
#: body of an app that raised, then raises. What comes later is a background task's.
_RAISES_WITHIN = 0.2
#: By these the app has the server send a file.
_FILES = {"http.response.pathsend", "http.response.zerocopysend"}


async def _close(logger: StreamingLogger) -> None:
    """Closes the logger, once cancelled streams have ended as such: it would end them as "released"."""
    deadline = time.monotonic() + _GRACE
    try:
        while logger.session_files and time.monotonic() < deadline:
            await sleep(0.01)
    finally:  # trio cancels each wait of a task that is cancelled
        await run_in_thread(logger.close)


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


class LoggedApp:
    """What the middlewares for ASGI share: an app, and which of its responses are logged."""

    def __init__(self, app: _App, logger: StreamingLogger, selection: Selection) -> None:
        self._selection = selection
        self.app = CloseOnShutdown(app, logger)

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        is_http = scope["type"] == "http"
        named = self._selection.match(_route_path(scope)) if is_http or scope["type"] == "websocket" else None
        if named is None:
            await self.app(scope, receive, send)
            return
        report = partial(self._selection.report, scope["path"])
        if not is_http:
            report(NotLogged("it is a websocket"))
            await self.app(scope, receive, send)
            return
        response = _Response(partial(self._open, scope, named), report, receive, send)
        try:
            await self.app(scope, response.receive, response.send)
        except BaseException as error:
            response.end_by(error)
            raise
        response.end_by(None)

    def _open(self, scope: _Message, named: dict[str, str], start: _Message) -> Opened:
        """Decides whether a response is logged; by now a router has set its path parameters."""
        return self._selection.open(
            Head(
                request=scope,
                method=scope.get("method", ""),
                path=scope["path"],
                named=named,
                path_params=scope.get("path_params") or {},
                request_headers=_decoded(scope.get("headers", ())),
                status=start.get("status", 200),
                headers=_decoded(start.get("headers", ())),
            )
        )


class StreamLogMiddleware(LoggedApp):
    """ASGI middleware that logs the text of the streamed responses of selected paths.

    In `paths`, `{name}` stands for one segment and `*` for anything, as in `["/chat/{session_id}"]`.
    `content_types` limits it further; None: all that can hold text. What the content type says decides how a
    body is read. A response with a content-length is not a stream, and a compressed body cannot be read: a
    response of a selected path that is not logged is reported once for each reason.

    The session id is the segment `{session_id}` of a path in `paths`, else it is made and told by the header
    `x-session-id` of the response. `session_id` names another source: "x-chat", a header of the response or
    else of the request; "{chat}", a parameter of the path, also one of the app's routes; or a function of the
    scope that returns the id, or None for a response that is not logged. An id that a client can choose must
    be trusted: who sends another's writes into that session, and ends it.

    `text` and `include` are as in `StreamingLogger.wrap`. Raises `TypeError` and `ValueError` for a bad option.

    The outcome is "completed" when the app sends the end of the body; "error" when it raises, also right after
    that end, when it returns without it, or when the status is an error; "closed" when the client is gone or
    the task is cancelled. An app that never learns that the client is gone streams to the end. At the server's
    shutdown the logger is closed, as by `CloseOnShutdown`.

    >>> import asyncio, tempfile
    >>> logger = StreamingLogger(directory=tempfile.mkdtemp())
    >>> async def app(scope, receive, send):
    ...     start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    ...     await send(start)
    ...     await send({"type": "http.response.body", "body": b'data: {"text": "Hello"}\\n\\n', "more_body": True})
    ...     await send({"type": "http.response.body"})
    >>> async def send(message):
    ...     print(dict(logger.session_buffers))
    >>> app = StreamLogMiddleware(app, logger, paths=["/chat/{session_id}"])
    >>> asyncio.run(app({"type": "http", "path": "/chat/sess_1", "headers": []}, None, send))
    {'sess_1': []}
    {'sess_1': ['Hello']}
    {'sess_1': ['Hello']}
    >>> logger.stats().sessions_active
    0
    >>> logger.close()
    """

    def __init__(
        self,
        app: _App,
        logger: StreamingLogger,
        *,
        paths: Iterable[str],
        content_types: Iterable[str] | None = None,
        session_id: str | Callable[[_Message], str | None] | None = None,
        text: Callable[[Any], str | None] | None = None,
        include: Iterable[str] = (),
    ) -> None:
        super().__init__(
            app, logger, Selection(paths, content_types, Identity(session_id), Logs(logger, text, include))
        )


class _Response:
    """One response of a selected path: the app's `receive` and `send`, and the log between them."""

    __slots__ = ("_cancel", "_is_client_gone", "_log", "_open", "_outcome", "_receive", "_report", "_send", "_status")

    def __init__(
        self,
        open_log: Callable[[_Message], Opened],
        report: Callable[[NotLogged], None],
        receive: _Receive,
        send: _Send,
    ) -> None:
        self._open = open_log
        self._report = report
        self._receive = receive
        self._send = send
        self._log: Log | None = None
        self._status = 200
        self._is_client_gone = False
        self._outcome: Outcome | None = None
        """How the body ended; None: it has not."""
        self._cancel: Callable[[], object] | None = None

    async def receive(self) -> _Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._outcome is None:
            self._is_client_gone = True
        return message

    async def send(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            message = self._start(message)
        elif self._log is not None and (message["type"] == "http.response.body" or message["type"] in _FILES):
            if body := message.get("body"):
                self._log.log(body)
            if message["type"] in _FILES:
                self._report(NotLogged("it is a file that the server sends"))
            if not message.get("more_body"):  # decided before it is sent: a client may go as soon as it has it
                self._outcome = "closed" if self._is_client_gone else end_of_body(self._status)
        try:
            await self._send(message)
        except OSError:
            self._is_client_gone = True
            raise
        if self._log is not None and self._outcome is not None and self._cancel is None:
            self._cancel = call_later(_RAISES_WITHIN, partial(self._log.end, self._outcome))

    def _start(self, message: _Message) -> _Message:
        self._log, added = self._open(message)
        self._status = message.get("status", 200)
        if not added:
            return message
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in added]
        return {**message, "headers": [*message.get("headers", ()), *headers]}

    def end_by(self, error: BaseException | None) -> None:
        """The app has raised this, or returned. Of several ends the first counts."""
        if self._cancel is not None:
            self._cancel()
        if self._log is None:
            return
        if self._outcome is not None:
            is_fault = isinstance(error, Exception) and not self._is_client_gone
            self._log.end("error" if is_fault else self._outcome)
        elif self._is_client_gone or (error is not None and outcome_of(type(error)) == "cancelled"):
            self._log.end("closed")  # whoever cancels an app's task, it is its response that is not read on
        elif error is None:
            self._log.end("error")  # it returned in the middle of the body, which its client does not get to the end
        else:
            self._log.end_by(error)


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
