"""Logs every stream of an Anthropic client, of its helpers and of its copies. Needs `anthropic`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from streaming_logger._logger import StreamingLogger
from streaming_logger.integrations import _sdk_client
from streaming_logger.integrations._guard import Choose, Guard
from streaming_logger.integrations._supported import Supported

__all__ = ["SUPPORTED", "instrument"]

SUPPORTED = Supported("anthropic", "0.45", "3")

_Client = TypeVar("_Client")


def instrument(
    client: _Client,
    logger: StreamingLogger | None = None,
    *,
    session_id: Choose | None = None,
    include: Iterable[str] = (),
) -> _Client:
    """Logs all streams of an `Anthropic`, `AsyncAnthropic`, Bedrock or Vertex client from now on; returns the client.

    That is `messages.create(stream=True)` and `messages.stream(...)`, with `text_stream`,
    `get_final_message` and `until_done`, and the same of `beta.messages`. What they return stays
    what it was. The rest is as for `streaming_logger.integrations.openai.instrument`.

    >>> from anthropic import Anthropic
    >>> client = instrument(Anthropic(api_key="..."), include=["reasoning"])
    """
    import anthropic  # type: ignore[import-not-found,unused-ignore]

    _sdk_client.instrument(anthropic, client, Guard("anthropic", logger, session_id, include), SUPPORTED)
    return client
