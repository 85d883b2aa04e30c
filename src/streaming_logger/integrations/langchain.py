"""A LangChain callback handler that logs what models stream, in chains and graphs too. Needs `langchain-core`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from streaming_logger._base.errors import outcome_of
from streaming_logger._logger import StreamingLogger
from streaming_logger._stream_log import StreamLog
from streaming_logger.integrations._guard import Guard

__all__ = ["callback_handler"]

#: The keys of a run's metadata that name its conversation, as LangSmith and LangGraph have them.
_ID_KEYS = ("session_id", "thread_id", "conversation_id")


def callback_handler(logger: StreamingLogger | None = None, *, include: Iterable[str] = ()) -> Any:
    """A handler for `callbacks=`, for sync and async runs; one serves any number of them.

    The session id is `session_id`, `thread_id` or `conversation_id` in the run's metadata, else the
    model run's own id. Runs of one session may overlap: it is completed with the last of them.
    `include` as in `StreamingLogger.wrap`; `logger` None: the one of `get_streaming_logger()`.
    Calls that do not stream are not logged.

    >>> from langchain_core.language_models import GenericFakeChatModel
    >>> from streaming_logger.testing import ManualLogger
    >>> logger = ManualLogger()
    >>> config = {"callbacks": [callback_handler(logger)], "metadata": {"session_id": "sess_1"}}
    >>> answer = list(GenericFakeChatModel(messages=iter(["Hello"])).stream("Hi", config))
    >>> logger.text, logger.close()
    ({'sess_1': 'Hello'}, None)
    """
    from langchain_core.callbacks import BaseCallbackHandler  # type: ignore[import-not-found,unused-ignore]

    runs = _Runs(Guard("langchain", logger, include=include))

    class StreamingLogHandler(BaseCallbackHandler):  # type: ignore[misc,unused-ignore]
        # On an event loop a handler runs in other threads, where tokens overtake one another, or inline.
        run_inline = True

        def on_llm_start(
            self, serialized: Any, prompts: Any, *, run_id: UUID, metadata: object = None, **more: Any
        ) -> None:
            runs.begin(run_id, metadata)

        def on_chat_model_start(
            self, serialized: Any, messages: Any, *, run_id: UUID, metadata: object = None, **more: Any
        ) -> None:
            runs.begin(run_id, metadata)

        def on_llm_new_token(self, token: Any, *, run_id: UUID, chunk: Any = None, **more: Any) -> None:
            message = getattr(chunk, "message", None)
            if message is not None:
                runs.add(run_id, "token", message)
            elif token:
                runs.add(run_id, "token", {"content": token})  # in a dict it is text, whatever it looks like

        def on_stream_event(self, event: Any, *, run_id: UUID, **more: Any) -> None:
            # As LangGraph has the same events in its own.
            runs.add(run_id, "event", {"type": "event", "method": "messages", "params": {"data": event}})

        def on_llm_end(self, response: Any, *, run_id: UUID, **more: Any) -> None:
            if (log := runs.pop(run_id)) is not None:
                log.end("completed")

        def on_llm_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
            if (log := runs.pop(run_id)) is None:
                return
            # LangChain may tell of a cancellation on another task than the one that is cancelled.
            if outcome_of(type(error)) == "cancelled":
                log.end("closed")
            else:
                log.end_by(error)

    return StreamingLogHandler()


class _Run:
    """One call of a model. Its log begins with the first thing that it streams."""

    __slots__ = ("log", "session_id", "source")

    def __init__(self, session_id: str | None) -> None:
        self.session_id = session_id
        self.log: StreamLog | None = None
        self.source: str | None = None
        """Which callback brings the text. Some models call two with the same; the first one counts."""


class _Runs:
    """The calls that are running, from whichever threads they come."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._runs: dict[UUID, _Run] = {}

    def begin(self, run_id: UUID, metadata: object) -> _Run:
        run = self._runs[run_id] = _Run(self._guard.session_id(_session_ids(self._guard, metadata, run_id)))
        return run

    def add(self, run_id: UUID, source: str, item: Any) -> None:
        run = self._runs.get(run_id) or self.begin(run_id, None)  # a handler that was added while the model streams
        if run.source is None:
            run.source = source
            run.log = self._guard.open((run.session_id,))
        if run.log is not None and run.source == source:
            run.log.log(item)

    def pop(self, run_id: UUID) -> StreamLog | None:
        """The log of a call that has ended; None where it streamed nothing."""
        run = self._runs.pop(run_id, None)
        return None if run is None else run.log


def _session_ids(guard: Guard, metadata: object, run_id: UUID) -> Iterator[object]:
    """What may name a run's session, and the run's own id."""
    metadata = guard.mapping("metadata", metadata)
    yield from map(metadata.get, _ID_KEYS)
    yield run_id
