"""All verbs agree on each file: whether it is deleted now, and why it is or is not."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools import Server, age, listed, run

from streaming_logger._disk.archived import Mark, Marks
from streaming_logger._disk.directory import Directory

DAY = 86_400
#: The sessions: age in seconds, what happens to their files without an archive, and with one that is down.
KINDS: dict[str, tuple[float, tuple[bool, str], tuple[bool, str]]] = {
    "active": (700, (False, "active"), (False, "active")),
    "parked": (700, (False, "active"), (False, "active")),
    "young": (5, (False, "retention"), (False, "retention")),
    "old": (700, (True, "retention"), (False, "not archived")),
    "failed": (700, (False, "retention"), (False, "retention")),
    "failed-old": (3700, (True, "retention"), (False, "not archived")),
    "pinned": (700, (False, "pinned"), (False, "pinned")),
    "archived": (700, (True, "retention"), (True, "retention")),
    "archived-failed": (700, (False, "retention"), (False, "retention")),
    "continued": (700, (True, "retention"), (False, "not archived")),
    "unwanted": (700, (True, "retention"), (True, "retention")),
    "orphaned": (700, (True, "retention"), (False, "not archived")),
    "ancient": (DAY + 60, (True, "retention"), (True, "max_age")),
    "future": (-3600, (False, "retention"), (False, "retention")),
}
STRANGERS = ("notes.txt", "a b.log", "other.log.1", "linked.log", "second.log", "folder.log")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "streams"


@pytest.fixture
def blocked(tmp_path: Path) -> str:
    """The URL of an archive that is down."""
    (tmp_path / "blocked").write_text("not a directory")
    return f"{(tmp_path / 'blocked').as_uri()}/x"


def mark(directory: Path, name: str, **changes: Any) -> None:
    """Leaves what an uploader leaves behind a file that the archive is done with."""
    opened = Directory(directory)
    opened.open()
    state = Mark.of((directory / name).stat(), "2026-01-01", "web-1", "s3://bucket")
    Marks(opened).write(name, state._replace(**changes))
    opened.close()


@pytest.fixture(params=["no archive", "archive is down"])
def kinds(
    request: pytest.FixtureRequest, directory: Path, blocked: str, tmp_path: Path
) -> Iterator[dict[str, tuple[bool, str]]]:
    """A directory with one file of each kind beside a living server, and what the rules say of each."""
    has_archive = request.param == "archive is down"
    settings: dict[str, Any] = {"archive": {"url": blocked}} if has_archive else {}
    settings |= {"failed_retention_minutes": 60, "idle_timeout_minutes": None, "cleanup_interval_seconds": DAY}
    with Server(directory, max_open_files=1, **settings) as server:
        for name in KINDS:
            if name == "orphaned":
                continue
            server.stream(name, name)
            if name not in ("active", "parked"):
                server.complete_session(name, outcome="error" if "failed" in name else "completed")
        server.stream("parked", "!")
        server.stream("active", "!")
        (directory / "orphaned.log").write_text("a process that was killed")
        (directory / "orphaned.log").chmod(0o600)
        run("pin", "pinned", "--dir", directory)
        if not os.listxattr(directory / "failed.log"):
            pytest.skip("this file system keeps no extended attributes, so failed sessions are like others")
        _plant_strangers(directory, tmp_path)
        for name, (seconds, _, _) in KINDS.items():
            age(directory / f"{name}.log", seconds)
        for name in ("archived", "archived-failed"):
            mark(directory, f"{name}.log")
        mark(directory, "continued.log", size=3)
        mark(directory, "unwanted.log", date="", host="", url="")
        yield {name: with_it if has_archive else without for name, (_, without, with_it) in KINDS.items()}


def _plant_strangers(directory: Path, tmp_path: Path) -> None:
    """Old files that are no session's, some of them under the name of one."""
    for name in ("notes.txt", "a b.log", "other.log.1"):
        (directory / name).write_text("precious")
        age(directory / name, 10 * DAY)
    (tmp_path / "target").write_text("precious")
    (directory / "linked.log").symlink_to(tmp_path / "target")
    (directory / "second.log").hardlink_to(tmp_path / "target")
    age(tmp_path / "target", 10 * DAY)
    (directory / "folder.log").mkdir()


def swept(directory: Path, *arguments: str) -> tuple[dict[str, tuple[bool, str]], dict[str, Any]]:
    """What `sweep` says of each file, and its report."""
    printed = json.loads(run("sweep", *arguments, "--json", "--dir", directory).stdout)
    gone = printed["due" if printed["dry_run"] else "deleted"]
    said = [(file, True) for file in gone] + [(file, False) for file in printed["kept"]]
    return {file["session"]: (is_due, file["reason"]) for file, is_due in said}, printed["report"]


