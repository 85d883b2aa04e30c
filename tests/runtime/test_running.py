"""A server's day: settings edited while it runs, frozen time, an event loop, the end of the process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from freezegun import freeze_time

from conftest import logs
from streaming_logger import Config, StreamingLogger
from streaming_logger._base.clock import Clock
from streaming_logger.testing import ManualLogger

Make = Callable[..., StreamingLogger]


def until(condition: Callable[[], bool]) -> None:
    """Returns when it holds; the test's timeout is the bound."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.01)


def edit(path: Path, **settings: object) -> None:
    """Swaps the file, as editors and deployments do."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"streaming_logs": settings}))
    new.replace(path)


def test_settings_edited_while_running(tmp_path: Path) -> None:
    """A shorter interval, then a shorter retention, then a bad edit; the stream goes on all the time."""
    path, here = tmp_path / "logging_config.json", str(tmp_path / "logs")
    edit(path, directory=here, flush_interval_seconds=0.2, min_free_disk_mb=None)
    with StreamingLogger.from_file(path) as logger:
        logger.write("s", "one ")
        edit(path, directory=here, flush_interval_seconds=0.01, min_free_disk_mb=None)
        until(lambda: logger.flush_interval == 0.01)
        logger.write("s", "two ")
        until(lambda: logs(tmp_path / "logs") == {"s": "one two "})
        path.write_text("{ half an ed")
        until(lambda: logger.stats().reloads_refused >= 1)
        logger.write("s", "three")
        logger.complete_session("s")
        assert logs(tmp_path / "logs") == {"s": "one two three"}
        edit(
            path,
            directory=here,
            flush_interval_seconds=0.01,
            cleanup_interval_seconds=0.02,
            file_retention_minutes=0.001,
        )
        until(lambda: logger.stats().deleted_files == {"retention": 1})
        assert logs(tmp_path / "logs") == {}


def test_cleanup_follows_a_frozen_clock(tmp_path: Path) -> None:
    """freezegun moves both times: the file goes when its window is over, not before."""
    with freeze_time(datetime.now(UTC)) as frozen:
        logger = ManualLogger(Config(min_free_disk_mb=None), tmp_path / "logs", clock=Clock())  # type: ignore[arg-type]
        logger.write("s", "text")
        logger.complete_session("s", wait=False)
        for minutes in range(10):
            logger.run_pending()
            assert logs(tmp_path / "logs") == {"s": "text"}, f"gone after {minutes} minutes"
            frozen.tick(60)
        frozen.tick(60)
        logger.run_pending()
        assert logs(tmp_path / "logs") == {}
        assert logger.stats().deleted_files == {"retention": 1}
        logger.close()


def test_idle_session_is_abandoned_on_a_frozen_clock(tmp_path: Path) -> None:
    """Idleness is monotonic time, which freezegun moves too."""
    with freeze_time("2030-01-01") as frozen:
        logger = ManualLogger(Config(idle_timeout_minutes=30), tmp_path / "logs", clock=Clock())  # type: ignore[arg-type]
        logger.write("s", "text")
        frozen.tick(2)
        logger.run_pending()
        frozen.tick(30 * 60 - 1)
        logger.run_pending()
        assert logger.stats().sessions_active == 1
        frozen.tick(4)
        logger.run_pending()
        assert logger.stats().sessions_abandoned == 1
        logger.close()


def test_event_loop_is_never_held_up(live: Make) -> None:
    """An asyncio server with wait=False: the slowest step stays far below a frame, all text arrives."""
    logger = live(flush_interval_seconds=0.02)

    async def stream(number: int) -> float:
        slowest = 0.0
        loop = asyncio.get_running_loop()
        with logger.session(f"s{number}", wait=False) as session:
            for word in range(50):
                begun = loop.time()
                session.write(f"{word} ")
                slowest = max(slowest, loop.time() - begun)
                await asyncio.sleep(0)
            begun = loop.time()
        return max(slowest, loop.time() - begun)

    async def server() -> list[float]:
        return await asyncio.gather(*(stream(number) for number in range(50)))

    assert max(asyncio.run(server())) < 1
    logger.flush()
    expected = "".join(f"{word} " for word in range(50))
    assert logs(logger.base_dir) == {f"s{number}": expected for number in range(50)}


def test_cancelled_stream_is_completed(live: Make) -> None:
    """The client goes away in the middle: its file is closed, what was streamed is there."""
    logger = live()

    async def stream() -> None:
        with logger.session("s", wait=False) as session:
            session.write("half")
            await asyncio.sleep(3600)

    async def server() -> None:
        task = asyncio.create_task(stream())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(server())
    logger.flush()
    assert logs(logger.base_dir) == {"s": "half"}
    assert logger.stats().sessions_active == 0


ENDS = {
    "end": "",
    "sys.exit": "sys.exit(3)",
    "exception": "raise ValueError",
    "in a thread": "t = threading.Thread(target=l.write, args=('s9', 'text')); t.start(); t.join()",
    "at exit": "atexit.register(lambda: l.write('s9', 'text'))",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_process_that_ends_loses_nothing(tmp_path: Path, end: str) -> None:
    """Sessions shorter than a flush interval, never completed, never closed."""
    program = (
        "import atexit, sys, threading\n"
        "from streaming_logger import Config, StreamingLogger\n"
        "l = StreamingLogger(Config(flush_interval_seconds=3600), directory='logs')\n"
        "for n in range(5): l.write(f's{n}', 'text')\n"
        "l.complete_session('s0', wait=False)\n"
        f"{end}\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, timeout=30, capture_output=True, check=False)
    found = logs(tmp_path / "logs")
    assert set(found.values()) == {"text"}
    assert [f"s{number}" for number in range(5)] == [name for name in found if name != "s9"]
    assert ("s9" in found) == ("s9" in end)
