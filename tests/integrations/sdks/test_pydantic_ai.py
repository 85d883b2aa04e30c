"""A logged model logs every stream of a Pydantic AI agent: real models against recordings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock

import pydantic_ai
import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent, RunContext
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models import StreamedResponse
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.providers.openai import OpenAIProvider

from log_lines import without_page
from replay_server import ReplayServer, spoken
from streaming_logger.integrations.pydantic_ai import logged_model
from streaming_logger.testing import ManualLogger

MODEL = "logfile"


@dataclass
class Deps:
    session_id: str = "s"


@pytest.fixture
def logger(manual: Callable[..., ManualLogger]) -> ManualLogger:
    return manual()


def run(
    replay: ReplayServer,
    logger: ManualLogger,
    use: Callable[[Agent[Deps, str]], Awaitable[object]],
    name: str = MODEL,
    kind: type[OpenAIChatModel | OpenAIResponsesModel] = OpenAIChatModel,
    include: tuple[str, ...] = (),
) -> None:
    """Runs `use` with an agent of a logged model on an event loop."""

    async def main() -> None:
        async with AsyncOpenAI(base_url=replay.url + "/v1", api_key="none", max_retries=0) as client:
            model = kind(name, provider=OpenAIProvider(openai_client=client))
            logged = logged_model(model, logger, session_id=lambda context: context.deps.session_id, include=include)
            await use(Agent(logged, deps_type=Deps))

    asyncio.run(main())


@pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel])
def test_a_text_stream_is_logged(
    replay: ReplayServer, logger: ManualLogger, kind: type[OpenAIChatModel | OpenAIResponsesModel]
) -> None:
    """Whichever of the provider's APIs the model speaks."""

    async def use(agent: Agent[Deps, str]) -> None:
        async with agent.run_stream("Go on.", deps=Deps()) as result:
            text = "".join([delta async for delta in result.stream_text(delta=True, debounce_by=None)])
            assert text == spoken(MODEL)

    run(replay, logger, use, kind=kind)
    assert logger.text == {"s": spoken(MODEL)}
    assert logger.outcomes == {"s": "completed"}


def test_every_way_to_run_an_agent_is_logged(replay: ReplayServer, logger: ManualLogger) -> None:
    """`iter`, and `run` with an `event_stream_handler`; a `run` that does not stream is not."""

    async def drain(context: RunContext[Deps], events: Any) -> None:
        async for _ in events:
            pass

    async def use(agent: Agent[Deps, str]) -> None:
        async with agent.iter("Go on.", deps=Deps("iter")) as steps:
            async for node in steps:
                if Agent.is_model_request_node(node):
                    async with node.stream(steps.ctx) as events:
                        await drain(None, events)  # type: ignore[arg-type]
        await agent.run("Go on.", deps=Deps("handler"), event_stream_handler=drain)
        await agent.run("Go on.", deps=Deps("whole"))

    run(replay, logger, use)
    assert logger.text == {"iter": spoken(MODEL), "handler": spoken(MODEL)}
    assert logger.outcomes == {"iter": "completed", "handler": "completed"}


def test_each_request_of_a_run_with_tools_is_logged(replay: ReplayServer, logger: ManualLogger) -> None:
    """What the model says before it calls the tool, the call, and what it says then."""
    model = "logfile+limit=30+tools=5"
    noted: list[str] = []

    async def use(agent: Agent[Deps, str]) -> None:
        @agent.tool_plain
        def note(text: str) -> str:
            noted.append(text)
            return "noted"

        async with agent.iter("Go on.", deps=Deps()) as steps:
            async for node in steps:
                if Agent.is_model_request_node(node):
                    async with node.stream(steps.ctx) as events:
                        async for _ in events:
                            pass

    run(replay, logger, use, model, include=("tool_calls",))
    assert len(noted) == 1
    call = f"[streaming_logger: tool call]\nnote {spoken(model, 'tool')}"
    assert logger.text == {"s": f"{spoken(model)}\n{call}{spoken(model)}"}
    assert logger.stats().sessions_completed == 2


def test_session_id_is_the_conversations_or_made(replay: ReplayServer, logger: ManualLogger) -> None:
    """Without a callable; a request without an agent gets a new one."""

    async def use(agent: Agent[Deps, str]) -> None:
        model: Any = agent.model
        own = logged_model(model.wrapped, logger)
        async with Agent(own).run_stream("Go on.") as result:
            await result.get_output()
            messages = result.all_messages()
        assert set(logger.text) <= {messages[0].run_id, getattr(messages[0], "conversation_id", None)}
        async with model_request_stream(own, [ModelRequest.user_text_prompt("Go on.")]) as events:
            async for _ in events:
                pass

    run(replay, logger, use)
    assert list(logger.text.values()) == [spoken(MODEL)] * 2


