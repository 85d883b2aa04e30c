"""The Agents SDK through an instrumented client: the real SDK against recordings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest

from replay_server import ReplayServer, spoken
from streaming_logger.integrations.openai import instrument
from streaming_logger.testing import ManualLogger

agents = pytest.importorskip("agents")

MODEL = "logfile"


@pytest.fixture
def logger(manual: Callable[..., ManualLogger]) -> ManualLogger:
    return manual()


@pytest.mark.parametrize("kind", ["OpenAIChatCompletionsModel", "OpenAIResponsesModel"])
def test_each_request_of_a_run_is_logged(replay: ReplayServer, logger: ManualLogger, kind: str) -> None:
    """What the model says before it calls the tool, the call, and what it says then."""
    model = "logfile+limit=30+tools=5"
    noted: list[str] = []

    def note(text: str) -> str:
        noted.append(text)
        return "noted"

    async def run() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=replay.url + "/v1", api_key="none", max_retries=0) as client:
            instrument(client, logger, include=["tool_calls"])
            agent = agents.Agent(
                name="a",
                model=getattr(agents, kind)(model=model, openai_client=client),
                model_settings=agents.ModelSettings(extra_headers={"X-Session-Id": "s"}),
                tools=[agents.function_tool(note)],
            )
            result = agents.Runner.run_streamed(agent, "Go on.", run_config=agents.RunConfig(tracing_disabled=True))
            return [event async for event in result.stream_events()]

    assert asyncio.run(run())
    assert len(noted) == 1
    call = f"[streaming_logger: tool call]\nnote {spoken(model, 'tool')}"
    assert logger.text == {"s": f"{spoken(model)}\n{call}{spoken(model)}"}
    assert logger.outcomes == {"s": "completed"}
    assert logger.stats().sessions_completed == 2
