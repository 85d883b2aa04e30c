"""The callback handler logs what LangChain's models stream: real chat models against recordings."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI, OpenAI

from log_lines import without_page
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


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the library logged as errors. LangChain logs what a handler raises as warnings: there are none."""
    assert [record.getMessage() for record in caplog.records if record.name.startswith("langchain")] == []
    return [without_page(record) for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ("user-42", "metadata is a str, not a mapping"),
        (["a"], "metadata is a list, not a mapping"),
        ({"session_id": ["a"]}, "must be a str, int or UUID, not list"),
        ({"session_id": Mock()}, "must be a str, int or UUID, not Mock"),
        ({"thread_id": "x" * 10_000_000}, "must have at most 1000 characters, got 10000000"),
    ],
)
def test_metadata_that_names_no_session_is_reported(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, metadata: Any, problem: str
) -> None:
    """Once; the runs are logged under their own ids."""
    handler = callback_handler(logger)
    runs = [uuid.uuid4(), uuid.uuid4()]
    for run_id in runs:
        handler.on_chat_model_start({}, [], run_id=run_id, metadata=metadata)
        handler.on_llm_new_token("Hello", run_id=run_id)
        handler.on_llm_end(None, run_id=run_id)
    assert logger.text == {str(run_id): "Hello" for run_id in sorted(runs, key=str)}
    assert reports(caplog) == [f"langchain: a session id is not usable: {problem}"]


def test_ids_that_are_numbers_are_taken(replay: ReplayServer, logger: ManualLogger) -> None:
    """A database's key, or a UUID."""
    list(chat(replay).stream("Go on.", config(logger, session_id=7)))
    assert list(logger.text) == ["7"]


