"""A Pydantic AI model that logs what it streams, however an agent reads it. Needs `pydantic-ai-slim`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from streaming_logger._default import get_streaming_logger
from streaming_logger._logger import StreamingLogger

__all__ = ["logged_model"]


def logged_model(
    model: Any,
    logger: StreamingLogger | None = None,
    *,
    session_id: Callable[[Any], str | None] | None = None,
    include: Iterable[str] = (),
) -> Any:
    """The same model, a `Model` or its name; an agent that has it logs all its streams.

    That is `run_stream`, `iter`, `event_stream_handler`, and each request of a run with tools.
    The session id is what `session_id` makes of the `RunContext` (its `deps`, ...), else the
    conversation's, else the run's. `include` as in `StreamingLogger.wrap`; `logger` None: the one
    of `get_streaming_logger()`. Answers that are not streamed are not logged.

    >>> import asyncio
    >>> from pydantic_ai import Agent
    >>> from pydantic_ai.models.test import TestModel
    >>> from streaming_logger.testing import ManualLogger
    >>> logger = ManualLogger()
    >>> agent = Agent(logged_model(TestModel(), logger, session_id=lambda context: "sess_1"))
    >>> async def ask():
    ...     async with agent.run_stream("Hi") as result:
    ...         return await result.get_output()
    >>> asyncio.run(ask()), logger.text, logger.close()
    ('success (no tool calls)', {'sess_1': 'success (no tool calls)'}, None)
    """
    from pydantic_ai.models.wrapper import WrapperModel  # type: ignore[import-not-found,unused-ignore]

    def chosen(context: Any) -> str | None:
        if context is None:  # a request without an agent
            return None
        if session_id is not None and (found := session_id(context)):
            return found
        return getattr(context, "conversation_id", None) or getattr(context, "run_id", None)

    class LoggedModel(WrapperModel):  # type: ignore[misc,unused-ignore]
        @asynccontextmanager
        async def request_stream(
            self, messages: Any, model_settings: Any, model_request_parameters: Any, *context: Any
        ) -> AsyncIterator[Any]:
            request: Any = self.wrapped.request_stream(messages, model_settings, model_request_parameters, *context)
            async with request as response:
                events = response._get_event_iterator()  # what each model implements; all that is read is made of it
                made = chosen(context[0] if context else None)
                async with (logger or get_streaming_logger()).wrap(made, events, include=include) as logged:
                    response._get_event_iterator = lambda: logged
                    yield response

    return LoggedModel(model)
