"""What the clients of xAI, Replicate, DashScope and Hugging Face yield."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from canned_server import ANSWER, REASONING, TOOL_CALL, logged, serving, sse

Json = dict[str, Any]

# -- xAI -----------------------------------------------------------------------------


def grok(*outputs: list[Json], n: int = 1) -> Iterator[Any]:
    """What xAI's client reads from a gRPC server: for each chunk its outputs, as keywords of their deltas."""
    sdk = pytest.importorskip("xai_sdk")
    grpc = pytest.importorskip("grpc")
    from xai_sdk.proto import chat_pb2, chat_pb2_grpc

    def output(index: int = 0, role: str = "ROLE_ASSISTANT", **delta: Any) -> Any:
        calls = [
            chat_pb2.ToolCall(id=name, function=chat_pb2.FunctionCall(name=name, arguments=arguments))
            for name, arguments in delta.pop("calls", {}).items()
        ]
        made = chat_pb2.Delta(role=getattr(chat_pb2, role), tool_calls=calls, **delta)
        return chat_pb2.CompletionOutputChunk(index=index, delta=made)

    class Chat(chat_pb2_grpc.ChatServicer):  # type: ignore[misc]
        def GetCompletionChunk(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802 - xAI's name
            for chunk in outputs:
                yield chat_pb2.GetChatCompletionChunk(outputs=[output(**each) for each in chunk])

    server = grpc.server(ThreadPoolExecutor(2))
    chat_pb2_grpc.add_ChatServicer_to_server(Chat(), server)
    host = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        client = sdk.Client(api_key="x", api_host=host, use_insecure_channel=True)
        chat = client.chat.create(model="grok", messages=[sdk.chat.user("Hi")])
        yield from chat.stream() if n == 1 else chat.stream_batch(n)
        client.close()
    finally:
        server.stop(None).wait()


HELLO_GROK = [[{"content": "Hel"}], [{"content": "lo"}], [{}]]


def test_xai_answer() -> None:
    """Its client yields the response so far beside each chunk: the chunk alone is new."""
    assert logged(grok(*HELLO_GROK)) == ("Hello", "completed")


def test_xai_reasoning_and_tool_calls() -> None:
    """Calls come whole; what a tool of xAI's own put out is not the answer."""
    thought = [[{"reasoning_content": "Let me "}], [{"reasoning_content": "think."}]]
    output = [{"role": "ROLE_TOOL", "content": "TOOL OUTPUT"}]
    chunks = [*thought, *HELLO_GROK, [{"calls": {"f": '{"a":1}', "g": '{"b":2}'}}], output]
    assert logged(grok(*chunks)) == ("Hello", "completed")
    expected = f'{REASONING}Let me think.{ANSWER}Hello\n{TOOL_CALL}f {{"a":1}}\ng {{"b":2}}'
    assert logged(grok(*chunks), "reasoning", "tool_calls") == (expected, "completed")


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # xAI's, about its batches
def test_xai_batch() -> None:
    """Of several answers the first: the others are in the same tuples."""
    chunks = [
        [{"index": 1, "content": "Good"}, {"content": "Hel"}],
        [{"content": "lo"}],
        [{"index": 1, "content": "bye"}],
    ]
    assert logged(grok(*chunks, n=2)) == ("Hello", "completed")


# -- Replicate -----------------------------------------------------------------------


def replicate(*events: tuple[str, str]) -> Iterator[Any]:
    """The events as Replicate's own objects, as its client reads them from a prediction's stream."""
    stream = pytest.importorskip("replicate.stream")
    httpx = pytest.importorskip("httpx")
    text = [f"event: {name}\nid: {at}\ndata: {data}\n\n" for at, (name, data) in enumerate(events)]
    with serving(text) as url, httpx.stream("GET", url) as response:
        yield from stream.EventSource(client=None, response=response)


def test_replicate() -> None:
    """Words as they are, also such as could be JSON; neither the model's log lines nor the end's data."""
    words = ["See", " [1]", "{}", ' "x"', " 42", " null"]
    events = [("logs", "Loading"), *(("output", word) for word in words), ("done", "{}")]
    assert logged(replicate(*events)) == ("".join(words), "completed")


def test_a_replicate_error_is_the_outcome() -> None:
    """Its client raises it; the object alone tells it, too."""
    events = [("output", "Hel"), ("error", '{"detail": "out of memory"}')]
    assert logged(replicate(*events), raises=RuntimeError) == ("Hel", "error")
    event = pytest.importorskip("replicate.stream").ServerSentEvent
    assert logged([event(event=name, data=data, id="1", retry=None) for name, data in events]) == ("Hel", "error")


# -- DashScope -----------------------------------------------------------------------


def dashscope(*events: Json, error: Json | None = None, **request: Any) -> Iterator[Any]:
    """The responses as DashScope's own objects, which are dicts as well."""
    sdk = pytest.importorskip("dashscope")
    requests = pytest.importorskip("requests")
    text = [f"id:{at}\nevent:result\n:HTTP_STATUS/200\ndata:{json.dumps(each)}\n\n" for at, each in enumerate(events)]
    if error:
        text.append(f"id:9\nevent:error\n:HTTP_STATUS/400\nstatus:400\ndata:{json.dumps(error)}\n\n")
    with serving(text) as url, requests.Session() as session, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdk, "base_http_api_url", url)
        prompt = [{"role": "user", "content": "Hi"}]
        yield from sdk.Generation.call(
            "qwen-max", messages=prompt, api_key="x", stream=True, session=session, **request
        )


