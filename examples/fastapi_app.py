"""A chat server with FastAPI: answers stream from any OpenAI-compatible model server, and each is logged.

OPENAI_BASE_URL=http://127.0.0.1:8001/v1 OPENAI_API_KEY=... uvicorn --app-dir examples fastapi_app:app
curl -N 127.0.0.1:8000/chat/sess_1 --json '{"message": "Hello"}'
tail -f logs/streaming/sess_1.log
"""

import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI
from pydantic import BaseModel

from streaming_logger import get_streaming_logger
from streaming_logger.integrations.asgi import lifespan

logger = get_streaming_logger()
app = FastAPI(lifespan=lifespan(logger))
client = AsyncOpenAI()


class Question(BaseModel):
    message: str


async def answer(session_id: str, question: Question) -> AsyncIterator[str]:
    """The model's chunks as server-sent events."""
    stream = await client.chat.completions.create(
        model=os.environ.get("MODEL", "gpt-5-mini"),
        messages=[{"role": "user", "content": question.message}],
        stream=True,
    )
    # The block ends the session and the request to the model, also when the client leaves.
    async with logger.wrap(session_id, stream) as chunks:
        async for chunk in chunks:
            yield f"data: {chunk.model_dump_json()}\n\n"
    yield "data: [DONE]\n\n"


@app.post("/chat/{session_id}")
async def chat(session_id: str, question: Question) -> StreamingResponse:
    return StreamingResponse(answer(session_id, question), media_type="text/event-stream")
