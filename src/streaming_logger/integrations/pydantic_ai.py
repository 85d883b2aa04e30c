"""A Pydantic AI model that logs what it streams, however an agent reads it. Needs `pydantic-ai-slim`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from streaming_logger._logger import StreamingLogger
from streaming_logger._stream_log import StreamLog
from streaming_logger.integrations._guard import Choose, Guard, logged, refusal
from streaming_logger.integrations._supported import Supported

__all__ = ["SUPPORTED", "logged_model"]

SUPPORTED = Supported("pydantic-ai-slim", "1.80", "3")

#: Where a streamed response gets its events from.
_EVENTS = "_get_event_iterator"


def logged_model(
    model: Any,
    logger: StreamingLogger | None = None,
    *,
    session_id: Choose | None = None,
    include: Iterable[str] = (),
) -> Any:
    """The same model, a `Model` or its name; an agent that has it logs all its streams.

    That is `run_stream`, `run_stream_events`, `iter`, `event_stream_handler`, and each request of a
    run with tools.
    The session id is what `session_id` makes of the `RunContext` (its `deps`, ...), else the
    conversation's, else the run's. `include` as in `StreamingLogger.wrap`; `logger` None: the one
    of `get_streaming_logger()`. Answers that are not streamed are not logged. Raises as
    `streaming_logger.integrations.openai.instrument` does.

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
    import pydantic_ai  # type: ignore[import-not-found,unused-ignore]
    from pydantic_ai.models import Model, StreamedResponse  # type: ignore[import-not-found,unused-ignore]
    from pydantic_ai.models.wrapper import WrapperModel  # type: ignore[import-not-found,unused-ignore]

    guard = Guard("pydantic_ai", logger, session_id, include)
    if not isinstance(model, (Model, str)):
        raise TypeError(refusal("model", "must be a pydantic_ai Model or its name", model))
    version = SUPPORTED.check(pydantic_ai)
    for part, name in ((StreamedResponse, _EVENTS), (WrapperModel, "request_stream")):
        if not callable(getattr(part, name, None)):
            SUPPORTED.refuse(version, f"{part.__name__}.{name} is missing")

    class LoggedModel(WrapperModel):  # type: ignore[misc,unused-ignore]
        @asynccontextmanager
        async def request_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            async with self.wrapped.request_stream(*args, **kwargs) as response:
                log = _attach(response, guard, _session_ids(guard, args, kwargs))
                if log is None:
                    yield response
                    return
                try:
                    yield response
                except BaseException as error:
                    log.end_by(error)
                    raise
                log.end("closed")

    return LoggedModel(model)


def _attach(response: Any, guard: Guard, session_ids: Iterator[object]) -> StreamLog | None:
    """Has a response read its events through their log. What each model implements is all that it is read by."""
    try:
        events = getattr(response, _EVENTS)()
        if not hasattr(events, "__aiter__"):
            raise TypeError(f"{_EVENTS}() returned a {type(events).__name__}")
        setattr(response, _EVENTS, lambda: events)  # raises here if it cannot be replaced
        log = guard.open(session_ids)
        if log is not None:
            setattr(response, _EVENTS, lambda: logged(log, events))
    except Exception as error:  # noqa: BLE001 - a log must not end a request that has succeeded
        guard.not_logged(error)
        return None
    return log


def _session_ids(guard: Guard, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[object]:
    """What may name a request's session; without an agent it has no context."""
    context = kwargs["run_context"] if "run_context" in kwargs else args[3] if len(args) > 3 else None
    if context is not None:
        yield guard.chosen(context)
        yield getattr(context, "conversation_id", None)
        yield getattr(context, "run_id", None)
