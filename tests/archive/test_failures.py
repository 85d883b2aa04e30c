"""A store that cannot be used: one line that says why, in every verb, with exit code 2, and without what is secret."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from s3_server import BUCKET, ENVIRONMENT, Proxy, running_moto
from streaming_logger import Config, StreamingLogger
from streaming_logger._archive.bucket import ArchiveError, Bucket, UnusableError
from streaming_logger._archive.failures import failure_of

READING = (["find", "s"], ["ls"], ["show", "s"], ["replay", "s"], ["timing", "s"], ["export", "s"])


@pytest.fixture(scope="module")
def guarded() -> Iterator[int]:
    """The port of a server that knows no access key."""
    with running_moto(INITIAL_NO_AUTH_ACTION_COUNT="1") as port:  # the one that makes the bucket
        yield port


def environment(endpoint: str, **more: str) -> dict[str, str]:
    return {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint, **more}


def command(*arguments: str | Path) -> tuple[int, str, str]:
    """The command's exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "streaming_logger", *map(str, arguments)], capture_output=True, text=True, timeout=50
    )
    return done.returncode, done.stdout, done.stderr


def check_every_verb(tmp_path: Path, url: str, reason: str) -> None:
    """Each exits with 2 and one line, which has the reason."""
    with StreamingLogger(Config(min_free_disk_mb=None), directory=tmp_path / "logs") as logger:
        logger.write("s", "text")
        logger.complete_session("s")
    for arguments in (*([*verb, "--archive", url] for verb in READING), ["archive", url, "--dir", tmp_path / "logs"]):
        code, output, errors = command(*arguments)
        assert (code, output, len(errors.splitlines())) == (2, "", 1), errors
        assert errors.startswith("streaming-logger: ")
        assert reason in errors
        assert "<" not in errors


def test_wrong_key(tmp_path: Path, guarded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's own code and words are there, and its XML is not."""
    for name, value in environment(f"http://127.0.0.1:{guarded}").items():
        monkeypatch.setenv(name, value)
    reason = "the store rejects the credentials (403 Forbidden, InvalidAccessKeyId: The AWS Access Key Id you provided"
    check_every_verb(tmp_path, f"s3://{BUCKET}/x", reason)


def test_missing_bucket(tmp_path: Path, s3: Proxy) -> None:
    """It is told from a session that is not there."""
    check_every_verb(tmp_path, "s3://no-such-bucket/x", "the bucket does not exist (404 Not Found, NoSuchBucket: ")
    code, _, errors = command("show", "s", "--archive", f"s3://{BUCKET}/x")
    assert (code, errors) == (1, f"there is no session s in s3://{BUCKET}/x\n")


def test_unreachable_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address and the system's reason; a user and password in it are not repeated."""
    for name, value in environment("http://user:pass-word@127.0.0.1:1").items():
        monkeypatch.setenv(name, value)
    check_every_verb(tmp_path, "s3://bucket/x", ": cannot connect to 127.0.0.1:1: Connection refused")


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        (
            {"AWS_ENDPOINT_URL": "http://no-such-host.invalid"},
            "cannot connect to no-such-host.invalid: failed to lookup",
        ),
        ({"AWS_ENDPOINT_URL": "pass-word"}, "AWS_ENDPOINT_URL must be a URL: http://host:port, https://host:port"),
        ({"AWS_ENDPOINT_URL": "http://["}, "AWS_ENDPOINT_URL must be a URL"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:port"}, "AWS_ENDPOINT_URL must be a URL"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "there are no credentials"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no credentials"),
    ],
)
def test_other_settings_that_cannot_work(environ: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is named for what it is."""
    metadata = {"AWS_METADATA_ENDPOINT": "http://127.0.0.1:1"}
    for name, value in environment("http://127.0.0.1:1", **metadata, **environ).items():
        monkeypatch.setenv(name, value)
        if not value:
            monkeypatch.delenv(name)
    with pytest.raises(UnusableError) as caught:
        list(Bucket("s3://bucket", max_retries=0).list("index"))
    assert reason in str(caught.value)
    assert "pass-word" not in str(caught.value)
    assert "\n" not in str(caught.value)


def answering(s3: Proxy, status: int, body: str) -> None:
    """Has the store answer so."""
    s3.answer = lambda *_: (status, [("content-type", "application/xml")], body.encode())  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, "SignatureDoesNotMatch", "the store rejects the credentials"),
        (400, "ExpiredToken", "the store rejects the credentials"),
        (403, "RequestTimeTooSkewed", "the store rejects the credentials"),
        (401, "Unauthorized", "the store rejects the credentials"),
        (403, "AccessDenied", "the store denies access with these credentials"),
        (404, "NoSuchBucket", "the bucket does not exist"),
    ],
)
@pytest.mark.parametrize("verb", ["list", "folders", "put"])
def test_answers_of_stores(s3: Proxy, status: int, code: str, reason: str, verb: str) -> None:
    """By the code in the answer; what else is in it is not repeated."""
    signed = "<StringToSign>AWS4 pass-word</StringToSign><AWSAccessKeyId>pass-word</AWSAccessKeyId>"
    answering(s3, status, f"<Error><Code>{code}</Code><Message>Why\n\x1b[2J it is so.</Message>{signed}</Error>")
    bucket = Bucket(f"s3://{BUCKET}", max_retries=0)
    calls: dict[str, Callable[[], object]] = {
        "list": lambda: list(bucket.list("index")),
        "folders": lambda: list(bucket.folders("")),
        "put": lambda: bucket.put("key", b""),
    }
    with pytest.raises(UnusableError) as caught:
        calls[verb]()
    what = "key" if verb == "put" else f"s3://{BUCKET}"
    assert str(caught.value).startswith(f"{what}: {reason} ({status} ")
    assert str(caught.value).endswith(f", {code}: Why ?[2J it is so.)")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_denial_of_one_object_is_no_end_of_the_store(s3: Proxy) -> None:
    """Others may be had; with a wrong key none can."""
    bucket = Bucket(f"s3://{BUCKET}", max_retries=0)
    answering(s3, 403, "<Error><Code>InvalidObjectState</Code></Error>")
    with pytest.raises(ArchiveError) as caught:
        bucket.get("key")
    assert not isinstance(caught.value, UnusableError)
    answering(s3, 403, "<Error><Code>InvalidAccessKeyId</Code></Error>")
    with pytest.raises(UnusableError):
        bucket.get("key")


@pytest.mark.parametrize(
    "text",
    [
        "Generic MicrosoftAzure error: no such thing: https://a.blob.core.windows.net/c/k?sv=1&sig=pass-word",
        "Generic S3 error: Error performing GET http://u:pass-word@host/x in 1ms - HTTP error: error sending request",
        "Generic GCS error: bad url 'https://u:pass-word@host/x', giving up",
    ],
)
def test_urls_in_messages_lose_their_secrets(text: str) -> None:
    """The host alone stays."""
    found = str(failure_of("key", RuntimeError(text)))
    assert "pass-word" not in found
    assert "host" in found or "a.blob.core.windows.net" in found
