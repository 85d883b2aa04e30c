"""A logged model logs every stream of a Pydantic AI agent: real models against recordings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent, RunContext
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

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
    """With the end of the block that reads."""

    async def use(agent: Agent[Deps, str]) -> None:
        async with agent.run_stream("Go on.", deps=Deps()) as result:
            async for _ in result.stream_text(delta=True, debounce_by=None):
                break

    run(replay, logger, use)
    assert logger.outcomes == {"s": "closed"}
    assert spoken(MODEL).startswith(logger.text["s"])


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
