"""What the agents of pydantic-ai, LlamaIndex and AutoGen yield: real agents with a tool, and models that are canned."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from canned_server import ANSWER, REASONING, TOOL_CALL, logged

TEXT = "Let me look. It is 42."
CALL = f'Let me look. \n{TOOL_CALL}search {{"q": "x"}}{ANSWER}It is 42.'
#: With reasoning and tool calls.
ALL = f"{REASONING}Hm{ANSWER}{CALL}"


def search(q: str) -> str:
    """Looks something up."""
    return "TOOL OUTPUT"


# -- pydantic-ai ---------------------------------------------------------------------


def pydantic_agent(*answer: str) -> Any:
    """An agent that answers in these pieces; without any, it calls its tool first."""
    ai = pytest.importorskip("pydantic_ai")
    function = pytest.importorskip("pydantic_ai.models.function")

    async def model(messages: list[Any], info: Any) -> AsyncIterator[Any]:
        if answer:
            for piece in answer:
                yield piece
        elif len(messages) == 1:
            yield {0: function.DeltaThinkingPart(content="Hm")}
            yield "Let me "
            yield "look. "
            yield {2: function.DeltaToolCall(name="search", json_args='{"q": ', tool_call_id="1")}
            yield {2: function.DeltaToolCall(json_args='"x"}', tool_call_id="1")}
        else:
            yield "It is "
            yield "42."

    return ai.Agent(function.FunctionModel(stream_function=model), tools=[search])


async def pydantic_events() -> AsyncIterator[Any]:
    """All events of a run."""
    async with pydantic_agent().run_stream_events("Hi") as events:
        async for event in events:
            yield event


async def pydantic_nodes() -> AsyncIterator[Any]:
    """The same by `iter`, node by node."""
    agent = pydantic_agent()
    async with agent.iter("Hi") as run:
        async for node in run:
            if agent.is_model_request_node(node) or agent.is_call_tools_node(node):
                async with node.stream(run.ctx) as events:
                    async for event in events:
                        yield event


@pytest.mark.parametrize("read", [pydantic_events, pydantic_nodes])
def test_pydantic_ai_events(read: Any) -> None:
    """Parts and their deltas; what ends a part, the tool's result and the run's output repeat nothing."""
    assert logged(read()) == (TEXT, "completed")
    assert logged(read(), "reasoning", "tool_calls") == (ALL, "completed")


def test_pydantic_ai_parallel_tool_calls() -> None:
    """Kept apart by the index of their part."""
    ai, messages = pytest.importorskip("pydantic_ai"), pytest.importorskip("pydantic_ai.messages")
    delta = messages.ToolCallPartDelta
    events = [messages.PartStartEvent(index=at, part=ai.ToolCallPart(name, "")) for at, name in enumerate("fg")]
    pieces = [(0, '{"a":'), (1, '{"b":'), (0, "1}"), (1, "2}")]
    events += [messages.PartDeltaEvent(index=at, delta=delta(args_delta=text)) for at, text in pieces]
    events += [messages.FunctionToolCallEvent(ai.ToolCallPart("f", '{"a":1}'))]
    assert logged(events, "tool_calls") == (f'{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}', "completed")


@contextlib.asynccontextmanager
async def pydantic_run(way: str, *answer: str, **how: Any) -> AsyncIterator[Any]:
    """What one of the methods of a streamed run gives."""
    async with pydantic_agent(*answer).run_stream("Hi") as result:
        yield getattr(result, way)(debounce_by=None, **how)


@pytest.mark.parametrize("way", ["stream_text", "stream_output", "stream_response"])
def test_pydantic_ai_streams_that_repeat(way: str) -> None:
    """Each item has the whole answer so far, and the last one comes again."""
    assert logged(pydantic_run(way, "The", " answer", " is", " 42.")) == ("The answer is 42.", "completed")


def test_pydantic_ai_text_deltas() -> None:
    """`stream_text(delta=True)`: only what is new, also if it begins with the text before it."""
    expected = ("The answer is 42.", "completed")
    assert logged(pydantic_run("stream_text", "The", " answer", " is", " 42.", delta=True)) == expected
    assert logged(pydantic_run("stream_text", "A", "AA", " battery", delta=True)) == ("AAA battery", "completed")


# -- LlamaIndex ----------------------------------------------------------------------


def llama_model() -> Any:
    """A model that calls the tool, and answers once it has its output; each chunk has all of the text so far."""
    mock = pytest.importorskip("llama_index.core.llms.mock")
    types = pytest.importorskip("llama_index.core.base.llms.types")

    class Model(mock.MockFunctionCallingLLM):  # type: ignore[misc, name-defined]
        async def astream_chat(self, messages: Any, **more: Any) -> Any:
            return self._chunks(any(message.role == "tool" for message in messages))

        async def _chunks(self, answered: bool) -> AsyncIterator[Any]:
            text, calls = "", []
            for piece in ["It is ", "42."] if answered else ["", "Let me ", "look. ", None]:
                thought = {"thinking_delta": "Hm"} if piece == "" else {}
                if piece is None:
                    calls = [types.ToolCallBlock(tool_call_id="1", tool_name="search", tool_kwargs={"q": "x"})]
                text += piece or ""
                message = types.ChatMessage(role="assistant", blocks=[types.TextBlock(text=text), *calls])
                raw = {"choices": [{"index": 0, "delta": {"content": piece}}]}
                yield types.ChatResponse(message=message, delta=piece or "", raw=raw, additional_kwargs=thought)

    return Model()


async def llama_agent() -> AsyncIterator[Any]:
    """The events of an agent's run."""
    workflow = pytest.importorskip("llama_index.core.agent.workflow")
    run = workflow.FunctionAgent(llm=llama_model(), tools=[search], streaming=True).run("QUESTION")
    async for event in run.stream_events():
        yield event
    await run


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LlamaIndex reads what pydantic has renamed
def test_llama_index_agent() -> None:
    """The deltas of its model; not what was said so far, the provider's chunk, the input, nor the tool's output."""
    assert logged(llama_agent()) == (TEXT, "completed")
    assert logged(llama_agent(), "reasoning", "tool_calls") == (ALL, "completed")


