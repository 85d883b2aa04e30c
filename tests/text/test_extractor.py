"""The text of items: strings, server-sent events, and the chunks of each known SDK as its API documents them."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_logger._text.extractor import TextExtractor

CHAT = {"choices": [{"index": 0, "delta": {"content": "Hé"}}]}
CHUNKS: dict[str, tuple[Any, str]] = {
    "OpenAI chat": (CHAT, "Hé"),
    "OpenAI chat, first chunk": ({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}, ""),
    "OpenAI chat, usage chunk": ({"choices": [], "usage": {"total_tokens": 3}}, ""),
    "OpenAI chat, refusal": ({"choices": [{"index": 0, "delta": {"refusal": "No."}}]}, "No."),
    "OpenAI chat, a second choice": ({"choices": [{"index": 1, "delta": {"content": "other"}}]}, ""),
    "OpenAI legacy completion": ({"choices": [{"index": 0, "text": "Hé"}]}, "Hé"),
    "OpenAI response": ({"type": "response.output_text.delta", "delta": "Hé"}, "Hé"),
    "OpenAI response, whole text again": ({"type": "response.output_text.done", "text": "Hé"}, ""),
    "Anthropic": ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hé"}}, "Hé"),
    "Anthropic, start": ({"type": "content_block_start", "content_block": {"type": "text", "text": ""}}, ""),
    "Anthropic, the SDK's own event": ({"type": "text", "text": "Hé", "snapshot": "Hé"}, ""),
    "Anthropic, message": ({"type": "message_start", "message": {"content": []}}, ""),
    "Gemini": ({"candidates": [{"content": {"parts": [{"text": "H"}, {"text": "é"}]}}]}, "Hé"),
    "Gemini, empty": ({"candidates": [{"finishReason": "STOP"}]}, ""),
    "LangChain message": ({"content": "Hé", "additional_kwargs": {}}, "Hé"),
    "LangChain generation": ({"type": "ChatGenerationChunk", "text": "Hé", "message": {"content": "Hé"}}, "Hé"),
    "Anthropic, last event": ({"type": "message_stop", "message": {"content": [{"type": "text", "text": "Hé"}]}}, ""),
    "LangChain blocks": ({"content": [{"type": "text", "text": "Hé"}], "additional_kwargs": {}}, "Hé"),
    "LangChain event": ({"event": "on_chat_model_stream", "data": {"chunk": {"content": "Hé"}}}, "Hé"),
    "LangChain event of a parser": ({"event": "on_parser_stream", "data": {"chunk": "Hé"}}, ""),
    "Mistral": ({"data": CHAT}, "Hé"),
    "Ollama chat": ({"model": "m", "message": {"role": "assistant", "content": "Hé"}, "done": False}, "Hé"),
    "Ollama generate": ({"model": "m", "response": "Hé", "done": False}, "Hé"),
    "Bedrock": ({"contentBlockDelta": {"delta": {"text": "Hé"}, "contentBlockIndex": 0}}, "Hé"),
    "text-generation-inference": ({"token": {"id": 1, "text": "Hé"}}, "Hé"),
    "pydantic-ai start": ({"event_kind": "part_start", "part": {"part_kind": "text", "content": "Hé"}}, "Hé"),
    "pydantic-ai": ({"event_kind": "part_delta", "delta": {"part_delta_kind": "text", "content_delta": "Hé"}}, "Hé"),
    "pydantic-ai, end": ({"event_kind": "part_end", "part": {"part_kind": "text", "content": "Hé"}}, ""),
    "a dict of an application": ({"id": 1, "text": "Hé"}, "Hé"),
    "a dict without text": ({"status": "thinking"}, ""),
}


def as_object(value: Any) -> Any:
    """The same as attributes, as the SDKs have it."""
    if isinstance(value, dict):
        return SimpleNamespace(**{key: as_object(item) for key, item in value.items()})
    return [as_object(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", CHUNKS)
def test_chunk_as_a_dict(name: str) -> None:
    """The answer's text, once."""
    chunk, text = CHUNKS[name]
    assert TextExtractor()(chunk) == text


