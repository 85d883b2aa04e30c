"""The ASGI lifespan closes the logger, off the loop, whatever the app makes of the protocol."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from conftest import logs
from streaming_logger import StreamingLogger
from streaming_logger.integrations.asgi import CloseOnShutdown, lifespan


def serve(app: Any) -> list[str]:
    """Plays an ASGI server's part of a lifespan; what the app answered."""
    told = iter(["lifespan.startup", "lifespan.shutdown"])
    answers: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": next(told)}

    async def send(message: dict[str, str]) -> None:
        answers.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    return answers


async def speaks(scope: Any, receive: Any, send: Any) -> None:
    """An app that speaks the protocol."""
    while True:
        kind = (await receive())["type"]
        await send({"type": kind + ".complete"})
        if kind == "lifespan.shutdown":
            return


async def returns(scope: Any, receive: Any, send: Any) -> None:
    """An app that returns from what it does not know."""


async def raises(scope: Any, receive: Any, send: Any) -> None:
    """An app that raises at what it does not know, as the protocol allows."""
    raise RuntimeError(scope["type"])


async def hears_and_raises(scope: Any, receive: Any, send: Any) -> None:
    """An app that takes the first message and raises."""
    await receive()
    raise RuntimeError("no lifespan here")


async def leaves_early(scope: Any, receive: Any, send: Any) -> None:
    """An app that starts and is not there at shutdown."""
    await receive()
    await send({"type": "lifespan.startup.complete"})


@pytest.mark.parametrize("app", [speaks, returns, raises, hears_and_raises, leaves_early])
def test_shutdown_closes_whatever_the_app_makes_of_the_protocol(live: Callable[..., StreamingLogger], app: Any) -> None:
    """Each message is answered once, and the text is in its file before the last answer."""
    logger = live(flush_interval_seconds=3600)
    logger.write("s", "text")
    assert serve(CloseOnShutdown(app, logger)) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert logs(logger.base_dir) == {"s": "text"}
    assert not logger.stats().worker_alive


def test_a_failed_start_is_passed_on(live: Callable[..., StreamingLogger]) -> None:
    """A start that failed is the server's to see; nothing is answered in its place."""

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    assert serve(CloseOnShutdown(fails, live())) == ["lifespan.startup.failed"]


def test_a_fault_at_shutdown_closes_and_is_passed_on(live: Callable[..., StreamingLogger]) -> None:
    """An app that raises after it had started raises through the middleware, and nothing is lost."""

    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise ValueError("at shutdown")

    logger = live(flush_interval_seconds=3600)
    logger.write("s", "text")
    with pytest.raises(ValueError, match="at shutdown"):
        serve(CloseOnShutdown(breaks, logger))
    assert logs(logger.base_dir) == {"s": "text"}


def test_requests_go_through(live: Callable[..., StreamingLogger]) -> None:
    """What is no lifespan reaches the app as it came, and closes nothing."""
    seen: list[Any] = []

    async def app(*arguments: Any) -> None:
        seen.extend(arguments)

    logger = live()
    logger.write("s", "text")
    asyncio.run(CloseOnShutdown(app, logger)({"type": "http"}, "receive", "send"))  # type: ignore[arg-type]
    assert seen == [{"type": "http"}, "receive", "send"]
    assert logger.stats().worker_alive


def test_lifespan_closes_off_the_loop_also_after_an_error(
    live: Callable[..., StreamingLogger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing waits for the disk; the loop must not."""
    logger = live(flush_interval_seconds=3600)
    closed_by: list[threading.Thread] = []
    close = logger.close

    def noting() -> None:
        closed_by.append(threading.current_thread())
        close()

    monkeypatch.setattr(logger, "close", noting)

    async def serve_and_fail() -> None:
        async with lifespan(logger)(None):
            logger.write("s", "text")
            raise ValueError("in the app")

    with pytest.raises(ValueError, match="in the app"):
        asyncio.run(serve_and_fail())
    assert closed_by
    assert closed_by[0] is not threading.main_thread()
    assert logs(logger.base_dir) == {"s": "text"}


def test_streams_that_the_server_has_cancelled_end_as_closed(live: Callable[..., StreamingLogger]) -> None:
    """uvicorn cancels them and goes on to the shutdown at once: they have a moment before the logger is closed."""
    logger = live()
    log = logger.wrap("s", iter(["text"]))

    async def stream() -> None:
        with log:
            next(log)
            await asyncio.sleep(3600)

    async def run() -> None:
        async with lifespan(logger)(None):
            task = asyncio.create_task(stream())
            await asyncio.sleep(0)
            task.cancel()

    asyncio.run(run())
    assert log.outcome == "closed"
    assert logger.stats().sessions_completed == 1


def test_session_that_stays_open_delays_the_shutdown_a_moment(live: Callable[..., StreamingLogger]) -> None:
    """Then the logger is closed all the same, and the text is in the file."""
    logger = live()
    logger.write("s", "text")
    began = time.monotonic()
    serve(CloseOnShutdown(speaks, logger))
    assert time.monotonic() - began < 5
    assert logs(logger.base_dir) == {"s": "text"}
