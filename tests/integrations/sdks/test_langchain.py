"""The callback handler logs what LangChain's models stream: real chat models against recordings."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI, OpenAI

from replay_server import ReplayServer, spoken
from streaming_logger.integrations.langchain import callback_handler
from streaming_logger.testing import ManualLogger, capture_streams

MODEL = "logfile"


@pytest.fixture
def logger(manual: Callable[..., ManualLogger]) -> ManualLogger:
    return manual()


def chat(replay: ReplayServer, model: str = MODEL) -> ChatOpenAI:
    return ChatOpenAI(model=model, base_url=replay.url + "/v1", api_key="none", max_retries=0)  # type: ignore[arg-type]


def config(logger: ManualLogger, include: tuple[str, ...] = (), **metadata: Any) -> RunnableConfig:
    return {"callbacks": [callback_handler(logger, include=include)], "metadata": metadata or {"session_id": "s"}}


def test_a_stream_is_logged(replay: ReplayServer, logger: ManualLogger) -> None:
    """By `stream`, and by `invoke` of a model that is told to stream."""
    text = "".join(chunk.text for chunk in chat(replay).stream("Go on.", config(logger)))
    assert text == spoken(MODEL)
    assert logger.text == {"s": text}
    streaming = chat(replay)
    streaming.streaming = True
    streaming.invoke("Go on.", config(logger))
    assert logger.text == {"s": 2 * text}
    assert logger.outcomes == {"s": "completed"}


def test_an_async_stream_is_logged_in_order(replay: ReplayServer, logger: ManualLogger) -> None:
    """The handler runs on the loop, not in threads that overtake one another."""

    async def read() -> str:
        return "".join([chunk.text async for chunk in chat(replay).astream("Go on.", config(logger))])

    assert asyncio.run(read()) == spoken(MODEL)
    assert logger.text == {"s": spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


def test_a_model_that_is_no_chat_model_is_logged(replay: ReplayServer, logger: ManualLogger) -> None:
    """Its tokens are strings."""
    model = OpenAI(model=MODEL, base_url=replay.url + "/v1", api_key="none", max_retries=0)  # type: ignore[call-arg,arg-type]
    assert "".join(model.stream("Go on.", config(logger))) == spoken(MODEL)
    assert logger.text == {"s": spoken(MODEL)}


def test_session_id_is_in_the_metadata_or_the_runs_own(replay: ReplayServer, logger: ManualLogger) -> None:
    """LangSmith's three keys; the metadata of a chain reaches its model."""
    chain = chat(replay) | (lambda message: message.text)
    list(chain.stream("Go on.", config(logger, thread_id="t")))
    assert list(logger.text) == ["t"]
    list(chain.stream("Go on.", {"callbacks": [callback_handler(logger)]}))
    made = (set(logger.text) - {"t"}).pop()
    assert str(uuid.UUID(made)) == made


def test_tool_calls_are_logged_on_request(replay: ReplayServer, logger: ManualLogger) -> None:
    """`include` reaches the log of each run."""
    model = "logfile+limit=30+tools=5"
    list(chat(replay, model).stream("Go on.", config(logger, ("tool_calls",))))
    call = f"[streaming_logger: tool call]\nnote {spoken(model, 'tool')}"
    assert logger.text == {"s": f"{spoken(model)}\n{call}"}


def test_runs_of_one_session_may_overlap(replay: ReplayServer, logger: ManualLogger) -> None:
    """Nothing is lost, and the session is completed with the last run."""
    settings = config(logger)
    first = chat(replay).stream("Go on.", settings)
    assert next(chunk.text for chunk in first if chunk.text)
    list(chat(replay).stream("Go on.", settings))
    assert logger.outcomes == {}
    list(first)
    assert len(logger.text["s"]) == 2 * len(spoken(MODEL))
    assert logger.outcomes == {"s": "completed"}
    asyncio.run(chat(replay).abatch(["Go on."] * 5, settings))
    assert len(logger.text["s"]) == 2 * len(spoken(MODEL))  # a batch does not stream


def test_a_broken_connection_is_an_error(replay: ReplayServer, logger: ManualLogger) -> None:
    """The file has what came before it."""
    with pytest.raises(Exception, match=r"Connection error|incomplete chunked read"):
        list(chat(replay, "logfile+break=10").stream("Go on.", config(logger)))
    assert logger.text == {"s": spoken("logfile+limit=10")}
    assert logger.outcomes == {"s": "error"}


def test_leaving_early_completes(replay: ReplayServer, logger: ManualLogger) -> None:
    """A generator that is closed, and a task that is cancelled while it waits."""
    stream = chat(replay).stream("Go on.", config(logger))
    assert next(chunk.text for chunk in stream if chunk.text)
    stream.close()  # type: ignore[attr-defined]
    assert logger.outcomes == {"s": "closed"}

    async def read() -> None:
        model = chat(replay, "logfile+stall=10")
        async with contextlib.aclosing(model.astream("Go on.", config(logger, session_id="t"))) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                seen.append(chunk.text)
                if "".join(seen) == spoken("logfile+limit=10"):
                    all_seen.set()

    async def cancel() -> None:
        task = asyncio.create_task(read())
        await asyncio.wait_for(all_seen.wait(), 10)
        task.cancel()
        await asyncio.wait([task])

    seen: list[str] = []
    all_seen = asyncio.Event()
    asyncio.run(cancel())
    assert logger.text["t"] == spoken("logfile+limit=10")
    assert logger.outcomes["t"] == "closed"


def test_logger_is_the_processs_own_by_default(replay: ReplayServer) -> None:
    """Looked up when a run begins."""
    handler = callback_handler()
    with capture_streams() as logger:
        list(chat(replay).stream("Go on.", {"callbacks": [handler], "metadata": {"session_id": "s"}}))
        assert logger.text == {"s": spoken(MODEL)}
