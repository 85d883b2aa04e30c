"""Reasons in `health()`: a fault that lasts is one until it is over, and no longer; all others for a minute."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.tools import run as command
from conftest import logs, make_old, wait_until
from faults.programs import run
from streaming_logger import ArchiveConfig, Config, Runaway, StreamingLogger, _default, get_streaming_logger
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.store import Claim, Store
from streaming_logger._events.event_log import EventLog
from streaming_logger._events.ledger import read_events
from streaming_logger._events.model import ConfigReloaded
from streaming_logger._runtime.worker import Task, Worker
from streaming_logger._watch.radar import _MAX_CALLS
from streaming_logger.testing import ManualClock, ManualLogger

Make = Callable[..., ManualLogger]
HOUR = 3600.0


def reasons(logger: StreamingLogger) -> str:
    return "; ".join(logger.health().reasons)


def kinds(logger: StreamingLogger) -> list[str]:
    """The kinds of events in the ledger."""
    return [event.name for event in read_events(logger._engine.directory)]


# -- the rule ----------------------------------------------------------------------------


@pytest.fixture
def events(clock: ManualClock) -> EventLog:
    return EventLog(clock)


def test_moment_is_current_for_a_minute(events: EventLog, clock: ManualClock) -> None:
    """After it was last seen."""
    events.report("kind", "a moment")
    clock.advance(59)
    events.report("kind", "a moment")
    clock.advance(59)
    assert events.faults() == {"kind": "a moment"}
    clock.advance(2)
    assert events.faults() == {}


def test_fault_with_subjects_is_current_until_the_last_is_cleared(
    events: EventLog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """However long that takes; that it is over is logged once, and its next occurrence at once."""
    events.report("kind", "%s fails", "a", subject="a")
    events.report("kind", "%s fails", "b", subject="b")
    clock.advance(HOUR)
    events.clear("kind", "works again", subject="a")
    events.clear("kind", "works again", subject="unknown")
    assert events.faults() == {"kind": "b fails"}
    events.clear("kind", "works again", subject="b")
    events.clear("kind", "works again", subject="b")
    assert events.faults() == {}
    events.report("kind", "%s fails", "c", subject="c")
    assert [record.getMessage() for record in caplog.records] == ["a fails", "works again", "c fails"]


def test_fault_whose_subject_is_released_fades(events: EventLog, clock: ManualClock) -> None:
    """Nothing more is attempted: what happened is still news for the rest of its minute."""
    events.report("kind", "fails", subject="a")
    clock.advance(50)
    events.release("kind", "a")
    assert list(events.faults()) == ["kind"]
    clock.advance(11)
    assert events.faults() == {}


def test_round_that_does_not_meet_a_fault_again_clears_it(events: EventLog, clock: ManualClock) -> None:
    """Its own faults, not those that others have reported."""
    rounds = events.rounds()
    events.report("kind", "fails", subject="of others")
    rounds.report("kind", "fails", subject="a")
    rounds.report("other", "fails", subject="b")
    rounds.end()
    clock.advance(HOUR)
    assert rounds.lasts("other", "b")
    assert not rounds.lasts("other", "c")
    rounds.end()
    events.clear("kind", "", subject="of others")
    assert list(events.faults()) == ["other"]
    rounds.abandon()
    assert events.faults() == {}


# -- the configuration -------------------------------------------------------------------


class Watched:
    """A logger by hand, and the file that it watches."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.path = folder / "logging_config.json"
        self.good = '{"streaming_logs": {"min_free_disk_mb": null}}'
        self.path.write_text(self.good)
        config = Config(min_free_disk_mb=None)
        self.logger = ManualLogger(config, folder / "logs", clock=clock, config_file=self.path)

    def edit(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)
        self.logger.advance(2)


@pytest.fixture
def watched(tmp_path: Path, clock: ManualClock) -> Iterator[Watched]:
    watched = Watched(tmp_path, clock)
    yield watched
    watched.logger.close()


@pytest.mark.parametrize("text", ["{", '{"streaming_logs": {"enabled": 3}}', '{"file_retention_minutes": 3}'])
def test_refused_edit_is_a_reason_until_it_is_mended(watched: Watched, clock: ManualClock, text: str) -> None:
    """Also where the mended file says what was in force all the time."""
    watched.edit(text)
    for _ in range(3):
        clock.advance(HOUR)
        assert watched.logger.health().status == "degraded"
        assert "configuration rejected" in reasons(watched.logger)
    watched.edit(watched.good)
    assert watched.logger.health().status == "ok"
    assert kinds(watched.logger) == ["reload_refused", "reloaded"]


