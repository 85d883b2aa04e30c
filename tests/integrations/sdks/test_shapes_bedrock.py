"""Bedrock, by the real boto3: the events of `converse_stream`, and the bytes of `invoke_model`, per model."""

from __future__ import annotations

import binascii
import contextlib
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from canned_server import ANSWER, REASONING, TOOL_CALL, lines, logged, serving, sse

boto3 = pytest.importorskip("boto3")

Json = dict[str, Any]


def frame(kind: str, payload: Json, message: str = "event") -> bytes:
    """One message of AWS's event stream encoding: prelude, headers, payload, and two checksums."""
    named = {":message-type": message, ":content-type": "application/json"}
    named[":event-type" if message == "event" else ":exception-type"] = kind
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in named.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    data = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + body
    return data + struct.pack("!I", binascii.crc32(data))


def read(frames: list[bytes], operation: str, key: str, **request: Any) -> Iterator[Json]:
    """What the client yields for an answer of these frames."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    with (
        serving(frames, content_type="application/vnd.amazon.eventstream") as url,
        contextlib.closing(boto3.client("bedrock-runtime", endpoint_url=url, **keys)) as client,
        contextlib.closing(getattr(client, operation)(modelId="m", **request)[key]) as stream,
    ):
        yield from stream


def converse(*events: Json, failure: str = "") -> Iterator[Json]:
    """Events of `converse_stream`, as boto3 yields them; at last an exception of this name, if one is given."""
    frames = [frame(*next(iter(event.items()))) for event in events]
    if failure:
        frames.append(frame(failure, {"message": "The model failed"}, "exception"))
    return read(frames, "converse_stream", "stream", messages=[])


def invoke(*documents: Json, failure: str = "") -> Iterator[Json]:
    """What `invoke_model_with_response_stream` yields for a model that answers in these documents."""
    coded = [binascii.b2a_base64(json.dumps(document).encode(), newline=False).decode() for document in documents]
    frames = [frame("chunk", {"bytes": each, "p": "abcd"}) for each in coded]
    if failure:
        frames.append(frame(failure, {"message": "The model failed"}, "exception"))
    return read(frames, "invoke_model_with_response_stream", "body", body="{}")


def begin(index: int, name: str) -> Json:
    start = {"toolUse": {"toolUseId": f"tooluse_{index}", "name": name}}
    return {"contentBlockStart": {"contentBlockIndex": index, "start": start}}


def piece(index: int, **delta: Any) -> Json:
    return {"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}}


def stop(index: int) -> Json:
    return {"contentBlockStop": {"contentBlockIndex": index}}


START = {"messageStart": {"role": "assistant"}}
ENDS = [{"messageStop": {"stopReason": "end_turn"}}, {"metadata": {"usage": {"inputTokens": 1}, "metrics": {}}}]
HELLO = [START, piece(0, text="Hel"), piece(0, text="lo"), stop(0)]


def test_converse_answer() -> None:
    """The events around it have no text."""
    assert logged(converse(*HELLO, *ENDS)) == ("Hello", "completed")


def test_converse_reasoning_and_tool_use() -> None:
    """The reasoning's signature is no text, nor is what is redacted."""
    thought = [piece(0, reasoningContent={"text": text}) for text in ("Let me ", "think.")]
    thought += [piece(0, reasoningContent={"signature": "EqQB"}), stop(0)]
    said = [piece(1, text="Hel"), piece(1, text="lo"), stop(1)]
    call = [begin(2, "f"), piece(2, toolUse={"input": '{"a"'}), piece(2, toolUse={"input": ": 1}"}), stop(2)]
    events = [START, *thought, *said, *call, *ENDS]
    assert logged(converse(*events)) == ("Hello", "completed")
    expected = f'{REASONING}Let me think.{ANSWER}Hello\n{TOOL_CALL}f {{"a": 1}}'
    assert logged(converse(*events), "reasoning", "tool_calls") == (expected, "completed")


