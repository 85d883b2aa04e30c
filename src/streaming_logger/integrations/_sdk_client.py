"""Logs every stream of one API client. OpenAI's and Anthropic's SDKs come from one generator and have the same parts.

All their methods send by `client.request`, and all their streams are read by `stream._iterator`. So a stream
keeps its type and its methods, and the SDKs' own helpers, which read it, are logged as well.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from streaming_logger._default import get_streaming_logger
from streaming_logger._logger import StreamingLogger
from streaming_logger._text.extractor import TextExtractor

__all__ = ["Choose", "log_streams"]

#: Gets a request's parameters, with `extra_headers` among them; returns its session id, or None.
Choose = Callable[[Mapping[str, Any]], str | None]

_HEADER = "x-session-id"
_log = logging.getLogger("streaming_logger")


def log_streams(
    sdk: Any, client: Any, logger: StreamingLogger | None, choose: Choose | None, include: Iterable[str]
) -> None:
    """Logs the streams that `client.request` returns from now on. Copies of the client do the same."""
    if not isinstance(client, sdk._base_client.BaseClient):
        raise TypeError(f"client must be a client of {sdk.__name__}, not {type(client).__name__}")
    TextExtractor(include)  # raises here for what it does not know, not in a request
    request, copy = client.request, client.copy
    if hasattr(request, "logs_streams"):
        return

    def logged(made: Any, options: Any, asked_at: float) -> Any:
        if isinstance(made, (sdk.Stream, sdk.AsyncStream)):
            session_id, used = _session_id(options, choose) or os.urandom(16).hex(), logger or get_streaming_logger()
            # Its start is that of the request: the first chunk is often there as soon as the stream is.
            used._engine_here().begin_session(session_id, time.monotonic() - asked_at)
            _attach(made, used.wrap(session_id, made._iterator, include=include))
        return made

    async def logged_later(made: Awaitable[Any], options: Any, asked_at: float) -> Any:
        return logged(await made, options, asked_at)

    @functools.wraps(request)
    def request_logged(*args: Any, **kwargs: Any) -> Any:
        asked_at = time.monotonic()
        made, options = request(*args, **kwargs), kwargs.get("options") or args[1]
        return logged_later(made, options, asked_at) if hasattr(made, "__await__") else logged(made, options, asked_at)

    @functools.wraps(copy)
    def copy_logged(*args: Any, **kwargs: Any) -> Any:
        made = copy(*args, **kwargs)
        log_streams(sdk, made, logger, choose, include)
        return made

    request_logged.logs_streams = True  # type: ignore[attr-defined]
    client.request = request_logged
    client.copy = client.with_options = copy_logged


def _session_id(options: Any, choose: Choose | None) -> str | None:
    headers = options.headers if isinstance(options.headers, Mapping) else {}
    for name, value in headers.items():
        if name.lower() == _HEADER and isinstance(value, str):
            return value
    if choose is None:
        return None
    body = options.json_data if isinstance(options.json_data, Mapping) else {}
    try:
        chosen = choose({**body, "extra_headers": headers})
    except Exception as error:  # noqa: BLE001 - a log must not end a request that has succeeded
        _log.warning("session_id failed, a new id is used: %r", error)
        return None
    return chosen if isinstance(chosen, str) else None


def _attach(stream: Any, wrapped: Any) -> None:
    """Has the SDK read its stream through `wrapped`, and ends that when the reader closes the response.

    Every `close` of the SDKs closes the response alone. No reference cycle is made: it would leave a
    dropped stream, and its connection, to the garbage collector.
    """
    kind: Any = type(stream.response)
    stream._iterator = wrapped
    stream.response.stream_log = weakref.ref(wrapped)
    stream.response.__class__ = _closing(kind)


@functools.cache
def _closing(kind: Any) -> Any:
    """The class of a response that ends its stream's log when it is closed."""

    class Response(kind):  # type: ignore[misc,unused-ignore]
        def close(self) -> None:
            try:
                if (wrapped := _left_early(self)) is not None:
                    wrapped.__exit__(*sys.exc_info())
            finally:
                super().close()

        async def aclose(self) -> None:
            try:
                if (wrapped := _left_early(self)) is not None:
                    await wrapped.__aexit__(*sys.exc_info())
            finally:
                await super().aclose()

    return Response


def _left_early(response: Any) -> Any:
    """The log of a response that its reader closes; None where the SDK does, at the stream's end."""
    wrapped = response.stream_log()
    by_sdk = getattr(wrapped, "gi_running", False) or getattr(wrapped, "ag_running", False)
    return None if by_sdk or response.is_closed else wrapped
