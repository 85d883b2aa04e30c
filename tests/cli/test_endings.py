"""How sessions end, and which ends are failures: retention, `ls`, `stats`, `follow`, `doctor` and archive agree."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import get_args

import pytest
from tools import listed, run

from conftest import make_old
from streaming_logger import Config, Outcome
from streaming_logger._archive.record import Record
from streaming_logger._base.outcomes import has_failed
from streaming_logger.testing import ManualClock, ManualLogger

ENDINGS = (*get_args(Outcome), "abandoned", "released", "disabled")
FAILED = {ending for ending in ENDINGS if has_failed(ending)}


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """A directory with a session for each end, which is its id; all that a process can live to tell."""
    path = tmp_path / "logs"
    with ManualLogger(Config(min_free_disk_mb=None, idle_timeout_minutes=1), path) as idle:
        idle.write("abandoned", "text")
        idle.advance(2)
        idle.advance(61)
    config_file = tmp_path / "edited.json"
    config_file.write_text('{"streaming_logs": {"min_free_disk_mb": null}}')
    with ManualLogger(Config(min_free_disk_mb=None), path, config_file=config_file) as edited:
        edited.write("disabled", "text")
        edited.advance(2)
        (tmp_path / "new.json").write_text('{"streaming_logs": {"min_free_disk_mb": null, "enabled": false}}')
        (tmp_path / "new.json").replace(config_file)
        edited.advance(2)
        edited.advance(2)
    with ManualLogger(Config(min_free_disk_mb=None), path) as logger:
        for outcome in get_args(Outcome):
            logger.write(outcome, "text")
            logger.complete_session(outcome, outcome=outcome, wait=False)
        logger.write("released", "text")
        logger.advance(2)
    return path


def test_ls_shows_how_each_ended(ended: Path) -> None:
    """And selects by it."""
    assert {id_: session["state"] for id_, session in listed(ended).items()} == {ending: ending for ending in ENDINGS}
    for ending in ENDINGS:
        (session,) = json.loads(run("ls", "--state", ending, "--json", "--dir", ended).stdout)
        assert session["id"] == ending


def test_files_of_failed_sessions_are_marked(ended: Path) -> None:
    """The mark is all that a sweep knows; sessions that logging left have none."""
    marked = {}
    for ending in ENDINGS:
        try:
            marked[ending] = os.getxattr(ended / f"{ending}.log", "user.streaming_logger.outcome").decode()
        except OSError:
            continue
    if not marked:
        pytest.skip("this file system keeps no extended attributes")
    assert marked == {ending: ending for ending in FAILED}


def test_retention_of_failed_sessions_is_for_those(ended: Path, clock: ManualClock) -> None:
    """20 minutes after their last write the others are gone."""
    for path in ended.glob("*.log"):
        make_old(path, 1200)
    config = Config(file_retention_minutes=10, failed_retention_minutes=60, min_free_disk_mb=None)
    with ManualLogger(config, ended, clock=clock) as logger:
        logger.cleanup_completed_files()
    assert {path.stem for path in ended.glob("*.log")} == FAILED


def test_mark_of_an_older_version_is_no_failure(ended: Path) -> None:
    """It marked what was disabled, too: it is swept as the others are."""
    path = ended / "disabled.log"
    try:
        os.setxattr(path, "user.streaming_logger.outcome", b"disabled")
    except OSError:
        pytest.skip("this file system keeps no extended attributes")
    make_old(path, 1200)
    config = Config(file_retention_minutes=10, failed_retention_minutes=60, min_free_disk_mb=None)
    with ManualLogger(config, ended) as logger:
        logger.cleanup_completed_files()
    assert not path.exists()


def test_stats_count_failed_sessions(ended: Path) -> None:
    """By the ledger, which has each end by its own word, too."""
    ledger = json.loads(run("stats", "--json", "--dir", ended).stdout)["ledger"]
    assert ledger["ended"] == dict.fromkeys(ENDINGS, 1)
    assert ledger["failed"] == len(FAILED)
    assert f"{len(FAILED)} failed" in run("stats", "--dir", ended).stdout


def test_doctor_names_failed_sessions_alone(ended: Path) -> None:
    """A session that was released or disabled is no note."""
    found = json.loads(run("doctor", "--json", "--dir", ended, check=None).stdout)
    texts = [finding["text"] for finding in found if " ended as " in finding["text"]]
    assert set(texts) == {f"1 session ended as {ending}" for ending in FAILED}


@pytest.mark.parametrize("ending", ENDINGS)
def test_follow_fails_where_the_session_has(ended: Path, ending: str) -> None:
    """Exit code 1, and how it ended, in any case."""
    done = run("follow", ending, "--dir", ended, check=int(ending in FAILED))
    assert f"[{ending}; 4 bytes" in done.stdout + done.stderr


def test_archive_of_trouble_has_failed_sessions_alone(ended: Path, tmp_path: Path) -> None:
    """With `archive.only`; the records have the ledger's lines."""
    pytest.importorskip("obstore")
    url = (tmp_path / "bucket").as_uri()
    config = tmp_path / "logging_config.json"
    config.write_text(json.dumps({"streaming_logs": {"archive": {"url": url, "only": "trouble"}}}))
    for path in ended.glob("*.log"):
        make_old(path, 60)
    run("archive", "--dir", ended, "--config", config)
    records = [Record.from_json(path.read_bytes()) for path in (tmp_path / "bucket").rglob("*.json")]
    assert {record.session: record.outcome for record in records} == {ending: ending for ending in FAILED}
    assert all([event["outcome"] for event in record.events] == [record.outcome] for record in records)
    assert all(event["v"] == 1 for record in records for event in record.events)