def test_leaving_early_completes(replay: ReplayServer, logger: ManualLogger) -> None:
    """With the end of the block that reads. Releases before 2.0 read the rest themselves."""

    async def use(agent: Agent[Deps, str]) -> None:
        async with agent.run_stream("Go on.", deps=Deps()) as result:
            async for _ in result.stream_text(delta=True, debounce_by=None):
                break

    run(replay, logger, use)
    is_whole = logger.text["s"] == spoken(MODEL)
    assert logger.outcomes == {"s": "completed" if is_whole else "closed"}
    assert spoken(MODEL).startswith(logger.text["s"])
    assert not is_whole or pydantic_ai.__version__.startswith("1.")


def test_a_broken_connection_is_an_error_and_a_cancelled_task_is_told_apart(
    replay: ReplayServer, logger: ManualLogger
) -> None:
    """The file has what came before it."""

    async def use(agent: Agent[Deps, str]) -> None:
        async with agent.run_stream("Go on.", deps=Deps()) as result:
            async for text in result.stream_text(debounce_by=None):
                if text == spoken("logfile+limit=10"):
                    all_seen.set()

    async def cancel(agent: Agent[Deps, str]) -> None:
        task = asyncio.create_task(use(agent))  # type: ignore[arg-type]
        await asyncio.wait_for(all_seen.wait(), 10)
        for _ in range(100):  # turns of the loop, until the task waits for the next chunk
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    all_seen = asyncio.Event()
    with pytest.raises(Exception, match=r"Connection error|incomplete chunked read"):
        run(replay, logger, use, "logfile+break=10")
    assert logger.outcomes == {"s": "error"}
    all_seen = asyncio.Event()
    run(replay, logger, cancel, "logfile+stall=10")
    assert logger.outcomes == {"s": "closed"}
    assert logger.text == {"s": 2 * spoken("logfile+limit=10")}


def test_streams_of_text_and_of_events_are_logged(replay: ReplayServer, logger: ManualLogger) -> None:
    """`stream_text()` with its own pauses and whole texts, and `run_stream_events`."""

    async def use(agent: Agent[Deps, str]) -> None:
        async with agent.run_stream("Go on.", deps=Deps("text")) as result:
            assert [text async for text in result.stream_text()][-1] == spoken(MODEL)
        events: Any = agent.run_stream_events("Go on.", deps=Deps("events"))
        if hasattr(events, "__aenter__"):
            async with events as entered:
                assert [event async for event in entered]
        else:
            assert [event async for event in events]

    run(replay, logger, use)
    assert logger.text == {"text": spoken(MODEL), "events": spoken(MODEL)}
    assert logger.outcomes == {"text": "completed", "events": "completed"}


# -- what does not break a stream ------------------------------------------------------


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the library logged as errors."""
    return [without_page(record) for record in caplog.records if record.levelname == "ERROR"]


def asked(agent: Agent[Any, str]) -> str:
    """The output of a run that streams."""

    async def ask() -> str:
        async with agent.run_stream("Go on.") as result:
            return await result.get_output()

    return asyncio.run(ask())


OUTPUT = "success (no tool calls)"


def raising(context: Any) -> str:
    raise KeyError("session")


@pytest.mark.parametrize(
    ("choose", "problem"),
    [
        (raising, "the callable raised KeyError('session')"),
        (
            lambda context: context.deps["id"],
            "the callable raised TypeError(\"'NoneType' object is not subscriptable\")",
        ),
        (lambda context: context.deps.id, "the callable raised AttributeError("),
        (lambda context: context, "must be a str, int or UUID, not RunContext"),
        (lambda context: "x" * 10_000_000, "must have at most 1000 characters, got 10000000"),
    ],
)
def test_callable_cannot_break_a_run(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, choose: Any, problem: str
) -> None:
    """The conversation's or the run's own id counts; one line for any number of runs."""
    agent = Agent(logged_model(TestModel(), logger, session_id=choose))
    assert [asked(agent), asked(agent)] == [OUTPUT] * 2
    assert list(logger.text.values()) == [OUTPUT] * 2
    (line,) = reports(caplog)
    assert line.startswith(f"pydantic_ai: a session id is not usable: {problem}")


def test_logger_that_is_out_of_order_costs_the_log_alone(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for any number of runs."""
    monkeypatch.setattr(logger._engine, "begin_stream", Mock(side_effect=OSError("out of order")))
    agent = Agent(logged_model(TestModel(), logger))
    assert [asked(agent), asked(agent)] == [OUTPUT] * 2
    assert reports(caplog) == ["pydantic_ai: a stream is not logged: OSError('out of order')"]


