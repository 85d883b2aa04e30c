"""A chat server with FastAPI."""

from __future__ import annotations

import os

import fastapi
from starlette.responses import StreamingResponse

from servers.apps import upstream
from streaming_logger.integrations.asgi import StreamLogMiddleware

app = fastapi.FastAPI()
app.add_middleware(StreamLogMiddleware, logger=upstream.logger, paths=upstream.PATHS)


@app.get("/tick")
async def tick(seconds: float) -> list[float]:
    return await upstream.atick(seconds)


@app.get("/pid")
async def pid() -> int:
    return os.getpid()


@app.get("/sync/{route}/{session_id}")
def sync_chat(route: str, session_id: str, model: str, fail_after: int = -1) -> StreamingResponse:
    """With a generator that is not async: Starlette reads it in threads."""
    return response(route, upstream.stream(route, session_id, model, fail_after))


@app.get("/{route}/{session_id}")
async def chat(route: str, session_id: str, model: str, fail_after: int = -1) -> StreamingResponse:
    return response(route, upstream.astream(route, session_id, model, fail_after))


def response(route: str, body: object) -> StreamingResponse:
    return StreamingResponse(body, media_type="text/event-stream" if route == "middleware" else "text/plain")
