"""A LangChain callback handler that logs what models stream, in chains and graphs too. Needs `langchain-core`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from streaming_logger._base.errors import outcome_of
from streaming_logger._base.stats import Outcome
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
            # In a dict a token is text, whatever it looks like.
            runs.add(run_id, "token", {"content": token} if message is None else message)

        def on_stream_event(self, event: Any, *, run_id: UUID, **more: Any) -> None:
            if (message := _message_of(event)) is not None:
                runs.add(run_id, "event", message)

        def on_llm_end(self, response: Any, *, run_id: UUID, **more: Any) -> None:
            runs.end(run_id, "completed")

        def on_llm_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
            outcome = outcome_of(type(error))
            # LangChain may tell of a cancellation on another task than the one that is cancelled.
            runs.end(run_id, "closed" if outcome == "cancelled" else outcome)

    return StreamingLogHandler()


class _Run:
    """One call of a model. Its log begins with the first thing that it streams."""

    __slots__ = ("log", "outcome", "session_id", "source")

    def __init__(self, session_id: str | None) -> None:
        self.session_id = session_id
        self.log: StreamLog | None = None
        self.source: str | None = None
        """Which callback brings the text. Some models call two with the same; the first one counts."""
        self.outcome: Outcome | None = None


class _Runs:
    """The calls that are running, from whichever threads they come, and those that wait for others of their session."""

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

    def end(self, run_id: UUID, outcome: Outcome) -> None:
        """The session is completed with its last run, and with that run's outcome."""
        if (ended := self._runs.get(run_id)) is None:
            return
        ended.outcome = outcome
        same = {id_: run for id_, run in self._runs.copy().items() if run.session_id == ended.session_id}
        if any(run.outcome is None and run.log is not None for run in same.values()):
            if ended.log is None:
                self._runs.pop(run_id, None)
            return
        for id_, run in same.items():
            if run.outcome is not None:
                self._runs.pop(id_, None)
                if run.log is not None:
                    run.log.end(outcome)


def _session_ids(guard: Guard, metadata: object, run_id: UUID) -> Iterator[object]:
    """What may name a run's session, and the run's own id."""
    metadata = guard.mapping("metadata", metadata)
    yield from map(metadata.get, _ID_KEYS)
    yield run_id


def _message_of(event: Any) -> dict[str, Any] | None:
    """What an event of `stream_events(version="v3")` adds to the message; None: nothing that is text.

    Whole blocks, which follow their deltas, and tools' output are not logged.
    """
    if not isinstance(event, Mapping):
        return None
    if event.get("event") == "content-block-start":
        block = event.get("content")
    elif event.get("event") == "content-block-delta":
        block = event.get("delta")
    else:
        return None
    if not isinstance(block, Mapping):
        return None
    kind = str(block.get("type"))
    if kind == "block-delta" and isinstance(block.get("fields"), Mapping):
        block = block["fields"]
        kind = str(block.get("type"))
    if kind in ("text", "text-delta"):
        return {"content": [{"type": "text", "text": block.get("text")}]}
    if kind in ("reasoning", "reasoning-delta"):
        return {"content": [{"type": "reasoning", "reasoning": block.get("reasoning")}]}
    if "tool_call" in kind or kind == "tool-call-delta":
        return {"content": [], "tool_call_chunks": [block]}
    return None
