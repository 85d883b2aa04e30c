"""What OpenAI's clients yield from Chat Completions, and the servers that imitate that API: the answer, once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from canned_server import ANSWER, REASONING, TOOL_CALL, logged, serving, sse

openai = pytest.importorskip("openai")

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
PROMPT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def choice(index: int = 0, finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish_reason}


def chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return HEAD | {"choices": list(choices)} | more


def delta(**delta: Any) -> dict[str, Any]:
    return chunk(choice(**delta))


def call(index: int, name: str | None = None, arguments: str = "") -> dict[str, Any]:
    """A piece of a tool call: the first has its name and id."""
    head = {"id": f"call_{index}", "type": "function"} if name else {}
    return {"index": index, "function": {"name": name, "arguments": arguments}} | head


def stream(*chunks: dict[str, Any], **request: Any) -> Iterator[Any]:
    """The chunks as the client's own objects."""
    with (
        serving(sse(*chunks, end="[DONE]")) as url,
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        yield from client.chat.completions.create(**PROMPT, stream=True, **request)


USAGE = chunk(usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
HELLO = [
    delta(role="assistant", content=""),
    delta(content="Hel"),
    delta(content="lo"),
    chunk(choice(0, "stop")),
    USAGE,
]


def test_chat_answer() -> None:
    """The role, the end and the usage have no text."""
    assert logged(stream(*HELLO)) == ("Hello", "completed")


def test_refusal_is_the_answer() -> None:
    """It is what the user gets to see."""
    assert logged(stream(delta(refusal="I can"), delta(refusal="not."))) == ("I cannot.", "completed")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_several_choices_the_lowest_index_is_the_answer(order: tuple[int, int]) -> None:
    """Whether each has chunks of its own, in whatever order, or several share one."""
    words = {0: ["Hel", "lo"], 1: ["Good", "bye"]}
    apart = [chunk(choice(index, content=words[index][turn])) for turn in (0, 1) for index in order]
    together = [chunk(*(choice(index, content=words[index][turn]) for index in order)) for turn in (0, 1)]
    assert logged(stream(*apart, n=2)) == ("Hello", "completed")
    assert logged(stream(*together, n=2)) == ("Hello", "completed")


REASONED: dict[str, list[dict[str, Any]]] = {
    "DeepSeek, SGLang, vLLM": [delta(reasoning_content="Let me ", content=None), delta(reasoning_content="think.")],
    "Groq, newer vLLM": [delta(reasoning="Let me "), delta(reasoning="think.")],
    "OpenRouter, twice the same": [
        delta(content="", reasoning=text, reasoning_details=[{"type": "reasoning.text", "text": text, "index": 0}])
        for text in ("Let me ", "think.")
    ],
    "OpenRouter, details alone": [
        delta(content="", reasoning_details=[{"type": "reasoning.text", "text": "Let me "}]),
        delta(content="", reasoning_details=[{"type": "reasoning.summary", "summary": "think."}]),
        delta(content="", reasoning_details=[{"type": "reasoning.encrypted", "data": "gAAAA"}]),
    ],
}


@pytest.mark.parametrize("server", REASONED)
def test_reasoning_of(server: str) -> None:
    """Once, and only on request."""
    chunks = [*REASONED[server], *HELLO]
    assert logged(stream(*chunks)) == ("Hello", "completed")
    assert logged(stream(*chunks), "reasoning") == (f"{REASONING}Let me think.{ANSWER}Hello", "completed")


def test_tool_calls_after_text() -> None:
    """The call begins on a line of its own, after the mark."""
    chunks = [
        delta(content="Let me look."),
        delta(tool_calls=[call(0, "f")]),
        delta(tool_calls=[call(0, None, '{"a"')]),
    ]
    chunks += [delta(tool_calls=[call(0, None, ": 1}")]), chunk(choice(0, "tool_calls"))]
    assert logged(stream(*chunks)) == ("Let me look.", "completed")
    assert logged(stream(*chunks), "tool_calls") == (f'Let me look.\n{TOOL_CALL}f {{"a": 1}}', "completed")


def test_parallel_tool_calls_are_kept_apart() -> None:
    """By their index, however their pieces are mixed."""
    begun = delta(tool_calls=[call(0, "f"), call(1, "g")])
    pieces = [(0, '{"a":'), (1, '{"b":'), (0, "1}"), (1, "2}")]
    chunks = [begun, *(delta(tool_calls=[call(index, None, text)]) for index, text in pieces)]
    assert logged(stream(*chunks), "tool_calls") == (f'{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}', "completed")


def test_tool_calls_one_after_another() -> None:
    """Two calls of one function, and one without arguments."""
    chunks = [delta(tool_calls=[call(0, "f", '{"a":1}')]), delta(tool_calls=[call(1, "f", '{"a":2}')])]
    chunks += [delta(tool_calls=[call(2, "g", "")])]
    text, outcome = logged(stream(*chunks), "tool_calls")
    assert (text.rstrip(), outcome) == (f'{TOOL_CALL}f {{"a":1}}\nf {{"a":2}}\ng', "completed")


def test_parallel_tool_calls_of_one_index() -> None:
    """Gemini's OpenAI endpoint numbers each call 0: another id is another call."""
    calls = [call(0, "f", '{"a":1}') | {"id": "a"}, call(0, "g", '{"b":2}') | {"id": "b"}]
    for chunks in [delta(tool_calls=calls)], [delta(tool_calls=[each]) for each in calls]:
        found = logged(stream(*chunks), "tool_calls")
        assert found == (f'{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}', "completed")


def test_old_function_call() -> None:
    """The API before `tool_calls`, which some servers still speak."""
    chunks = [delta(function_call={"name": "f", "arguments": ""}), delta(function_call={"arguments": '{"a":1}'})]
    assert logged(stream(*chunks)) == ("", "completed")
    assert logged(stream(*chunks), "tool_calls") == (f'{TOOL_CALL}f {{"a":1}}', "completed")


def test_reasoning_tool_calls_and_answer_in_one_chunk() -> None:
    """Each under its own mark."""
    chunks = [delta(reasoning_content="Hm", content="Hello", tool_calls=[call(0, "f", "{}")])]
    expected = f"{REASONING}Hm{ANSWER}Hello\n{TOOL_CALL}f {{}}"
    assert logged(stream(*chunks), "reasoning", "tool_calls") == (expected, "completed")


def test_azure_content_filter_results() -> None:
    """Azure's first chunk has no choices but the filter's results, and a later one offsets without a text."""
    filtered = {"hate": {"filtered": False, "severity": "safe"}}
    first = chunk(prompt_filter_results=[{"prompt_index": 0, "content_filter_results": filtered}])
    late = chunk({"index": 0, "finish_reason": None, "content_filter_results": filtered, "delta": {}})
    assert logged(stream(first, *HELLO, late)) == ("Hello", "completed")


def test_an_error_in_the_stream_is_the_outcome() -> None:
    """The client raises it; what came before is kept."""
    chunks = [delta(content="Hel"), {"error": {"message": "quota exceeded", "type": "server_error", "code": None}}]
    assert logged(stream(*chunks), raises=openai.APIError) == ("Hel", "error")


@pytest.mark.parametrize("choices", [[], [choice(0, "error", content="")]], ids=["error alone", "with a choice"])
def test_an_error_that_no_client_raises_is_the_outcome(choices: list[dict[str, Any]]) -> None:
    """An error object among raw events or dicts, as OpenRouter sends it."""
    chunks = [delta(content="Hel"), chunk(*choices, error={"code": "server_error", "message": "Provider gone"})]
    assert logged(chunks) == ("Hel", "error")
    assert logged(sse(*chunks, end="[DONE]")) == ("Hel", "error")


def test_legacy_completions() -> None:
    """`text` instead of a delta; the lowest index of several."""
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}
    pieces = [(1, "Good"), (0, "Hel"), (0, "lo"), (1, "bye")]
    events = [head | {"choices": [{"index": i, "text": text, "finish_reason": None}]} for i, text in pieces]
    with serving(sse(*events, end="[DONE]")) as url, openai.OpenAI(base_url=url, api_key="none") as client:
        found = logged(client.completions.create(model="m", prompt="Hi", stream=True))
    assert found == ("Hello", "completed")


def test_stream_helper_repeats_nothing() -> None:
    """`chat.completions.stream` yields each chunk, an event for its text, and at the end the whole text."""
    chunks = [*HELLO[:-2], delta(tool_calls=[call(0, "f")]), delta(tool_calls=[call(0, None, '{"a":1}')])]
    chunks += [chunk(choice(0, "tool_calls"))]
    for include, expected in ([], "Hello"), (["tool_calls"], f'Hello\n{TOOL_CALL}f {{"a":1}}'):
        with (
            serving(sse(*chunks, end="[DONE]")) as url,
            openai.OpenAI(base_url=url, api_key="x") as client,
            client.chat.completions.stream(**PROMPT) as events,
        ):
            assert logged(events, *include) == (expected, "completed")


def test_audio_transcript_is_the_answer() -> None:
    """A spoken answer's words; the sound itself is not text."""
    chunks = [delta(audio={"id": "a", "transcript": "Hel"}), delta(audio={"data": "AAAA"})]
    chunks += [delta(audio={"transcript": "lo"})]
    assert logged(stream(*chunks)) == ("Hello", "completed")


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydantic's, about litellm's own classes
def test_litellm_stream() -> None:
    """Its chunks have all of OpenAI's attributes, most of them None."""
    litellm = pytest.importorskip("litellm")
    pieces = [delta(content=None, reasoning_content="Hm"), *HELLO[:-1], delta(tool_calls=[call(0, "f", '{"a":1}')])]
    expected = f'{REASONING}Hm{ANSWER}Hello\n{TOOL_CALL}f {{"a":1}}'
    for include, text in ([], "Hello"), (["reasoning", "tool_calls"], expected):
        with serving(sse(*pieces, end="[DONE]")) as url:
            answer = litellm.completion(**(PROMPT | {"model": "openai/m"}), api_base=url, api_key="x", stream=True)
            assert logged(answer, *include) == (text, "completed")
