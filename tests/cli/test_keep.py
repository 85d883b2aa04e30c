"""`sweep`, `pin`, `unpin`: under the same rules and locks as a server's sweep."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from tools import Server, age, listed, run


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "streams"


def configured(tmp_path: Path, **settings: Any) -> None:
    """Writes ./logging_config.json."""
    section = {"directory": "streams", "min_free_disk_mb": None, **settings}
    (tmp_path / "logging_config.json").write_text(json.dumps({"streaming_logs": section}))


def completed(server: Server, *sessions: str, outcome: str = "completed") -> None:
    for session in sessions:
        server.stream(session, "Hello")
        server.complete_session(session, outcome=outcome)


def test_dry_run_says_what_would_go_and_deletes_nothing(directory: Path, tmp_path: Path) -> None:
    """And the sweep then deletes exactly that."""
    configured(tmp_path)
    with Server(directory, failed_retention_minutes=60) as server:
        completed(server, "old", "new", "kept", "ancient")
        completed(server, "bad", outcome="error")
        server.stream("active", "Hello")
        for name, seconds in (("old", 700), ("kept", 700), ("ancient", 90_000), ("bad", 700), ("active", 700)):
            age(directory / f"{name}.log", seconds)
        run("pin", "kept")
        printed = json.loads(run("sweep", "--dry-run", "--json").stdout)
        assert {due["session"]: due["reason"] for due in printed["due"]} == {"old": "retention", "ancient": "retention"}
        assert len(list(directory.glob("*.log"))) == 6
        done = json.loads(run("sweep", "--json").stdout)
        assert done["report"]["deleted"] == 2
        assert {path.stem for path in directory.glob("*.log")} == {"new", "kept", "bad", "active"}
    assert "by retention" in run("history", "old").stdout


def test_dry_run_tells_an_emergency(directory: Path, tmp_path: Path) -> None:
    """Above max_directory_mb the oldest completed files are due, by rule disk; as they then do."""
    configured(tmp_path)
    with Server(directory, max_directory_mb=0.001) as server:
        for number in range(4):
            server.stream(f"sess_{number}", "x" * 400)
            server.complete_session(f"sess_{number}")
            age(directory / f"sess_{number}.log", 100 - number)
        printed = json.loads(run("sweep", "--dry-run", "--json").stdout)
        assert [(due["session"], due["reason"]) for due in printed["due"]] == [("sess_0", "disk"), ("sess_1", "disk")]
        run("sweep")
        assert {path.stem for path in directory.glob("*.log")} == {"sess_2", "sess_3"}


def test_emergency_rule_is_above_trouble_retention(directory: Path, tmp_path: Path) -> None:
    """No completed file outlives max_session_age_hours, the troubled ones neither."""
    configured(tmp_path)
    with Server(directory, failed_retention_minutes=100_000) as server:
        completed(server, "bad", outcome="error")
        age(directory / "bad.log", 25 * 3600)
        assert listed_reason("bad") == "max_age"
        run("sweep")
    assert not (directory / "bad.log").exists()


def listed_reason(session: str) -> str:
    found = {one["id"]: one for one in json.loads(run("ls", "--json").stdout)}[session]
    assert found["swept_in"] == 0
    return str(found["swept_by"])


def test_pinned_file_survives_the_sweeps_of_other_processes(directory: Path, tmp_path: Path) -> None:
    """The server's own sweep leaves it; unpinned, it goes."""
    with Server(directory) as server:
        completed(server, "sess_1", "sess_2")
        run("pin", "sess_1", "--dir", directory)
        assert (directory / "sess_1.log").stat().st_mode & stat.S_ISVTX
        server.cleanup_old_sessions(0)
        assert {path.stem for path in directory.glob("*.log")} == {"sess_1"}
        assert listed(directory)["sess_1"]["pinned"]
        run("unpin", "sess_1", "--dir", directory)
        assert stat.S_IMODE((directory / "sess_1.log").stat().st_mode) == 0o600
        server.cleanup_old_sessions(0)
    assert not (directory / "sess_1.log").exists()


def test_pin_follows_no_link(directory: Path, tmp_path: Path) -> None:
    """What was planted under a session's name is no session."""
    with Server(directory) as server:
        completed(server, "sess_1")
    victim = tmp_path / "victim"
    victim.write_text("x")
    os.symlink(victim, directory / "sess_2.log")
    run("pin", "sess_2", "--dir", directory, check=1)
    assert not victim.stat().st_mode & stat.S_ISVTX


def test_sweep_refuses_a_directory_that_is_not_ours(tmp_path: Path) -> None:
    """Nothing there is deleted or made."""
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "app.log").write_text("mine")
    age(strange / "app.log", 1e6)
    assert "adopt" in run("sweep", "--dir", strange, check=2).stderr
    assert os.listdir(strange) == ["app.log"]


def test_sweep_does_nothing_where_logging_is_disabled(directory: Path, tmp_path: Path) -> None:
    """As the server would."""
    configured(tmp_path, enabled=False)
    (directory / ".streaming_logger").mkdir(parents=True)
    assert "enabled" in run("sweep", check=2).stderr