def test_llama_index_model() -> None:
    """Chat and completion responses have what is new beside the whole; `response_gen` has words."""
    llm = pytest.importorskip("llama_index.core.llms.llm")
    schema = pytest.importorskip("llama_index.core.base.response.schema")
    model = pytest.importorskip("llama_index.core.llms.mock").MockLLM(max_tokens=3)
    assert logged(model.stream_complete("Hi")) == ("text text text", "completed")
    words = schema.StreamingResponse(llm.stream_completion_response_to_tokens(model.stream_complete("Hi")))
    assert logged(words.response_gen) == ("text text text", "completed")

    async def chat() -> AsyncIterator[Any]:
        async for response in await llama_model().astream_chat([]):
            yield response

    assert logged(chat()) == ("Let me look. ", "completed")
    assert logged(chat(), "reasoning") == (f"{REASONING}Hm{ANSWER}Let me look. ", "completed")


# -- AutoGen -------------------------------------------------------------------------


def autogen_agent(**settings: Any) -> Any:
    """An assistant with a tool."""
    models = pytest.importorskip("autogen_core.models")
    core = pytest.importorskip("autogen_core")
    agents = pytest.importorskip("autogen_agentchat.agents")
    usage = models.RequestUsage(prompt_tokens=1, completion_tokens=1)

    class Model(models.ChatCompletionClient):  # type: ignore[misc, name-defined]
        async def create(self, messages: Any, **more: Any) -> Any:
            answered = any(isinstance(message, models.FunctionExecutionResultMessage) for message in messages)
            call = core.FunctionCall(id="1", name="search", arguments='{"q": "x"}')
            content = "It is 42." if answered else [call]
            reason = "stop" if answered else "function_calls"
            thought = None if answered else "Let me look. "
            return models.CreateResult(
                finish_reason=reason, content=content, usage=usage, cached=False, thought=thought
            )

        async def create_stream(self, messages: Any, **more: Any) -> AsyncIterator[Any]:
            result = await self.create(messages)
            for piece in ["Let me ", "look. "] if result.thought else ["It is ", "42."]:
                yield piece
            yield result

        async def close(self) -> None:
            """Nothing is open."""

        def actual_usage(self) -> Any:
            return usage

        total_usage = actual_usage

        def count_tokens(self, messages: Any, **more: Any) -> int:
            return 1

        def remaining_tokens(self, messages: Any, **more: Any) -> int:
            return 1000

        @property
        def model_info(self) -> Any:
            able = dict.fromkeys(("vision", "json_output", "structured_output", "multiple_system_messages"), False)
            return models.ModelInfo(function_calling=True, family="unknown", **able)

        capabilities = model_info

    return agents.AssistantAgent("agent", Model(), tools=[search], **settings)


def test_autogen_stream() -> None:
    """Chunks; neither the task, the tool's output, the messages that repeat the chunks, nor the result with all."""
    agent = {"model_client_stream": True, "reflect_on_tool_use": True}
    assert logged(autogen_agent(**agent).run_stream(task="QUESTION")) == (TEXT, "completed")
    assert logged(autogen_agent(**agent).run_stream(task="QUESTION"), "tool_calls") == (CALL, "completed")


def test_autogen_without_streaming() -> None:
    """The agent's whole message is the answer, its thought the reasoning."""
    agent = {"model_client_stream": False, "reflect_on_tool_use": True}
    assert logged(autogen_agent(**agent).run_stream(task="QUESTION")) == ("It is 42.", "completed")
    expected = f'{REASONING}Let me look. \n{TOOL_CALL}search {{"q": "x"}}{ANSWER}It is 42.'
    found = logged(autogen_agent(**agent).run_stream(task="QUESTION"), "reasoning", "tool_calls")
    assert found == (expected, "completed")


def test_autogen_summary_of_a_tool_is_its_output() -> None:
    """Without a second turn of the model, the last message is what the tool returned."""
    agent = autogen_agent(model_client_stream=True, reflect_on_tool_use=False)
    assert logged(agent.run_stream(task="QUESTION")) == ("Let me look. ", "completed")
