"""Text that a live process has logged and not written: the readers have it at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import wait_until
from streaming_logger import StreamingLogger
from streaming_logger._disk.directory import Directory
from streaming_logger._view.text import Text
from streaming_logger._wal.reader import tails
from streaming_logger._wal.storage import DEFAULT_STORAGE, is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="needs memory-backed storage in /dev/shm")

Make = Callable[..., StreamingLogger]


def test_text_is_read_before_it_is_flushed(live: Make) -> None:
    """By offset, behind what the file has; each byte once, also while flushes move it into the file."""
    logger = live(flush_interval_seconds=3600)
    logger.write("s", "in the file;")
    logger.flush()
    logger.write("s", "not yet;")
    directory = Directory(logger.base_dir)
    with directory.opened_readonly(), Text(directory, "s.log", DEFAULT_STORAGE) as text:
        assert text.written == len("in the file;")
        assert b"".join(text.parts()) == b"in the file;not yet;"
        assert text.size == len("in the file;not yet;")
        logger.flush()
        assert b"".join(text.parts()) == b"in the file;not yet;"
        assert text.written == text.size
    assert (logger.base_dir / "s.log").read_text() == "in the file;not yet;"


def test_reader_beside_a_writer_sees_each_byte_once(live: Make) -> None:
    """Whatever moment a reader comes: what it sees is a beginning of what was written, as of now or later."""
    logger = live(flush_interval_seconds=0.01)
    logger.write("s", "0 ")
    logger.flush()
    directory, written = Directory(logger.base_dir), 1
    with directory.opened_readonly(), Text(directory, "s.log", DEFAULT_STORAGE) as text:
        for _ in range(150):
            for _ in range(20):
                logger.write("s", f"{written} ")
                written += 1
            seen = b"".join(text.parts()).decode().split()
            assert seen == [str(number) for number in range(len(seen))]
            assert len(seen) == written


def test_nothing_is_read_of_another_directory(live: Make, tmp_path: Path) -> None:
    """A log says which directory it belongs to."""
    logger = live(flush_interval_seconds=3600)
    logger.write("s", "text")
    assert set(tails(DEFAULT_STORAGE, Directory(logger.base_dir))) == {"s.log"}
    other = tmp_path / "other"
    other.mkdir()
    assert tails(DEFAULT_STORAGE, Directory(other)) == {}


def test_follow_shows_text_at_once(live: Make) -> None:
    """A flush is an hour away, and another process sees each chunk."""
    logger = live(flush_interval_seconds=3600)
    logger.write("s", "begun;")
    logger.flush()
    command = [sys.executable, "-m", "streaming_logger", "follow", "s", "--all", "--dir", str(logger.base_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        assert program.stdout is not None
        assert program.stdout.read(6) == b"begun;"
        logger.write("s", "live;")
        assert program.stdout.read(5) == b"live;"
        assert (logger.base_dir / "s.log").read_text() == "begun;"
        logger.complete_session("s")
        rest = program.stdout.read()
        wait_until(lambda: program.poll() is not None)
    assert b"live;" not in rest
    assert program.returncode == 0
