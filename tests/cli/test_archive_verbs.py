"""`archive`, `find`, and `ls`, `show`, `replay`, `timing` with `--archive`: on files, and with requests counted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools import run

from conftest import wait_until
from s3_server import BUCKET, ENVIRONMENT, Proxy, proxied_objects
from streaming_logger import ArchiveConfig, Config, ConfigError, StreamingLogger
from streaming_logger._archive.bucket import Bucket
from streaming_logger._archive.lookup import days, records_of, records_of_day, sessions_beginning


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An archive of two hosts: three sessions each, one of which was on both."""
    url = f"{tmp_path.as_uri()}/archive"
    for host in ("web-1", "web-2"):
        config = Config(record_timing=True, min_free_disk_mb=None, archive=ArchiveConfig(url=url, host=host))
        with StreamingLogger(config, directory=tmp_path / host) as logger:
            for session in (f"{host}/first", f"{host}/second", "both"):
                logger.write(session, f"{session} on {host}\n")
                logger.write(session, "the end ö\n")
                logger.complete_session(session, outcome="error" if session.endswith("second") else "completed")
    return url


def test_find_says_where_a_session_was(url: str) -> None:
    """On each host, the latest first; by its id, or the beginning of it."""
    found = json.loads(run("find", "both", "--archive", url, "--json").stdout)
    assert [record["host"] for record in found] == ["web-2", "web-1"]
    assert {record["session"] for record in found} == {"both"}
    (record,) = json.loads(run("find", "web-2/s", "--archive", url, "--json").stdout)
    assert (record["session"], record["outcome"], record["bytes"]) == ("web-2/second", "error", 33)
    table = run("find", "both", "--archive", url).stdout
    assert [line.split()[-2:] for line in table.splitlines()[1:]] == [["web-2", "both"], ["web-1", "both"]]


def test_ambiguous_and_unknown_ids(url: str) -> None:
    """Named, as in the directory."""
    found = run("show", "web-1", "--archive", url, check=2)
    assert "web-1 begins the ids of 2 sessions:\n  web-1/first\n  web-1/second\n" in found.stderr
    found = run("find", "nowhere", "--archive", url, check=1)
    assert found.stderr == f"there is no session nowhere in {url}\n"


def test_ids_are_accepted_as_they_are_printed_by_the_archive(tmp_path: Path) -> None:
    """With their escapes, cut within one too, and as the names of their files; `con` is no device here."""
    url = f"{tmp_path.as_uri()}/archive"
    config = Config(min_free_disk_mb=None, archive=ArchiveConfig(url=url))
    with StreamingLogger(config, directory=tmp_path / "logs") as logger:
        for session in ("a b\x1b[31m", "conversation"):
            logger.write(session, session[0])
            logger.complete_session(session)
    listed = run("ls", "--archive", url).stdout
    assert r"a b\x1b[31m" in listed
    for given in (r"a b\x1b[31m", r"a b\x1b[3", r"a b\x1", "a%20b%1B%5B31m.log", "a%20b"):
        assert run("show", given, "--archive", url).stdout == "a"
        assert "conversation" not in run("ls", given, "--archive", url).stdout
    assert run("show", "con", "--archive", url).stdout == "c"


def test_turns_of_an_archived_session(tmp_path: Path) -> None:
    """The record has its lines of the ledger."""
    url = f"{tmp_path.as_uri()}/archive"
    config = Config(min_free_disk_mb=None, archive=ArchiveConfig(url=url))
    with StreamingLogger(config, directory=tmp_path / "logs") as logger:
        for outcome in ("completed", "error"):
            logger.write("sess_1", "Hello")
            logger.complete_session("sess_1", outcome=outcome)
    shown = json.loads(run("show", "sess_1", "--archive", url, "--json").stdout)
    assert [(turn["begin"], turn["end"], turn["outcome"]) for turn in shown["turns"]] == [
        (0, 5, "completed"),
        (5, 10, "error"),
    ]


def test_show_replay_and_timing_read_from_the_archive(url: str) -> None:
    """The latest where it was on several hosts, which is said."""
    found = run("show", "both", "--archive", url)
    assert found.stdout == "both on web-2\nthe end ö\n"
    assert "also on web-1" in found.stderr
    assert run("show", "web-1/f", "--archive", url, "--tail", "1").stdout == "the end ö\n"
    assert run("replay", "web-1/first", "--archive", url).stdout == "web-1/first on web-1\nthe end ö\n"
    assert "chunks               2" in run("timing", "web-1/first", "--archive", url).stdout
    shown = json.loads(run("show", "web-2/second", "--archive", url, "--json").stdout)
    assert (shown["session"]["state"], shown["text"]) == ("error", "web-2/second on web-2\nthe end ö\n")


