"""Anthropic's events: from its client, from the Claude Agent SDK, and as raw server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from canned_server import ANSWER, REASONING, TOOL_CALL, logged, serving, sse

anthropic = pytest.importorskip("anthropic")

Json = dict[str, Any]
REQUEST: Json = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
START: Json = {"type": "message_start", "message": MESSAGE | {"usage": {"input_tokens": 1, "output_tokens": 1}}}
ENDS: list[Json] = [
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 1},
    },
    {"type": "message_stop"},
]


def begin(index: int, **block: Any) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index: int, kind: str, **delta: Any) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind} | delta}


def stop(index: int) -> Json:
    return {"type": "content_block_stop", "index": index}


def text(index: int, *pieces: str) -> list[Json]:
    """A block of the answer."""
    deltas = [piece(index, "text_delta", text=each) for each in pieces]
    return [begin(index, type="text", text=""), {"type": "ping"}, *deltas, stop(index)]


def thinking(index: int, *pieces: str) -> list[Json]:
    """A block of reasoning, with the signature that ends it."""
    deltas = [piece(index, "thinking_delta", thinking=each) for each in pieces]
    signed = piece(index, "signature_delta", signature="EqQB")
    return [begin(index, type="thinking", thinking="", signature=""), *deltas, signed, stop(index)]


def tool_use(index: int, name: str, *pieces: str, kind: str = "tool_use") -> list[Json]:
    deltas = [piece(index, "input_json_delta", partial_json=each) for each in ("", *pieces)]
    return [begin(index, type=kind, id=f"toolu_{index}", name=name, input={}), *deltas, stop(index)]


def message(*events: Json) -> list[Json]:
    return [START, *events, *ENDS]


def stream(*events: Json) -> Iterator[Any]:
    """The events as the client's own objects."""
    with serving(sse(*events, named="type")) as url, anthropic.Anthropic(base_url=url, api_key="x") as client:
        yield from client.messages.create(**REQUEST, stream=True)


def helper(*events: Json) -> Iterator[Any]:
    """What `messages.stream` yields: the same, and events that it makes itself."""
    with (
        serving(sse(*events, named="type")) as url,
        anthropic.Anthropic(base_url=url, api_key="x") as client,
        client.messages.stream(**REQUEST) as events_and_more,
    ):
        yield from events_and_more


@pytest.mark.parametrize("read", [stream, helper])
def test_answer(read: Any) -> None:
    """The helper's own events have the text so far, and at the end all of it."""
    assert logged(read(*message(*text(0, "Hel", "lo")))) == ("Hello", "completed")


@pytest.mark.parametrize("read", [stream, helper])
def test_thinking_and_tool_use(read: Any) -> None:
    """Each once, and only on request."""
    events = message(*thinking(0, "Let me ", "think."), *text(1, "Hel", "lo"), *tool_use(2, "f", '{"a"', ": 1}"))
    assert logged(read(*events)) == ("Hello", "completed")
    expected = f'{REASONING}Let me think.{ANSWER}Hello\n{TOOL_CALL}f {{"a": 1}}'
    assert logged(read(*events), "reasoning", "tool_calls") == (expected, "completed")


def test_parallel_tool_use_is_kept_apart() -> None:
    """By the index of the block; Anthropic sends one after the other, a gateway may not."""
    apart = [*tool_use(0, "f", '{"a":1}'), *tool_use(1, "g", '{"b":2}')]
    first, second = tool_use(0, "f", '{"a":', "1}"), tool_use(1, "g", '{"b":', "2}")
    mixed = [step for pair in zip(first, second, strict=True) for step in pair]
    expected = f'{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}'
    assert logged(stream(*message(*apart)), "tool_calls") == (expected, "completed")
    assert logged(stream(*message(*mixed)), "tool_calls") == (expected, "completed")


def test_server_tools_output_is_not_the_answer() -> None:
    """A search that Anthropic runs itself: its call on request, its result never, nor what a citation cites."""
    result = {
        "type": "web_search_result",
        "url": "https://example.com",
        "title": "TOOL OUTPUT",
        "encrypted_content": "E",
    }
    found = begin(1, type="web_search_tool_result", tool_use_id="toolu_0", content=[result])
    cited = {"type": "web_search_result_location", "cited_text": "TOOL OUTPUT", "url": "https://example.com"}
    citation = piece(2, "citations_delta", citation=cited | {"title": "t", "encrypted_index": "E"})
    search = tool_use(0, "web_search", '{"query": "x"}', kind="server_tool_use")
    events = message(
        *search, found, stop(1), *text(2, "Hel")[:-1], citation, piece(2, "text_delta", text="lo"), stop(2)
    )
    assert logged(stream(*events)) == ("Hello", "completed")
    expected = f'{TOOL_CALL}web_search {{"query": "x"}}{ANSWER}Hello'
    assert logged(stream(*events), "reasoning", "tool_calls") == (expected, "completed")


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def test_an_error_in_the_stream_is_the_outcome() -> None:
    """The client raises it; raw events and dicts have it as an event."""
    events = message(*text(0, "Hel", "lo"))[:5]
    assert logged(stream(*events, OVERLOADED), raises=anthropic.APIStatusError) == ("Hello", "error")
    assert logged([*events, OVERLOADED]) == ("Hello", "error")
    assert logged(sse(*events, OVERLOADED, named="type")) == ("Hello", "error")


