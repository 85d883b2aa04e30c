"""An HTTP server with ready-made answers, and what a session holds once a client's stream has been logged.

The real clients read from it, so that their own parsers make the objects that are wrapped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from streaming_logger.testing import ManualLogger

__all__ = ["ANSWER", "REASONING", "TOOL_CALL", "lines", "logged", "serving", "sse"]

REASONING = "[streaming_logger: reasoning]\n"
ANSWER = "\n[streaming_logger: answer]\n"
TOOL_CALL = "[streaming_logger: tool call]\n"


def logged(stream: Any, *include: str, raises: type[Exception] | None = None) -> tuple[str, str | None]:
    """The text and the outcome of a session whose wrapped stream was read to its end.

    The stream may be async, or an async context manager that gives it: then both are of one event loop.
    """
    with ManualLogger() as logger:
        with pytest.raises(raises) if raises else contextlib.nullcontext():
            if hasattr(stream, "__aiter__") or hasattr(stream, "__aenter__"):
                asyncio.run(_read(logger, stream, include))
            else:
                for _ in logger.wrap("s", iter(stream), include=include):
                    pass
        assert logger.stats().extraction_errors == 0, f"items that could not be read; logged {logger.text}"
        return logger.text.get("s", ""), logger.outcomes.get("s")


async def _read(logger: ManualLogger, stream: Any, include: tuple[str, ...]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if hasattr(stream, "__aenter__"):
            stream = await stack.enter_async_context(stream)
        async for _ in logger.wrap("s", stream, include=include):
            pass


def sse(*events: Any, named: str = "", end: str = "") -> list[str]:
    """Server-sent events of these documents. `named`: their key that is the event's name as well."""
    heads = [f"event: {event[named]}\n" if named else "" for event in events]
    found = [f"{head}data: {json.dumps(event)}\n\n" for head, event in zip(heads, events, strict=True)]
    return [*found, f"data: {end}\n\n"] if end else found


def lines(*documents: Any) -> list[str]:
    """Lines of JSON."""
    return [json.dumps(document) + "\n" for document in documents]


@contextlib.contextmanager
def serving(*answers: Iterable[str | bytes], content_type: str = "text/event-stream") -> Iterator[str]:
    """The URL of a server that gives one answer to each request, in their order, and then the last one again."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.answers, server.content_type = [list(answer) for answer in answers], content_type
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="canned server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the answers
    answers: list[list[str | bytes]]
    content_type: str


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def do_GET(self) -> None:
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client went away
            self.send_response(200)
            self.send_header("Content-Type", self.server.content_type)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            for part in [*answer, b""]:
                data = part.encode() if isinstance(part, str) else part
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def log_message(self, *args: object) -> None:
        """Silent."""
