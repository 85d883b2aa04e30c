"""A model server of one's own; one line logs every answer that it streams, under the answer's own id.

uvicorn --app-dir examples model_server:app
curl -N 127.0.0.1:8000/v1/chat/completions --json '{"messages": [{"role": "user", "content": "Hello"}]}'
tail -f logs/streaming/chatcmpl-*.log

vLLM takes the same class by a flag: vllm serve MODEL --middleware streaming_logger.integrations.vllm.StreamLog
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from streaming_logger.integrations.vllm import StreamLog

app = FastAPI()
app.add_middleware(StreamLog)  # include=["reasoning"], paths=["/generate"], logger=...: all optional


class Request(BaseModel):
    messages: list[dict[str, str]]


async def generate(prompt: str) -> AsyncIterator[str]:
    """The model: it says what it is told."""
    for word in prompt.split():
        await asyncio.sleep(0.01)
        yield word + " "


async def answer(request: Request) -> AsyncIterator[str]:
    """The model's words as server-sent events."""
    chunk = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion.chunk"}
    async for word in generate(request.messages[-1]["content"]):
        yield f"data: {json.dumps({**chunk, 'choices': [{'index': 0, 'delta': {'content': word}}]})}\n\n"
    yield "data: [DONE]\n\n"


@app.post("/v1/chat/completions")
async def chat(request: Request) -> StreamingResponse:
    return StreamingResponse(answer(request), media_type="text/event-stream")