def test_removed_file_is_a_reason_until_it_is_back(watched: Watched, clock: ManualClock) -> None:
    """The settings in force are in no file."""
    away = watched.path.with_suffix(".away")
    watched.path.rename(away)
    watched.logger.advance(2)
    clock.advance(HOUR)
    assert "is gone" in reasons(watched.logger)
    away.rename(watched.path)
    watched.logger.advance(2)
    assert watched.logger.health().status == "ok"


def test_accepted_edit_is_in_the_ledger(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """With what it changed; an edit that changes nothing is not."""
    caplog.set_level(logging.INFO, "streaming_logger")
    watched.edit('{"streaming_logs": {"min_free_disk_mb": null, "stall_seconds": 9}}')
    watched.edit('{"streaming_logs": {"min_free_disk_mb": null, "stall_seconds": 9.0}}')
    (event,) = read_events(watched.logger._engine.directory)
    assert isinstance(event, ConfigReloaded)
    assert event.text == "stall_seconds None -> 9"
    assert len([record for record in caplog.records if "configuration reloaded" in record.getMessage()]) == 1
    assert watched.logger.stats().reloads == 1


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_default, "_published", {})
    yield
    for logger in _default._published.values():
        logger.close()


@pytest.mark.usefixtures("fresh")
def test_configuration_refused_at_the_start_is_a_reason_until_it_is_mended() -> None:
    """The defaults are in force meanwhile, and the ledger knows."""
    path = Path("logging_config.json")
    path.write_text('{"streaming_logs": {"flush_interval_seconds": "fast"}}')
    logger = get_streaming_logger()
    logger.write("s", "text")
    logger.flush()
    assert logger.health().status == "degraded"
    assert "flush_interval_seconds: must be a number" in reasons(logger)
    assert kinds(logger) == ["config_refused"]
    path.write_text('{"streaming_logs": {"flush_interval_seconds": 2}}')
    wait_until(lambda: logger.health().status == "ok")
    logger.flush()
    assert kinds(logger) == ["config_refused", "reloaded"]


def test_forked_child_knows_of_a_refused_configuration(tmp_path: Path) -> None:
    """A server that loads the application before it forks its workers."""
    code = """
from streaming_logger import get_streaming_logger
os.chdir(sys.argv[1])
logger = get_streaming_logger()
if (child := os.fork()) == 0:
    say("child " + logger.health().status)
    os._exit(0)
os.waitpid(child, 0)
say("parent " + logger.health().status)
"""
    (tmp_path / "logging_config.json").write_text("{")
    status, output, errors = run(code, tmp_path)
    assert (status, output.splitlines()) == (0, ["child degraded", "parent degraded"]), errors
    assert errors.count("using the default settings") == 1


@pytest.mark.usefixtures("fresh")
def test_refused_directory_is_a_reason_until_it_is_mended() -> None:
    """`get_streaming_logger()` goes on without it."""
    path = Path("logs/streaming")
    path.mkdir(parents=True)
    path.chmod(0o777)
    Path("logging_config.json").write_text('{"streaming_logs": {"flush_interval_seconds": 0.05}}')
    logger = get_streaming_logger()
    assert "logging is disabled until this is fixed" in reasons(logger)
    path.chmod(0o700)
    logger.write("s", "text")
    logger.flush()
    assert logger.health().status == "ok"


# -- directory and files -----------------------------------------------------------------


