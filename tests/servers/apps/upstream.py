"""What all apps of this folder share: the logger, the clients of the model's API, the faults that a request asks for.

A request is GET /ROUTE/SESSION?model=MODEL[&fail_after=CHUNKS]. ROUTE says what logs the stream:

sdk         `wrap` around the stream of the OpenAI SDK, in the app's generator
body        `wrap` around the app's generator
middleware  the middleware; the app passes on what httpx gets from the model
text        nothing; else as `sdk`
events      nothing; else as `middleware`
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai

from streaming_logger import get_streaming_logger

__all__ = ["PATHS", "amodel", "amodel_events", "astream", "atick", "logger", "model", "model_events", "stream", "tick"]

PATHS = ["/middleware/{session_id}", "/sync/middleware/{session_id}"]
URL = os.environ["UPSTREAM"] + "/v1"
#: The defaults would let 100 streams run and 200 wait.
OPTIONS: dict[str, Any] = {"limits": httpx.Limits(max_connections=None), "timeout": 30}

logger = get_streaming_logger()
_client = httpx.Client(**OPTIONS)
_aclient = httpx.AsyncClient(**OPTIONS)
_sdk = openai.OpenAI(base_url=URL, api_key="none", http_client=_client)
_asdk = openai.AsyncOpenAI(base_url=URL, api_key="none", http_client=_aclient)


def _asked(name: str) -> dict[str, Any]:
    return {"model": name, "stream": True, "messages": [{"role": "user", "content": "As recorded."}]}


def _check(number: int, fail_after: int) -> None:
    if number == fail_after:
        raise RuntimeError("as asked")


def stream(route: str, session_id: str, name: str, fail_after: int) -> Iterator[str | bytes]:
    """The body of a response."""
    if route in ("middleware", "events"):
        return model_events(name, fail_after)
    if route == "body":
        return logger.wrap(session_id, model(None, name, fail_after))
    return model(session_id if route == "sdk" else None, name, fail_after)


def model(session_id: str | None, name: str, fail_after: int) -> Iterator[str]:
    """The model's text."""
    chunks = _sdk.chat.completions.create(**_asked(name))
    with chunks if session_id is None else logger.wrap(session_id, chunks) as chunks:
        for number, chunk in enumerate(chunks):
            _check(number, fail_after)
            if chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


def model_events(name: str, fail_after: int) -> Iterator[bytes]:
    """The model's server-sent events, as they come."""
    with _client.stream("POST", URL + "/chat/completions", json=_asked(name)) as got:
        for number, data in enumerate(got.iter_raw()):
            _check(number, fail_after)
            yield data


def tick(seconds: float) -> list[float]:
    """How much later than asked a thread, or greenlet, was woken up, again and again."""
    late, end = [], time.monotonic() + seconds
    while (before := time.monotonic()) < end:
        time.sleep(0.001)
        late.append(time.monotonic() - before - 0.001)
    return late


# -- the same on an event loop ---------------------------------------------------------


def astream(route: str, session_id: str, name: str, fail_after: int) -> AsyncIterator[str | bytes]:
    if route in ("middleware", "events"):
        return amodel_events(name, fail_after)
    if route == "body":
        return logger.wrap(session_id, amodel(None, name, fail_after))
    return amodel(session_id if route == "sdk" else None, name, fail_after)


async def amodel(session_id: str | None, name: str, fail_after: int) -> AsyncIterator[str]:
    chunks = await _asdk.chat.completions.create(**_asked(name))
    async with chunks if session_id is None else logger.wrap(session_id, chunks) as chunks:
        number = 0
        async for chunk in chunks:
            _check(number, fail_after)
            number += 1
            if chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


async def amodel_events(name: str, fail_after: int) -> AsyncIterator[bytes]:
    async with _aclient.stream("POST", URL + "/chat/completions", json=_asked(name)) as got:
        number = 0
        async for data in got.aiter_raw():
            _check(number, fail_after)
            number += 1
            yield data


async def atick(seconds: float) -> list[float]:
    late, end = [], time.monotonic() + seconds
    while (before := time.monotonic()) < end:
        await asyncio.sleep(0.001)
        late.append(time.monotonic() - before - 0.001)
    return late