# -- the Claude Agent SDK ------------------------------------------------------------


async def agent(*messages: Json) -> AsyncIterator[Any]:
    """What the SDK's `query` yields when the command that it drives says this."""
    sdk = pytest.importorskip("claude_agent_sdk")

    class Command(sdk.Transport):  # type: ignore[misc, name-defined]
        """In place of the `claude` process: answers the SDK's own requests, then sends the messages."""

        def __init__(self) -> None:
            self.said: asyncio.Queue[Json | None] = asyncio.Queue()

        async def connect(self) -> None:
            """Nothing to start."""

        async def write(self, data: str) -> None:
            request = json.loads(data)
            if request["type"] == "control_request":
                done = {"subtype": "success", "request_id": request["request_id"], "response": {}}
                self.said.put_nowait({"type": "control_response", "response": done})
            else:
                for message in (*messages, None):
                    self.said.put_nowait(message)

        async def read_messages(self) -> AsyncIterator[Json]:
            while (message := await self.said.get()) is not None:
                yield message

        async def end_input(self) -> None:
            """It needs no end."""

        async def close(self) -> None:
            """Nothing to stop."""

        def is_ready(self) -> bool:
            return True

    async for each in sdk.query(prompt="Hi", transport=Command()):
        yield each


def partial(event: Json) -> Json:
    """One of Anthropic's events, which the SDK passes on if it is asked for partial messages."""
    return {"type": "stream_event", "uuid": "u", "session_id": "s", "event": event, "parent_tool_use_id": None}


def spoken(*content: Json, turn: int = 1) -> Json:
    """A whole message, or a block of one: those of one turn have one id."""
    said = {"role": "assistant", "id": f"msg_{turn}", "model": "m", "content": list(content)}
    return {"type": "assistant", "session_id": "s", "message": said, "parent_tool_use_id": None}


def result(text: str = "", **more: Any) -> Json:
    times = {"duration_ms": 1, "duration_api_ms": 1, "num_turns": 1, "session_id": "s"}
    return {"type": "result", "subtype": "success", "is_error": False, "result": text} | times | more


INIT = {"type": "system", "subtype": "init", "session_id": "s", "tools": ["Bash"], "model": "m"}
CALL = {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {"a": 1}}
OUTPUT = {"type": "tool_result", "tool_use_id": "toolu_2", "content": "TOOL OUTPUT"}
TOOL_RESULT = {"type": "user", "session_id": "s", "message": {"role": "user", "content": [OUTPUT]}}
THOUGHT = {"type": "thinking", "thinking": "Let me think.", "signature": "E"}


def test_agent_without_partial_messages() -> None:
    """Whole messages are the answer; neither the tool's output nor the result, which repeats the last one."""
    first = spoken(THOUGHT, {"type": "text", "text": "Let me look. "}, CALL)
    last = spoken({"type": "text", "text": "It is 42."}, turn=2)
    messages = [INIT, first, TOOL_RESULT, last, result("It is 42.")]
    assert logged(agent(*messages)) == ("Let me look. It is 42.", "completed")
    expected = f'{REASONING}Let me think.{ANSWER}Let me look. \n{TOOL_CALL}f {{"a": 1}}{ANSWER}It is 42.'
    assert logged(agent(*messages), "reasoning", "tool_calls") == (expected, "completed")


def test_agent_with_partial_messages() -> None:
    """The events as they come; the whole messages after them repeat everything."""
    told = [*thinking(0, "Let me ", "think."), *text(1, "Let me ", "look. "), *tool_use(2, "f", '{"a"', ": 1}")]
    whole = [spoken(THOUGHT), spoken({"type": "text", "text": "Let me look. "}), spoken(CALL)]
    first = [*(partial(event) for event in (START, *told)), *whole, *(partial(event) for event in ENDS)]
    second = START | {"message": START["message"] | {"id": "msg_2"}}
    last = [partial(event) for event in (second, *text(0, "It is ", "42."), *ENDS)]
    messages = [INIT, *first, TOOL_RESULT, *last, spoken({"type": "text", "text": "It is 42."}, turn=2)]
    messages.append(result("It is 42."))
    assert logged(agent(*messages)) == ("Let me look. It is 42.", "completed")
    expected = f'{REASONING}Let me think.{ANSWER}Let me look. \n{TOOL_CALL}f {{"a": 1}}{ANSWER}It is 42.'
    assert logged(agent(*messages), "reasoning", "tool_calls") == (expected, "completed")


def test_agent_failure_is_the_outcome() -> None:
    """A result that is an error comes after what was said."""
    failed = result(subtype="error_during_execution", is_error=True, errors=["API Error: 529 Overloaded"])
    del failed["result"]
    assert logged(agent(INIT, spoken({"type": "text", "text": "Hello"}), failed)) == ("Hello", "error")
