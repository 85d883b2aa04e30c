"""Model servers and chat servers whose streams an HTTP client reads: the text of their events, by httpx."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from canned_server import ANSWER, REASONING, TOOL_CALL, lines, logged, serving, sse

httpx = pytest.importorskip("httpx")

Json = dict[str, Any]

#: The ways in which a client may read a response; the sizes cut events, lines and characters.
WAYS: dict[str, Callable[[Any], Iterator[str | bytes]]] = {
    "lines": lambda response: response.iter_lines(),
    "text": lambda response: response.iter_text(),
    "text by 7": lambda response: response.iter_text(7),
    "bytes by 1": lambda response: response.iter_bytes(1),
    "bytes by 1000": lambda response: response.iter_bytes(1000),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Callable[[Any], Iterator[str | bytes]]:
    return WAYS[request.param]


def found(body: list[str], way: Callable[[Any], Iterator[str | bytes]], *include: str) -> tuple[str, str | None]:
    """What a session holds of a response with this body, read in this way."""
    with serving(body) as url, httpx.stream("GET", url) as response:
        return logged(way(response), *include)


def chat(finish_reason: str | None = None, **delta: Any) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def call(index: int, name: str | None, arguments: str) -> Json:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"index": index, "function": function} | ({"id": f"call_{index}", "type": "function"} if name else {})


# -- model servers -------------------------------------------------------------------


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_vllm_chat(way: Any, key: str) -> None:
    """Reasoning under its old and its new name, parallel tool calls, the usage at the end."""
    pieces = [(0, "f", ""), (1, "g", ""), (0, None, '{"a":'), (1, None, '{"b":'), (0, None, "1}"), (1, None, "2}")]
    events = [chat(role="assistant", content=""), chat(**{key: "Let me "}), chat(**{key: "think."})]
    events += [chat(content="Hél"), chat(content="lo\n\n😀"), *(chat(tool_calls=[call(*piece)]) for piece in pieces)]
    events += [chat("tool_calls"), chat() | {"choices": [], "usage": {"total_tokens": 9}}]
    body = sse(*events, end="[DONE]")
    assert found(body, way) == ("Héllo\n\n😀", "completed")
    expected = f'{REASONING}Let me think.{ANSWER}Héllo\n\n😀\n{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}'
    assert found(body, way, "reasoning", "tool_calls") == (expected, "completed")


ERRORS: dict[str, str] = {
    "vLLM": sse({"error": {"object": "error", "message": "x", "type": "InternalServerError", "code": 500}})[0],
    "older vLLM": sse({"object": "error", "message": "x", "type": "BadRequestError", "param": None, "code": 400})[0],
    "llama.cpp": 'error: {"code":500,"message":"x","type":"server_error"}\n\n',
    "OpenAI": sse({"error": {"message": "x", "type": "server_error", "param": None, "code": None}})[0],
    "a named event": 'event: error\ndata: {"message": "x"}\n\n',
    "text": 'data: {"error": "x"}\n\n',
}


@pytest.mark.parametrize("server", ERRORS)
def test_an_error_among_the_events_is_the_outcome(way: Any, server: str) -> None:
    """What came before it is kept, and the mark of the end after it changes nothing."""
    assert found([*sse(chat(content="Hello")), ERRORS[server], "data: [DONE]\n\n"], way) == ("Hello", "error")


def sglang(text: str) -> Json:
    return {"text": text, "meta_info": {"id": "1", "finish_reason": None, "completion_tokens": len(text)}}


SO_FAR = ["The", "The answer", "The answer is", "The answer is 42.", "The answer is 42."]
PIECES = ["The", " answer", " is", " 42."]


@pytest.mark.parametrize("texts", [SO_FAR, PIECES], ids=["cumulative", "incremental"])
def test_sglang_generate(way: Any, texts: list[str]) -> None:
    """Each event has all of the text so far, unless the server was told to send what is new."""
    expected = ("The answer is 42.", "completed")
    assert found(sse(*map(sglang, texts), end="[DONE]"), way) == expected
    assert logged(map(sglang, texts)) == expected  # its engine's dicts


def test_vllm_generate(way: Any) -> None:
    """Its demonstration server: lines with a list of texts, each all of the text so far."""
    assert found(lines(*({"text": [text]} for text in SO_FAR)), way) == ("The answer is 42.", "completed")


def test_llama_cpp_completion(way: Any) -> None:
    """The last event has the prompt and the settings, which are not the answer."""
    head = {"index": 0, "tokens": [1], "stop": False, "id_slot": 0, "tokens_predicted": 1, "tokens_evaluated": 1}
    end = {"content": "", "stop": True, "model": "m.gguf", "prompt": "<s>PROMPT", "generation_settings": {"seed": 1}}
    events = [head | {"content": "Hel"}, head | {"content": "lo"}, head | end]
    assert found(sse(*events), way) == ("Hello", "completed")


# -- chat servers --------------------------------------------------------------------

IDS = {"task_id": "t", "message_id": "m", "conversation_id": "c", "created_at": 1}


def dify(event: str, **fields: Any) -> Json:
    return {"event": event} | IDS | fields


DIFY: dict[str, list[Json]] = {
    "chat": [
        dify("message", answer="Hel"),
        dify("message", answer="lo"),
        dify("message_end", metadata={"usage": {"total_tokens": 2}, "retriever_resources": [{"content": "SOURCE"}]}),
    ],
    "agent": [
        dify("agent_thought", id="1", thought="", tool="", tool_input="", observation=""),
        dify("agent_message", answer="Hel"),
        dify("agent_message", answer="lo"),
        dify("agent_thought", id="1", thought="Hello", tool="f", tool_input='{"a":1}', observation="TOOL OUTPUT"),
        dify("message_end", metadata={}),
    ],
    "chat flow": [
        dify("workflow_started", workflow_run_id="w", data={"id": "w", "inputs": {"query": "Hi"}}),
        dify("node_started", data={"id": "n", "title": "LLM"}),
        dify("message", answer="Hel"),
        dify("message", answer="lo"),
        dify("node_finished", data={"id": "n", "outputs": {"text": "Hello"}, "status": "succeeded"}),
        dify("workflow_finished", data={"id": "w", "outputs": {"answer": "Hello"}, "status": "succeeded"}),
        dify("message_end", metadata={}),
    ],
    "workflow": [
        dify("text_chunk", data={"text": "Hel", "from_variable_selector": ["n", "text"]}),
        dify("text_chunk", data={"text": "lo", "from_variable_selector": ["n", "text"]}),
        dify("workflow_finished", data={"id": "w", "outputs": {"text": "Hello"}, "status": "succeeded"}),
    ],
}


@pytest.mark.parametrize("app", DIFY)
def test_dify(way: Any, app: str) -> None:
    """The answer; neither a tool's output nor the outputs that repeat it at the end. Between the events are pings."""
    body = [part for text in sse(*DIFY[app]) for part in ("event: ping\n\n", text)]
    assert found(body, way) == ("Hello", "completed")