class Strange(TestModel):
    """A model whose responses are of another kind."""

    def __init__(self, change: Callable[[Any], None]) -> None:
        super().__init__()
        self.change = change

    @asynccontextmanager
    async def request_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with super().request_stream(*args, **kwargs) as response:
            self.change(response)
            yield response


def read_elsewhere(response: Any) -> None:
    """Its `__aiter__` does not need the private attribute."""
    events = response._get_event_iterator()
    kind: Any = type(response)
    response.__class__ = type("Moved", (kind,), {"_get_event_iterator": None, "__aiter__": lambda self: events})


def fixed(response: Any) -> None:
    """Its attributes cannot be set."""

    def refuse(self: object, name: str, value: object) -> None:
        if name == "_get_event_iterator":
            raise TypeError("it is fixed")
        object.__setattr__(self, name, value)

    response.__class__ = type("Fixed", (type(response),), {"__setattr__": refuse})


@pytest.mark.parametrize(
    ("change", "problem"),
    [(read_elsewhere, "TypeError(\"'NoneType' object is not callable\")"), (fixed, "TypeError('it is fixed')")],
)
def test_response_that_cannot_be_logged_passes(
    logger: ManualLogger, caplog: pytest.LogCaptureFixture, change: Callable[[Any], None], problem: str
) -> None:
    """One response may be of another kind than those that were checked."""
    agent = Agent(logged_model(Strange(change), logger))
    assert [asked(agent), asked(agent)] == [OUTPUT] * 2
    assert reports(caplog) == [f"pydantic_ai: a stream is not logged: {problem}"]
    assert logger.text == {}


def test_events_are_not_closed(logger: ManualLogger) -> None:
    """Only their reader closes them: another task may still wait for the next one."""
    closed: list[str] = []

    def watch(response: Any) -> None:
        events = response._get_event_iterator()

        class Events:
            def __aiter__(self) -> Any:
                return self

            async def __anext__(self) -> Any:
                return await anext(events)

            async def aclose(self) -> None:
                closed.append("closed")
                raise OSError("no connection")

        response._get_event_iterator = Events

    async def leave() -> None:
        model = logged_model(Strange(watch), logger)
        request = [ModelRequest.user_text_prompt("Go on.")]
        async with model_request_stream(model, request) as response:
            await anext(aiter(response))

    asyncio.run(leave())
    assert closed == []
    assert list(logger.outcomes.values()) == ["closed"]


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("version", "pydantic-ai-slim 99.0 cannot be instrumented: it is not tested; supported is pydantic-ai-slim>="),
        ("StreamedResponse", "StreamedResponse._get_event_iterator is missing"),
        ("WrapperModel", "WrapperModel.request_stream is missing"),
    ],
)
def test_package_whose_parts_have_moved_is_refused(
    logger: ManualLogger, monkeypatch: pytest.MonkeyPatch, part: str, reason: str
) -> None:
    """By name, with the way round it."""
    if part == "version":
        monkeypatch.setattr(pydantic_ai, "__version__", "99.0")
    elif part == "StreamedResponse":
        monkeypatch.delattr(StreamedResponse, "_get_event_iterator")
    else:
        monkeypatch.setattr(WrapperModel, "request_stream", None)
    with pytest.raises(ImportError, match=f"{reason}.* Log its streams with StreamingLogger.wrap instead"):
        logged_model(TestModel(), logger)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": None}, TypeError, "model must be a pydantic_ai Model or its name, got None"),
        ({"model": Agent}, TypeError, "model must be a pydantic_ai Model or its name, got <class"),
        ({"logger": "logger"}, TypeError, "logger must be a StreamingLogger, got 'logger'"),
        ({"session_id": "user"}, TypeError, "session_id must be None or a function of one argument, got 'user'"),
        ({"include": None}, TypeError, "include must be a list of names, got None"),
        ({"include": ["thoughts"]}, ValueError, "'thoughts'"),
    ],
)
def test_each_wrong_argument_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """Not by the first run."""
    with pytest.raises(error, match=message):
        logged_model(**{"model": TestModel()} | arguments)