def message(content: str, **more: Any) -> Json:
    said = {"role": "assistant", "content": content} | more
    return {"output": {"choices": [{"finish_reason": "null", "message": said}]}, "usage": {}, "request_id": "r"}


def text_output(text: str) -> Json:
    return {"output": {"text": text, "finish_reason": "null"}, "usage": {}, "request_id": "r"}


@pytest.mark.parametrize("made", [message, text_output])
def test_dashscope_is_cumulative_or_incremental(made: Any) -> None:
    """By default each response has the whole answer so far, and the last one repeats it."""
    so_far = [made(text) for text in ("The", "The answer", "The answer is 42.", "The answer is 42.")]
    assert logged(dashscope(*so_far)) == ("The answer is 42.", "completed")
    pieces = [made(text) for text in ("The", " answer", " is 42.", "")]
    assert logged(dashscope(*pieces, incremental_output=True)) == ("The answer is 42.", "completed")


def test_dashscope_reasoning_and_tool_calls() -> None:
    """In the fields of OpenAI's messages."""
    calls = [
        [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}],
        [{"index": 0, "id": "", "type": "function", "function": {"arguments": "1}"}}],
    ]
    chunks = [message("", reasoning_content=text) for text in ("Let me ", "think.")]
    chunks += [message("Hel"), message("lo"), *(message("", tool_calls=each) for each in calls)]
    expected = f'{REASONING}Let me think.{ANSWER}Hello\n{TOOL_CALL}f {{"a":1}}'
    assert logged(dashscope(*chunks, incremental_output=True)) == ("Hello", "completed")
    found = logged(dashscope(*chunks, incremental_output=True), "reasoning", "tool_calls")
    assert found == (expected, "completed")


def test_a_dashscope_error_is_the_outcome() -> None:
    """A response of another status, without an output."""
    error = {"code": "DataInspectionFailed", "message": "Output data may contain inappropriate content."}
    assert logged(dashscope(message("Hel"), error=error, incremental_output=True)) == ("Hel", "error")


# -- Hugging Face --------------------------------------------------------------------


def generated(index: int, text: str, special: bool = False, whole: str | None = None) -> Json:
    """An event of text-generation-inference."""
    token = {"id": index, "text": text, "logprob": -0.1, "special": special}
    details = (
        {"finish_reason": "eos_token", "generated_tokens": index, "seed": None, "input_length": 1} if whole else None
    )
    return {"index": index, "token": token, "generated_text": whole, "details": details}


TGI = [generated(1, "Hel"), generated(2, "lo"), generated(3, "</s>", special=True, whole="Hello")]


def hugging_face(*events: Json, **request: Any) -> Iterator[Any]:
    """What `text_generation` yields: with details objects that are dicts as well, else words."""
    hub = pytest.importorskip("huggingface_hub")
    with serving([event.replace("data: ", "data:") for event in sse(*events)]) as url:
        client = hub.InferenceClient(model=url)
        with client.exit_stack:
            yield from client.text_generation("Hi", stream=True, **request)


def test_text_generation_inference() -> None:
    """Neither the token that ends the text, nor the whole text beside it."""
    assert logged(hugging_face(*TGI, details=True)) == ("Hello", "completed")
    assert logged(hugging_face(*TGI[:2])) == ("Hello", "completed")


def test_text_generation_inference_by_raw_events() -> None:
    """Its events have no space after the colon."""
    assert logged([event.replace("data: ", "data:") for event in sse(*TGI)]) == ("Hello", "completed")


def test_a_text_generation_error_is_the_outcome() -> None:
    """Its client raises it; among raw events it is one of its own."""
    error = {"error": "Request failed during generation", "error_type": "generation"}
    errors = pytest.importorskip("huggingface_hub.errors")
    failing = hugging_face(*TGI[:2], error, details=True)
    assert logged(failing, raises=errors.GenerationError) == ("Hello", "error")
    assert logged(sse(*TGI[:2], error)) == ("Hello", "error")


def test_hugging_face_chat() -> None:
    """OpenAI's shape in objects of its own, with reasoning and tool calls."""
    hub = pytest.importorskip("huggingface_hub")
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    deltas: list[Json] = [{"reasoning": "Hm"}, {"content": "Hel"}, {"content": "lo"}, {"tool_calls": [call]}]
    chunks = [
        {"id": "c", "created": 1, "model": "m", "system_fingerprint": "f", "choices": [{"index": 0, "delta": delta}]}
        for delta in ({"role": "assistant"} | delta for delta in deltas)
    ]
    expected = f'{REASONING}Hm{ANSWER}Hello\n{TOOL_CALL}f {{"a":1}}'
    for include, text in ([], "Hello"), (["reasoning", "tool_calls"], expected):
        with serving(sse(*chunks, end="[DONE]")) as url:
            client = hub.InferenceClient(base_url=url, api_key="x")
            with client.exit_stack:
                stream = client.chat_completion([{"role": "user", "content": "Hi"}], stream=True)
                assert logged(stream, *include) == (text, "completed")
