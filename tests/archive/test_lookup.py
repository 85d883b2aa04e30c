"""Reading an archive that others can write to: no file is made elsewhere, and a bad object hides no other."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3_server import BUCKET, Proxy
from streaming_logger import ArchiveConfig, Config, StreamingLogger

SESSIONS = ("first", "second", "third")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three sessions with their timing, on one host, in a directory."""
    path = tmp_path / "archive"
    config = Config(record_timing=True, min_free_disk_mb=None, archive=ArchiveConfig(url=path.as_uri(), host="web-1"))
    with StreamingLogger(config, directory=tmp_path / "logs") as logger:
        for session in SESSIONS:
            logger.write(session, f"{session}\n")
            logger.write(session, "the end ö\n")
            logger.complete_session(session)
    assert len(list(path.glob("date=*/host=web-1/*.json"))) == 3
    return path


def command(*arguments: str | Path, **more: Any) -> tuple[int, str, str]:
    """The command's exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "streaming_logger", *map(str, arguments)], capture_output=True, timeout=50, **more
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def change(archive: Path, session: str, **changes: object) -> None:
    """Changes a session's record."""
    (path,) = archive.glob(f"date=*/host=web-1/{session}.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def listed(archive: Path) -> tuple[int, list[str], str]:
    code, output, errors = command("ls", "--json", "--archive", archive.as_uri())
    return code, [record["session"] for record in json.loads(output)], errors


@pytest.mark.parametrize("verb", ["show", "replay", "timing", "export"])
@pytest.mark.parametrize("where", ["absolute", "relative"])
def test_no_file_is_written_elsewhere(archive: Path, tmp_path: Path, verb: str, where: str) -> None:
    """By a record that names a file of the operator: it is refused, which is reported."""
    target = tmp_path / "profile"
    target.write_text("the operator's own")
    change(archive, "first", file=str(target) if where == "absolute" else "../" * 20 + str(target)[1:])
    code, output, errors = command(verb, "first", "--archive", archive.as_uri())
    assert (code, output) == (1, "")
    assert "first.json is not a record: it names the file of another session" in errors
    assert target.read_text() == "the operator's own"
    assert not Path(f"{target}.timing").exists()


def test_keys_of_a_record_are_not_followed(archive: Path) -> None:
    """One that leads to another session's text, or to any other object, is refused."""
    (other,) = archive.glob("date=*/host=web-1/second.log.gz")
    (archive / "secret").write_text("not a session's")
    for key in (str(other.relative_to(archive)), "secret", str(archive / "secret")):
        for name in ("key", "timing_key"):
            kept = next(archive.glob("date=*/host=web-1/first.json")).read_bytes()
            change(archive, "first", **{name: key})
            code, output, errors = command("show", "first", "--archive", archive.as_uri())
            assert (code, output) == (1, "")
            assert "leads to another place" in errors
            next(archive.glob("date=*/host=web-1/first.json")).write_bytes(kept)


def test_objects_of_no_place_are_passed_over(archive: Path) -> None:
    """Keys that no logger makes: neither a day, nor a host, nor a name."""
    record = next(archive.glob("date=*/host=web-1/first.json"))
    for key in (
        "date=zzz/host=web-1/first.json",
        f"{record.parent.parent.name}/host=%zz/first.json",
        f"{record.parent.relative_to(archive)}/%41.json",
        "index/first/2026-11-25/web 1",
        "index/first/tomorrow/web-1",
    ):
        (archive / key).parent.mkdir(parents=True, exist_ok=True)
        (archive / key).write_bytes(record.read_bytes())
    assert listed(archive) == (0, list(SESSIONS), "")
    assert command("show", "first", "--archive", archive.as_uri())[:2] == (0, "first\nthe end ö\n")


def deep(record: dict[str, Any]) -> bytes:
    return json.dumps(record | {"events": "@"}).replace('"@"', "[" * 100_000).encode()


def longer(record: dict[str, Any]) -> bytes:
    return json.dumps(record | {"events": [{"event": "x" * 5_000_000}]}).encode()


BAD: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "empty": lambda record: b"",
    "not JSON": lambda record: b"{",
    "not an object": lambda record: b"[1]",
    "bytes as text": lambda record: json.dumps(record | {"bytes": "5"}).encode(),
    "bytes NaN": lambda record: json.dumps(record | {"bytes": float("nan")}).encode(),
    "bytes huge": lambda record: json.dumps(record | {"bytes": 10**1000}).encode(),
    "end a number": lambda record: json.dumps(record | {"end": 5}).encode(),
    "end nowhere": lambda record: json.dumps(record | {"end": "soon"}).encode(),
    "session a list": lambda record: json.dumps(record | {"session": ["first"]}).encode(),
    "events a text": lambda record: json.dumps(record | {"events": "x"}).encode(),
    "deep": deep,
    "large": longer,
}


@pytest.mark.parametrize("how", list(BAD))
def test_bad_record_hides_no_other(archive: Path, how: str) -> None:
    """It is skipped and named, with exit code 1; the rest of its day is listed, and shown."""
    (path,) = archive.glob("date=*/host=web-1/second.json")
    path.write_bytes(BAD[how](json.loads(path.read_text())))
    code, sessions, errors = listed(archive)
    assert (code, sessions) == (1, ["first", "third"])
    assert errors.startswith("skipped: date=")
    assert "second.json is not a record: " in errors
    assert len(errors.splitlines()) == 1
    for verb in ("find", "show", "timing"):
        code, output, errors = command(verb, "second", "--archive", archive.as_uri())
        assert (code, output, len(errors.splitlines())) == (1, "", 1), errors
        assert "second.json is not a record: " in errors


