"""On trio, alone and below anyio: sessions, completions, the lifespan and the middleware work as on asyncio."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import hypercorn.config
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from conftest import logs
from server_process import Client, wait_until
from streaming_logger import StreamingLogger
from streaming_logger.integrations.asgi import CloseOnShutdown, StreamLogMiddleware, lifespan
from streaming_logger.testing import ManualLogger
from test_asyncio import HeldStore

trio = pytest.importorskip("trio")
hypercorn_trio = pytest.importorskip("hypercorn.trio")

Live = Callable[..., StreamingLogger]
Manual = Callable[..., ManualLogger]


def test_file_is_whole_when_acomplete_session_returns(live: Live, tmp_path: Path) -> None:
    """As `complete_session` does for threads."""
    logger = live()

    async def main() -> None:
        logger.write("s", "text")
        await logger.acomplete_session("s")
        assert logs(tmp_path / "logs") == {"s": "text"}
        await logger.acomplete_session("unknown")

    trio.run(main)
    assert logger.stats().completions_overdue == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_session_block_ends_whole(live: Live, tmp_path: Path, backend: str) -> None:
    """`async with`, on either of anyio's backends."""
    logger = live()

    async def main() -> None:
        async with logger.session("s") as session:
            session.write("text")
        assert logs(tmp_path / "logs") == {"s": "text"}

    anyio.run(main, backend=backend)
    assert logger.stats().sessions_completed == 1


@pytest.mark.parametrize("is_async", [True, False])
def test_loop_goes_on_while_the_disk_is_slow(live: Live, is_async: bool) -> None:
    """A session that ends waits for its file, if it may, and no other task does."""
    let_go = threading.Event()
    logger = live({"make_store": lambda directory: HeldStore(directory, let_go)})
    ticks = 0

    async def stream() -> None:
        if is_async:
            async with logger.session("s") as session:
                session.write("text")
        else:
            with logger.session("s") as session:
                session.write("text")

    async def main() -> None:
        nonlocal ticks
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream)
            for ticks in range(20):  # noqa: B007 - how far it came is what is asserted
                await trio.sleep(0.001)
            let_go.set()

    trio.run(main)
    assert ticks == 19
    logger.flush()
    assert logs(logger.base_dir) == {"s": "text"}


def test_exception_leaves_a_cancelled_block_as_it_is(live: Live, tmp_path: Path) -> None:
    """A cancellation that came before does not keep the end of the session from being awaited."""
    logger = live()

    async def fail_when_cancelled(scope: Any) -> None:
        async with logger.session("s") as session:
            session.write("text")
            scope.cancel()
            raise ValueError("of the app")

    async def main() -> None:
        with trio.CancelScope() as scope:
            with pytest.raises(ValueError, match="of the app"):
                await fail_when_cancelled(scope)
            assert logs(tmp_path / "logs") == {"s": "text"}

    trio.run(main)
    assert logger.stats().completions_overdue == 0


def test_loop_of_another_kind_is_not_waited_on(manual: Manual) -> None:
    """Neither asyncio's nor trio's: the session is completed, and nothing is raised."""
    logger = manual()

    async def stream() -> None:
        async with logger.session("s") as session:
            session.write("text")

    with pytest.raises(StopIteration):
        stream().send(None)
    assert (logger.text, logger.outcomes) == ({"s": "text"}, {"s": "completed"})


def test_reader_that_leaves(manual: Manual) -> None:
    """A task that is cancelled ends its session as "closed", by whichever way the logger is attached."""
    logger = manual()

    async def endless() -> AsyncIterator[str]:
        while True:
            yield "a"
            await trio.sleep(0)

    async def in_session() -> None:
        async with logger.session("session", wait=False) as session:
            session.write("a")
            await trio.sleep_forever()

    async def in_wrap() -> None:
        async with logger.wrap("wrap", endless()) as chunks:
            async for _ in chunks:
                pass

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_session)
            nursery.start_soon(in_wrap)
            await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert logger.outcomes == {"session": "closed", "wrap": "closed"}


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_lifespan_closes_the_logger(live: Live, is_cancelled: bool) -> None:
    """Off the loop; a server that cancels the app's lifespan keeps nothing from its file."""
    logger = live(flush_interval_seconds=3600)

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with lifespan(logger)(None):
                logger.write("s", "text")
                if is_cancelled:
                    scope.cancel()

    trio.run(main)
    assert logs(logger.base_dir) == {"s": "text"}
    assert not logger.stats().worker_alive


