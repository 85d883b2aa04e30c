"""LangChain's messages and LangGraph's streams: a real graph with a tool, in each of its stream modes."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, TypedDict

import pytest

from canned_server import ANSWER, REASONING, TOOL_CALL, logged

pytest.importorskip("langchain_core")
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

Json = dict[str, Any]


def call(name: str | None, args: str, index: int = 0) -> Json:
    identity = f"call_{index}" if name else None
    return {"name": name, "args": args, "id": identity, "index": index, "type": "tool_call_chunk"}


def said(content: Any, *calls: Json, **more: Any) -> AIMessageChunk:
    return AIMessageChunk(content=content, tool_call_chunks=list(calls), **more)


class Model(BaseChatModel):
    """Answers with these turns, one after the other, in chunks or whole."""

    turns: list[list[AIMessageChunk]]
    streams: bool = True

    @property
    def _llm_type(self) -> str:
        return "canned"

    def _turn(self, messages: list[Any]) -> list[AIMessageChunk]:
        """One for each time that a tool has answered."""
        return self.turns[sum(isinstance(message, ToolMessage) for message in messages)]

    def _generate(self, messages: list[Any], stop: Any = None, run_manager: Any = None, **more: Any) -> ChatResult:
        whole = self._turn(messages)[0]
        for chunk in self._turn(messages)[1:]:
            whole += chunk
        message = AIMessage(content=whole.content, tool_calls=whole.tool_calls)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> Iterator[Any]:
        for chunk in self._turn(messages):
            yield ChatGenerationChunk(message=chunk)


class WholeModel(Model):
    """The same without streaming."""

    _stream = BaseChatModel._stream


HELLO = [said("Hel"), said("lo")]


# -- messages ------------------------------------------------------------------------


def test_model_and_chain() -> None:
    """Chunks of a model, words of a chain with a parser, a whole message of a model that does not stream."""
    model = Model(turns=[HELLO])
    assert logged(model.stream("Hi")) == ("Hello", "completed")
    assert logged(model.astream("Hi")) == ("Hello", "completed")
    assert logged((model | StrOutputParser()).stream("Hi")) == ("Hello", "completed")
    assert logged(WholeModel(turns=[HELLO]).stream("Hi")) == ("Hello", "completed")


def block(kind: str, **fields: Any) -> AIMessageChunk:
    return said([{"type": kind, "index": 0} | fields])


REASONED: dict[str, list[AIMessageChunk]] = {
    "DeepSeek, Ollama, xAI": [
        said("", additional_kwargs={"reasoning_content": text}) for text in ("Let me ", "think.")
    ],
    "Anthropic": [
        block("thinking", thinking="Let me "),
        block("thinking", thinking="think."),
        block("thinking", signature="E"),
    ],
    "standard blocks": [block("reasoning", reasoning="Let me "), block("reasoning", reasoning="think.")],
    "OpenAI Responses": [
        block("reasoning", summary=[], id="rs_1"),
        *(block("reasoning", summary=[{"type": "summary_text", "text": t, "index": 0}]) for t in ("Let me ", "think.")),
    ],
    "Bedrock": [
        block("reasoning_content", reasoning_content={"type": "text", "text": "Let me "}),
        block("reasoning_content", reasoning_content={"type": "text", "text": "think."}),
        block("reasoning_content", reasoning_content={"signature": "EqQB"}),
    ],
}


@pytest.mark.parametrize("provider", REASONED)
def test_reasoning_of(provider: str) -> None:
    """Beside the content or in blocks of it; the answer in blocks as well."""
    for answer in HELLO, [block("text", text="Hel"), block("text", text="lo")]:
        model = Model(turns=[[*REASONED[provider], *answer]])
        assert logged(model.stream("Hi")) == ("Hello", "completed")
        assert logged(model.stream("Hi"), "reasoning") == (f"{REASONING}Let me think.{ANSWER}Hello", "completed")


def test_parallel_tool_calls_are_kept_apart() -> None:
    """By their index."""
    pieces = [
        call("f", ""),
        call("g", "", 1),
        call(None, '{"a":'),
        call(None, '{"b":', 1),
        call(None, "1}"),
        call(None, "2}", 1),
    ]
    model = Model(turns=[[said("Hello"), *(said("", piece) for piece in pieces)]])
    assert logged(model.stream("Hi")) == ("Hello", "completed")
    assert logged(model.stream("Hi"), "tool_calls") == (f'Hello\n{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}', "completed")


def test_anthropic_tool_calls_are_in_the_content_as_well() -> None:
    """Its blocks of input repeat the call's chunks."""
    begin = said([{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}, "index": 1}], call("f", "", 1))
    deltas = [
        said([{"type": "input_json_delta", "partial_json": text, "index": 1}], call(None, text, 1))
        for text in ('{"a":', "1}")
    ]
    model = Model(turns=[[block("text", text="Hello"), begin, *deltas]])
    assert logged(model.stream("Hi"), "tool_calls") == (f'Hello\n{TOOL_CALL}f {{"a":1}}', "completed")


def test_only_what_the_model_says_is_logged() -> None:
    """A stream of messages that has the user's and a tool's among them."""
    tool = ToolMessage("TOOL OUTPUT", tool_call_id="1")
    assert logged([HumanMessage("QUESTION"), *HELLO, tool]) == ("Hello", "completed")


