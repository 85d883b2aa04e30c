"""The protocols between a chat server and its page: AG-UI, Vercel's AI SDK, and what SSE libraries pass on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from canned_server import ANSWER, REASONING, TOOL_CALL, logged, serving, sse

Json = dict[str, Any]


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


# -- AG-UI ---------------------------------------------------------------------------


def ag_ui(*events: tuple[str, Json]) -> list[Any]:
    """The events as objects of the protocol's package, by the names of their classes."""
    core = pytest.importorskip("ag_ui.core")
    return [getattr(core, f"{name}Event")(**fields) for name, fields in events]


#: What a server may do with the events: pass the objects on, or send them as text or as JSON.
FORMS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "objects": list,
    "text": lambda events: list(map(pytest.importorskip("ag_ui.encoder").EventEncoder().encode, events)),
    "dicts": lambda events: [json.loads(event.model_dump_json(by_alias=True)) for event in events],
}

RUN: Json = {"thread_id": "t", "run_id": "r"}
MESSAGE = {"message_id": "m"}
HELLO_AG_UI: list[tuple[str, Json]] = [
    ("TextMessageStart", MESSAGE | {"role": "assistant"}),
    *(("TextMessageContent", MESSAGE | {"delta": text}) for text in ("Hel", "lo")),
    ("TextMessageEnd", MESSAGE),
]


def ag_ui_call(name: str, *pieces: str) -> list[tuple[str, Json]]:
    where = {"tool_call_id": name}
    args = [("ToolCallArgs", where | {"delta": piece}) for piece in pieces]
    return [("ToolCallStart", where | {"tool_call_name": name}), *args, ("ToolCallEnd", where)]


@pytest.mark.parametrize("form", FORMS)
def test_ag_ui(form: str) -> None:
    """The message; neither a tool's result nor the snapshots, which repeat everything."""
    messages = [{"id": "m", "role": "assistant", "content": "Hello"}]
    output = {"message_id": "o", "tool_call_id": "f", "content": "TOOL OUTPUT"}
    ends = [("MessagesSnapshot", {"messages": messages}), ("StateSnapshot", {"snapshot": {"text": "Hello"}})]
    events = ag_ui(("RunStarted", RUN), ("ToolCallResult", output), *HELLO_AG_UI, *ends, ("RunFinished", RUN))
    assert logged(FORMS[form](events)) == ("Hello", "completed")


@pytest.mark.parametrize("form", FORMS)
def test_ag_ui_reasoning_and_tool_calls(form: str) -> None:
    """Calls whose pieces are mixed are kept apart by their ids."""
    thought = [("ReasoningStart", MESSAGE), ("ReasoningMessageStart", MESSAGE | {"role": "reasoning"})]
    thought += [("ReasoningMessageContent", MESSAGE | {"delta": text}) for text in ("Let me ", "think.")]
    thought += [("ReasoningMessageEnd", MESSAGE), ("ReasoningEnd", MESSAGE)]
    first, second = ag_ui_call("f", '{"a":', "1}"), ag_ui_call("g", '{"b":', "2}")
    mixed = [step for pair in zip(first, second, strict=True) for step in pair]
    items = FORMS[form](ag_ui(*thought, *HELLO_AG_UI, *mixed))
    assert logged(items) == ("Hello", "completed")
    expected = f'{REASONING}Let me think.{ANSWER}Hello\n{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}'
    assert logged(items, "reasoning", "tool_calls") == (expected, "completed")


@pytest.mark.parametrize("form", FORMS)
def test_ag_ui_chunks(form: str) -> None:
    """The short forms, each a beginning and a piece in one."""
    events = [("ReasoningMessageChunk", MESSAGE | {"delta": "Hm"}), ("TextMessageChunk", MESSAGE | {"delta": "Hello"})]
    call = {"tool_call_id": "f", "tool_call_name": "f", "delta": '{"a":'}
    events += [("ToolCallChunk", call), ("ToolCallChunk", {"tool_call_id": "f", "delta": "1}"})]
    expected = f'{REASONING}Hm{ANSWER}Hello\n{TOOL_CALL}f {{"a":1}}'
    assert logged(FORMS[form](ag_ui(*events)), "reasoning", "tool_calls") == (expected, "completed")


