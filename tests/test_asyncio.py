"""On an event loop: completions are awaited, and the loop goes on while the disk is slow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from conftest import logs
from streaming_logger import StreamingLogger
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.store import OpenFile, Store
from streaming_logger.testing import ManualLogger

Live = Callable[..., StreamingLogger]


class HeldStore(Store):
    """A disk that answers when the test lets it: real files, held before each write."""

    def __init__(self, directory: Directory, let_go: threading.Event) -> None:
        super().__init__(directory)
        self._let_go = let_go
        self.reached = threading.Event()

    def append(self, file: OpenFile, blocks: Sequence[bytes | memoryview]) -> int:
        self.reached.set()
        self._let_go.wait(30)
        return super().append(file, blocks)


async def still_running(until: threading.Event | asyncio.Event, ticks: int = 20) -> int:
    """Turns of the loop while something waits."""
    count = 0
    while count < ticks and not until.is_set():
        await asyncio.sleep(0.001)
        count += 1
    return count


def test_file_is_whole_when_acomplete_session_returns(live: Live, tmp_path: Path) -> None:
    """As `complete_session` does for threads."""
    logger = live()

    async def main() -> None:
        logger.write("s", "text")
        await logger.acomplete_session("s")
        assert logs(tmp_path / "logs") == {"s": "text"}

    asyncio.run(main())
    assert logger.stats().sessions_completed == 1


def test_acomplete_session_of_an_unknown_session_returns(live: Live) -> None:
    """Nothing to wait for; a wrong type is named."""
    logger = live()
    asyncio.run(logger.acomplete_session("unknown"))
    asyncio.run(logger.acomplete_session(None))
    with pytest.raises(TypeError, match="must be str, not int"):
        asyncio.run(logger.acomplete_session(1))  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["acomplete", "async with", "with"])
def test_loop_goes_on_while_the_disk_is_slow(live: Live, tmp_path: Path, way: str) -> None:
    """None of the ways to end a session holds up the other tasks."""
    let_go, stores = threading.Event(), []

    def make_store(directory: Directory) -> Store:
        stores.append(HeldStore(directory, let_go))
        return stores[-1]

    logger = live({"make_store": make_store}, flush_interval_seconds=0.02)

    async def stream() -> None:
        if way == "async with":
            async with logger.session("s") as handle:
                handle.write("text")
        elif way == "with":
            with logger.session("s") as handle:
                handle.write("text")
        else:
            logger.write("s", "text")
            await logger.acomplete_session("s")

    async def main() -> None:
        task = asyncio.create_task(stream())
        await asyncio.sleep(0)
        while not stores[0].reached.is_set():
            await asyncio.sleep(0.001)
        assert await still_running(let_go) == 20
        assert task.done() == (way == "with")
        let_go.set()
        await task
        logger.flush()
        assert logs(tmp_path / "logs") == {"s": "text"}

    asyncio.run(main())
    assert logger.stats().sessions_completed == 1


def test_cancellation_of_the_wait_loses_nothing(live: Live, tmp_path: Path) -> None:
    """The session completes all the same, with the outcome that was asked for."""
    let_go = threading.Event()
    logger = live({"make_store": lambda directory: HeldStore(directory, let_go)})

    async def main() -> None:
        logger.write("s", "text")
        task = asyncio.create_task(logger.acomplete_session("s", outcome="error"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        let_go.set()

    asyncio.run(main())
    logger.flush()
    assert logs(tmp_path / "logs") == {"s": "text"}
    assert logger.stats().sessions_completed == 1
    assert '"outcome": "error"' in (tmp_path / "logs" / ".streaming_logger" / "ledger.jsonl").read_text()


def test_loop_that_is_closed_before_the_completion_harms_nobody(live: Live, tmp_path: Path) -> None:
    """The worker has nobody left to wake, and goes on."""
    let_go = threading.Event()
    logger = live({"make_store": lambda directory: HeldStore(directory, let_go)})
    logger.write("s", "text")
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(logger.acomplete_session("s"), 0.01))
    let_go.set()
    logger.write("t", "more")
    logger.complete_session("t")
    assert logs(tmp_path / "logs") == {"s": "text", "t": "more"}
    assert logger.stats().worker_restarts == 0


def test_wait_is_bounded_and_counted(live: Live) -> None:
    """A disk that hangs holds the coroutine for as long as it may hold a thread."""
    from streaming_logger._context import Timeouts

    let_go = threading.Event()
    parts = {"make_store": lambda directory: HeldStore(directory, let_go), "timeouts": Timeouts(wait=0.3)}
    logger = live(parts)
    logger.write("s", "text")
    asyncio.run(logger.acomplete_session("s"))
    assert logger.stats().completions_overdue == 1
    let_go.set()


@pytest.mark.parametrize(("error", "outcome"), [(None, "completed"), (ValueError("a fault"), "error")])
def test_outcome_of_an_async_with_block(error: Exception | None, outcome: str) -> None:
    """As of a `with` block."""

    async def main(logger: ManualLogger) -> None:
        async with logger.session("s") as stream:
            stream.write("text")
            if error:
                raise error

    with ManualLogger() as logger:
        if error:
            with pytest.raises(ValueError, match="a fault"):
                asyncio.run(main(logger))
        else:
            asyncio.run(main(logger))
        assert logger.outcomes == {"s": outcome}


def test_worker_that_cannot_run_does_not_hang_a_coroutine(live: Live, tmp_path: Path) -> None:
    """The completion is done inline."""

    def no_thread(target: Callable[[], None], name: str) -> None:
        raise RuntimeError("can't start new thread")

    logger = live({"run_thread": no_thread}, file_retention_minutes=None, time_based_cleanup=True)
    logger.write("s", "text")
    asyncio.run(logger.acomplete_session("s"))
    assert logger.stats().sessions_completed == 1
