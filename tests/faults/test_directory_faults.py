"""A session's open file is removed, renamed or truncated: noticed at the next flush, which writes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import logs, make_old
from streaming_logger import StreamingLogger
from streaming_logger.testing import ManualLogger

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows refuses to remove what is open")

Make = Callable[..., ManualLogger]


def write_and_flush(logger: StreamingLogger, text: str, *sessions: str) -> None:
    for session in sessions:
        logger.write(session, text)
    logger.flush()


def remove(path: Path) -> None:
    path.unlink()


def rename_away(path: Path) -> None:
    path.rename(path.with_suffix(".log.1"))


def replace(path: Path) -> None:
    """As an editor saves: another file under the same name."""
    other = path.with_suffix(".new")
    other.write_text("")
    other.replace(path)


@pytest.mark.parametrize("harm", [remove, rename_away, replace])
def test_file_gone_is_made_anew_at_the_next_flush(tmp_path: Path, manual: Make, harm: Callable[[Path], None]) -> None:
    """Only what was in the file went with it; it is counted once, and the other session's file stays open."""
    logger = manual()
    write_and_flush(logger, "before;", "s", "other")
    logger.write("s", "buffered;")
    harm(tmp_path / "logs" / "s.log")
    write_and_flush(logger, "after;", "s", "other")
    write_and_flush(logger, "later;", "s", "other")
    assert logs(tmp_path / "logs")["s"] == "buffered;after;later;"
    assert logs(tmp_path / "logs")["other"] == "before;after;later;"
    stats = logger.stats()
    assert stats.files_reopened == 1
    assert not stats.dropped_characters
    assert logger.health().status == "degraded", "the operator can see it"


def test_file_renamed_away_keeps_what_it_held_and_gets_no_more(tmp_path: Path, manual: Make) -> None:
    """As logrotate without copytruncate: the old file holds the one part, the new one the other."""
    logger = manual()
    write_and_flush(logger, "old;", "s")
    rename_away(tmp_path / "logs" / "s.log")
    write_and_flush(logger, "new;", "s")
    logger.complete_session("s")
    assert (tmp_path / "logs" / "s.log.1").read_text() == "old;"
    assert (tmp_path / "logs" / "s.log").read_text() == "new;"


def test_completion_notices_a_removed_file_too(tmp_path: Path, manual: Make) -> None:
    """The last chunks of a stream do not go into a nameless file."""
    logger = manual()
    write_and_flush(logger, "before;", "s")
    remove(tmp_path / "logs" / "s.log")
    logger.write("s", "last;")
    logger.complete_session("s")
    assert logs(tmp_path / "logs") == {"s": "last;"}
    assert logger.stats().files_open == 0


def test_copytruncate_goes_on_at_the_beginning(tmp_path: Path, manual: Make) -> None:
    """The file is no sparse one with the old length: each write appends to what is there."""
    logger = manual()
    path = tmp_path / "logs" / "s.log"
    write_and_flush(logger, "before;" * 1000, "s")
    shutil.copy(path, tmp_path / "rotated")
    os.truncate(path, 0)
    write_and_flush(logger, "after;", "s")
    logger.complete_session("s")
    assert path.read_bytes() == b"after;"
    assert (tmp_path / "rotated").read_text() == "before;" * 1000
    assert logger.stats().files_reopened == 0


@pytest.mark.parametrize("max_open", [100, 2])
def test_directory_removed_is_made_anew(tmp_path: Path, manual: Make, max_open: int) -> None:
    """rm -rf, also of the owner file of parked sessions: the next flush goes on, private and swept as ever."""
    logger = manual(max_open_files=max_open)
    sessions = [f"s{number}" for number in range(6)]
    write_and_flush(logger, "before;", *sessions)
    for session in sessions:
        logger.write(session, "buffered;")
    shutil.rmtree(tmp_path / "logs")
    write_and_flush(logger, "after;", *sessions)
    assert logs(tmp_path / "logs") == dict.fromkeys(sessions, "buffered;after;")
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    if max_open == 100:
        assert logger.stats().files_reopened == 6
    for session in sessions:
        logger.complete_session(session)
        make_old(tmp_path / "logs" / f"{session}.log", 3600)
    assert logger.cleanup_completed_files().deleted == 6, "the new directory is ours as the old one was"


def test_directory_renamed_away(tmp_path: Path, manual: Make) -> None:
    """What was written stays in the old directory, what follows goes into a new one at the old path."""
    logger = manual()
    write_and_flush(logger, "before;", "s")
    (tmp_path / "logs").rename(tmp_path / "moved")
    write_and_flush(logger, "after;", "s")
    logger.complete_session("s")
    assert logs(tmp_path / "moved") == {"s": "before;"}
    assert logs(tmp_path / "logs") == {"s": "after;"}


def test_a_file_where_the_directory_was_is_waited_out(tmp_path: Path, manual: Make) -> None:
    """Nothing can be written there: text waits, the sweep deletes nothing, and all is written when it is gone."""
    logger = manual()
    write_and_flush(logger, "before;", "s")
    shutil.rmtree(tmp_path / "logs")
    (tmp_path / "logs").write_text("in the way")
    write_and_flush(logger, "during;", "s")
    assert logger.cleanup_completed_files().deleted == 0
    assert logger.stats().bytes_buffered == len("during;")
    assert (tmp_path / "logs").read_text() == "in the way"
    (tmp_path / "logs").unlink()
    write_and_flush(logger, "after;", "s")
    assert logs(tmp_path / "logs") == {"s": "during;after;"}
    assert logger.stats().bytes_buffered == 0


def test_worker_goes_on_while_files_are_removed_again_and_again(
    tmp_path: Path, live: Callable[..., StreamingLogger]
) -> None:
    """Numbered records against rm between flushes: what was not yet in a removed file is in the next, once."""
    logger = live(flush_interval_seconds=0.01)
    path, seen = tmp_path / "logs" / "s.log", ""
    for number in range(100):
        write_and_flush(logger, f"{number};", "s")
        if number % 10 == 9:
            seen += path.read_text()  # all that was flushed; nobody writes now
            path.unlink()
    assert seen == "".join(f"{number};" for number in range(100))
    assert logger.stats().files_reopened == 9
