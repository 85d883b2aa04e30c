"""`check-config` and `doctor`: what is wrong, all of it, and what to do."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tools import Server, age, run

from streaming_logger._disk.directory import Directory
from streaming_logger._wal.storage import is_available
from streaming_logger.cli import _doctor
from streaming_logger.cli._target import find_target
from streaming_logger.cli._view import scan


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "streaming"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "logging_config.json"
    path.write_text('{"streaming_logs": {}}')
    return path


def findings(directory: Path, *arguments: str, code: int) -> dict[str, str]:
    """What the doctor finds that is not ok: text and what to do, by level and first word."""
    found = json.loads(run("doctor", "--json", "--dir", directory, *arguments, check=code).stdout)
    return {finding["text"]: finding["todo"] for finding in found if finding["level"] == "problem"}


# -- check-config --------------------------------------------------------------------


def test_check_config_names_every_problem_at_once(config: Path) -> None:
    """With key, rule, value and what was meant; exit code 2."""
    bad = {"flush_interval_seconds": -1, "file_retention": 5, "enabled": "yes"}
    config.write_text(json.dumps({"streaming_logs": bad}))
    done = run("check-config", check=2, env={**os.environ, "STREAMING_LOGS_MAX_BUFFER_MB": "lots"})
    for word in ("flush_interval_seconds", "file_retention_minutes", "enabled", "STREAMING_LOGS_MAX_BUFFER_MB"):
        assert word in done.stderr
    assert len(json.loads(run("check-config", "--json", check=2).stdout)["problems"]) == 3


def test_check_config_says_where_each_setting_comes_from(config: Path) -> None:
    """Default, file, or the environment variable by its name."""
    config.write_text('{"streaming_logs": {"file_retention_minutes": 5, "max_buffer_mb": 1}}')
    done = run("check-config", "--json", env={**os.environ, "STREAMING_LOGS_MAX_BUFFER_MB": "32"})
    settings = {key: (of["value"], of["from"]) for key, of in json.loads(done.stdout)["settings"].items()}
    assert settings["file_retention_minutes"] == (5, "file")
    assert settings["max_buffer_mb"] == (32, "STREAMING_LOGS_MAX_BUFFER_MB")
    assert settings["flush_interval_seconds"] == (2, "default")
    assert "no problems" in run("check-config").stderr


def test_check_config_says_what_holds_without_a_section(config: Path) -> None:
    """The older module's behaviour, and why."""
    config.write_text('{"other": {}}')
    settings = json.loads(run("check-config", "--json").stdout)["settings"]
    assert settings["time_based_cleanup"] == {
        "value": False,
        "from": "no streaming_logs",
        "meaning": "false: delete each file at completion",
    }
    assert "deleted when its session completes" in run("check-config").stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"file_retention_minutes": 3000}, "max_session_age_hours is shorter"),
        ({"failed_retention_minutes": 1}, "failed_retention_minutes is shorter"),
        ({"file_retention_minutes": 0.5}, "cleanup_interval_seconds is longer"),
        ({"file_retention_minutes": None, "max_session_age_hours": None}, "nothing is deleted before"),
        ({"idle_timeout_minutes": None}, "stays active forever"),
    ],
)
def test_check_config_remarks_what_is_hardly_meant(config: Path, settings: dict[str, Any], words: str) -> None:
    """Allowed, so the exit code is 0."""
    config.write_text(json.dumps({"streaming_logs": settings}))
    assert words in run("check-config").stderr


def test_check_config_of_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    """When it was named."""
    run("check-config", "none.json", check=2)
    run("check-config")


# -- doctor --------------------------------------------------------------------------


def test_doctor_finds_no_problem_beside_a_working_server(config: Path, directory: Path) -> None:
    """And names its process."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        done = run("doctor")
        assert f"server processes alive: {server.process.pid}" in done.stdout
    assert "no problems found" in done.stderr


def test_doctor_finds_what_a_crash_left(config: Path, directory: Path) -> None:
    """Orphaned sessions, and the dead process; exit code 1."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        server.kill()
        done = run("doctor", check=1)
    assert "sess_1.log) orphaned" in done.stdout
    assert f"process {server.process.pid} ended without closing" in done.stdout


def test_doctor_finds_planted_and_stray_files(config: Path, directory: Path) -> None:
    """Links, pipes and directories under a session's name; files that are nobody's."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        os.mkfifo(directory / "pipe.log")
        os.symlink("/etc/passwd", directory / "link.log")
        (directory / "notes.txt").write_text("x")
        done = run("doctor", check=1)
    assert "2 files (" in done.stdout
    assert "1 file (notes.txt) of no session" in done.stdout


def test_doctor_passes_over_a_file_that_is_swept_while_it_looks(
    config: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed, then deleted by a server's sweep: no fault."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        server.complete_session("sess_1")
    target = find_target(str(directory), None)
    sessions = scan(target)
    listing = Directory.scan

    def listed_and_swept(self: Directory) -> contextlib.nullcontext[list[os.DirEntry[str]]]:
        with listing(self) as entries:
            listed = list(entries)
        (directory / "sess_1.log").unlink()
        return contextlib.nullcontext(listed)

    monkeypatch.setattr(Directory, "scan", listed_and_swept)
    assert list(_doctor._files(target, sessions)) == []


def test_doctor_finds_that_nobody_sweeps(config: Path, directory: Path) -> None:
    """Files long past their window."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        server.complete_session("sess_1")
    age(directory / "sess_1.log", 7200)
    found = findings(directory, code=1)
    assert "run `streaming-logger sweep`" in found["1 file (sess_1.log) overdue for deletion: no server sweeps"]


