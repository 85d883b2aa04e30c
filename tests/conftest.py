"""What all tests share: loggers that are closed, a manual clock, and nothing left behind."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hypothesis
import pytest

from replay_server import ReplayServer, replaying
from s3_server import Proxy, proxied, running_moto
from streaming_logger import Config, StreamingLogger
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context
from streaming_logger._runtime.engine import Engine
from streaming_logger._wal.storage import DEFAULT_STORAGE, is_available
from streaming_logger.testing import ManualClock, ManualLogger

hypothesis.settings.register_profile("busy", deadline=None)  # a machine that is busy makes no example wrong
hypothesis.settings.load_profile("busy")

#: Their doctests import SDKs that take seconds: tests/integrations/sdks runs them.
SDK_MODULES = [f"streaming_logger.integrations.{name}" for name in ("anthropic", "langchain", "litellm", "pydantic_ai")]


os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else litellm downloads its price list when it is imported


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sdks", action="store_true", help="the tests that import the large SDKs, too")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Not even imported, unless they are asked for: the garbage collector would walk 400 MB after each other test."""
    return True if collection_path.name == "sdks" and not config.getoption("sdks") else None


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def manual(tmp_path: Path, clock: ManualClock) -> Iterator[Callable[..., ManualLogger]]:
    """Makes loggers that run by hand, in `tmp_path / "logs"`; settings as keywords."""
    made: list[ManualLogger] = []

    def make(parts: Mapping[str, Any] = MappingProxyType({}), **settings: Any) -> ManualLogger:
        settings.setdefault("min_free_disk_mb", None)
        made.append(ManualLogger(Config(**settings), tmp_path / "logs", clock=clock, **parts))
        return made[-1]

    yield make
    for logger in made:
        logger.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[..., StreamingLogger]]:
    """Makes loggers with their real thread, in `tmp_path / "logs"`; settings as keywords, `parts` for the context."""
    made: list[StreamingLogger] = []

    def make(parts: Mapping[str, Any] = MappingProxyType({}), **settings: Any) -> StreamingLogger:
        settings.setdefault("min_free_disk_mb", None)
        made.append(StreamingLogger._of(Engine(Context.make(Settings(Config(**settings)), tmp_path / "logs", **parts))))
        made[-1]._engine.open()
        return made[-1]

    yield make
    for logger in made:
        logger.close()


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Storage in memory of the test's own, which the programs of `faults/programs.py` use, too.

    In the one that all share, the loggers of other tests would find, and recover, what this test has killed.
    """
    if not is_available():
        pytest.skip("needs storage in memory")
    with tempfile.TemporaryDirectory(dir=DEFAULT_STORAGE) as place:
        monkeypatch.setenv("CRASH_STORAGE", place)
        yield Path(place)


@pytest.fixture(scope="session")
def replay() -> Iterator[ReplayServer]:
    """A server that speaks OpenAI's and Anthropic's APIs and answers with the recordings."""
    with replaying() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[int]:
    """The port of an S3 server in a process of its own."""
    with running_moto() as port:
        yield port


@pytest.fixture
def s3(moto: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A way to that server that counts requests and does harm; the archive's environment leads there."""
    with proxied(moto) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


def logs(directory: Path) -> dict[str, str]:
    """The session files of a directory, by name without suffix."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(directory.glob("*.log"))}


def make_old(path: Path, seconds: float) -> None:
    """Sets a file's mtime so far back."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def wait_until(condition: Callable[[], bool], what: str = "it did not happen in time", seconds: float = 15) -> None:
    """Looks again and again: what is awaited happens on another thread, or in another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        threading.Event().wait(0.01)


def _threads() -> list[str]:
    """The library's threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("streaming_logger")]


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


def _collect_garbage(modules: list[int] = [0]) -> None:  # noqa: B006 - how many modules were there the last time
    """Whatever modules hold is no garbage: walking it after each test took a quarter of the suite's time."""
    gc.collect()
    if len(sys.modules) > modules[0]:
        gc.freeze()
        modules[0] = len(sys.modules)


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts in an empty directory and ends without a thread or descriptor of ours."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STREAMING_LOGS_")]:
        monkeypatch.delenv(name)
    before = _descriptors()
    yield
    _collect_garbage()
    # A thread's last step comes after it has said that it ends; a request that hung ends with its server.
    wait_until(lambda: not _threads(), "a test left a thread behind")
    assert _descriptors() - before == set(), "a test left a descriptor behind"