# -- LangGraph -----------------------------------------------------------------------

TURNS = [
    [
        said("", additional_kwargs={"reasoning_content": "Hm"}),
        said("Let me "),
        said("look. "),
        said("", call("search", '{"q":"x"}')),
    ],
    [said("It is "), said("42.")],
]
TEXT = "Let me look. It is 42."
#: With reasoning and tool calls.
ALL = f'{REASONING}Hm{ANSWER}Let me look. \n{TOOL_CALL}search {{"q":"x"}}{ANSWER}It is 42.'


def graph(kind: type[Model] = Model) -> Any:
    """An agent with a tool, of LangGraph's own parts."""
    pytest.importorskip("langgraph")
    from langchain_core.tools import tool
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode

    @tool
    def search(q: str) -> str:
        """Looks something up."""
        return "TOOL OUTPUT"

    model = kind(turns=TURNS)
    made = StateGraph(MessagesState)
    made.add_node("agent", lambda state: {"messages": [model.invoke(state["messages"])]})
    made.add_node("tools", ToolNode([search]))
    made.add_edge(START, "agent")
    made.add_conditional_edges("agent", lambda state: "tools" if state["messages"][-1].tool_calls else END)
    made.add_edge("tools", "agent")
    return made.compile()


QUESTION = {"messages": [("user", "QUESTION")]}
MODES: list[Any] = [
    "messages",
    ["messages"],
    ["messages", "updates"],
    ["updates", "messages", "values"],
    ["messages", "custom", "tasks", "checkpoints", "debug"],
]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_graph_messages(mode: Any, subgraphs: bool, version: str) -> None:
    """The model's chunks; not the tool's output, nor the state, which has the question and repeats everything."""
    how = {"stream_mode": mode, "subgraphs": subgraphs, "version": version}
    assert logged(graph().stream(QUESTION, **how)) == (TEXT, "completed")
    assert logged(graph().astream(QUESTION, **how)) == (TEXT, "completed")
    assert logged(graph().stream(QUESTION, **how), "reasoning", "tool_calls") == (ALL, "completed")


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("mode", ["updates", "values", ["updates", "values"]], ids=str)
def test_graph_without_messages(mode: Any, version: str) -> None:
    """The nodes' whole messages are then the answer, each once; `values` repeats those of the steps before."""
    how = {"stream_mode": mode, "version": version}
    assert logged(graph().stream(QUESTION, **how)) == (TEXT, "completed")
    call = f'Let me look. \n{TOOL_CALL}search {{"q": "x"}}{ANSWER}It is 42.'
    assert logged(graph().stream(QUESTION, **how), "tool_calls") == (call, "completed")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_graph_whose_model_does_not_stream(version: str) -> None:
    """Its whole messages come in `messages` as well."""
    how = {"stream_mode": ["messages", "updates"], "version": version}
    assert logged(graph(WholeModel).stream(QUESTION, **how)) == (TEXT, "completed")


class State(TypedDict):
    messages: Annotated[list[Any], operator.add]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("mode", ["custom", ["custom", "updates"]], ids=str)
def test_graph_custom(mode: Any, version: str) -> None:
    """What a node writes itself, as words or in a dict."""
    langgraph = pytest.importorskip("langgraph.graph")
    config = pytest.importorskip("langgraph.config")

    def node(state: State) -> Json:
        for piece in "Hel", {"type": "token", "content": "lo"}:
            config.get_stream_writer()(piece)
        return {"messages": []}

    made = langgraph.StateGraph(State)
    made.add_node("agent", node)
    made.add_edge(langgraph.START, "agent")
    found = logged(made.compile().stream({"messages": []}, stream_mode=mode, version=version))
    assert found == ("Hello", "completed")


@pytest.mark.parametrize("include", [(), ("reasoning", "tool_calls")], ids=["answer", "all"])
def test_graph_events(include: tuple[str, ...]) -> None:
    """`astream_events`: of each model call its chunks; not the ends of calls, nodes and the graph."""
    found = logged(graph().astream_events(QUESTION, version="v2"), *include)
    assert found == (ALL if include else TEXT, "completed")


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("include", [(), ("tool_calls",)], ids=["answer", "tool calls"])
def test_graph_events_v3(include: tuple[str, ...]) -> None:
    """The protocol's events, from both its streams; their blocks are repeated whole, and in the state."""

    async def events() -> AsyncIterator[Any]:
        async for event in await graph().astream_events(QUESTION, version="v3"):
            yield event

    call = f'Let me look. \n{TOOL_CALL}search {{"q":"x"}}{ANSWER}It is 42.'
    expected = (call if include else TEXT, "completed")
    assert logged(events(), *include) == expected
    assert logged(graph().stream_events(QUESTION, version="v3"), *include) == expected


def test_a_failing_graph_is_an_error() -> None:
    """The graph raises what its node raised."""

    class Failing(Model):
        def _stream(self, *args: Any, **more: Any) -> Iterator[Any]:
            yield from super()._stream(*args, **more)
            raise ConnectionError("Overloaded")

    expected = ("Let me look. ", "error")
    assert logged(graph(Failing).stream(QUESTION, stream_mode="messages"), raises=ConnectionError) == expected