@pytest.mark.parametrize("name", [name for name in CHUNKS if "dict" not in name])
def test_chunk_as_an_object(name: str) -> None:
    """Attributes count as keys do."""
    chunk, text = CHUNKS[name]
    assert TextExtractor()(as_object(chunk)) == text


def test_langgraph_tuples() -> None:
    """(message, metadata), and (mode, what) where several modes are streamed."""
    message = as_object({"content": "Hé", "additional_kwargs": {}})
    extract = TextExtractor()
    assert extract((message, {"langgraph_node": "agent"})) == "Hé"
    assert extract(("messages", (message, {}))) == "Hé"


def test_object_of_an_unknown_shape_is_an_error() -> None:
    """It names the type and what to do; None is no item."""
    extract = TextExtractor()
    with pytest.raises(TypeError, match=r"no text is known in a builtins\.object: pass text="):
        extract(object())
    assert extract(None) == ""


@pytest.mark.parametrize("include", [["reasoning", "tool"], "tools"])
def test_include_of_an_unknown_name_is_an_error(include: Any) -> None:
    """The message names the field, the rule and the value."""
    with pytest.raises(ValueError, match=r"include: must be of reasoning, tool_calls, choices, got 'tool"):
        TextExtractor(include)


REASONING = {
    "DeepSeek": {"choices": [{"index": 0, "delta": {"content": None, "reasoning_content": "Hm"}}]},
    "OpenRouter": {"choices": [{"index": 0, "delta": {"content": "", "reasoning": "Hm"}}]},
    "OpenAI response": {"type": "response.reasoning_summary_text.delta", "delta": "Hm"},
    "Anthropic": {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "Hm"}},
    "Gemini": {"candidates": [{"content": {"parts": [{"text": "Hm", "thought": True}]}}]},
    "LangChain": {"content": "", "additional_kwargs": {"reasoning_content": "Hm"}},
    "pydantic-ai": {"event_kind": "part_delta", "delta": {"part_delta_kind": "thinking", "content_delta": "Hm"}},
}


@pytest.mark.parametrize("name", REASONING)
def test_reasoning_is_logged_only_if_asked_for(name: str) -> None:
    """And a line tells it from the answer."""
    extract = TextExtractor()
    assert extract(REASONING[name]) + extract("Yes") == "Yes"
    extract = TextExtractor(include=["reasoning"])
    text = extract(REASONING[name]) + extract(REASONING[name]) + extract("Yes") + extract("!")
    assert text == "[streaming_logger: reasoning]\nHmHm\n[streaming_logger: answer]\nYes!"