def test_a_dify_error_is_the_outcome(way: Any) -> None:
    """An event like the others."""
    error = dify("error", status=400, code="provider_quota_exceeded", message="Quota exceeded")
    assert found(sse(*DIFY["chat"][:2], error), way) == ("Hello", "error")


def flowise(*events: tuple[str, Any]) -> list[str]:
    return [f"message:\ndata:{json.dumps({'event': event, 'data': data})}\n\n" for event, data in events]


FLOWISE = [("start", ""), ("token", "Hel"), ("token", "lo")]


def test_flowise(way: Any) -> None:
    """Tokens alone; documents, used tools, metadata and the end are not the answer."""
    output = [{"tool": "f", "toolInput": {"a": 1}, "toolOutput": "TOOL OUTPUT"}]
    rest = [("usedTools", output), ("sourceDocuments", [{"pageContent": "SOURCE"}]), ("metadata", {"chatId": "c"})]
    assert found(flowise(*FLOWISE, *rest, ("end", "[DONE]")), way) == ("Hello", "completed")


def test_a_flowise_error_is_the_outcome(way: Any) -> None:
    """Its data is the message."""
    assert found(flowise(*FLOWISE, ("error", "401 Incorrect API key")), way) == ("Hello", "error")


OWN: dict[str, list[Json]] = {
    "type, content": [{"type": "token", "content": "Hel"}, {"type": "token", "content": "lo"}, {"type": "done"}],
    "type, text": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}, {"type": "end"}],
    "type, delta": [{"type": "delta", "delta": "Hel"}, {"type": "delta", "delta": "lo"}, {"type": "finish"}],
    "event, data": [{"event": "token", "data": "Hel"}, {"event": "token", "data": "lo"}, {"event": "end"}],
    "an object in data": [{"type": "chunk", "data": {"content": text}} for text in ("Hel", "lo")],
}


@pytest.mark.parametrize("shape", OWN)
def test_a_servers_own_events(way: Any, shape: str) -> None:
    """A type that is not known does not mean that there is no text: as events, as lines, and as dicts."""
    events = [{"type": "status", "step": 1}, *OWN[shape]] if shape.startswith("type") else OWN[shape]
    assert found(sse(*events), way) == ("Hello", "completed")
    assert found(lines(*events), way) == ("Hello", "completed")
    assert logged(events) == ("Hello", "completed")


def test_a_servers_own_error_is_the_outcome(way: Any) -> None:
    """By its type."""
    events = [*OWN["type, content"][:2], {"type": "error", "message": "Overloaded"}]
    assert found(sse(*events), way) == ("Hello", "error")
    assert found(lines(*events), way) == ("Hello", "error")
