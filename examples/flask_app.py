"""A chat server with Flask: answers stream from any OpenAI-compatible model server, and each is logged.

OPENAI_BASE_URL=http://127.0.0.1:8001/v1 OPENAI_API_KEY=... gunicorn --chdir examples --threads 8 flask_app:app
curl -N 127.0.0.1:8000/chat/sess_1 --json '{"message": "Hello"}'
tail -f logs/streaming/sess_1.log
"""

import os
from collections.abc import Iterator

from flask import Flask, Response, request
from openai import OpenAI

from streaming_logger import get_streaming_logger

logger = get_streaming_logger()
app = Flask(__name__)
client = OpenAI()


def answer(session_id: str, message: str) -> Iterator[str]:
    """The model's chunks as server-sent events."""
    stream = client.chat.completions.create(
        model=os.environ.get("MODEL", "gpt-5-mini"),
        messages=[{"role": "user", "content": message}],
        stream=True,
    )
    # The block ends the session and the request to the model, also when the client leaves.
    with logger.wrap(session_id, stream) as chunks:
        for chunk in chunks:
            yield f"data: {chunk.model_dump_json()}\n\n"
    yield "data: [DONE]\n\n"


@app.post("/chat/<session_id>")
def chat(session_id: str) -> Response:
    message = request.get_json()["message"]
    return Response(answer(session_id, message), mimetype="text/event-stream")