def test_run_that_the_handler_did_not_see_begin_is_logged(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """Under its own id. An end of an unknown run is no fault."""
    handler = callback_handler(logger)
    run_id = uuid.uuid4()
    handler.on_llm_new_token("Hel", run_id=run_id)
    handler.on_llm_new_token("lo", run_id=run_id)
    handler.on_llm_end(None, run_id=run_id)
    handler.on_llm_end(None, run_id=run_id)
    handler.on_llm_error(OSError("late"), run_id=uuid.uuid4())
    assert logger.text == {str(run_id): "Hello"}
    assert logger.outcomes == {str(run_id): "completed"}
    assert reports(caplog) == []


@pytest.mark.parametrize("token", [None, "", [], ["Hel", {"type": "text", "text": "lo"}], "data: x", '{"type": "x"}'])
def test_tokens_of_any_kind_are_taken(logger: ManualLogger, caplog: pytest.LogCaptureFixture, token: Any) -> None:
    """Blocks of content, and text that looks like a protocol, which a token never is."""
    handler = callback_handler(logger)
    handler.on_llm_start({}, [], run_id=(run_id := uuid.uuid4()), metadata={"session_id": "s"})
    handler.on_llm_new_token(token, run_id=run_id)
    handler.on_llm_end(None, run_id=run_id)
    expected = "Hello" if token and not isinstance(token, str) else token
    assert logger.text.get("s", "") == (expected or "")
    assert reports(caplog) == []


def test_logger_that_is_out_of_order_costs_the_log_alone(
    replay: ReplayServer, logger: ManualLogger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for any number of tokens and runs."""
    monkeypatch.setattr(logger._engine, "begin_stream", Mock(side_effect=OSError("out of order")))
    for _ in range(2):
        assert "".join(chunk.text for chunk in chat(replay).stream("Go on.", config(logger))) == spoken(MODEL)
    assert reports(caplog) == ["langchain: a stream is not logged: OSError('out of order')"]
    assert logger.text == {}


def test_closed_and_disabled_loggers_are_no_fault(
    replay: ReplayServer, manual: Callable[..., ManualLogger], caplog: pytest.LogCaptureFixture
) -> None:
    """A run begins while logging is disabled."""
    closed, disabled = manual(), manual(enabled=False)
    closed.close()
    for logger in (closed, disabled):
        assert "".join(chunk.text for chunk in chat(replay).stream("Go on.", config(logger))) == spoken(MODEL)
    assert reports(caplog) == []


def test_call_that_does_not_stream_ends_no_session(replay: ReplayServer, logger: ManualLogger) -> None:
    """Another run of the session, or the server itself, may be streaming it."""
    logger.write("s", "Hello")
    chat(replay).invoke("Go on.", config(logger))
    assert (logger.text, logger.outcomes) == ({"s": "Hello"}, {})


def test_runs_in_many_threads_do_not_mix(logger: ManualLogger) -> None:
    """One handler serves them, each with its own session."""
    handler = callback_handler(logger)

    def run(number: int) -> None:
        run_id = uuid.uuid4()
        handler.on_llm_start({}, [], run_id=run_id, metadata={"session_id": f"s{number % 4}"})
        for _ in range(50):
            handler.on_llm_new_token(str(number % 4), run_id=run_id)
        handler.on_llm_end(None, run_id=run_id)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(16)))
    assert logger.text == {f"s{number}": str(number) * 200 for number in range(4)}
    assert set(logger.outcomes) == set(logger.text)


@pytest.mark.parametrize("is_async", [False, True])
def test_events_are_logged_once(replay: ReplayServer, logger: ManualLogger, is_async: bool) -> None:
    """`stream_events(version="v3")`, where a model may call back with tokens as well, and `astream_events`."""
    model = chat(replay)
    if not hasattr(model, "stream_events"):
        pytest.skip("needs langchain-core 1.4")
    if is_async:

        async def read() -> None:
            async for _ in model.astream_events("Go on.", config(logger), version="v2"):
                pass

        asyncio.run(read())
    else:
        list(model.stream_events("Go on.", config(logger), version="v3"))
    assert logger.text == {"s": spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


class Scripted(GenericFakeChatModel):
    """A model that thinks, answers, and calls a tool; it calls back with no tokens of its own."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        def chunk(*content: Any, **parts: Any) -> ChatGenerationChunk:
            return ChatGenerationChunk(message=AIMessageChunk(content=[*content], id="m", **parts))

        if any(isinstance(message, ToolMessage) for message in args[0]):
            yield ChatGenerationChunk(message=AIMessageChunk(content="It is 42.", id="n"))
            return
        yield chunk({"type": "reasoning", "reasoning": "Hm.", "index": 0})
        yield chunk({"type": "text", "text": "Let me ", "index": 1})
        yield chunk({"type": "text", "text": "look.", "index": 1})
        for name, args_ in (("search", '{"q": '), (None, '"x"}')):
            call = {"name": name, "args": args_, "id": "1" if name else None, "index": 2, "type": "tool_call_chunk"}
            yield chunk(tool_call_chunks=[call])


def test_events_of_a_model_without_tokens_are_logged(logger: ManualLogger) -> None:
    """Text, and on request reasoning and tool calls; the whole blocks that follow are not."""
    model = Scripted(messages=iter(()))
    if not hasattr(model, "stream_events"):
        pytest.skip("needs langchain-core 1.4")
    list(model.stream_events("Go on.", config(logger), version="v3"))
    assert logger.text == {"s": "Let me look."}
    list(model.stream_events("Go on.", config(logger, ("reasoning", "tool_calls"), session_id="t"), version="v3"))
    assert "[streaming_logger: reasoning]\nHm." in logger.text["t"]
    assert "Let me look." in logger.text["t"]
    assert '{"q": "x"}' in logger.text["t"]


@pytest.mark.parametrize("event", [None, "text", {}, {"event": "content-block-delta"}, {"event": 7, "delta": []}])
def test_unknown_events_are_no_fault(logger: ManualLogger, caplog: pytest.LogCaptureFixture, event: Any) -> None:
    """Of a newer LangChain."""
    callback_handler(logger).on_stream_event(event, run_id=uuid.uuid4())
    assert (logger.text, reports(caplog)) == ({}, [])


@pytest.mark.parametrize("mode", ["messages", "values", "updates"])
def test_graph_logs_what_its_model_says_and_no_tool_output(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, mode: Any
) -> None:
    """LangGraph passes its callbacks on to the model, and names the thread."""
    graphs = pytest.importorskip("langgraph.graph")
    prebuilt = pytest.importorskip("langgraph.prebuilt")
    model = Scripted(messages=iter(()))

    def search(q: str) -> str:
        """Searches."""
        return "TOOL-OUTPUT"

    def agent(state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        answer: Any = None
        for chunk in model.stream(state["messages"], config):
            answer = chunk if answer is None else answer + chunk
        return {"messages": [answer]}

    def route(state: dict[str, Any]) -> str:
        return "tools" if state["messages"][-1].tool_calls else "__end__"

    graph = graphs.StateGraph(graphs.MessagesState)
    graph.add_node("agent", agent)
    graph.add_node("tools", prebuilt.ToolNode([search]))
    graph.add_edge("__start__", "agent")
    graph.add_conditional_edges("agent", route)
    graph.add_edge("tools", "agent")
    settings = {"callbacks": [callback_handler(logger)], "configurable": {"thread_id": "t"}}
    assert list(graph.compile().stream({"messages": [("user", "Hi")]}, settings, stream_mode=mode))
    assert logger.text == {"t": "Let me look.It is 42."}
    assert logger.outcomes == {"t": "completed"}
    assert reports(caplog) == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"logger": "logger"}, TypeError, "logger must be a StreamingLogger, got 'logger'"),
        ({"include": 5}, TypeError, "include must be a list of names, got 5"),
        ({"include": ["thoughts"]}, ValueError, "'thoughts'"),
    ],
)
def test_each_wrong_argument_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """Not by the first run."""
    with pytest.raises(error, match=message):
        callback_handler(**arguments)