def test_damaged_text_is_said(url: str, tmp_path: Path) -> None:
    """One whose checksum is another's is shown, with exit code 1; one that is no gzip cannot be."""
    (path,) = tmp_path.glob("archive/date=*/host=web-1/web-1%2Ffirst.log.gz")
    path.write_bytes(gzip.compress(b"other text\n"))
    found = run("show", "web-1/first", "--archive", url, check=1)
    assert found.stdout == "other text\n"
    assert "is damaged: its checksum is not that of the record" in found.stderr
    path.write_bytes(b"nonsense")
    assert "is damaged" in run("show", "web-1/first", "--archive", url, check=2).stderr
    path.unlink()
    assert (
        "there is a record of the session, and no text any more"
        in run("show", "web-1/first", "--archive", url, check=2).stderr
    )


def test_ls_by_day_host_and_outcome(url: str, tmp_path: Path) -> None:
    """The latest day, unless one is named; filters leave rows out."""

    def listed(*arguments: str) -> list[str]:
        return [record["session"] for record in json.loads(run("ls", "--archive", url, "--json", *arguments).stdout)]

    assert sorted(listed()) == ["both", "both", "web-1/first", "web-1/second", "web-2/first", "web-2/second"]
    assert sorted(listed("--host", "web-2")) == ["both", "web-2/first", "web-2/second"]
    assert listed("--outcome", "error") == ["web-1/second", "web-2/second"]
    assert listed("web-1", "--outcome", "completed") == ["web-1/first"]
    assert len(listed("-n", "1")) == 1
    assert listed("--date", "2020-01-01") == []
    assert run("ls", "--archive", url).stdout.splitlines()[0].split() == [
        *("OUTCOME", "SIZE", "BEGAN", "ENDED", "HOST", "SESSION")
    ]


def test_archive_uploads_what_a_server_left(tmp_path: Path) -> None:
    """Once each; the exit code says whether all went well, 2 where the archive cannot be used at all."""
    with StreamingLogger(Config(min_free_disk_mb=None), directory=tmp_path / "logs") as logger:
        for number in range(5):
            logger.write(f"s{number}", "text")
            logger.complete_session(f"s{number}")
    url = f"{tmp_path.as_uri()}/archive"
    found = run("archive", url, "--dir", "logs")
    assert found.stderr == f"archived 5 sessions, 120 bytes, to {url}\n"
    assert "archived 0 sessions" in run("archive", url, "--dir", "logs").stderr
    assert run("show", "s3", "--archive", url).stdout == "text"
    (tmp_path / "blocked").write_text("")
    found = run("archive", f"{tmp_path.as_uri()}/blocked/x", "--dir", "logs", check=2)
    assert "Not a directory" in found.stderr


def test_sessions_in_an_archive_with_another_url_are_counted_and_offered(tmp_path: Path) -> None:
    """After `archive.url` has changed: `archive` and `doctor` tell how many, `archive --again` uploads them."""
    old, new = f"{tmp_path.as_uri()}/old", f"{tmp_path.as_uri()}/new"
    with StreamingLogger(Config(min_free_disk_mb=None), directory=tmp_path / "logs") as logger:
        for number in range(2):
            logger.write(f"s{number}", "text")
            logger.complete_session(f"s{number}")
    run("archive", old, "--dir", "logs")
    found = run("archive", new, "--dir", "logs")
    assert "2 sessions are archived under another URL" in found.stderr
    config = tmp_path / "new.json"
    config.write_text(json.dumps({"streaming_logs": {"archive": {"url": new}, "min_free_disk_mb": None}}))
    doctor = run("doctor", "--dir", "logs", "--config", config, check=None)
    assert "2 sessions are archived under another URL" in doctor.stdout
    told = json.loads(run("archive", new, "--again", "--json", "--dir", "logs").stdout)
    assert (told["uploads"], told["elsewhere"], told["url"]) == (2, 0, new)
    assert run("show", "s1", "--archive", new).stdout == "text"
    assert run("archive", new, "--dir", "logs").stderr == f"archived 0 sessions, 0 bytes, to {new}\n"


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """No archive, no such kind of archive."""
    (tmp_path / "logs").mkdir()
    found = run("show", "s", "--dir", "logs", "--archive", check=2)
    assert found.stderr == "streaming-logger: no archive is configured: name it by --archive URL, or set archive.url\n"
    assert "is no URL of an archive" in run("find", "s", "--archive", "ftp://x", check=2).stderr