def test_directory_that_cannot_be_used_is_a_reason_until_it_can(
    manual: Make, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The next flush may be an hour away; that it can be used again is logged."""
    logger = manual(flush_interval_seconds=3600)
    shutil.rmtree(logger.base_dir)
    logger.base_dir.write_text("no directory")
    logger.write("s", "text")
    logger.flush()
    clock.advance(HOUR / 2)
    assert str(logger.base_dir) in reasons(logger)
    logger.base_dir.unlink()
    logger.flush()
    assert logger.health().status == "ok"
    assert logs(logger.base_dir) == {"s": "text"}
    assert f"{logger.base_dir} can be used again" in caplog.text


def test_session_that_cannot_be_written_is_a_reason_until_it_is_written(manual: Make, clock: ManualClock) -> None:
    """Also while others are written, and while another one that could not be recovers."""
    logger = manual(flush_interval_seconds=3600)
    for name in ("a", "b"):
        (logger.base_dir / f"{name}.log").mkdir()
        logger.write(name, "text")
    logger.write("c", "text")
    logger.flush()
    (logger.base_dir / "a.log").rmdir()
    logger.flush()
    clock.advance(HOUR / 2)
    assert "its text stays in memory" in reasons(logger)
    (logger.base_dir / "b.log").rmdir()
    logger.flush()
    assert logger.health().status == "ok"
    assert logs(logger.base_dir) == {"a": "text", "b": "text", "c": "text"}


def test_lost_text_is_a_moment(manual: Make, clock: ManualClock) -> None:
    """And so are an item that cannot be read, a stream without text, a file that was removed."""
    logger = manual()
    logger._engine.extraction_failed("s", ValueError("no text"))
    logger._engine.no_text_found("s", "Item")
    logger.write("s", "text")
    logger.flush()
    (logger.base_dir / "s.log").unlink()
    logger.write("s", "text")
    logger.flush()
    assert len(logger.health().reasons) == 3
    clock.advance(61)
    assert logger.health().status == "ok"


class Stubborn(Store):
    """Cannot delete what is on the list."""

    refused: set[str] = set()  # noqa: RUF012 - set by the test

    def delete(self, claim: Claim) -> bool:
        if claim.name in self.refused:
            raise PermissionError(1, "Operation not permitted")
        return super().delete(claim)


def test_file_that_cannot_be_swept_is_a_reason_until_a_sweep_does_not_meet_it(
    manual: Make, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next sweep may be a day away; a sweep of another kind does not tell."""
    monkeypatch.setattr(Stubborn, "refused", {"a.log", "b.log"})
    logger = manual({"make_store": Stubborn}, cleanup_interval_seconds=86400)
    for name in ("a", "b"):
        logger.write(name, "text")
        logger.complete_session(name, wait=False)
    logger.run_pending()
    for name in ("a", "b"):
        make_old(logger.base_dir / f"{name}.log", 700)
    logger.cleanup_completed_files()
    clock.advance(HOUR)
    assert "cannot sweep" in reasons(logger)
    Stubborn.refused.remove("a.log")
    logger.cleanup_completed_files()
    clock.advance(HOUR)
    assert "cannot sweep" in reasons(logger)
    Stubborn.refused.clear()
    logger.cleanup_old_sessions(1000)
    assert "cannot sweep" in reasons(logger)
    logger.cleanup_completed_files()
    assert logger.health().status == "ok"
    assert logs(logger.base_dir) == {}


def test_disk_that_is_nearly_full_is_a_reason_until_there_is_space(
    manual: Make, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing that could be deleted would help; the next sweep may be a day away."""
    logger = manual(min_free_disk_mb=100, cleanup_interval_seconds=86400)
    with monkeypatch.context() as nearly_full:
        nearly_full.setattr(Directory, "free_bytes", lambda self: 1_000)
        logger.cleanup_completed_files()
        clock.advance(HOUR)
        assert "low disk space" in reasons(logger)
    logger.cleanup_completed_files()
    assert logger.health().status == "ok"


# -- the worker --------------------------------------------------------------------------


def test_task_that_fails_is_a_reason_until_it_is_done_as_a_whole(clock: ManualClock, tmp_path: Path) -> None:
    """Each of its slices succeeds but the last; its next run may be an hour away."""
    fails = [True, True, False]

    def work() -> Iterator[float]:
        failing = fails.pop(0)
        yield 0.0
        if failing:
            raise ValueError("a defect")

    context = Context.make(Settings(Config()), tmp_path, clock=clock)
    worker = Worker([Task("task", work, lambda: HOUR)], context, autostart=False)
    for _ in range(2):
        worker.run_pending()
        clock.advance(HOUR - 1)
        assert list(context.events.faults()) == ["worker task"]
        clock.advance(1)
    worker.run_pending()
    assert context.events.faults() == {}


def test_job_that_fails_is_a_moment(clock: ManualClock, tmp_path: Path) -> None:
    """It is not done again."""
    context = Context.make(Settings(Config()), tmp_path, clock=clock)
    worker = Worker([Task("task", lambda: iter(()), lambda: HOUR)], context, autostart=False)  # type: ignore[arg-type, return-value]
    worker.submit(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    worker.run_pending()
    assert list(context.events.faults()) == ["worker job"]
    clock.advance(61)
    assert context.events.faults() == {}


def test_death_of_the_worker_is_a_reason_until_another_has_flushed(
    live: Callable[..., StreamingLogger], clock: ManualClock
) -> None:
    """With nobody who writes, none is started."""
    logger = live({"clock": clock}, flush_interval_seconds=0.05)
    logger.write("s", "text")
    logger.flush()

    def die() -> None:
        raise SystemExit

    logger._engine.worker.submit(die)
    wait_until(lambda: not logger._engine.worker.alive)
    clock.advance(HOUR)
    assert "the worker thread failed" in reasons(logger)
    logger.write("s", "text")
    clock.advance(1)
    logger.flush()
    wait_until(lambda: logger.health().status == "ok")


# -- the archive -------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["mended", "switched off"])
def test_archive_that_is_down_is_a_reason_until_it_works_or_none_is_set(
    tmp_path: Path, live: Callable[..., StreamingLogger], end: str
) -> None:
    """The pauses between attempts grow to minutes."""
    place = tmp_path / "archive"
    place.write_text("no directory")
    logger = live(archive=ArchiveConfig(url=place.as_uri()), flush_interval_seconds=0.05)
    logger.write("s", "text")
    logger.complete_session("s")
    wait_until(lambda: logger.stats().upload_errors >= 1)
    wait_until(lambda: "cannot archive" in reasons(logger))
    if end == "mended":
        place.unlink()
    else:
        logger._engine.settings._use(Config(min_free_disk_mb=None, flush_interval_seconds=0.05))
    wait_until(lambda: logger.health().status == "ok", seconds=40)


# -- the callback ------------------------------------------------------------------------


def test_callbacks_that_hang_are_a_reason_until_one_returns(manual: Make, clock: ManualClock) -> None:
    """A callback that is not called again stops no runaway."""
    logger = manual()
    release = threading.Event()
    for number in range(_MAX_CALLS + 1):
        runaway = Runaway(session_id=f"s{number}", kind="periodic", offset=0, repeated=1, sample="x", period=1)
        logger._engine.radar._call(lambda runaway: release.wait(20), runaway)
    clock.advance(HOUR)
    assert "on_runaway hangs" in reasons(logger)
    release.set()
    wait_until(lambda: logger.health().status == "ok")
    wait_until(lambda: not logger._engine.radar._calls)


# -- what the command tells --------------------------------------------------------------


def doctor(directory: Path) -> str:
    found = json.loads(command("doctor", "--json", "--dir", directory, check=None).stdout)
    return "; ".join(finding["text"] for finding in found if finding["level"] == "problem")


@pytest.fixture
def ledger(manual: Make) -> Callable[..., Path]:
    """Adds refusals and acceptances to the ledger of a directory whose server runs."""
    logger = manual()

    def add(*events: dict[str, Any]) -> Path:
        with (logger.base_dir / ".streaming_logger" / "ledger.jsonl").open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)
        return logger.base_dir

    return add


def test_doctor_finds_a_refused_configuration_until_it_is_mended(ledger: Callable[..., Path]) -> None:
    """By the event that a server accepted the file."""
    now = time.time()
    refused = {"at": now - 60, "event": "reload_refused", "text": "bad", "pid": os.getpid()}
    start = {"at": now - 50, "event": "config_refused", "text": "bad", "pid": os.getpid()}
    found = doctor(ledger(refused, start))
    assert "1 edit of the configuration was refused" in found
    assert "the configuration was refused at a start" in found
    assert "refused" not in doctor(ledger({"at": now - 40, "event": "reloaded", "text": "", "pid": os.getpid()}))
    assert "refused" in doctor(ledger({**refused, "at": now - 30}))


def test_doctor_does_not_find_a_configuration_whose_process_has_ended(ledger: Callable[..., Path]) -> None:
    """The server was restarted with a good one."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert "refused" not in doctor(ledger({"at": time.time(), "event": "config_refused", "text": "", "pid": ended.pid}))
