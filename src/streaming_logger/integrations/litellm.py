"""A LiteLLM callback by which its proxy logs every stream that it serves. Needs `litellm`.

In the proxy's configuration, without any code:

    litellm_settings:
      callbacks: streaming_logger.integrations.litellm.proxy_handler_instance

`litellm.completion(stream=True)` needs no callback: `StreamingLogger.wrap` takes what it returns.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any

from streaming_logger._logger import StreamingLogger
from streaming_logger.integrations._guard import Choose, Guard

__all__ = ["proxy_handler"]


def proxy_handler(
    logger: StreamingLogger | None = None,
    *,
    session_id: Choose | None = None,
    include: Iterable[str] = (),
) -> Any:
    """A callback for the proxy's `callbacks`, if the instance with the default settings is not enough.

    The session id is what `session_id` makes of the request, else the request's `litellm_session_id`
    (the header `x-litellm-session-id`) or `session_id` in its metadata, else its call id, which the
    proxy returns as `x-litellm-call-id`. `include` as in `StreamingLogger.wrap`; `logger` None: the
    one of `get_streaming_logger()`.

    >>> import asyncio
    >>> from streaming_logger.testing import ManualLogger
    >>> logger = ManualLogger()
    >>> async def answer():
    ...     yield {"choices": [{"delta": {"content": "Hello"}}]}
    >>> async def serve():
    ...     request = {"litellm_session_id": "sess_1"}
    ...     hook = proxy_handler(logger).async_post_call_streaming_iterator_hook
    ...     return [chunk async for chunk in hook(None, answer(), request)]
    >>> len(asyncio.run(serve())), logger.text, logger.close()
    (1, {'sess_1': 'Hello'}, None)
    """
    from litellm.integrations.custom_logger import CustomLogger  # type: ignore[import-not-found,unused-ignore]

    guard = Guard("litellm", logger, session_id, include)

    class StreamingLogHandler(CustomLogger):  # type: ignore[misc,unused-ignore]
        async def async_post_call_streaming_iterator_hook(
            self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
        ) -> AsyncGenerator[Any, None]:
            stream = guard.wrap(_session_ids(guard, request_data), response)
            try:
                async for chunk in stream:
                    yield chunk
            except GeneratorExit:  # the client left
                if stream is not response:
                    with contextlib.suppress(Exception):  # without a log nobody closes the response here
                        await stream.aclose()
                raise

    return StreamingLogHandler()


def _session_ids(guard: Guard, request: object) -> Iterator[object]:
    """What may name a request's session, and its call id."""
    yield guard.chosen(request)
    request = guard.mapping("the request", request)
    yield request.get("litellm_session_id")
    for name in ("metadata", "litellm_metadata"):  # the client's own: of any type
        yield guard.mapping(name, request.get(name)).get("session_id")
    yield request.get("litellm_call_id")


def __getattr__(name: str) -> Any:
    """The instance for the proxy's configuration, which names an attribute; litellm is imported only for it."""
    if name != "proxy_handler_instance":
        raise AttributeError(name)
    return globals().setdefault(name, proxy_handler())
