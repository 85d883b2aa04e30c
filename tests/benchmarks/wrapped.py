"""Measures of wrapped streams: what `logger.wrap` adds to each item, over the bare iterator."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from numbered_text import numbered, verify
from peers import Ours

__all__ = ["items"]

_BLOCKS = 9


def items(candidate: str, folder: Path, *, kind: str, count: int) -> dict[str, float]:
    """Nanoseconds of one item of a stream that is read to its end: wrapped, or bare."""
    chunks = numbered(count)
    stream = [_openai_chunk(chunk) for chunk in chunks] if kind == "OpenAI" else chunks
    gc.collect()
    gc.freeze()
    ours = Ours(folder, ["s"], flush_interval_seconds=3600) if candidate != "bare" else None
    times = []
    for _ in range(_BLOCKS):
        times.append(_read_async(stream, ours) if kind == "async str" else _read(iter(stream), ours))
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


def _openai_chunk(text: str) -> Any:
    """As the real SDK makes it."""
    from openai.types.chat import ChatCompletionChunk

    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return ChatCompletionChunk.model_validate(
        {"id": "c", "created": 0, "model": "m", "object": "chat.completion.chunk", "choices": [choice]}
    )
