"""Many sessions go to a real S3 API: each is there, once and whole; how long that takes."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from conftest import logs
from s3_server import BUCKET, Proxy
from streaming_logger import ArchiveConfig, Config, StreamingLogger
from streaming_logger._archive.bucket import Bucket


@pytest.mark.parametrize("sessions", [200, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_many_sessions_are_archived(tmp_path: Path, s3: Proxy, sessions: int) -> None:
    """Three requests for each session and no more, while the server streams on; the figures say how fast."""
    url = f"s3://{BUCKET}/{tmp_path.name}"
    config = Config(min_free_disk_mb=None, archive=ArchiveConfig(url=url, host="h", drain_seconds=1000))
    begun = time.monotonic()
    with StreamingLogger(config, directory=tmp_path / "logs") as logger:
        for number in range(sessions):
            logger.write(f"s{number:05}", f"session {number} says something\n" * 60)
            logger.complete_session(f"s{number:05}", wait=False)
        written = time.monotonic() - begun
    seconds = time.monotonic() - begun
    assert logger.stats().uploads == sessions
    assert logger.stats().upload_errors == 0
    assert len(s3.requests) == 3 * sessions
    bucket = Bucket(url)
    texts = [key for key, _ in bucket.list("") if key.endswith(".log.gz")]
    assert len(texts) == len(set(texts)) == sessions
    wanted = logs(tmp_path / "logs")
    for key in texts[:: max(1, sessions // 200)]:
        assert gzip.decompress(bucket.get(key)).decode() == wanted[key.split("/")[-1].removesuffix(".log.gz")]
    print(
        f"figures {sessions:,} sessions written in {written:.1f} s, archived to an S3 API in {seconds:.1f} s: "
        f"{sessions / seconds:.0f} a second"
    )
