"""Stream shapes from public reports, one JSON file for each kind: the text and outcome that each must have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streaming_logger._text.extractor import TextExtractor
from streaming_logger.testing import ManualLogger

FILES = sorted((Path(__file__).parent / "shapes").glob("*.json"))
CASES = {f"{file.stem}: {case['name']}": case for file in FILES for case in json.loads(file.read_text())}


def made(value: Any, shape: str) -> Any:
    """An item of a case, as the dict, object or tuple that an SDK yields."""
    if shape == "tuple":
        return tuple(made(part, "object") if number == 0 else part for number, part in enumerate(value))
    if isinstance(value, list):
        return [made(part, shape) for part in value]
    if isinstance(value, dict) and shape == "object":
        return SimpleNamespace(**{key: made(part, shape) for key, part in value.items()})
    if isinstance(value, dict):
        return {key: part.encode() if key == "bytes" else made(part, shape) for key, part in value.items()}
    return value


@pytest.mark.parametrize("name", CASES)
def test_case(manual: Callable[..., ManualLogger], name: str) -> None:
    """The text is in the session's file, and the outcome is the stream's own."""
    case, logger = CASES[name], manual()
    items = [made(item, case["shape"]) for item in case["items"]]
    assert all(given is got for given, got in zip(items, logger.wrap("s", items, include=case["include"]), strict=True))
    assert (logger.text.get("s", ""), logger.outcomes["s"]) == (case["expected"], case["expected_outcome"])
    assert logger.stats().extraction_errors == 0


def chat(content: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": content, **delta}}]}


def logged(items: list[Any], *include: str) -> str:
    extract = TextExtractor(include)
    return "".join(map(extract, items)) + extract.finish()


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"type": "delta_v9", "payload": 1, "content": "Hello"}, "Hello"),
        ({"type": "NewText", "data": {"value": {"text": "Hello"}}}, "Hello"),
        ({"event": "unheard.of", "data": {"content": "Hello"}}, "Hello"),
        ({"kind": "piece", "token": "Hello"}, "Hello"),
        ({"generated_text": "Hello"}, "Hello"),
        (SimpleNamespace(type="brand_new", parts=[SimpleNamespace(text="Hel"), SimpleNamespace(text="lo")]), "Hello"),
        ({"type": "tool_result", "content": "OUTPUT"}, ""),
        ({"role": "user", "content": "Hi"}, ""),
        ({"type": "heartbeat", "message": "ping"}, ""),
        ([chat("Hel"), chat("lo")], "Hello"),
    ],
)
def test_unknown_shapes_are_searched_for_text(item: Any, text: str) -> None:
    """A type that is in no table means nothing; what is the user's or a tool's is not the answer."""
    assert logged([item]) == text


def test_last_event_that_repeats_the_answer() -> None:
    """It is logged where it is the only one with text."""
    assert logged([{"type": "piece", "content": "Hello"}, {"type": "final", "content": "Hello"}]) == "Hello"
    assert logged([{"type": "final", "content": "Hello"}]) == "Hello"
    assert logged([chat("Hel"), chat("lo"), {"choices": [{"message": {"content": "Hello"}}]}]) == "Hello"


def test_of_several_choices_the_lowest_is_the_answer_and_the_others_can_be_asked_for() -> None:
    """By their index, in whatever order they come; a stream that has only a higher one is not empty."""
    items = [chat("Good", 1), chat("Hel"), chat("bye\n", 1), chat("lo")]
    assert logged(items) == "Hello"
    assert logged([chat("Hel", 3), chat("lo", 3)]) == "Hello"
    expected = "Hel\n[streaming_logger: choice 1]\nGoodbye\n\n[streaming_logger: answer]\nlo"
    assert logged(items, "choices") == expected


def test_parallel_tool_calls_are_kept_apart_by_id() -> None:
    """Where there is no index; and what waits is bounded."""
    call = lambda name, id_, args: {"id": id_, "function": {"name": name, "arguments": args}}  # noqa: E731
    items = [chat(tool_calls=[call("f", "a", '{"x":')]), chat(tool_calls=[call("g", "b", '{"y":')])]
    items += [chat(tool_calls=[call(None, "a", "1}")]), chat(tool_calls=[call(None, "b", "2}")]), chat("Done.")]
    expected = '[streaming_logger: tool call]\nf {"x":1}\ng {"y":2}\n[streaming_logger: answer]\nDone.'
    assert logged(items, "tool_calls") == expected
    extract = TextExtractor("tool_calls")
    extract(items[0])
    for _ in range(1000):
        extract(chat(tool_calls=[call(None, "b", "x" * 1000)]))
        assert extract.held < 70_000


ERRORS: dict[str, tuple[Any, str]] = {
    "OpenAI": ({"error": {"message": "quota exceeded", "code": 429}}, "429: quota exceeded"),
    "OpenRouter": ({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}, "finish_reason: error"),
    "Anthropic": ({"type": "error", "error": {"type": "overloaded", "message": "Busy"}}, "overloaded: Busy"),
    "Responses": ({"type": "response.failed", "response": {"error": {"code": "E", "message": "x"}}}, "E: x"),
    "Ollama": ({"error": "model not found"}, "model not found"),
    "AG-UI": ({"type": "RUN_ERROR", "message": "boom", "code": "E1"}, "boom"),
    "Vercel": ({"type": "error", "errorText": "boom"}, "boom"),
    "Dify": ({"event": "error", "code": "quota", "message": "Quota exceeded"}, "Quota exceeded"),
    "Flowise": ({"event": "error", "data": "401"}, "401"),
    "Bedrock": ({"modelStreamErrorException": {"message": "boom"}}, "boom"),
    "Gemini, blocked": ({"promptFeedback": {"blockReason": "SAFETY"}}, "prompt blocked: SAFETY"),
    "an application's": ({"type": "generation_failed", "message": "boom"}, "generation_failed: boom"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_error_in_the_stream_is_its_outcome(manual: Callable[..., ManualLogger], name: str) -> None:
    """Its text is in the ledger, not in the file; no error is made of it where there is none."""
    item, text = ERRORS[name]
    logger = manual()
    list(logger.wrap("s", [chat("Hello"), item]))
    list(logger.wrap("t", [chat("Hello"), {"error": None, **chat("!")}]))
    assert logger.text == {"s": "Hello", "t": "Hello!"}
    assert logger.outcomes == {"s": "error", "t": "completed"}
    logger.advance(2)
    ledger = (logger.base_dir / ".streaming_logger" / "ledger.jsonl").read_text()
    assert [json.loads(line).get("error") for line in ledger.splitlines()] == [text, None]
