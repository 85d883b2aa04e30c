"""What all tests share: loggers that are closed, a clock that stands still, and nothing left behind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming_logger import Config, StreamingLogger
from streaming_logger._base.clock import Clock
from streaming_logger._config.watch import Settings


class HandClock(Clock):
    """A clock that goes on only when it is told to; wall time is far from any real mtime unless set."""

    def __init__(self, wall: float) -> None:
        self.now = 1000.0
        self.offset = wall - self.now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.offset

    def forward(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    def set_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock by so much."""
        self.offset += seconds


class ManualLogger(StreamingLogger):
    """A logger without a thread: the test says when the worker's work is done, and what time it is."""

    clock: HandClock

    def __init__(self, config: Config, directory: Path, clock: HandClock, config_file: Path | None = None) -> None:
        self.clock = clock
        self._begin(Settings(config, config_file), directory, clock)
        self._engine.worker.autostart = False
        self._open_directory()

    def run_pending(self) -> float:
        return self._engine.worker.run_pending()

    def later(self, seconds: float) -> None:
        """Time passes, and the worker does what is due then."""
        self.clock.forward(seconds)
        self.run_pending()


@pytest.fixture
def clock() -> HandClock:
    import time

    return HandClock(time.time())


@pytest.fixture
def manual(tmp_path: Path, clock: HandClock) -> Iterator[Callable[..., ManualLogger]]:
    """Makes loggers that run by hand, in `tmp_path / "logs"`; settings as keywords."""
    made: list[ManualLogger] = []

    def make(**settings: Any) -> ManualLogger:
        settings.setdefault("min_free_disk_mb", None)
        made.append(ManualLogger(Config(**settings), tmp_path / "logs", clock))
        return made[-1]

    yield make
    for logger in made:
        logger.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[..., StreamingLogger]]:
    """Makes loggers with their real thread, in `tmp_path / "logs"`; settings as keywords."""
    made: list[StreamingLogger] = []

    def make(**settings: Any) -> StreamingLogger:
        settings.setdefault("min_free_disk_mb", None)
        made.append(StreamingLogger(Config(**settings), directory=tmp_path / "logs"))
        return made[-1]

    yield make
    for logger in made:
        logger.close()


def logs(directory: Path) -> dict[str, str]:
    """The session files of a directory, by name without suffix."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(directory.glob("*.log"))}


def make_old(path: Path, seconds: float) -> None:
    """Sets a file's mtime so far back."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def _descriptors() -> set[str]:
    """What this process has open, as far as it is a file or directory of a test."""
    found = set()
    for fd in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if "pytest" in target:
            found.add(f"{fd} -> {target}")
    return found


def pytest_collection_finish() -> None:
    """What is there by now is no garbage: walking it after each test took a quarter of the suite's time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts in an empty directory and ends without a thread or descriptor of ours."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STREAMING_LOGS_")]:
        monkeypatch.delenv(name)
    before = _descriptors()
    yield
    gc.collect()
    threads = [thread.name for thread in threading.enumerate() if thread.name == "streaming_logger"]
    assert threads == [], "a test left a worker behind"
    assert _descriptors() - before == set(), "a test left a descriptor behind"
