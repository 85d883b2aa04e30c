"""A LangChain callback handler that logs what models stream, in chains and graphs too. Needs `langchain-core`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from streaming_logger._base.errors import outcome_of
from streaming_logger._base.stats import Outcome
from streaming_logger._default import get_streaming_logger
from streaming_logger._logger import StreamingLogger
from streaming_logger._text.extractor import TextExtractor

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

    class StreamingLogHandler(BaseCallbackHandler):  # type: ignore[misc,unused-ignore]
        # On an event loop a handler runs in other threads, where tokens overtake one another, or inline.
        run_inline = True

        def __init__(self) -> None:
            self.runs: dict[UUID, tuple[StreamingLogger, str, TextExtractor]] = {}

        def on_llm_start(
            self, serialized: Any, prompts: Any, *, run_id: UUID, metadata: Mapping[str, Any] | None = None, **more: Any
        ) -> None:
            ids = [str(metadata[key]) for key in _ID_KEYS if metadata.get(key)] if metadata else []
            session_id = ids[0] if ids else str(run_id)
            self.runs[run_id] = logger or get_streaming_logger(), session_id, TextExtractor(include)

        def on_chat_model_start(self, serialized: Any, messages: Any, **more: Any) -> None:
            self.on_llm_start(serialized, messages, **more)

        def on_llm_new_token(self, token: Any, *, run_id: UUID, chunk: Any = None, **more: Any) -> None:
            to, session_id, extract = self.runs[run_id]
            to.write(session_id, extract(getattr(chunk, "message", None) or token))

        def on_llm_end(self, response: Any, *, run_id: UUID, **more: Any) -> None:
            self.end(run_id, "completed")

        def on_llm_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
            self.end(run_id, outcome_of(type(error)))

        def end(self, run_id: UUID, outcome: Outcome) -> None:
            if (run := self.runs.pop(run_id, None)) is None:
                return
            to, session_id, extract = run
            to.write(session_id, extract.finish())
            if all(other != session_id for _, other, _ in list(self.runs.values())):
                to.complete_session(session_id, outcome=outcome, wait=False)

    return StreamingLogHandler()
