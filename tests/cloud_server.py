"""The same recordings as the clouds serve them: OpenAI's API on Azure, Anthropic's on Bedrock and Vertex.

And OpenAI's Assistants, whose path names a thread; here it is the model.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from replay_server import BreakError, Chunk, ReplayHandler, ReplayServer, chat, messages


def assistants(request: dict[str, Any], chunks: Iterator[Chunk]) -> Iterator[dict[str, Any]]:
    """A run that writes one message."""
    message = {"id": "msg_1", "object": "thread.message", "created_at": 1, "thread_id": "t", "role": "assistant"}
    yield message | {"type": "thread.message.created", "status": "in_progress", "content": []}
    for chunk in chunks:
        content = [{"index": 0, "type": "text", "text": {"value": chunk.text, "annotations": []}}]
        delta = {"id": "msg_1", "object": "thread.message.delta", "delta": {"content": content}}
        yield delta | {"type": "thread.message.delta"}  # the server's name of the event


#: A request's path names the model, and the API.
PATHS = {
    r"/openai/deployments/(.+)/chat/completions": chat,
    r"/model/(.+)/invoke-with-response-stream": messages,
    r"/projects/.+/models/(.+):streamRawPredict": messages,
    r"/v1/threads/(.+)/runs": assistants,
}


class CloudServer(ReplayServer):
    """Serves on 127.0.0.1, like the server that it is made from."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = CloudHandler


class CloudHandler(ReplayHandler):
    def do_POST(self) -> None:  # noqa: N802 - its name there
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.close_connection = True
        path = unquote(self.path.partition("?")[0])
        found, api = next((found, api) for pattern, api in PATHS.items() if (found := re.fullmatch(pattern, path)))
        request |= {"model": found[1], "stream": True}
        with contextlib.suppress(BreakError, OSError):  # OSError: the client went away
            events = api(request, self.server.replay(request))
            if path.startswith("/model/"):
                self.send_frames(events)
            else:
                self.send_events(events)

    def send_frames(self, events: Iterator[dict[str, Any]]) -> None:
        """As Bedrock sends events: each in a binary frame."""
        self.send_head(200, "application/vnd.amazon.eventstream", "Transfer-Encoding", "chunked")
        for event in events:
            self.send_chunk(frame({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}))
        self.send_chunk(b"")


def frame(payload: dict[str, str]) -> bytes:
    """A message of `application/vnd.amazon.eventstream`."""
    body = json.dumps(payload).encode()
    named = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in named.items()
    )
    prelude = struct.pack(">II", len(headers) + len(body) + 16, len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


@contextlib.contextmanager
def serving_clouds() -> Iterator[CloudServer]:
    """A server that runs in the background until the block ends."""
    server = CloudServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="cloud server")
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()