def test_ag_ui_thinking_of_older_servers() -> None:
    """The names before `REASONING_...`."""
    events = [{"type": "THINKING_START"}, {"type": "THINKING_TEXT_MESSAGE_CONTENT", "delta": "Hm"}]
    events += [{"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "Hello"}]
    assert logged(sse(*events)) == ("Hello", "completed")
    assert logged(sse(*events), "reasoning") == (f"{REASONING}Hm{ANSWER}Hello", "completed")


@pytest.mark.parametrize("form", FORMS)
def test_an_ag_ui_error_is_the_outcome(form: str) -> None:
    """A run that fails has an event of its own."""
    events = ag_ui(*HELLO_AG_UI[:3], ("RunError", {"message": "Overloaded", "code": "529"}))
    assert logged(FORMS[form](events)) == ("Hello", "error")


# -- Vercel's AI SDK -----------------------------------------------------------------

FINISH = '{"finishReason":"stop","usage":{"promptTokens":1,"completionTokens":2}}'
V4 = ['f:{"messageId":"msg-1"}\n', '0:"Hel"\n', '0:"lo\\n\\u00e4"\n', f"e:{FINISH}\n", f"d:{FINISH}\n"]
V4_CALLS = [
    'b:{"toolCallId":"1","toolName":"f"}\n',
    'b:{"toolCallId":"2","toolName":"g"}\n',
    'c:{"toolCallId":"1","argsTextDelta":"{\\"a\\":"}\n',
    'c:{"toolCallId":"2","argsTextDelta":"{\\"b\\":"}\n',
    'c:{"toolCallId":"1","argsTextDelta":"1}"}\n',
    'c:{"toolCallId":"2","argsTextDelta":"2}"}\n',
    '9:{"toolCallId":"1","toolName":"f","args":{"a":1}}\n',
    '9:{"toolCallId":"2","toolName":"g","args":{"b":2}}\n',
    'a:{"toolCallId":"1","result":"TOOL OUTPUT"}\n',
]
SIZES = [1, 7, 1000]


@pytest.mark.parametrize("size", SIZES)
def test_ai_sdk_v4(size: int) -> None:
    """Its data stream: a letter, a colon and JSON on each line, sent by lines or cut anywhere."""
    others = ['2:[{"status":"searching"}]\n', '8:[{"id":1}]\n', 'h:{"sourceType":"url","url":"https://example.com"}\n']
    body = [*V4[:1], *others, *V4[1:]]
    assert logged(body) == ("Hello\nä", "completed")
    assert logged(cut("".join(body), size)) == ("Hello\nä", "completed")


@pytest.mark.parametrize("size", SIZES)
def test_ai_sdk_v4_reasoning_and_tool_calls(size: int) -> None:
    """A call that was streamed is repeated whole; one that was not comes only so."""
    thought = ['g:"Let me "\n', 'g:"think."\n', 'j:{"signature":"EqQB"}\n', 'i:{"data":"EqQB"}\n']
    body = [*V4[:1], *thought, *V4[1:3], *V4_CALLS, '9:{"toolCallId":"3","toolName":"h","args":{"c":3}}\n', *V4[3:]]
    assert logged(body) == ("Hello\nä", "completed")
    calls = 'f {"a":1}\ng {"b":2}\nh {"c": 3}'
    expected = f"{REASONING}Let me think.{ANSWER}Hello\nä\n{TOOL_CALL}{calls}"
    assert logged(body, "reasoning", "tool_calls") == (expected, "completed")
    assert logged(cut("".join(body), size), "reasoning", "tool_calls") == (expected, "completed")


def test_an_ai_sdk_v4_error_is_the_outcome() -> None:
    """Part 3."""
    assert logged([*V4[:2], '3:"Overloaded"\n']) == ("Hel", "error")


def part(kind: str, **fields: Any) -> Json:
    return {"type": kind} | fields


V5 = [
    part("start", messageId="m"),
    part("start-step"),
    part("text-start", id="0"),
    part("text-delta", id="0", delta="Hel"),
    part("text-delta", id="0", delta="lo"),
    part("text-end", id="0"),
]
V5_ENDS = [part("finish-step"), part("finish")]
V5_THOUGHT = [
    part("reasoning-start", id="r"),
    part("reasoning-delta", id="r", delta="Let me "),
    part("reasoning-delta", id="r", delta="think."),
    part("reasoning-end", id="r"),
]


def v5_call(at: int, name: str, *pieces: str) -> list[Json]:
    where = {"toolCallId": f"call_{at}"}
    deltas = [part("tool-input-delta", **where, inputTextDelta=piece) for piece in pieces]
    whole = part("tool-input-available", **where, toolName=name, input=json.loads("".join(pieces)))
    return [part("tool-input-start", **where, toolName=name), *deltas, whole]


@pytest.mark.parametrize("size", SIZES)
def test_ai_sdk_v5(size: int) -> None:
    """Its UI message stream: events with a type, as text, cut anywhere, or as dicts."""
    others = [part("source-url", sourceId="1", url="https://example.com"), part("data-weather", data={"text": "DATA"})]
    events = [*V5, *others, *V5_ENDS]
    assert logged(events) == ("Hello", "completed")
    assert logged(sse(*events, end="[DONE]")) == ("Hello", "completed")
    assert logged(cut("".join(sse(*events, end="[DONE]")), size)) == ("Hello", "completed")


def test_ai_sdk_v5_reasoning_and_tool_calls() -> None:
    """Calls kept apart by their ids; the inputs as a whole repeat them, and outputs are not the model's."""
    first, second = v5_call(1, "f", '{"a":', "1}"), v5_call(2, "g", '{"b":', "2}")
    mixed = [step for pair in zip(first, second, strict=True) for step in pair]
    alone = part("tool-input-available", toolCallId="call_3", toolName="h", input={"c": 3})
    output = part("tool-output-available", toolCallId="call_1", output={"text": "TOOL OUTPUT"})
    events = [*V5_THOUGHT, *V5, *mixed, alone, output, *V5_ENDS]
    calls = 'f {"a":1}\ng {"b":2}\nh {"c": 3}'
    expected = f"{REASONING}Let me think.{ANSWER}Hello\n{TOOL_CALL}{calls}"
    for items in events, sse(*events, end="[DONE]"):
        assert logged(items) == ("Hello", "completed")
        assert logged(items, "reasoning", "tool_calls") == (expected, "completed")


def test_an_ai_sdk_v5_error_is_the_outcome() -> None:
    """A part of its own."""
    assert logged(sse(*V5[:5], part("error", errorText="Overloaded"))) == ("Hello", "error")


# -- SSE libraries -------------------------------------------------------------------


def chat(text: str) -> Json:
    return {"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}


WORDS = ["See", " [1]", "{}", "\n", " 42"]


def test_sse_starlette() -> None:
    """What a generator gives to `EventSourceResponse`: dicts or objects, of words or of JSON; pings are not text."""
    starlette = pytest.importorskip("sse_starlette.event")
    event, of_json = starlette.ServerSentEvent, starlette.JSONServerSentEvent
    documents = [chat("Hel"), chat("lo")]
    streams: list[tuple[list[Any], str]] = [
        ([{"event": "message", "id": str(at), "data": word} for at, word in enumerate(WORDS)], "".join(WORDS)),
        ([{"comment": "ping"}, *({"data": word, "retry": 15000} for word in WORDS)], "".join(WORDS)),
        ([event(word, event="message", id="1") for word in WORDS], "".join(WORDS)),
        ([{"data": json.dumps(each)} for each in documents] + [{"data": "[DONE]"}], "Hello"),
        ([event(comment="ping"), *map(event, map(json.dumps, documents)), event("[DONE]")], "Hello"),
        ([of_json(each, event="message") for each in documents], "Hello"),
        ([event(json.dumps(each)).encode() for each in documents], "Hello"),
    ]
    for items, text in streams:
        assert logged(items) == (text, "completed")


def test_an_sse_starlette_error_is_the_outcome() -> None:
    """An event of that name, as a dict or an object."""
    event = pytest.importorskip("sse_starlette.event").ServerSentEvent
    assert logged([{"data": "Hel"}, {"event": "error", "data": "Overloaded"}]) == ("Hel", "error")
    assert logged([event("Hel"), event("Overloaded", event="error")]) == ("Hel", "error")


def by_httpx_sse(*body: str) -> Iterator[Any]:
    """The objects of httpx-sse."""
    httpx, httpx_sse = pytest.importorskip("httpx"), pytest.importorskip("httpx_sse")
    with serving(body) as url, httpx.Client() as client, httpx_sse.connect_sse(client, "GET", url) as source:
        yield from source.iter_sse()


def test_httpx_sse() -> None:
    """Its objects have the data as text, which is words or JSON."""
    assert logged(by_httpx_sse(*sse(chat("Hel"), chat("lo"), end="[DONE]"))) == ("Hello", "completed")
    words = ["See", "[1]", "{}", "42"]
    assert logged(by_httpx_sse(*(f"data: {word}\n\n" for word in words))) == ("".join(words), "completed")
    named = [{"type": "response.output_text.delta", "delta": text} for text in ("Hel", "lo")]
    assert logged(by_httpx_sse(*sse(*named, named="type"))) == ("Hello", "completed")
    failed = "event: error\ndata: Overloaded\n\n"
    assert logged(by_httpx_sse(*sse(chat("Hel")), failed)) == ("Hel", "error")
