"""What is uploaded, when, under which keys, and what is deleted after it; on files, by the real thread."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from conftest import logs, make_old, wait_until
from streaming_logger import ArchiveConfig, StreamingLogger
from streaming_logger._archive.record import Record
from streaming_logger._context import Timeouts
from streaming_logger._events.ledger import read_events

TODAY = datetime.now(UTC).strftime("%Y-%m-%d")
HOST = "web-1"


@pytest.fixture
def logger(live: Callable[..., StreamingLogger], tmp_path: Path) -> Callable[..., StreamingLogger]:
    """Makes loggers with an archive in `tmp_path / "archive"`; settings of the archive as keywords."""

    def make(settings: dict[str, Any] | None = None, **archive: Any) -> StreamingLogger:
        config = ArchiveConfig(url=f"{tmp_path.as_uri()}/archive", host=HOST, **archive)
        timeouts = {"timeouts": Timeouts(upload_pause=0.1)}
        return live(timeouts, archive=config, **{"flush_interval_seconds": 0.05, **(settings or {})})

    return make


def stream(logger: StreamingLogger, session: str, text: str = "text ö\n", outcome: Any = "completed") -> None:
    logger.write(session, text)
    logger.complete_session(session, outcome=outcome)


def archived(tmp_path: Path) -> dict[str, str]:
    """The texts in the archive, by session."""
    return {
        path.name.removesuffix(".log.gz"): gzip.decompress(path.read_bytes()).decode()
        for path in (tmp_path / "archive").glob("date=*/host=*/*.log.gz")
    }


def record(tmp_path: Path, session: str) -> Record:
    return Record.from_json((tmp_path / f"archive/date={TODAY}/host={HOST}/{session}.json").read_bytes())


def test_completed_session_is_archived(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """Its text byte for byte, with a record of what is known of it, and an index entry; an active one is not."""
    streams = logger()
    streams.write("active", "still going")
    for number in range(20):
        stream(streams, f"s{number}", "x\0ö\n" * number + "end", "error" if number == 3 else "completed")
    stream(streams, "a/b", "odd name")
    wait_until(lambda: streams.stats().uploads == 21)
    wanted = {name: text for name, text in logs(tmp_path / "logs").items() if name != "active"}
    assert archived(tmp_path) == wanted
    found = record(tmp_path, "s3")
    assert (found.session, found.file, found.host, found.outcome) == ("s3", "s3.log", HOST, "error")
    assert (found.bytes, found.characters, found.loop, found.timing_key) == (18, 15, None, None)
    assert found.key == f"date={TODAY}/host={HOST}/s3.log.gz"
    assert found.start <= found.end < f"{TODAY}T24"
    assert [event["event"] for event in found.events] == ["completed"]
    assert record(tmp_path, "a%2Fb").session == "a/b"
    assert (tmp_path / f"archive/index/a%2Fb/{TODAY}/{HOST}").read_bytes() == b""
    assert streams.stats().upload_errors == 0


def test_nothing_is_uploaded_twice(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """Not by the next pass, nor by the next process."""
    first = logger()
    stream(first, "s")
    first.close()
    again = logger()
    stream(again, "t")
    wait_until(lambda: again.stats().uploads == 1)
    again.close()
    assert (first.stats().uploads, again.stats().uploads) == (1, 1)
    assert set(archived(tmp_path)) == {"s", "t"}


def test_new_turn_is_archived_too(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """In the place of the older state, with the outcome of the last turn."""
    streams = logger()
    for turn in range(3):
        stream(streams, "s", f"turn {turn}\n", "error" if turn == 2 else "completed")
        wait_until(lambda turn=turn: streams.stats().uploads == turn + 1)  # type: ignore[misc]
    assert archived(tmp_path) == {"s": "turn 0\nturn 1\nturn 2\n"}
    assert record(tmp_path, "s").outcome == "error"


def test_close_waits_for_uploads(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """What was completed last is in the archive when a program ends; a session that was not, as released."""
    streams = logger()
    for number in range(30):
        stream(streams, f"s{number}")
    streams.write("open", "text")
    streams.close()
    assert len(archived(tmp_path)) == 31
    assert record(tmp_path, "open").outcome == "released"


def test_expired_ones_only(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """With `when: expired` a session is uploaded when its retention is over, and swept after that."""
    streams = logger(when="expired")
    stream(streams, "new")
    stream(streams, "old")
    make_old(tmp_path / "logs/old.log", 700)
    wait_until(lambda: streams.stats().uploads == 1)
    assert set(archived(tmp_path)) == {"old"}
    assert streams.cleanup_completed_files().deleted == 1
    assert set(logs(tmp_path / "logs")) == {"new"}


def test_trouble_only(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """With `only: trouble`: what did not just complete, or looped; the rest is swept as if it were archived."""
    streams = logger(only="trouble")
    stream(streams, "fine")
    stream(streams, "failed", outcome="error")
    for _ in range(100):
        streams.write("loops", "the same sentence, again and again. ")
    streams.flush()
    wait_until(lambda: streams.stats().loops_found == 1)
    streams.complete_session("loops")
    wait_until(lambda: streams.stats().uploads == 2)
    marks = tmp_path / "logs/.streaming_logger/archived"
    wait_until(lambda: len(os.listdir(marks)) == 3)
    assert set(archived(tmp_path)) == {"failed", "loops"}
    assert record(tmp_path, "loops").loop == "periodic"
    for name in ("fine", "failed", "loops"):
        make_old(tmp_path / f"logs/{name}.log", 700)
    wait_until(lambda: streams.cleanup_completed_files().deleted + streams.stats().uploads > 2)
    wait_until(lambda: streams.cleanup_completed_files().scanned >= 0 and not logs(tmp_path / "logs"))


def test_orphaned_session_is_archived_as_such(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """One whose process died: nothing is known of its end."""
    (tmp_path / "logs/.streaming_logger").mkdir(parents=True, mode=0o700)
    (tmp_path / "logs").chmod(0o700)
    (tmp_path / "logs/s.log").write_text("half a senten")
    streams = logger(only="trouble")
    streams.write("other", "x")
    wait_until(lambda: streams.stats().uploads == 1)
    assert record(tmp_path, "s").outcome == "orphaned"


def test_uncompressed(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """With `compress: none` the object is the file."""
    streams = logger(compress="none")
    stream(streams, "s")
    wait_until(lambda: streams.stats().uploads == 1)
    assert (tmp_path / f"archive/date={TODAY}/host={HOST}/s.log").read_text() == "text ö\n"
    assert record(tmp_path, "s").stored_bytes == 8


def test_file_is_deleted_after_its_upload(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """With `delete_after_upload`; it is counted, and its mark goes, too."""
    streams = logger(delete_after_upload=True)
    stream(streams, "s")
    wait_until(lambda: not logs(tmp_path / "logs"))
    assert archived(tmp_path) == {"s": "text ö\n"}
    wait_until(lambda: dict(streams.stats().deleted_files) == {"archived": 1})
    assert os.listdir(tmp_path / "logs/.streaming_logger/archived") == []


def test_pinned_file_is_archived_once_and_stays(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """Also with `delete_after_upload`: it is pinned so that it stays here."""
    streams = logger(delete_after_upload=True)
    streams.write("pinned", "text")
    streams.flush()
    (tmp_path / "logs/pinned.log").chmod(0o1600)
    streams.complete_session("pinned")
    wait_until(lambda: streams.stats().uploads == 1)
    stream(streams, "other")
    wait_until(lambda: set(logs(tmp_path / "logs")) == {"pinned"})
    assert streams.stats().uploads == 2
    assert set(archived(tmp_path)) == {"pinned", "other"}


def test_deletion_at_completion_waits_for_the_upload(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """Retention 0 is no reason to lose a session that is to be archived."""
    streams = logger({"file_retention_minutes": 0})
    stream(streams, "s")
    wait_until(lambda: streams.stats().uploads == 1)
    wait_until(lambda: streams.cleanup_completed_files().deleted == 1)
    assert archived(tmp_path) == {"s": "text ö\n"}


def test_timing_goes_along(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """The timing file, under the record's `timing_key`."""
    streams = logger({"record_timing": True})
    stream(streams, "s")
    wait_until(lambda: streams.stats().uploads == 1)
    key = record(tmp_path, "s").timing_key
    assert key == f"date={TODAY}/host={HOST}/s.timing.gz"
    timing = gzip.decompress((tmp_path / "archive" / key).read_bytes())
    assert timing == (tmp_path / "logs/s.timing").read_bytes()


