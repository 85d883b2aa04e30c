"""Closes a logger when an ASGI server shuts down, while the interpreter is still whole.

A server that ends by a signal may never run Python's exit handlers (uvicorn raises SIGTERM
again once it is done); the lifespan protocol is the one place that always runs. Closing
waits for the disk, so it is done in a thread: other shutdown work goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from streaming_logger._logger import StreamingLogger

__all__ = ["CloseOnShutdown", "lifespan"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


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
            await asyncio.to_thread(logger.close)

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
                await self._close()
            await send(message)

        try:
            await self.app(scope, overhear, close_first)
        except Exception:
            if answered:  # it spoke the protocol, so this is a fault of its own
                await self._close()
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
        await self._close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _close(self) -> None:
        await asyncio.to_thread(self.logger.close)
