"""Gemini: the chunks of its client, its server-sent events, and the JSON array that REST gives without `alt=sse`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from canned_server import ANSWER, REASONING, TOOL_CALL, logged, serving, sse

genai = pytest.importorskip("google.genai")

Json = dict[str, Any]
USAGE = {"usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 2}, "modelVersion": "m", "responseId": "r"}


def candidate(*parts: Json, **more: Any) -> Json:
    return {"content": {"parts": list(parts), "role": "model"}} | more


def chunk(*candidates: Json, **more: Any) -> Json:
    return {"candidates": list(candidates)} | USAGE | more


def says(text: str, **more: Any) -> Json:
    return chunk(candidate({"text": text} | more, index=0))


def calls(**arguments: Json) -> Json:
    """A function call for each keyword: Gemini sends them whole."""
    parts = [{"functionCall": {"name": name, "args": given}} for name, given in arguments.items()]
    return chunk(candidate(*parts, index=0))


def stream(*chunks: Json) -> Iterator[Any]:
    """The chunks as the client's own objects."""
    with serving(sse(*chunks)) as url, genai.Client(api_key="x", http_options={"base_url": url}) as client:
        yield from client.models.generate_content_stream(model="m", contents="Hi")


def array(*chunks: Json, size: int) -> list[bytes]:
    """One JSON array over reads of this size."""
    data = ("[" + "\n,\r\n".join(json.dumps(chunk, indent=2) for chunk in chunks) + "\n]").encode()
    return [data[at : at + size] for at in range(0, len(data), size)]


HELLO = [says("Hel"), says("lo"), chunk(candidate(finishReason="STOP", index=0))]


def test_answer() -> None:
    """The last chunk has only the reason why it ends."""
    assert logged(stream(*HELLO)) == ("Hello", "completed")


def test_thinking_and_function_calls() -> None:
    """Marked as thought, or a part of its own kind; several in one chunk are kept apart."""
    chunks = [says("Let me ", thought=True), says("think.", thought=True), *HELLO[:2], calls(f={"a": 1}, g={"b": "ä"})]
    assert logged(stream(*chunks)) == ("Hello", "completed")
    expected = f'{REASONING}Let me think.{ANSWER}Hello\n{TOOL_CALL}f {{"a": 1}}\ng {{"b": "ä"}}'
    assert logged(stream(*chunks), "reasoning", "tool_calls") == (expected, "completed")


def test_of_several_candidates_the_first_is_the_answer() -> None:
    """Whether they share a chunk or not."""
    shared = [
        chunk(candidate({"text": a}, index=0), candidate({"text": b}, index=1)) for a, b in ("HG", ("ello", "ood"))
    ]
    apart = [chunk(candidate({"text": text}, index=index)) for index, text in [(1, "G"), (0, "H"), (1, "o"), (0, "i")]]
    assert logged(stream(*shared)) == ("Hello", "completed")
    assert logged(stream(*apart)) == ("Hi", "completed")


def test_code_that_it_runs_is_not_the_answer() -> None:
    """Neither the code nor what it prints."""
    code = {"executableCode": {"language": "PYTHON", "code": "print(42)"}}
    output = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "TOOL OUTPUT"}}
    chunks = [says("It is "), chunk(candidate(code, index=0)), chunk(candidate(output, index=0)), says("42.")]
    assert logged(stream(*chunks)) == ("It is 42.", "completed")


def test_a_blocked_prompt_has_no_text_and_can_be_read() -> None:
    """No candidates at all: from the client, as an event, and in an array."""
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}} | USAGE
    for items in stream(blocked), sse(blocked), array(blocked, size=20), [blocked]:
        assert logged(items)[0] == ""


def test_an_answer_that_a_filter_ends_keeps_its_text() -> None:
    """Its last chunk has no content."""
    assert logged(stream(says("Hel"), says("lo"), chunk({"finishReason": "SAFETY", "index": 0})))[0] == "Hello"


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


def test_an_error_in_the_stream_is_the_outcome() -> None:
    """The client raises it; events and arrays have it among the chunks."""
    errors = pytest.importorskip("google.genai.errors")
    assert logged(stream(says("Hel"), ERROR), raises=errors.ServerError) == ("Hel", "error")
    assert logged(sse(says("Hel"), ERROR)) == ("Hel", "error")
    assert logged(array(says("Hel"), ERROR, size=1000)) == ("Hel", "error")
    assert logged([says("Hel"), ERROR]) == ("Hel", "error")


def test_server_sent_events() -> None:
    """As REST sends them, with CR LF, cut anywhere."""
    text = "".join(sse(*HELLO)).replace("\n", "\r\n")
    for size in 1, 7, 50, 1000:
        assert logged([text[at : at + size] for at in range(0, len(text), size)]) == ("Hello", "completed")


@pytest.mark.parametrize("size", [1, 10, 100, 10_000])
def test_rest_array(size: int) -> None:
    """Its chunks are over many lines, each ended by a comma, and the reads end anywhere."""
    chunks = [says("Let me think.", thought=True), *HELLO[:2], calls(f={"a": 1}), HELLO[2]]
    assert logged(array(*chunks, size=size)) == ("Hello", "completed")
    expected = f'{REASONING}Let me think.{ANSWER}Hello\n{TOOL_CALL}f {{"a": 1}}'
    assert logged(array(*chunks, size=size), "reasoning", "tool_calls") == (expected, "completed")


def test_rest_array_by_lines() -> None:
    """What an HTTP client's `iter_lines` makes of it: lines without their ends, the chunks' braces alone on some."""
    text = b"".join(array(*HELLO, size=1000)).decode()
    assert logged(text.splitlines()) == ("Hello", "completed")


def test_a_whole_response_as_dicts() -> None:
    """`to_json_dict` has the client's own names, with underscores."""
    chunks = [each.to_json_dict() for each in stream(*HELLO, calls(f={"a": 1}))]
    assert "function_call" in json.dumps(chunks)
    assert logged(chunks, "tool_calls") == (f'Hello\n{TOOL_CALL}f {{"a": 1}}', "completed")
