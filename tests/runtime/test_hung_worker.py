"""A worker that hangs: health is degraded, callers go on, and what `close()` gives up is counted."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import logs, wait_until
from streaming_logger import ConfigError, StreamingLogger
from streaming_logger._context import Timeouts
from streaming_logger._disk.store import Store
from streaming_logger._sweep.sweeper import Sweeper

Live = Callable[..., StreamingLogger]


class Hang:
    """Blocks whoever calls `wait`, until it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.over = threading.Event()

    def wait(self) -> None:
        self.begun.set()
        assert self.over.wait(50)


@pytest.fixture
def hang() -> Iterator[Hang]:
    hang = Hang()
    yield hang
    hang.over.set()


def hung_append(monkeypatch: pytest.MonkeyPatch, hang: Hang) -> None:
    """Each append blocks first."""
    real = Store.append
    monkeypatch.setattr(Store, "append", lambda self, file, blocks: (hang.wait(), real(self, file, blocks))[1])


def hung_sweep(monkeypatch: pytest.MonkeyPatch, hang: Hang) -> None:
    """The sweep blocks, and the flush's turn does not come."""
    monkeypatch.setattr(Sweeper, "scheduled", lambda self: (hang.wait(), iter(()))[1])


@pytest.mark.parametrize("harm", [hung_append, hung_sweep])
def test_health_is_degraded_while_no_flush_ends(
    live: Live, monkeypatch: pytest.MonkeyPatch, hang: Hang, harm: Callable[[pytest.MonkeyPatch, Hang], None]
) -> None:
    """Whatever the worker hangs in; ok again after it."""
    harm(monkeypatch, hang)
    logger = live(flush_interval_seconds=0.05)
    assert logger.health().status == "ok"
    logger.write("s", "text")
    assert hang.begun.wait(15)
    assert logger.health().status == "ok"
    wait_until(lambda: logger.health().status == "degraded")
    assert any("no flush has ended" in reason for reason in logger.health().reasons)
    hang.over.set()
    wait_until(lambda: logger.health().status == "ok")


def test_idle_worker_is_healthy(live: Live) -> None:
    """A flush that finds nothing has ended, too; before the first write there is no worker."""
    logger = live(flush_interval_seconds=0.05)
    assert logger.health().status == "ok"
    logger.write("s", "text")
    logger.flush()
    assert logger.health().status == "ok"


def test_what_close_gives_up_is_counted(
    live: Live, monkeypatch: pytest.MonkeyPatch, hang: Hang, caplog: pytest.LogCaptureFixture
) -> None:
    """By reason, once, however often it is closed; not any more when the disk takes it after all."""
    hung_append(monkeypatch, hang)
    logger = live({"timeouts": Timeouts(wait=0.2)}, flush_interval_seconds=0.05, crash_journal=False)
    logger.write("s", "é" * 1000)
    assert hang.begun.wait(15)
    logger.write("s", "more")
    logger.write("t", "text")
    logger.complete_session("t", wait=False)
    logger.close()
    assert logger.stats().dropped_characters == {"closed": 1008}
    assert "the disk did not respond within 0.2 s: 1008 characters given up" in caplog.text
    logger.close()
    assert logger.stats().dropped_characters == {"closed": 1008}
    hang.over.set()
    wait_until(lambda: logger.stats().dropped_characters == {})
    wait_until(lambda: not logger.stats().worker_alive)
    assert logs(logger.base_dir) == {"s": "é" * 1000 + "more", "t": "text"}
    logger._engine.directory.close()  # the flush that hung has opened it again


@pytest.mark.parametrize("kind", ["fifo", "device", "directory", "large", "socket", "loop"])
def test_configuration_that_is_not_a_file_blocks_nothing(tmp_path: Path, kind: str) -> None:
    """It is swapped while the logger runs: the old one stays, one error says why, text is written."""
    path = tmp_path / "logging_config.json"
    path.write_text(
        '{"streaming_logs": {"flush_interval_seconds": 0.05, "min_free_disk_mb": null, "directory": "logs"}}'
    )
    logger = StreamingLogger.from_file(path)
    try:
        logger.write("s", "before;")
        logger.flush()
        new = tmp_path / "new"
        if kind == "fifo":
            os.mkfifo(new)
        elif kind == "device":
            new.symlink_to("/dev/zero")
        elif kind == "directory":
            path.unlink()
            new.mkdir()
        elif kind == "large":
            new.write_bytes(b" " * 200_000_000)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("new")
        else:
            new.symlink_to(path.name)
        os.replace(new, path)
        wait_until(lambda: logger.stats().reloads_refused > 0)
        logger.write("s", "after")
        logger.complete_session("s")
        assert logs(tmp_path / "logs") == {"s": "before;after"}
        assert logger.flush_interval == 0.05
    finally:
        logger.close()


@pytest.mark.parametrize("target", ["/dev/zero", "fifo"])
def test_first_configuration_that_is_not_a_file_is_refused(tmp_path: Path, target: str) -> None:
    """At the start: `ConfigError` at once, by the constructor, and by the command."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "logging_config.json").symlink_to(target)
    with pytest.raises(ConfigError, match="must be readable: a regular file"):
        StreamingLogger.from_file(tmp_path / "logging_config.json")
