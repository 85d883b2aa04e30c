"""A model server as vLLM is one: it streams vLLM's chunks, and loads its middleware as vLLM does.

MIDDLEWARE holds import strings, as `--middleware` does. The model's name says what is streamed: a key of `DELTAS`,
"fails" (an error chunk), "raises" (an exception in the generator), or "endless".
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response, StreamingResponse

__all__ = ["DELTAS", "app"]

#: What a choice's delta holds, one after the other; with an index other than 0 in a pair with it.
DELTAS: dict[str, list[Any]] = {
    "plain": [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}],
    "reasoning": [{"role": "assistant", "content": ""}, {"reasoning_content": "Hm."}, {"content": "Hello"}],
    "tools": [
        {"content": "Hello"},
        {"tool_calls": [{"index": 0, "id": "chatcmpl-tool-1", "function": {"name": "look", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"at": "sky"}'}}]},
    ],
    "choices": [(0, {"content": "Hel"}), (1, {"content": "Good "}), (1, {"content": "bye"}), (0, {"content": "lo"})],
}
ENDLESS = 100_000


def add_middleware(app: FastAPI, names: list[str]) -> None:
    """As vLLM's `build_app` adds what `--middleware` names."""
    for name in names:
        module, _, attribute = name.rpartition(".")
        imported = getattr(importlib.import_module(module), attribute)
        if inspect.isclass(imported):
            app.add_middleware(imported)
        elif inspect.iscoroutinefunction(imported):
            app.middleware("http")(imported)
        else:
            raise ValueError(f"Invalid middleware {name}. Must be a function or a class.")


async def hand_on(request: Request, call_next: Any) -> Response:
    """A middleware of the other kind, a function; it stands for those that operators add."""
    response: Response = await call_next(request)
    return response


app = FastAPI()
app.add_middleware(CORSMiddleware, allow_origins=["*"])
add_middleware(app, os.environ.get("MIDDLEWARE", "").split())


def event(data: dict[str, Any], name: str = "") -> str:
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n"


async def deltas(model: str) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """The deltas of the model, each with its choice's index."""
    for delta in DELTAS.get(model, DELTAS["plain"]):
        yield delta if isinstance(delta, tuple) else (0, delta)
    if model == "raises":
        raise RuntimeError("EngineCore died")
    for _ in range(ENDLESS if model == "endless" else 0):
        await asyncio.sleep(0.01)
        yield 0, {"content": " again"}


async def chat(request_id: str, model: str) -> AsyncIterator[str]:
    async for index, delta in deltas(model):
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        yield event({"id": request_id, "object": "chat.completion.chunk", "model": model, "choices": [choice]})
    if model == "fails":
        yield event({"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}})
    yield "data: [DONE]\n\n"


async def completions(request_id: str, model: str) -> AsyncIterator[str]:
    async for index, delta in deltas(model):
        choice = {"index": index, "text": delta.get("content", ""), "logprobs": None, "finish_reason": None}
        yield event({"id": request_id, "object": "text_completion", "model": model, "choices": [choice]})
    yield "data: [DONE]\n\n"


async def responses(request_id: str, model: str) -> AsyncIterator[str]:
    created = {"id": request_id, "object": "response", "instructions": "x" * 20_000, "tools": []}
    for kind in ("response.created", "response.in_progress"):
        yield event({"type": kind, "response": created}, kind)
    async for _, delta in deltas(model):
        yield event({"type": "response.output_text.delta", "item_id": "msg_1", "delta": delta["content"]})
    yield event({"type": "response.completed", "response": created}, "response.completed")


async def messages(request_id: str, model: str) -> AsyncIterator[str]:
    yield event({"type": "message_start", "message": {"id": request_id, "role": "assistant", "content": []}})
    async for _, delta in deltas(model):
        data = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": delta["content"]}}
        yield event(data, "content_block_delta")
    yield event({"type": "message_stop"}, "message_stop")


KINDS = {
    "chat/completions": ("chatcmpl-", chat),
    "completions": ("cmpl-", completions),
    "responses": ("resp_", responses),
    "messages": ("msg_", messages),
}


@app.post("/v1/{kind:path}")
async def generate(kind: str, request: Request) -> Response:
    asked = await request.json()
    prefix, stream = KINDS[kind]
    request_id = prefix + (request.headers.get("x-request-id") or uuid.uuid4().hex)
    headers = {"served-by": str(os.getpid())}
    if not asked.get("stream"):
        return JSONResponse({"id": request_id, "choices": [{"message": {"content": "Hello"}}]}, headers=headers)
    return StreamingResponse(stream(request_id, asked["model"]), media_type="text/event-stream", headers=headers)


@app.get("/health")
async def health() -> Response:
    return Response()