def test_many_bad_records_are_counted(archive: Path) -> None:
    """20 are named."""
    (path,) = archive.glob("date=*/host=web-1/second.json")
    for number in range(50):
        path.with_name(f"bad{number:02}.json").write_text("{}")
    code, sessions, errors = listed(archive)
    assert (code, sessions) == (1, list(SESSIONS))
    assert errors.splitlines()[19:] == [errors.splitlines()[19], "skipped: 30 more records"]


def test_record_that_the_store_denies_hides_no_other(
    s3: Proxy, tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was moved to a slower storage class, or has rights of its own."""
    url = f"s3://{BUCKET}/{tmp_path.name}"
    assert command("archive", url, "--dir", tmp_path / "logs")[0] == 0
    for marks in (tmp_path / "logs/.streaming_logger/archived").iterdir():
        marks.unlink()
    assert command("archive", url, "--dir", tmp_path / "logs")[0] == 0
    s3.harm = lambda method, key: "403" if method == "GET" and key.endswith("second.json") else ""
    code, output, errors = command("ls", "--json", "--archive", url)
    assert (code, [record["session"] for record in json.loads(output)]) == (1, ["first", "third"])
    assert "second.json: the store denies access with these credentials (403 Forbidden, Harm: status 403)" in errors
    s3.harm = lambda method, key: "403" if method == "GET" and key.endswith(".json") else ""
    code, output, errors = command("ls", "--json", "--archive", url)
    assert (code, output, len(errors.splitlines())) == (2, "", 1), errors


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 2_000_000_000))


def bomb() -> bytes:
    """4 GB of zeros, in a thousandth of it."""
    compressor, block = zlib.compressobj(wbits=31), bytes(100_000_000)
    begin, again = (compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return begin + 39 * again


@pytest.mark.parametrize("kind", ["log", "timing"])
def test_gzip_bomb_fills_neither_memory_nor_disk(archive: Path, kind: str) -> None:
    """It is read up to the size that the record says, and called damaged."""
    (path,) = archive.glob(f"date=*/host=web-1/first.{kind}.gz")
    path.write_bytes(bomb())
    code, output, errors = command("show", "first", "--archive", archive.as_uri(), "--raw", preexec_fn=limit_memory)
    if kind == "log":
        assert (code, output) == (1, "\0" * 17)
        assert "is damaged: it has more than the 17 bytes of its record" in errors
    else:
        assert (code, output) == (0, "first\nthe end ö\n")
        assert "is damaged: it " in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("kind", ["missing", "not gzip", "cut off"])
def test_missing_or_damaged_timing_does_not_block_the_text(archive: Path, kind: str) -> None:
    """`show` says what is wrong and shows the text; what needs the timing says that there is none."""
    (path,) = archive.glob("date=*/host=web-1/first.timing.gz")
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(b"nonsense" if kind == "not gzip" else path.read_bytes()[:-9])
    code, output, errors = command("show", "first", "--archive", archive.as_uri())
    assert (code, output) == (0, "first\nthe end ö\n")
    assert "first.timing.gz" in errors
    for verb in ("replay", "timing", "export"):
        code, output, errors = command(verb, "first", "--archive", archive.as_uri())
        assert (code, output) == (1, "")
        assert "first has no timing file" in errors


def test_text_that_was_cut_off_is_damaged(archive: Path) -> None:
    """In one line."""
    (path,) = archive.glob("date=*/host=web-1/first.log.gz")
    path.write_bytes(path.read_bytes()[:-9])
    code, _, errors = command("show", "first", "--archive", archive.as_uri())
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "first.log.gz is damaged: it ends in the middle" in errors


def test_text_without_compression_is_bounded_too(tmp_path: Path) -> None:
    """As one with it."""
    archive = tmp_path / "plain"
    settings = ArchiveConfig(url=archive.as_uri(), host="web-1", compress="none")
    with StreamingLogger(Config(min_free_disk_mb=None, archive=settings), directory=tmp_path / "logs") as logger:
        logger.write("s", "text")
        logger.complete_session("s")
    assert command("show", "s", "--archive", archive.as_uri())[:2] == (0, "text")
    (path,) = archive.glob("date=*/host=web-1/s.log")
    path.write_bytes(b"text and more" * 1_000_000)
    code, output, errors = command("show", "s", "--archive", archive.as_uri())
    assert (code, output) == (1, "text")
    assert "is damaged: it has more than the 4 bytes of its record" in errors


def test_large_text_is_read_in_parts(archive: Path) -> None:
    """One that compresses well is whole, byte for byte."""
    import hashlib

    text = b"".join(b"%d;" % number for number in range(1_000_000)) + bytes(20_000_000)
    (path,) = archive.glob("date=*/host=web-1/first.log.gz")
    path.write_bytes(gzip.compress(text))
    change(archive, "first", bytes=len(text), sha256=hashlib.sha256(text).hexdigest())
    code, output, errors = command("show", "first", "--raw", "--archive", archive.as_uri())
    assert (code, output.encode() == text, errors) == (0, True, "")


def test_looking_makes_no_directory(tmp_path: Path) -> None:
    """A mistyped name of one is an error, in every verb that reads."""
    url = (tmp_path / "typo").as_uri()
    for arguments in (["find", "s"], ["ls"], ["show", "s"], ["replay", "s"], ["timing", "s"], ["export", "s"]):
        code, output, errors = command(*arguments, "--archive", url)
        assert (code, output) == (2, "")
        assert errors == f"streaming-logger: {url}: there is no such directory\n"
    assert not (tmp_path / "typo").exists()
