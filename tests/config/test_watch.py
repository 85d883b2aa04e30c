"""The watched file: an edit takes effect within one flush interval, a bad one changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming_logger import Config, StreamingLogger
from streaming_logger._config import schema
from streaming_logger._config.schema import load
from streaming_logger._config.watch import COPY
from streaming_logger._disk.regular import read_regular
from streaming_logger.testing import ManualClock, ManualLogger


class Watched:
    """A logger by hand and the file it watches."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.path = folder / "logging_config.json"
        self._edits = 0
        self.edit(min_free_disk_mb=None)
        self.logger = ManualLogger(load(self.path), folder / "logs", clock=clock, config_file=self.path)

    def edit(self, **settings: Any) -> None:
        self.edit_text(json.dumps({"streaming_logs": settings, "others": 1}))

    def edit_text(self, text: str) -> None:
        """Swaps the file as an editor does, so that each edit is another inode."""
        self._edits += 1
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    def edits_refused(self) -> int:
        return self.logger.stats().reloads_refused


@pytest.fixture
def watched(tmp_path: Path, clock: ManualClock) -> Iterator[Watched]:
    watched = Watched(tmp_path, clock)
    yield watched
    watched.logger.close()


def test_edit_takes_effect_within_one_flush_interval(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """All of it at once, counted, and logged with old and new values."""
    caplog.set_level(logging.INFO, "streaming_logger")
    watched.edit(file_retention_minutes=3, flush_interval_seconds=1)
    watched.logger.advance(1.9)
    assert watched.logger.flush_interval == 2
    watched.logger.advance(0.1)
    assert watched.logger.flush_interval == 1
    assert watched.logger._engine.settings.config.file_retention_minutes == 3
    assert watched.logger.stats().reloads == 1
    assert "flush_interval_seconds 2 -> 1, file_retention_minutes 10 -> 3" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"streaming_logs": {"enabled": 3}}', '{"streaming_logs": {"enable": false}}']
)
def test_bad_edit_changes_nothing_and_is_counted_once(
    watched: Watched, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """The configuration in force stays, with one error line for the edit, not one a flush."""
    before = watched.logger._engine.settings.config
    watched.edit_text(text)
    for _ in range(5):
        watched.logger.advance(2)
    assert watched.logger._engine.settings.config is before
    assert (watched.logger.stats().reloads, watched.edits_refused()) == (0, 1)
    (line,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "configuration reload rejected" in line.getMessage()


def test_good_edit_after_a_bad_one_takes_effect(watched: Watched) -> None:
    """A file caught in the middle of being written is read again when it is whole."""
    watched.edit_text('{"streaming_logs": {"flush_int')
    watched.logger.advance(2)
    watched.edit(flush_interval_seconds=1)
    watched.logger.advance(2)
    assert watched.logger.flush_interval == 1
    assert (watched.logger.stats().reloads, watched.edits_refused()) == (1, 1)


def test_removed_file_changes_nothing(watched: Watched) -> None:
    """An editor that removes and writes anew never switches to deletion at completion."""
    watched.path.unlink()
    watched.logger.advance(2)
    assert watched.edits_refused() == 1
    assert watched.logger._engine.settings.config.time_based_cleanup
    watched.edit(flush_interval_seconds=1)
    watched.logger.advance(2)
    assert watched.logger.flush_interval == 1


def test_directory_edit_needs_a_restart(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, everything else of the edit is picked up, and nothing is written elsewhere."""
    watched.edit(directory="elsewhere", flush_interval_seconds=1)
    watched.logger.advance(2)
    watched.logger.write("s", "text")
    watched.logger.advance(1)
    assert "directory 'elsewhere' takes effect at the next start" in caplog.text
    assert (watched.logger.base_dir / "s.log").read_text() == "text"
    assert not Path("elsewhere").exists()


def test_untouched_file_is_not_read_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most flushes cost one stat."""
    reads = []
    monkeypatch.setattr(schema, "read_regular", lambda *given: (reads.append(given), read_regular(*given))[1])
    for _ in range(3):
        watched.logger.advance(2)
    assert reads == []
    watched.edit(flush_interval_seconds=1)
    watched.logger.advance(2)
    assert reads


def test_disabling_completes_what_is_active_and_enabling_goes_on(watched: Watched) -> None:
    """`enabled: false` while running: written text stays, new text is not taken, no session hangs."""
    logger = watched.logger
    logger.write("s", "before ")
    watched.edit(enabled=False)
    logger.advance(2)
    assert not logger.enabled
    assert logger.stats().sessions_active == 0
    logger.write("s", "lost ")
    watched.edit(enabled=True, min_free_disk_mb=None)
    logger.advance(2)
    logger.write("s", "after")
    logger.advance(2)
    assert (logger.base_dir / "s.log").read_text() == "before after"


def test_shorter_sweep_interval_takes_effect_at_the_next_flush(watched: Watched) -> None:
    """The worker does not sleep through it."""
    logger = watched.logger
    logger.advance(2)
    sweeps = logger.stats().sweeps
    watched.edit(cleanup_interval_seconds=3, min_free_disk_mb=None)
    logger.advance(2)
    logger.advance(2)
    assert logger.stats().sweeps == sweeps + 1


def test_logger_without_a_file_watches_none(manual: Callable[..., StreamingLogger]) -> None:
    """A configuration given in Python is what it is."""
    Path("logging_config.json").write_text('{"streaming_logs": {"enabled": false}}')
    logger = manual()
    logger.advance(10)  # type: ignore[attr-defined]
    assert logger.enabled
    assert logger._engine.settings.config == Config(min_free_disk_mb=None)


def test_a_copy_of_what_is_in_force_lies_in_the_directory(tmp_path: Path, clock: ManualClock) -> None:
    """With the environment's values, and after each edit; never of a refused one."""
    path = tmp_path / "logging_config.json"
    path.write_text('{"streaming_logs": {"file_retention_minutes": 20}}')
    logger = ManualLogger(load(path, environ={}), tmp_path / "logs", clock=clock, config_file=path)
    copy = tmp_path / "logs" / COPY
    assert load(copy, environ={}) == logger._engine.settings.config
    for text, minutes in (('{"streaming_logs": {"file_retention_minutes": 3}}', 3), ("{", 3)):
        path.write_text(text)
        logger.advance(2)
        assert load(copy, environ={}).file_retention_minutes == minutes
    assert [name.name for name in copy.parent.iterdir() if name.name.startswith(copy.name)] == [copy.name]
    logger.close()
