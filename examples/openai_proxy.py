"""A logging proxy before any OpenAI-compatible model server, of which no line changes.

UPSTREAM=http://127.0.0.1:8001 uvicorn --app-dir examples openai_proxy:app    (clients: http://127.0.0.1:8000/v1)
"""

import os
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from streaming_logger import get_streaming_logger
from streaming_logger.integrations.asgi import lifespan

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8001").rstrip("/")
HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}

logger = get_streaming_logger()
client = httpx.AsyncClient(timeout=httpx.Timeout(None, connect=10), limits=httpx.Limits(max_connections=None))


async def proxy(request: Request) -> Response:
    url = UPSTREAM + request.scope["raw_path"].decode() + ("?" + request.url.query if request.url.query else "")
    skipped = HOP_BY_HOP | {b"host", b"content-length", b"accept-encoding"}
    headers = [(name, value) for name, value in request.headers.raw if name not in skipped]
    headers.append((b"accept-encoding", b"identity"))  # a compressed answer cannot be logged
    asked = client.build_request(request.method, url, headers=headers, content=await request.body())
    try:
        answer = await client.send(asked, stream=True)
    except httpx.TransportError as error:
        return JSONResponse({"error": {"message": f"{UPSTREAM} does not answer: {error!r}"}}, status_code=502)
    passed = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in HOP_BY_HOP]
    chunks = answer.aiter_raw()
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        chunks = logger.wrap(None, chunks)  # an id that a client chose could be another client's
        passed.append((b"x-session-id", chunks.session_id.encode()))

    async def stream():
        try:
            async for chunk in chunks:
                yield chunk
        finally:  # at the end, and when the client leaves: the model stops, too
            await answer.aclose()

    response = StreamingResponse(stream(), answer.status_code)
    response.raw_headers = passed
    return response


@asynccontextmanager
async def closing(app):
    async with client, lifespan(logger)(app):
        yield


app = Starlette(routes=[Route("/{path:path}", proxy, methods=["GET", "POST", "PUT", "DELETE"])], lifespan=closing)