def test_doctor_finds_a_clock_that_was_set_back(config: Path, directory: Path) -> None:
    """Files from the future."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        server.complete_session("sess_1")
    age(directory / "sess_1.log", -7200)
    assert "written in the future" in "".join(findings(directory, code=1))


def test_doctor_finds_what_the_ledger_says_of_the_last_hour(config: Path, directory: Path) -> None:
    """Drops, emergencies, dead workers, refused edits; an old one is no news."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        server.complete_session("sess_1")
    now = time.time()
    events = [
        {"at": now - 60, "event": "dropped", "reason": "buffer full", "characters": 1234},
        {"at": now - 60, "event": "reload_refused", "text": "bad\x1b[31m"},
        {"at": now - 9999, "event": "worker_restarted"},
    ]
    with (directory / ".streaming_logger" / "ledger.jsonl").open("a") as ledger:
        ledger.writelines(json.dumps(event) + "\n" for event in events)
    found = "".join(findings(directory, code=1))
    assert "1,234 characters were dropped" in found
    assert "1 edit of the configuration was refused" in found
    assert "worker" not in found
    assert "\x1b" not in run("doctor", check=1).stdout


def test_doctor_finds_a_full_disk_and_a_full_directory(directory: Path) -> None:
    """Against the limits of the server's configuration."""
    with Server(directory, min_free_disk_mb=1e9, max_directory_mb=0.001) as server:
        server.stream("sess_1", "x" * 5000)
        found = "".join(findings(directory, code=1))
    assert "completed files go before their time" in found
    assert "max_directory_mb is 0.001" in found


def test_doctor_finds_a_directory_that_servers_refuse_or_do_not_sweep(tmp_path: Path) -> None:
    """World-writable; never used by a streaming logger."""
    strange = tmp_path / "strange"
    strange.mkdir()
    strange.chmod(0o777)
    found = findings(strange, code=1)
    assert "chmod o-w" in found["the directory is world-writable: servers refuse it"]
    assert any("no streaming logger sweeps here" in text for text in found)


def test_doctor_finds_an_active_session_that_should_have_been_abandoned(config: Path, directory: Path) -> None:
    """Its process hangs."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        age(directory / "sess_1.log", 7200)
        assert "silent for longer than idle_timeout_minutes" in "".join(findings(directory, code=1))


def test_doctor_notes_pins_and_parked_sessions(config: Path, directory: Path) -> None:
    """With what to do; they are not problems."""
    with Server(directory, max_open_files=1) as server:
        server.stream("sess_1", "Hello")
        server.stream("sess_2", "Hello")
        server.stream("sess_3", "Hello")
        server.complete_session("sess_3")
        run("pin", "sess_3")
        shown = run("doctor").stdout
    assert "1 file (sess_3.log) pinned" in shown
    assert "active sessions are parked" in shown


def test_doctor_knows_timing_files(directory: Path) -> None:
    """They belong to their sessions; one whose session's file is gone is noted."""
    with Server(directory, record_timing=True) as server:
        server.stream("sess_1", "Hello")
        server.stream("sess_2", "Hello")
        done = run("doctor", "--dir", directory)
        assert "2 timing files" in done.stdout
        assert "of no session" not in done.stdout
        server.complete_session("sess_2")
        (directory / "sess_2.log").unlink()
        done = run("doctor", "--dir", directory)
    assert "1 file (sess_2.timing) with the timing of a session whose own file is gone" in done.stdout


def test_doctor_finds_a_crash_journal_that_waits(directory: Path) -> None:
    """And `--recover`, which it names, leaves nothing to be found."""
    if not is_available():
        pytest.skip("this system has no storage in memory")
    with Server(directory, crash_journal=True, flush_interval_seconds=3600) as server:
        server.write("sess_1", "Hello")
        assert "crash journal" not in "".join(findings(directory, code=0))
        server.kill()
    found = findings(directory, code=1)
    (text,) = [text for text in found if "crash journal" in text]
    assert text.startswith(f"1 crash journal of dead processes ({server.process.pid}) waits")
    assert "doctor --recover" in found[text]
    assert (
        "recovered 1 session of crashed processes, 5 bytes"
        in run("doctor", "--recover", "--dir", directory, check=None).stderr
    )
    assert (directory / "sess_1.log").read_text() == "Hello"
    assert "crash journal" not in run("doctor", "--dir", directory, check=None).stdout


def test_doctor_finds_stalled_and_looping_sessions(directory: Path) -> None:
    """Stalls by the server's own `stall_seconds`."""
    with Server(directory, stall_seconds=60) as server:
        server.stream("sess_well", "Hello")
        server.stream("sess_loop", "all work and no play makes a dull boy, " * 40)
        server.stream("sess_stall", "Hello")
        age(directory / "sess_stall.log", 90)
        age(directory / "sess_well.log", 40)
        found = "".join(findings(directory, code=1))
        done = run("doctor", "--dir", directory, check=1)
    assert "1 file (sess_stall.log) stalled: no text for more than 1m00s" in found
    assert "1 file (sess_loop.log) looping" in found
    assert "2 problems found" in done.stderr
