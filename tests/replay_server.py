"""A server that speaks the APIs of OpenAI and Anthropic and answers with recorded model output.

python tests/replay_server.py --port 0 [--speed 1]     prints its URL, serves until Ctrl-C

It serves `/v1/chat/completions`, `/v1/responses`, `/v1/completions` and `/v1/messages`, streamed and whole.
The request's `model` names the recording and what happens to it: `poem+limit=20+break=10`.

limit=N      the first N chunks of the recording
reasoning=N  the first N of them are reasoning, not text
tools=N      the last N of them are the argument of a call of the tool `note`, unless the request holds its result
break=N      the connection ends after N chunks, without the protocol's end
stall=N      nothing comes after N chunks, until the server stops
status=N     no answer but this HTTP status
speed=X      at X times the recorded pace; without it (and without --speed) there is no delay
"""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

STREAMS = {
    file.name.split("_t")[0]: [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for file in (Path(__file__).resolve().parents[1] / "examples" / "streams").glob("*.jsonl")
}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}

Json = dict[str, Any]


class Chunk(NamedTuple):
    """One piece of an answer: `kind` is "text", "reasoning" or "tool"; `at` its recorded time in seconds."""

    kind: str
    text: str
    at: float


class Model(NamedTuple):
    """What a request's `model` field says."""

    name: str
    options: dict[str, float]

    @classmethod
    def parse(cls, field: str) -> Model:
        name, *options = field.split("+")
        pairs = (option.partition("=") for option in options)
        return cls(name, {key: float(value) for key, _, value in pairs})

    def chunks(self) -> list[Chunk]:
        """The answer without any fault."""
        limit, reasoning, tools = (int(self.options.get(key, 0)) for key in ("limit", "reasoning", "tools"))
        recorded = STREAMS[self.name][: limit or None]
        chunks = []
        for index, (at, text) in enumerate(recorded):
            kind = "reasoning" if index < reasoning else "tool" if index >= len(recorded) - tools else "text"
            if kind == "tool":
                first, last = index == len(recorded) - tools, index == len(recorded) - 1
                text = '{"text": "' * first + json.dumps(text)[1:-1] + '"}' * last
            chunks.append(Chunk(kind, text, at))
        return chunks


def spoken(model: str, kind: str = "text") -> str:
    """What a client of this model receives, whole: its text, its reasoning, or its tool call's arguments."""
    return "".join(chunk.text for chunk in Model.parse(model).chunks() if chunk.kind == kind)


# -- the protocols: each turns chunks into the events of one API ---------------------

Events = Iterator[Json]


