"""What the clients of Mistral, Ollama, Cohere and Azure AI yield."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from canned_server import ANSWER, REASONING, TOOL_CALL, lines, logged, serving, sse

Json = dict[str, Any]
PROMPT: list[Any] = [{"role": "user", "content": "Hi"}]

# -- Mistral and Magistral -----------------------------------------------------------


def chunk(index: int = 0, finish_reason: str | None = None, **delta: Any) -> Json:
    """A chunk in OpenAI's shape, which Mistral and Azure AI share."""
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def call(index: int, name: str, arguments: str) -> Json:
    return {
        "id": f"call_{index}",
        "index": index,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def mistral(*chunks: Json, **request: Any) -> Iterator[Any]:
    """The chunks as Mistral's own objects, whose missing fields are neither None nor text."""
    client = pytest.importorskip("mistralai.client")
    with serving(sse(*chunks, end="[DONE]")) as url, client.Mistral(api_key="x", server_url=url) as made:
        yield from made.chat.stream(model="m", messages=PROMPT, **request)


def think(text: str) -> Json:
    """Magistral's reasoning: blocks inside a block."""
    return chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": text}]}])


MISTRAL = [chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo"), chunk(0, "stop", content="")]


def test_mistral_answer() -> None:
    """Its chunks are in an event's data."""
    assert logged(mistral(*MISTRAL)) == ("Hello", "completed")


def test_magistral_thinking() -> None:
    """Blocks of thinking, then of text or a plain string; a reference is neither."""
    blocks = [{"type": "text", "text": "Hel"}, {"type": "reference", "reference_ids": [1]}]
    chunks = [think("Let me "), think("think."), chunk(content=blocks), chunk(content="lo")]
    assert logged(mistral(*chunks)) == ("Hello", "completed")
    assert logged(mistral(*chunks), "reasoning") == (f"{REASONING}Let me think.{ANSWER}Hello", "completed")


def test_mistral_parallel_tool_calls() -> None:
    """Each comes whole, both in one chunk or one after the other."""
    calls = [call(0, "f", '{"a":1}'), call(1, "g", '{"b":2}')]
    expected = f'Hello\n{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}'
    for pieces in [chunk(tool_calls=calls)], [chunk(tool_calls=[each]) for each in calls]:
        chunks = [*MISTRAL[:3], *pieces, chunk(0, "tool_calls", content="")]
        assert logged(mistral(*chunks)) == ("Hello", "completed")
        assert logged(mistral(*chunks), "tool_calls") == (expected, "completed")


def test_mistral_conversation() -> None:
    """The events of an agent: text, a function call in pieces; not what a connector did."""
    client = pytest.importorskip("mistralai.client")
    time = {"created_at": "2025-01-01T00:00:00Z", "output_index": 0}
    says = [time | {"type": "message.output.delta", "id": "m", "content": text} for text in ("Hel", "lo")]
    head = time | {"type": "function.call.delta", "id": "f", "name": "f", "tool_call_id": "t"}
    calls = [head | {"arguments": arguments} for arguments in ('{"a":', "1}")]
    tool = {"type": "tool.execution.started", "id": "w", "name": "web_search", "arguments": "{}"} | time
    done = {"type": "conversation.response.done", "usage": {"prompt_tokens": 1, "total_tokens": 2}} | time
    failed = {"type": "conversation.response.error", "message": "Overloaded", "code": 529} | time
    runs = {"": ("Hello", "completed"), "tool_calls": (f'Hello\n{TOOL_CALL}f {{"a":1}}', "completed")}
    for include, expected in runs.items():
        with (
            serving(sse(tool, *says, *calls, done, named="type")) as url,
            client.Mistral(api_key="x", server_url=url) as m,
        ):
            events = m.beta.conversations.start_stream(model="m", inputs="Hi")
            assert logged(events, *filter(None, [include])) == expected
    with serving(sse(*says, failed, named="type")) as url, client.Mistral(api_key="x", server_url=url) as m:
        assert logged(m.beta.conversations.start_stream(model="m", inputs="Hi")) == ("Hello", "error")


# -- Ollama --------------------------------------------------------------------------


def ollama_chat(done: bool = False, **message: Any) -> Json:
    end = {"done_reason": "stop", "total_duration": 1, "eval_count": 2} if done else {}
    said = {"role": "assistant", "content": ""} | message
    return {"model": "m", "created_at": "2025-01-01T00:00:00Z", "message": said, "done": done} | end


def ollama_generate(done: bool = False, **fields: Any) -> Json:
    end = {"done_reason": "stop", "context": [1, 2, 3]} if done else {}
    return {"model": "m", "created_at": "2025-01-01T00:00:00Z", "response": "", "done": done} | fields | end


def ollama(*parts: Json) -> Iterator[Any]:
    """The lines as Ollama's own objects, of either API."""
    client = pytest.importorskip("ollama")
    with serving(lines(*parts), content_type="application/x-ndjson") as url:
        if "message" in parts[0]:
            yield from client.Client(host=url).chat(model="m", messages=PROMPT, stream=True)
        else:
            yield from client.Client(host=url).generate(model="m", prompt="Hi", stream=True)


OLLAMA = {
    "chat": [
        ollama_chat(thinking="Let me "),
        ollama_chat(thinking="think."),
        ollama_chat(content="Hel"),
        ollama_chat(content="lo"),
        ollama_chat(done=True),
    ],
    "generate": [
        ollama_generate(thinking="Let me "),
        ollama_generate(thinking="think."),
        ollama_generate(response="Hel"),
        ollama_generate(response="lo"),
        ollama_generate(done=True),
    ],
}


@pytest.mark.parametrize("api", OLLAMA)
def test_ollama(api: str) -> None:
    """The answer, and what it thinks; the last object is not repeated, nor its tokens."""
    assert logged(ollama(*OLLAMA[api])) == ("Hello", "completed")
    expected = (f"{REASONING}Let me think.{ANSWER}Hello", "completed")
    assert logged(ollama(*OLLAMA[api]), "reasoning") == expected
    assert logged(lines(*OLLAMA[api]), "reasoning") == expected


def test_ollama_tool_calls() -> None:
    """Whole, their arguments an object, several in one message or in several."""
    calls = [{"function": {"name": name, "arguments": given}} for name, given in (("f", {"a": 1}), ("g", {"b": "ä"}))]
    expected = f'Hello\n{TOOL_CALL}f {{"a": 1}}\ng {{"b": "ä"}}'
    for messages in [ollama_chat(tool_calls=calls)], [ollama_chat(tool_calls=[each]) for each in calls]:
        parts = [*OLLAMA["chat"][2:4], *messages, ollama_chat(done=True)]
        assert logged(ollama(*parts)) == ("Hello", "completed")
        assert logged(ollama(*parts), "tool_calls") == (expected, "completed")


@pytest.mark.parametrize("api", OLLAMA)
def test_an_ollama_error_is_the_outcome(api: str) -> None:
    """Its client raises it; as a line it is an object of its own."""
    parts = [*OLLAMA[api][2:4], {"error": "model runner has unexpectedly stopped"}]
    assert logged(ollama(*parts), raises=pytest.importorskip("ollama").ResponseError) == ("Hello", "error")
    assert logged(lines(*parts)) == ("Hello", "error")
    assert logged(parts) == ("Hello", "error")


@pytest.mark.parametrize("api", OLLAMA)
@pytest.mark.parametrize("size", [1, 10, 100, 10_000])
def test_ollama_lines_cut_anywhere(api: str, size: int) -> None:
    """As an HTTP client reads them, by pieces or by `iter_lines`, which takes their ends away."""
    text = "".join(lines(*OLLAMA[api]))
    assert logged([text[at : at + size] for at in range(0, len(text), size)]) == ("Hello", "completed")
    assert logged([each.encode() for each in text.splitlines()]) == ("Hello", "completed")


# -- Cohere --------------------------------------------------------------------------


def cohere_message(kind: str, index: int | None = None, **message: Any) -> Json:
    return {"type": kind, "delta": {"message": message}} | ({} if index is None else {"index": index})


def cohere_call(index: int, name: str = "", arguments: str = "") -> Json:
    head = {"id": f"{name}_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    calls = head if name else {"function": {"arguments": arguments}}
    return cohere_message("tool-call-start" if name else "tool-call-delta", index, tool_calls=calls)


def cohere_text(*pieces: str, index: int = 0, key: str = "text") -> list[Json]:
    """A block of text or thinking."""
    begin = cohere_message("content-start", index, content={"type": key, key: ""})
    deltas = [cohere_message("content-delta", index, content={key: piece}) for piece in pieces]
    return [begin, *deltas, {"type": "content-end", "index": index}]


def cohere(*events: Json) -> Iterator[Any]:
    """The events as Cohere's own objects."""
    client = pytest.importorskip("cohere")
    begin = {"id": "1", "type": "message-start"} | {"delta": {"message": {"role": "assistant", "content": []}}}
    with serving(sse(begin, *events, named="type", end="[DONE]")) as url:
        yield from client.ClientV2(api_key="x", base_url=url).chat_stream(model="m", messages=PROMPT)


def cohere_end(reason: str = "COMPLETE", **more: Any) -> Json:
    return {"type": "message-end", "delta": {"finish_reason": reason, "usage": {}} | more}


def test_cohere_answer() -> None:
    """What a citation cites is not repeated."""
    citation = {"start": 0, "end": 5, "text": "Hello", "sources": []}
    cited = cohere_message("citation-start", 0, citations=citation)
    assert logged(cohere(*cohere_text("Hel", "lo"), cited, cohere_end())) == ("Hello", "completed")


def test_cohere_reasoning() -> None:
    """A tool plan, or a block of thinking."""
    plan = [cohere_message("tool-plan-delta", tool_plan=text) for text in ("Let me ", "think.")]
    for thought in plan, cohere_text("Let me ", "think.", key="thinking"):
        events = [*thought, *cohere_text("Hel", "lo", index=1), cohere_end()]
        assert logged(cohere(*events)) == ("Hello", "completed")
        assert logged(cohere(*events), "reasoning") == (f"{REASONING}Let me think.{ANSWER}Hello", "completed")


def test_cohere_parallel_tool_calls() -> None:
    """Kept apart by their index, even if their pieces are mixed."""
    first = [cohere_call(0, "f"), cohere_call(0, "", '{"a":'), cohere_call(0, "", "1}")]
    second = [cohere_call(1, "g"), cohere_call(1, "", '{"b":'), cohere_call(1, "", "2}")]
    mixed = [step for pair in zip(first, second, strict=True) for step in pair]
    for events in [*first, *second], mixed:
        found = logged(cohere(*events, cohere_end("TOOL_CALL")), "tool_calls")
        assert found == (f'{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}', "completed")


def test_a_cohere_error_is_the_outcome() -> None:
    """The last event tells it."""
    events = [*cohere_text("Hel", "lo"), cohere_end("ERROR", error="internal server error")]
    assert logged(cohere(*events)) == ("Hello", "error")


# -- Azure AI ------------------------------------------------------------------------


def azure(*chunks: Json) -> Iterator[Any]:
    """The chunks as the objects of azure-ai-inference, which are mappings, too."""
    inference = pytest.importorskip("azure.ai.inference")
    key = pytest.importorskip("azure.core.credentials").AzureKeyCredential("x")
    with serving(sse(*chunks, end="[DONE]")) as url, inference.ChatCompletionsClient(url, key) as client:
        yield from client.complete(messages=PROMPT, stream=True)


def test_azure_ai_inference() -> None:
    """Its tool calls have no index: a piece without an id belongs to the call before it."""
    pieces: list[Json] = [call(0, "f", ""), {"function": {"arguments": '{"a"'}}, {"function": {"arguments": ": 1}"}}]
    pieces += [call(1, "g", ""), {"id": "", "function": {"arguments": "{}"}}]
    for piece in pieces:
        piece.pop("index", None)
    chunks = [*MISTRAL[:3], *(chunk(tool_calls=[json.loads(json.dumps(piece))]) for piece in pieces)]
    assert logged(azure(*chunks)) == ("Hello", "completed")
    assert logged(azure(*chunks), "tool_calls") == (f'Hello\n{TOOL_CALL}f {{"a": 1}}\ng {{}}', "completed")