@pytest.mark.parametrize("url", ["s3://key:pass-word@bucket", "s3://bucket/x?secret=pass-word", "gs://key:pass-word@b"])
def test_url_with_a_secret_is_refused_without_repeating_it(url: str, tmp_path: Path) -> None:
    """By each verb that takes one, and each that reads a configuration with one."""
    (tmp_path / "logs").mkdir(mode=0o700)
    (tmp_path / "logs/.streaming_logger").mkdir(mode=0o700)
    for verb in (["find", "s"], ["ls"], ["show", "s"], ["replay", "s"], ["timing", "s"], ["export", "s"]):
        found = run(*verb, "--archive", url, check=2)
        assert "is no URL of an archive" in found.stderr
        assert "pass-word" not in found.stdout + found.stderr
    found = run("archive", url, "--dir", "logs", check=2)
    assert "must not have credentials or a query" in found.stderr
    assert "pass-word" not in found.stdout + found.stderr
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"streaming_logs": {"archive": {"url": url}}}))
    for arguments in (["check-config", file], ["check-config", file, "--json"], ["doctor", "--config", file], ["ls"]):
        found = run(*arguments, *(["--config", file] if arguments == ["ls"] else []), check=2)
        assert "must not have credentials or a query" in found.stdout + found.stderr
        assert "pass-word" not in found.stdout + found.stderr


def test_url_with_a_secret_leaves_no_trace(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither at a start nor by an edit: in no log line, no file of the directory, no health."""
    path, good = tmp_path / "logging_config.json", {"min_free_disk_mb": None, "flush_interval_seconds": 0.02}
    bad = good | {"archive": {"url": "s3://key:pass-word@bucket"}}
    path.write_text(json.dumps({"streaming_logs": bad}))
    with pytest.raises(ConfigError):
        StreamingLogger.from_file(path)
    path.write_text(json.dumps({"streaming_logs": good}))
    with StreamingLogger.from_file(path) as logger:
        logger.write("s", "text")
        path.write_text(json.dumps({"streaming_logs": bad}))
        wait_until(lambda: logger.stats().reloads_refused == 1)
        logger.complete_session("s")
        health = logger.health()
    assert "configuration reload rejected" in caplog.text
    kept = [file.read_text() for file in (tmp_path / "logs/streaming").rglob("*") if file.is_file()]
    assert "archive" in "".join(kept)
    assert "pass-word" not in f"{caplog.text} {kept} {health} {logger!r}"


# -- the number of requests ----------------------------------------------------------


@pytest.fixture
def million(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A store with 1,000,000 objects: 250,000 sessions on 100 hosts in 25 days."""
    times = {"start": "2026-11-25T00:00:00.000Z", "end": "2026-11-25T00:00:01.000Z"}
    record = {"file": "", "outcome": "completed", "bytes": 5, "characters": 5, "loop": None, "sha256": "", **times}
    record |= {"key": "", "timing_key": None, "stored_bytes": 5, "events": []}

    def content(key: str) -> bytes:
        name, host = key.split("/")[-1].removesuffix(".json"), key.split("host=")[1].split("/")[0]
        return json.dumps(record | {"session": name, "host": host}).encode()

    keys = []
    for number in range(250_000):
        name = f"{number * 2654435761 % 2**32:08x}-{number:06}"
        place = f"date=2026-11-{number % 25 + 1:02}/host=web-{number // 25 % 100:03}"
        keys += [f"{place}/{name}.log.gz", f"{place}/{name}.timing.gz", f"{place}/{name}.json"]
        keys.append(f"index/{name}/{place[5:15]}/{place[21:]}")
    with proxied_objects(sorted(keys), content) as server:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": server.url}.items():
            monkeypatch.setenv(name, value)
        yield server


def test_lookup_among_a_million_objects(million: Proxy) -> None:
    """The numbers of requests that `_archive.lookup` states, counted at the server."""
    bucket = Bucket(f"s3://{BUCKET}")
    name = f"{777 * 2654435761 % 2**32:08x}-000777"

    def requests() -> list[str]:
        found = [method for method, _ in million.requests]
        million.requests.clear()
        return found

    assert [record.host for record in records_of(bucket, name)] == ["web-031"]
    assert requests() == ["GET", "GET"]  # one listing, one record
    assert sessions_beginning(bucket, name[:10], 20) == [name]
    assert requests() == ["GET"]
    assert records_of(bucket, "no-such-session") == []
    assert requests() == ["GET"]
    assert len(days(bucket)) == 25
    assert requests() == ["GET"]
    assert len(records_of_day(bucket, "2026-11-03", host="web-031", wanted=lambda record: True)) == 100
    assert requests() == ["GET"] * 101  # one listing of 300 objects, 100 records
    assert bucket.requests == 106
