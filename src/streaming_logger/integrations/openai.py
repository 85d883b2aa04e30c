"""Logs every stream of an OpenAI client, of its helpers and of its copies. Needs `openai`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from streaming_logger._logger import StreamingLogger
from streaming_logger.integrations import _sdk_client
from streaming_logger.integrations._guard import Choose, Guard
from streaming_logger.integrations._supported import Supported

__all__ = ["SUPPORTED", "instrument"]

SUPPORTED = Supported("openai", "1.92", "4")

_Client = TypeVar("_Client")


def instrument(
    client: _Client,
    logger: StreamingLogger | None = None,
    *,
    session_id: Choose | None = None,
    include: Iterable[str] = (),
) -> _Client:
    """Logs all streams of an `OpenAI`, `AsyncOpenAI` or Azure client from now on; returns the client.

    That is `create(stream=True)` and `stream(...)` of `chat.completions`, `responses`, `completions`
    and `beta.threads.runs`, also in the Agents SDK. What they return stays what it was. A second call
    changes nothing.
    The session id is the request's `extra_headers={"X-Session-Id": ...}`, else what `session_id`
    makes of the request's parameters, else a new one. `include` as in `StreamingLogger.wrap`;
    `logger` None: the one of `get_streaming_logger()`.
    Of `with_streaming_response` the stream that `parse()` returns is logged. Not logged: answers that are
    not streamed, and `with_raw_response`.
    Raises `TypeError` or `ValueError` for a wrong argument, and `ImportError` for a version of the SDK
    that works differently. Later faults are reported in the library's log; the stream passes unchanged.

    >>> from openai import OpenAI
    >>> client = instrument(OpenAI(api_key="..."), session_id=lambda request: request.get("user"))
    """
    import openai  # type: ignore[import-not-found,unused-ignore]

    _sdk_client.instrument(openai, client, Guard("openai", logger, session_id, include), SUPPORTED)
    return client