TOOL_CALLS: dict[str, list[Any]] = {
    "OpenAI chat": [
        {
            "choices": [
                {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}}
            ]
        },
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}}]},
    ],
    "OpenAI response": [
        {"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}},
        {"type": "response.function_call_arguments.delta", "delta": '{"a": 1}'},
    ],
    "Anthropic": [
        {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f", "input": {}}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
    ],
    "LangChain": [
        {"content": "", "additional_kwargs": {}, "tool_call_chunks": [{"name": "f", "args": ""}]},
        {"content": "", "additional_kwargs": {}, "tool_call_chunks": [{"name": None, "args": '{"a": 1}'}]},
    ],
    "pydantic-ai": [
        {"event_kind": "part_start", "part": {"part_kind": "tool-call", "tool_name": "f", "args": None}},
        {"event_kind": "part_delta", "delta": {"part_delta_kind": "tool_call", "args_delta": '{"a": 1}'}},
    ],
}


@pytest.mark.parametrize("name", TOOL_CALLS)
def test_tool_calls_are_logged_only_if_asked_for(name: str) -> None:
    """Each begins on a line with its name; the arguments follow as they come."""
    extract = TextExtractor()
    assert "".join(extract(chunk) for chunk in TOOL_CALLS[name]) == ""
    extract = TextExtractor(include="tool_calls")
    text = extract("Let me see.") + "".join(extract(chunk) for chunk in TOOL_CALLS[name] * 2) + extract("Done.")
    call = 'f {"a": 1}'
    assert text == (f"Let me see.\n[streaming_logger: tool call]\n{call}\n{call}\n[streaming_logger: answer]\nDone.")


EVENTS = (
    ": ping\n\n"
    "event: message\n"
    f"data: {json.dumps(CHAT, ensure_ascii=False)}\n\n"
    'data: {"choices":[{"index":0,"delta":{"content":" data: x\\n\\n"}}]}\r\n\r\n'
    "data: plain\ndata: words\n\n"
    "data: [DONE]\n\n"
)
EVENTS_TEXT = "Hé data: x\n\nplain\nwords"


@given(st.lists(st.integers(0, len(EVENTS.encode())), max_size=30), st.booleans())
def test_events_are_read_however_they_are_cut(cuts: list[int], as_bytes: bool) -> None:
    """Strings at any character, bytes inside a character, too; the same text comes out."""
    whole: Any = EVENTS.encode() if as_bytes else EVENTS
    places = sorted({0, *(cut for cut in cuts if cut < len(whole)), len(whole)})
    extract = TextExtractor()
    pieces = [whole[start:end] for start, end in itertools.pairwise(places)]
    assert "".join(map(extract, pieces)) + extract.finish() == EVENTS_TEXT


@pytest.mark.parametrize("blank", [True, False], ids=["blank lines", "no blank lines"])
@pytest.mark.parametrize("as_bytes", [True, False], ids=["bytes", "str"])
def test_lines_without_ends_are_events_too(blank: bool, as_bytes: bool) -> None:
    """HTTP clients' `iter_lines()` yields them, with the blank ones or without."""
    lines = ["event: message", f"data: {json.dumps(CHAT)}", "", f"data: {json.dumps(CHAT)}", "", "data: [DONE]"]
    given_lines = [line for line in lines if line or blank]
    extract = TextExtractor()
    assert "".join(extract(line.encode() if as_bytes else line) for line in given_lines) + extract.finish() == "HéHé"


def test_json_lines_are_read_however_they_are_cut() -> None:
    """Ollama's streams. The first line decides."""
    lines = "".join(json.dumps({"model": "m", "response": word, "done": False}) + "\n" for word in ("a", "b", "c"))
    first = lines.index("\n") + 1
    for cut in range(first, len(lines)):
        extract = TextExtractor()
        assert extract(lines[:cut]) + extract(lines[cut:]) + extract.finish() == "abc"


@pytest.mark.parametrize(
    "pieces",
    [
        ["data", ": the plural of datum"],
        ["data: ", "is the plural"],
        ["d", "ata", ":"],
        ['{"', "name", '": 1}'],
        ['{"name": "Ada"}\n'],
        ["event: a party\nof ten"[:14], "\nof ten"],
        ["event", "s"],
        [": a colon first"],
        ["", "Hi"],
    ],
)
def test_an_answer_that_looks_like_a_protocol_is_logged_as_it_is(pieces: list[str]) -> None:
    """No word of the model's is taken for a field of an event stream."""
    extract = TextExtractor()
    assert "".join(map(extract, pieces)) + extract.finish() == "".join(pieces)


def test_bytes_are_decoded_across_cuts_and_invalid_ones_are_escaped() -> None:
    """A cut character is whole in the log; what is no UTF-8 is shown."""
    extract = TextExtractor()
    whole = "Größe €".encode() + b"\xff" + b"\xe2\x82"
    pieces = (whole[index : index + 1] for index in range(len(whole)))
    assert "".join(map(extract, pieces)) + extract.finish() == "Größe €\\xff\\xe2\\x82"
    assert TextExtractor()(bytearray(b"abc")) + TextExtractor()(memoryview(b"abc")) == "abcabc"


@given(st.text(min_size=1))
def test_one_string_is_its_own_text(text: str) -> None:
    """Unless it is an event stream or a line of an API's JSON."""
    if "data" not in text and ":" not in text:
        extract = TextExtractor()
        assert extract(text) + extract.finish() == text


def test_extractor_that_got_an_object_does_not_wait_for_strings():
    """From the first object on nothing is guessed, so that `wrap` takes its short way for each later item."""
    extract = TextExtractor()
    assert extract.is_undecided
    assert extract({"choices": [{"delta": {"content": "Hello"}}]}) == "Hello"
    assert not extract.is_undecided
