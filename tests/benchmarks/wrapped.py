"""Measures of wrapped streams: what `logger.wrap` adds to each item, over the bare iterator."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from numbered_text import numbered, verify
from peers import Ours

from streaming_logger.integrations.asgi import StreamLogMiddleware

__all__ = ["MEASURES", "items"]

_BLOCKS = 9
_WRAP = "wrap(), added to an item of a bare iterator, "
#: What is measured of each kind of stream, and its goal in nanoseconds.
MEASURES: Mapping[str, tuple[str, float | None]] = {
    "str": (f"{_WRAP}str", 1000.0),
    "async str": (f"{_WRAP}async str", 1000.0),
    "OpenAI": (f"{_WRAP}OpenAI chunk of the SDK", 2000.0),
    "SSE response": ("the ASGI middleware, added to an event of an SSE response", None),
}


def items(candidate: str, folder: Path, *, kind: str, count: int) -> dict[str, float]:
    """Nanoseconds of one item of a stream that is read to its end: wrapped, or bare."""
    chunks = numbered(count)
    stream = [_CHUNKS[kind](chunk) for chunk in chunks] if kind in _CHUNKS else chunks
    gc.collect()
    gc.freeze()
    ours = Ours(folder, ["s"], flush_interval_seconds=3600) if candidate != "bare" else None
    times = []
    for _ in range(_BLOCKS):
        read = {"async str": _read_async, "SSE response": _respond}.get(kind)
        times.append(read(stream, ours) if read is not None else _read(iter(stream), ours))
        if ours is not None:
            ours.logger.flush()
    if ours is not None:
        ours.close()
        verify(ours.paths["s"], "", chunks * _BLOCKS)
    return {"ns": median(times) / count * 1e9}


def _read(stream: Iterator[Any], ours: Ours | None) -> float:
    wrapped = stream if ours is None else ours.logger.wrap("s", stream)
    begun = time.perf_counter()
    for _ in wrapped:
        pass
    return time.perf_counter() - begun


async def _tokens(chunks: Iterable[str]) -> AsyncIterator[str]:
    for chunk in chunks:
        yield chunk


def _read_async(chunks: list[str], ours: Ours | None) -> float:
    async def read() -> float:
        stream: AsyncIterator[str] = _tokens(chunks)
        wrapped = stream if ours is None else ours.logger.wrap("s", stream)
        begun = time.perf_counter()
        async for _ in wrapped:
            pass
        return time.perf_counter() - begun

    return asyncio.run(read())


def _respond(events: list[bytes], ours: Ours | None) -> float:
    """Sends the events as an ASGI app does, by way of the middleware or straight."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "headers": [(b"content-type", b"text/event-stream")]})
        for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        pass

    async def respond() -> float:
        served: Any = app
        if ours is not None:
            served = StreamLogMiddleware(app, ours.logger, paths=["*"], session_id=lambda scope: "s")
        begun = time.perf_counter()
        await served({"type": "http", "path": "/", "headers": []}, None, send)
        return time.perf_counter() - begun

    return asyncio.run(respond())


def _openai_chunk(text: str) -> Any:
    """As the real SDK makes it."""
    from openai.types.chat import ChatCompletionChunk

    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return ChatCompletionChunk.model_validate(
        {"id": "c", "created": 0, "model": "m", "object": "chat.completion.chunk", "choices": [choice]}
    )


def _event(chunk: str) -> bytes:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': chunk}}]})}\n\n".encode()


_CHUNKS: dict[str, Callable[[str], Any]] = {"OpenAI": _openai_chunk, "SSE response": _event}