def test_middleware_closes_the_logger(live: Live) -> None:
    """An app that does not speak the lifespan protocol is spoken for."""
    logger = live(flush_interval_seconds=3600)
    logger.write("s", "text")
    told = iter(["lifespan.startup", "lifespan.shutdown"])
    answers: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await trio.lowlevel.checkpoint()

    async def receive() -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return {"type": next(told)}

    async def send(message: dict[str, str]) -> None:
        answers.append(message["type"])

    trio.run(CloseOnShutdown(app, logger), {"type": "lifespan"}, receive, send)
    assert answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert logs(logger.base_dir) == {"s": "text"}


def test_body_ends_before_the_app_returns(manual: Manual) -> None:
    """Background tasks of the app come after the end of the stream, also here."""
    logger = manual()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"Hello"})
        while not logger.outcomes:
            await trio.sleep(0.01)

    async def ignore(message: Any) -> None:
        pass

    scope = {"type": "http", "path": "/chat/s", "headers": []}
    trio.run(StreamLogMiddleware(app, logger, paths=["/chat/{session_id}"]), scope, None, ignore)
    assert (logger.text, logger.outcomes) == ({"s": "Hello"}, {"s": "completed"})


@contextlib.contextmanager
def served(app: Any) -> Iterator[int]:
    """hypercorn's trio worker, in a thread; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    config.graceful_timeout = 1
    started, stop = threading.Event(), threading.Event()

    async def stopped() -> None:
        while not stop.is_set():
            await trio.sleep(0.02)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(
                lambda task_status: hypercorn_trio.serve(app, config, shutdown_trigger=stopped, task_status=task_status)
            )
            started.set()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    try:
        assert started.wait(20)
        yield port
    finally:
        stop.set()
        thread.join(20)


def test_streams_behind_hypercorns_trio_worker(live: Live) -> None:
    """A client that stays, one that leaves, a generator that raises, and a shutdown that writes all."""
    logger = live(flush_interval_seconds=0.1)

    async def words(name: str) -> AsyncIterator[bytes]:
        yield b"Hello"
        if name == "broken":
            raise RuntimeError("the model died")
        for _ in range(100_000 if name == "left" else 1):
            await trio.sleep(0.005)
            yield b" again"

    async def chat(request: Request) -> StreamingResponse:
        return StreamingResponse(words(request.path_params["name"]), media_type="text/plain")

    app = Starlette(routes=[Route("/chat/{name}", chat)])
    app.add_middleware(StreamLogMiddleware, logger=logger, paths=["/chat/{session_id}"])
    with served(app) as port:
        assert Client(port, "/chat/whole").read() == b"Hello again"
        Client(port, "/chat/broken").read()
        left = Client(port, "/chat/left")
        left.read(20)
        left.reset()
        wait_until(lambda: logger.stats().sessions_completed == 3, "all three end")
        logger.write("open", "text")
    assert not logger.stats().worker_alive
    ledger = (logger.base_dir / ".streaming_logger" / "ledger.jsonl").read_text()
    for session, outcome in (("whole", "completed"), ("broken", "error"), ("left", "closed")):
        assert any(f'"{session}"' in line and f'"{outcome}"' in line for line in ledger.splitlines()), ledger
    found = logs(logger.base_dir)
    assert (found["whole"], found["broken"], found["open"]) == ("Hello again", "Hello", "text")
    assert found["left"].startswith("Hello again")