def chat(request: Json, chunks: Iterator[Chunk]) -> Events:
    """`/v1/chat/completions`; reasoning as DeepSeek and vLLM send it."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": request["model"]}

    def event(delta: Json, finish: str | None = None) -> Json:
        return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield event({"role": "assistant", "content": ""})
    called = False
    for kind, text, _ in chunks:
        if kind == "tool":
            begin = {} if called else {"id": "call_1", "type": "function"}
            function = {"arguments": text} if called else {"name": "note", "arguments": text}
            called = True
            yield event({"tool_calls": [{"index": 0, "function": function} | begin]})
        else:
            yield event({"reasoning_content" if kind == "reasoning" else "content": text})
    yield event({}, "tool_calls" if called else "stop")
    if (request.get("stream_options") or {}).get("include_usage"):
        yield head | {"choices": [], "usage": USAGE}


def whole_chat(request: Json, chunks: list[Chunk]) -> Json:
    tool = joined(chunks, "tool")
    message: Json = {"role": "assistant", "content": joined(chunks, "text")}
    if tool:
        function = {"name": "note", "arguments": tool}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if tool else "stop"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": request["model"]}
    return head | {"choices": [choice], "usage": USAGE}


def completions(request: Json, chunks: Iterator[Chunk]) -> Events:
    """`/v1/completions`: text alone."""
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": request["model"]}
    for _, text, _ in chunks:
        yield head | {"choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": None}]}
    yield head | {"choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]}


def whole_completions(request: Json, chunks: list[Chunk]) -> Json:
    choice = {"index": 0, "text": "".join(chunk.text for chunk in chunks), "logprobs": None, "finish_reason": "stop"}
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": request["model"]}
    return head | {"choices": [choice], "usage": USAGE}


def responses(request: Json, chunks: Iterator[Chunk]) -> Events:
    """`/v1/responses`: an item for reasoning, text and tool call each, in the order in which they come."""
    seen: list[Chunk] = []
    number = 0

    def event(kind: str, **fields: Any) -> Json:
        nonlocal number
        number += 1
        return {"type": f"response.{kind}", "sequence_number": number - 1} | fields

    def begin(at: Json, kind: str) -> Events:
        item = response_item(kind, [])
        yield event("output_item.added", output_index=at["output_index"], item=item | {"status": "in_progress"})
        if kind == "text":
            yield event("content_part.added", **at, content_index=0, part=item["content"][0])
        elif kind == "reasoning":
            yield event("reasoning_summary_part.added", **at, summary_index=0, part=item["summary"][0])

    def end(at: Json, kind: str) -> Events:
        item, text = response_item(kind, seen), joined(seen, kind)
        if kind == "tool":
            yield event("function_call_arguments.done", **at, name="note", arguments=text)
        elif kind == "text":
            yield event("output_text.done", **at, content_index=0, text=text, logprobs=[])
            yield event("content_part.done", **at, content_index=0, part=item["content"][0])
        else:
            yield event("reasoning_summary_text.done", **at, summary_index=0, text=text)
            yield event("reasoning_summary_part.done", **at, summary_index=0, part=item["summary"][0])
        yield event("output_item.done", output_index=at["output_index"], item=item)

    unfinished = whole_responses(request, []) | {"status": "in_progress"}
    yield event("created", response=unfinished)
    yield event("in_progress", response=unfinished)
    at: Json = {"output_index": -1}
    for chunk in chunks:
        kind = chunk.kind
        if not seen or seen[-1].kind != kind:
            if seen:
                yield from end(at, seen[-1].kind)
            at = {"output_index": at["output_index"] + 1, "item_id": f"item_{kind}"}
            yield from begin(at, kind)
        seen.append(chunk)
        if kind == "text":
            yield event("output_text.delta", **at, content_index=0, delta=chunk.text, logprobs=[])
        elif kind == "tool":
            yield event("function_call_arguments.delta", **at, delta=chunk.text)
        else:
            yield event("reasoning_summary_text.delta", **at, summary_index=0, delta=chunk.text)
    if seen:
        yield from end(at, seen[-1].kind)
    yield event("completed", response=whole_responses(request, seen))


def response_item(kind: str, chunks: list[Chunk]) -> Json:
    text = joined(chunks, kind)
    if kind == "tool":
        return {"id": "item_tool", "type": "function_call", "call_id": "call_1", "name": "note", "arguments": text}
    if kind == "reasoning":
        return {"id": "item_reasoning", "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"id": "item_text", "type": "message", "role": "assistant", "status": "completed", "content": content}


def whole_responses(request: Json, chunks: list[Chunk]) -> Json:
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": request["model"],
        "output": [response_item(kind, chunks) for kind in dict.fromkeys(chunk.kind for chunk in chunks)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2} | details,
    }


def messages(request: Json, chunks: Iterator[Chunk]) -> Events:
    """`/v1/messages`: a content block for reasoning, text and tool call each, in the order in which they come."""
    keys = {"text": "text", "reasoning": "thinking", "tool": "partial_json"}
    deltas = {"text": "text_delta", "reasoning": "thinking_delta", "tool": "input_json_delta"}
    message = whole_messages(request, [])
    yield {"type": "message_start", "message": message | {"stop_reason": None}}
    index, open_kind = -1, ""
    for kind, text, _ in chunks:
        if kind != open_kind:
            if open_kind:
                yield {"type": "content_block_stop", "index": index}
            index, open_kind = index + 1, kind
            yield {"type": "content_block_start", "index": index, "content_block": message_block(kind, [])}
            yield {"type": "ping"}
        yield {"type": "content_block_delta", "index": index, "delta": {"type": deltas[kind], keys[kind]: text}}
    if open_kind:
        yield {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": "tool_use" if open_kind == "tool" else "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}}
    yield {"type": "message_stop"}


def message_block(kind: str, chunks: list[Chunk]) -> Json:
    text = joined(chunks, kind)
    if kind == "tool":
        return {"type": "tool_use", "id": "toolu_1", "name": "note", "input": json.loads(text or "{}")}
    if kind == "reasoning":
        return {"type": "thinking", "thinking": text, "signature": ""}
    return {"type": "text", "text": text}


def whole_messages(request: Json, chunks: list[Chunk]) -> Json:
    kinds = dict.fromkeys(chunk.kind for chunk in chunks)
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [message_block(kind, chunks) for kind in kinds],
        "stop_reason": "tool_use" if "tool" in kinds else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def joined(chunks: list[Chunk], kind: str) -> str:
    return "".join(chunk.text for chunk in chunks if chunk.kind == kind)


def holds_tool_result(request: Json) -> bool:
    """Whether the last message of a request is the result of a tool call."""
    last = (request.get("messages") or request.get("input") or [{}])[-1]
    return isinstance(last, dict) and any(
        mark in json.dumps(last) for mark in ('"role": "tool"', '"tool_result"', '"function_call_output"')
    )


PATHS = {
    "/v1/chat/completions": (chat, whole_chat),
    "/v1/completions": (completions, whole_completions),
    "/v1/responses": (responses, whole_responses),
    "/v1/messages": (messages, whole_messages),
}

# -- the server ----------------------------------------------------------------------


class BreakError(Exception):
    """The connection is to end here."""


class ReplayServer(ThreadingHTTPServer):
    """Serves on 127.0.0.1, a thread for each request. `requests` holds the bodies that came."""

    daemon_threads = False  # server_close() waits for the streams, and each ends soon after `stopping`
    request_queue_size = 256

    def __init__(self, port: int = 0, speed: float = 0) -> None:
        super().__init__(("127.0.0.1", port), ReplayHandler)
        self.speed = speed
        self.stopping = threading.Event()
        self.requests: list[Json] = []

    @property
    def url(self) -> str:
        """Where it is; OpenAI's clients take it with `/v1` behind it, Anthropic's without."""
        return f"http://127.0.0.1:{self.server_port}"

    def replay(self, request: Json) -> Iterator[Chunk]:
        """The chunks at their pace, up to the fault that the model's name asks for."""
        model = Model.parse(request["model"])
        speed = model.options.get("speed", self.speed)
        began = time.monotonic()
        for index, chunk in enumerate(model.chunks()):
            if index == model.options.get("stall"):
                self.stopping.wait()
            if speed:
                self.stopping.wait(max(0.0, began + chunk.at / speed - time.monotonic()))
            if index == model.options.get("break") or self.stopping.is_set():
                raise BreakError
            if chunk.kind != "tool" or not holds_tool_result(request):
                yield chunk


class ReplayHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30
    server: ReplayServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        self.close_connection = True
        events, whole = PATHS.get(self.path.partition("?")[0], (None, None))
        model = Model.parse(request["model"])
        with contextlib.suppress(BreakError, OSError):  # OSError: the client went away
            if events is None or whole is None or model.name not in STREAMS:
                self.send_json(404, {"error": {"message": "no such path or model", "type": "not_found_error"}})
            elif "status" in model.options:
                self.send_json(int(model.options["status"]), {"error": {"message": "as asked", "type": "api_error"}})
            elif request.get("stream"):
                self.send_events(events(request, self.server.replay(request)))
            else:
                self.send_json(200, whole(request, list(self.server.replay(request))))

    def send_json(self, status: int, body: Json) -> None:
        data = json.dumps(body).encode()
        self.send_head(status, "application/json", "Content-Length", str(len(data)))
        self.wfile.write(data)

    def send_events(self, events: Events) -> None:
        self.send_head(200, "text/event-stream; charset=utf-8", "Transfer-Encoding", "chunked")
        for event in events:
            named = f"event: {event['type']}\n" if "type" in event else ""
            self.send_chunk(f"{named}data: {json.dumps(event)}\n\n".encode())
        if "completions" in self.path:
            self.send_chunk(b"data: [DONE]\n\n")
        self.send_chunk(b"")

    def send_head(self, status: int, content: str, *header: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content)
        self.send_header(*header)
        self.send_header("Connection", "close")
        self.end_headers()

    def send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def log_message(self, *args: object) -> None:
        """Silent: the output is the URL alone."""


@contextlib.contextmanager
def replaying(speed: float = 0) -> Iterator[ReplayServer]:
    """A server that runs in the background until the block ends."""
    server = ReplayServer(speed=speed)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="replay server")
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="where to serve; 0 = any free port (default)")
    parser.add_argument("--speed", type=float, default=0, help="times the recorded pace; 0 = no delay (default)")
    given = parser.parse_args()
    with ReplayServer(given.port, given.speed) as server, contextlib.suppress(KeyboardInterrupt):
        print(server.url, flush=True)
        try:
            server.serve_forever()
        finally:
            server.stopping.set()


if __name__ == "__main__":
    main()