def test_all_verbs_agree_on_each_kind_of_file(kinds: dict[str, tuple[bool, str]], directory: Path) -> None:
    """ls, its table, the dry run, its table, stats and the sweep: the same verdict on each file."""
    found = listed(directory)
    assert {name: (one["due"], one["swept_by"]) for name, one in found.items()} == kinds
    assert all((one["swept_in"] == 0) is one["due"] for one in found.values())
    assert {name: found[name]["state"] for name in ("active", "parked", "orphaned", "failed")} == {
        "active": "active",
        "parked": "parked",
        "orphaned": "orphaned",
        "failed": "error",
    }

    old = {name: kinds[name] for name, (seconds, _, _) in KINDS.items() if seconds > 600}
    before = sorted(os.listdir(directory))
    forecast, report = swept(directory, "--dry-run")
    assert forecast == old
    assert sorted(os.listdir(directory)) == before
    for reason, of in (("deleted_by_reason", True), ("kept_by_reason", False)):
        assert report[reason] == Counter(why for is_due, why in old.values() if is_due is of)

    stats = json.loads(run("stats", "--json", "--dir", directory).stdout)
    due, kept = ({why: of["sessions"] for why, of in stats[key].items()} for key in ("due", "kept"))
    assert due == Counter(why for is_due, why in kinds.values() if is_due)
    assert kept == Counter(why for is_due, why in kinds.values() if not is_due and why != "retention")

    findings = json.loads(run("doctor", "--json", "--dir", directory, check=1).stdout)
    waiting = [finding["text"] for finding in findings if "not archived yet" in finding["text"]]
    count = sum(reason == "not archived" for _, reason in kinds.values())
    assert [text.split(" (")[0] for text in waiting] == ([f"{count} files"] if count else [])

    done, report = swept(directory)
    assert done == old
    left = {path.stem for path in directory.glob("*.log") if path.name not in STRANGERS}
    assert left == {name for name, (is_due, _) in kinds.items() if not is_due}
    assert all(os.path.lexists(directory / name) for name in STRANGERS)
    assert not any(one["due"] for one in listed(directory).values())


def test_all_tables_say_the_same_words(kinds: dict[str, tuple[bool, str]], directory: Path) -> None:
    """What is due, by which rule; what is kept, and why; what was deleted."""
    texts = [run(*verb, "--dir", directory).stdout for verb in (("ls",), ("sweep", "--dry-run"), ("sweep",))]
    rows = [{line.split()[-1]: line for line in text.splitlines()} for text in texts]
    for name, (is_due, reason) in kinds.items():
        if reason == "active" or KINDS[name][0] <= 600:
            continue
        if is_due:
            expected = (f"due ({reason})", f"due ({reason})", f"deleted ({reason})")
        elif reason == "retention":
            expected = ("due in ",) * 3
        else:
            expected = (f"kept: {reason.replace('not archived', 'not archived yet')}",) * 3
        assert [words for words, row in zip(expected, rows, strict=True) if words not in row[name]] == [], name


def test_archive_that_is_down_is_told_by_every_verb(directory: Path, blocked: str) -> None:
    """A file that waits for it is kept, not overdue; the server that sweeps it in vain is not called missing."""
    settings: dict[str, Any] = {"file_retention_minutes": 0.001, "cleanup_interval_seconds": 0.05}
    with Server(directory, archive={"url": blocked}, **settings) as server:
        server.stream("s", "text")
        server.complete_session("s")
        age(directory / "s.log", 700)
        assert "kept: not archived yet" in run("ls", "--dir", directory).stdout
        for arguments in (("--dry-run",), ()):
            done = run("sweep", *arguments, "--dir", directory)
            assert "kept: not archived yet" in done.stdout
            assert "kept 1 (not archived 1)" in done.stderr
        assert "kept                 1      4 bytes  (not archived)" in run("stats", "--dir", directory).stdout
        findings = run("doctor", "--dir", directory, check=1).stdout
        assert "1 file (s.log) kept beyond the retention: not archived yet" in findings
        assert "overdue" not in findings
        assert "no server sweeps" not in findings
    assert (directory / "s.log").exists()


def test_doctor_blames_no_missing_server_beside_a_living_one(directory: Path, tmp_path: Path) -> None:
    """A due file that it has not deleted is its fault, or the settings of the command are not its own."""
    config = tmp_path / "other.json"
    config.write_text('{"streaming_logs": {"min_free_disk_mb": null}}')
    with Server(directory, file_retention_minutes=None) as server:
        server.stream("s", "text")
        server.complete_session("s")
        age(directory / "s.log", 7200)
        server.stream("active", "text")
        found = run("doctor", "--dir", directory, "--config", config, check=1).stdout
    assert f"1 file (s.log) overdue for deletion, although a server is alive: {server.process.pid}" in found
    assert "no server sweeps" not in found


def test_all_verbs_agree_on_an_emergency(directory: Path) -> None:
    """Above max_directory_mb the oldest completed files are due, as the dry run says and the sweep does."""
    with Server(directory, max_directory_mb=0.001, cleanup_interval_seconds=DAY) as server:
        for number in range(4):
            server.stream(f"s{number}", "x" * 400)
            if number != 1:
                server.complete_session(f"s{number}")
            age(directory / f"s{number}.log", 100 - number)
        expected = {"s0": (True, "disk"), "s2": (True, "disk")}
        found = listed(directory)
        assert {name: (one["due"], one["swept_by"]) for name, one in found.items() if one["due"]} == expected
        stats = json.loads(run("stats", "--json", "--dir", directory).stdout)
        assert stats["due"] == {"disk": {"sessions": 2, "bytes": 800}}
        assert swept(directory, "--dry-run")[0] == expected
        assert swept(directory)[0] == expected
    assert {path.stem for path in directory.glob("*.log")} == {"s1", "s3"}