def test_large_file_is_not_whole_in_memory(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """60 MB go up in parts; they are the same afterwards."""
    part = os.urandom(500_000).hex()
    streams = logger({"max_buffer_mb": 200})
    for _ in range(60):
        streams.write("s", part)
    streams.flush()
    tracemalloc.start()
    streams.complete_session("s")
    wait_until(lambda: streams.stats().uploads == 1, seconds=30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (path,) = (tmp_path / "archive").glob("date=*/host=*/s.log.gz")
    with gzip.open(path, "rt") as text:
        assert text.read() == part * 60
    assert peak < 20_000_000


def test_sweep_waits_for_the_upload(tmp_path: Path, live: Callable[..., StreamingLogger]) -> None:
    """A due file stays while it is not archived; max_session_age_hours takes it all the same, counted."""
    (tmp_path / "blocked").write_text("no directory")
    streams = live(archive=ArchiveConfig(url=f"{(tmp_path / 'blocked').as_uri()}/x"), max_session_age_hours=1)
    stream(streams, "s")
    make_old(tmp_path / "logs/s.log", 700)
    assert streams.cleanup_completed_files().deleted == 0
    wait_until(lambda: streams.stats().upload_errors >= 1)
    assert streams.health().status == "degraded"
    make_old(tmp_path / "logs/s.log", 3700)
    report = streams.cleanup_completed_files()
    assert dict(report.deleted_by_reason) == {"max_age": 1}
    assert streams.stats().deleted_unarchived == 1
    directory = streams._engine.directory  # its lines may be written by the worker, a moment later
    wait_until(lambda: [getattr(event, "archived", None) for event in read_events(directory)][-1:] == [False])


def test_emergency_takes_what_is_not_archived(tmp_path: Path, live: Callable[..., StreamingLogger]) -> None:
    """The disk comes first: the oldest go, archived or not."""
    (tmp_path / "blocked").write_text("no directory")
    archive = ArchiveConfig(url=f"{(tmp_path / 'blocked').as_uri()}/x")
    streams = live(archive=archive, max_directory_mb=0.01)
    for number in range(4):
        stream(streams, f"s{number}", "x" * 5000)
        make_old(tmp_path / f"logs/s{number}.log", 100 - number)
    assert dict(streams.cleanup_completed_files().deleted_by_reason) == {"disk": 3}
    assert streams.stats().deleted_unarchived == 3
    assert set(logs(tmp_path / "logs")) == {"s3"}


def test_mark_without_a_file_is_removed(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """Someone deleted the file by hand."""
    first = logger()
    stream(first, "s")
    first.close()
    (tmp_path / "logs/s.log").unlink()
    again = logger()
    again.write("t", "x")
    wait_until(lambda: "s.log" not in os.listdir(tmp_path / "logs/.streaming_logger/archived"))


def test_damaged_mark_means_another_upload(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """It costs a request, and nothing is lost."""
    first = logger()
    stream(first, "s")
    first.close()
    (tmp_path / "logs/.streaming_logger/archived/s.log").write_text('{"inode": 5')
    again = logger()
    again.write("t", "x")
    wait_until(lambda: again.stats().uploads == 1)
    assert archived(tmp_path)["s"] == "text ö\n"


def test_setting_takes_effect_while_it_runs(tmp_path: Path) -> None:
    """An archive that is set in the watched file begins with what is there."""
    path = tmp_path / "logging_config.json"
    section: dict[str, Any] = {"flush_interval_seconds": 0.05, "directory": str(tmp_path / "logs")}
    path.write_text(json.dumps({"streaming_logs": section}))
    with StreamingLogger.from_file(path) as streams:
        stream(streams, "s")
        section["archive"] = {"url": f"{tmp_path.as_uri()}/archive"}
        path.write_text(json.dumps({"streaming_logs": section}))
        wait_until(lambda: streams.stats().uploads == 1)
    assert archived(tmp_path) == {"s": "text ö\n"}


@pytest.mark.parametrize(
    "changes",
    [{"date": "../../elsewhere"}, {"host": "../.."}, {"date": 5}, {"inode": None}, {"size": [1]}, "x", [[]], None],
)
def test_damaged_mark_leads_nowhere(tmp_path: Path, logger: Callable[..., StreamingLogger], changes: Any) -> None:
    """The file is archived anew, in its own place."""
    first = logger()
    stream(first, "s")
    first.close()
    mark = tmp_path / "logs/.streaming_logger/archived/s.log"
    kept = json.loads(mark.read_text())
    mark.write_text(json.dumps(kept | {"size": 1} | changes if isinstance(changes, dict) else changes))
    again = logger()
    stream(again, "other")
    wait_until(lambda: again.stats().uploads == 2)
    again.close()
    assert set(archived(tmp_path)) == {"s", "other"}
    assert {path.parent.name for path in (tmp_path / "archive").rglob("s.json")} == {f"host={HOST}"}
    assert len(list((tmp_path / "archive").rglob("s.json"))) == 1
    assert again.stats().upload_errors == 0


def test_mark_nested_deeply_is_damaged(tmp_path: Path, logger: Callable[..., StreamingLogger]) -> None:
    """And stops neither uploads nor sweeps."""
    first = logger()
    stream(first, "s")
    first.close()
    (tmp_path / "logs/.streaming_logger/archived/s.log").write_text("[" * 4096)
    again = logger()
    stream(again, "other")
    wait_until(lambda: again.stats().uploads == 2)
    assert again.stats().upload_errors == 0
