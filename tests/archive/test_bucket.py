"""The object storage by its real API: what is stored is whole, and each refusal is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3_server import BUCKET, Proxy
from streaming_logger._archive.bucket import ArchiveError, Bucket, Found

TEXT = "hällo\n".encode() * 100


@pytest.fixture(params=["s3", "file"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    if request.param == "file":
        return Bucket(f"{tmp_path.as_uri()}/a%20b")
    request.getfixturevalue("s3")
    return Bucket(f"s3://{BUCKET}/{tmp_path.name}")


def put(bucket: Bucket, key: str, data: bytes = b"") -> None:
    bucket.put(key, data)


def test_what_is_put_is_there(bucket: Bucket) -> None:
    """Under its key, `%` and all; an older object is replaced."""
    key = "date=2026-11-25/host=h/a%20b.log.gz"
    put(bucket, key, b"older")
    put(bucket, key, TEXT)
    assert bucket.get(key) == TEXT
    assert list(bucket.list("date=2026-11-25")) == [Found(key, len(TEXT))]
    with pytest.raises(FileNotFoundError):
        bucket.get("date=2026-11-25/other")


def test_parts_become_one_object(bucket: Bucket) -> None:
    """More than a request takes; its size is told."""
    parts = [bytes([number]) * 1_000_000 for number in range(12)]
    assert bucket.put_parts("large", iter(parts)) == 12_000_000
    assert bucket.get("large") == b"".join(parts)


def test_listing_is_by_folder_and_by_order(bucket: Bucket) -> None:
    """A folder, not the beginning of a name; `after` leaves out what comes before it."""
    for name in ("a", "ab", "b", "c"):
        put(bucket, f"index/{name}/x")
    assert [key for key, _ in bucket.list("index/a")] == ["index/a/x"]
    assert [key for key, _ in bucket.list("index", after="index/ab")] == ["index/ab/x", "index/b/x", "index/c/x"]
    assert sorted(bucket.folders("index")) == ["a", "ab", "b", "c"]
    assert list(bucket.folders("")) == ["index"]
    assert list(bucket.list("nothing")) == []


def test_object_of_another_size_is_an_error(s3: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store has a checksum of its own kind, the size decides."""
    bucket = Bucket(f"s3://{BUCKET}/sizes")
    monkeypatch.setattr(bucket, "_is_s3", False)
    put(bucket, "k", TEXT)
    with pytest.raises(ArchiveError, match="k: 5 bytes were sent and 700 are there"):
        bucket._check("k", 5)


@pytest.mark.parametrize("status", [500, 503, 403, 401])
def test_refusal_is_one_line(s3: Proxy, status: int) -> None:
    """It names the object and the status; an error of the server was tried again before."""
    s3.harm = lambda method, key: str(status)
    with pytest.raises(ArchiveError) as caught:
        Bucket(f"s3://{BUCKET}", max_retries=1).put("k", b"")
    assert str(caught.value).startswith("k: ")
    assert f"{status}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert s3.count("PUT") == (2 if status >= 500 else 1)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("s3://no-such-bucket/x", "NoSuchBucket"),
        ("ftp://x", "is no URL of an archive: s3://, gs://, az:// or file:///"),
        ("x", "is no URL of an archive"),
        ("az://container/x", "Account must be specified"),
    ],
)
def test_what_cannot_be_used_says_why(s3: Proxy, url: str, text: str) -> None:
    """In the store's words, or ours."""
    with pytest.raises(ArchiveError, match=text):
        list(Bucket(url, max_retries=0).list("index"))


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a bare ImportError."""
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    with pytest.raises(ArchiveError, match=r"pip install 'streaming-logger\[archive\]'"):
        Bucket("s3://bucket")