def test_converse_parallel_tool_use_is_kept_apart() -> None:
    """By the index of the block."""
    pieces = [(0, '{"a":'), (1, '{"b":'), (0, "1}"), (1, "2}")]
    events = [begin(0, "f"), begin(1, "g"), *(piece(index, toolUse={"input": text}) for index, text in pieces)]
    expected = f'{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}'
    assert logged(converse(START, *events, stop(0), stop(1), *ENDS), "tool_calls") == (expected, "completed")


EXCEPTIONS = ["internalServerException", "modelStreamErrorException", "throttlingException", "validationException"]
EXCEPTIONS += ["serviceUnavailableException"]


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_in_the_stream_is_the_outcome(name: str) -> None:
    """boto3 raises it; other clients have it as an event."""
    exceptions = pytest.importorskip("botocore.exceptions")
    assert logged(converse(*HELLO, failure=name), raises=exceptions.EventStreamError) == ("Hello", "error")
    assert logged(invoke(*MODELS["Anthropic"][:3], failure=name), raises=exceptions.EventStreamError)[1] == "error"
    event = {name: {"message": "The model failed", "originalStatusCode": 500}}
    assert logged([*HELLO, event]) == ("Hello", "error")
    assert logged(sse(*HELLO, event)) == ("Hello", "error")
    assert logged(lines(*HELLO, event)) == ("Hello", "error")


def choices(text: str | None, reason: str | None = None) -> Json:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}


METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1, "outputTokenCount": 2}}
MODELS: dict[str, list[Json]] = {
    "Anthropic": [
        {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"} | METRICS,
    ],
    "Nova": [*HELLO, *ENDS],
    "Llama": [
        {"generation": "Hel", "prompt_token_count": 1, "generation_token_count": 1, "stop_reason": None},
        {"generation": "lo", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": None},
        {"generation": "", "prompt_token_count": None, "generation_token_count": 3, "stop_reason": "stop"} | METRICS,
    ],
    "Titan": [
        {"outputText": "Hel", "index": 0, "totalOutputTextTokenCount": None, "completionReason": None},
        {"outputText": "lo", "index": 0, "totalOutputTextTokenCount": 2, "completionReason": "FINISH"} | METRICS,
    ],
    "Mistral": [
        {"outputs": [{"text": "Hel", "stop_reason": None}]},
        {"outputs": [{"text": "lo", "stop_reason": "stop"}]} | METRICS,
    ],
    "Mistral, AI21, Qwen": [choices("Hel"), choices("lo"), choices(None, "stop") | METRICS],
    "DeepSeek": [
        {"choices": [{"text": "Hel", "stop_reason": None}]},
        {"choices": [{"text": "lo", "stop_reason": "stop"}]},
    ],
    "Cohere": [
        {"event_type": "text-generation", "text": "Hel", "is_finished": False},
        {"event_type": "text-generation", "text": "lo", "is_finished": False},
        {"event_type": "stream-end", "is_finished": True, "response": {"text": "Hello"}, "finish_reason": "COMPLETE"},
    ],
}


@pytest.mark.parametrize("model", MODELS)
def test_invoke_model_of(model: str) -> None:
    """Each model's own JSON is in the bytes of a chunk."""
    assert logged(invoke(*MODELS[model])) == ("Hello", "completed")


def test_invoke_model_reasoning_and_tool_use() -> None:
    """As in Anthropic's own stream, or in that of `converse`, for Nova."""
    thought = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}}
    tool = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    call = [
        {"type": "content_block_start", "index": 2, "content_block": tool},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
    ]
    expected = f'{REASONING}Hm{ANSWER}Hello\n{TOOL_CALL}f {{"a":1}}'
    events = [thought, *MODELS["Anthropic"][2:4], *call]
    assert logged(invoke(*events), "reasoning", "tool_calls") == (expected, "completed")
    events = [
        piece(0, reasoningContent={"text": "Hm"}),
        *HELLO[1:3],
        begin(1, "f"),
        piece(1, toolUse={"input": '{"a":1}'}),
    ]
    assert logged(invoke(*events), "reasoning", "tool_calls") == (expected, "completed")
