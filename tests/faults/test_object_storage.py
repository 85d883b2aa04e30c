"""The object storage fails in every way: the stream, the flush and the sweep do not notice, and nothing is lost."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from programs import OPEN, run, running

from conftest import logs, wait_until
from s3_server import BUCKET, Proxy
from streaming_logger import ArchiveConfig, StreamingLogger
from streaming_logger._archive.bucket import Bucket
from streaming_logger._base.sync import run_thread
from streaming_logger._context import Timeouts


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def logger(live: Callable[..., StreamingLogger], s3: Proxy, url: str) -> Callable[..., StreamingLogger]:
    """Makes loggers whose uploads go through the proxy; settings of the archive as keywords."""

    def make(parts: dict[str, Any] | None = None, **archive: Any) -> StreamingLogger:
        settings = {"url": url, "max_retries": 1, "drain_seconds": 10, "host": "h", **archive}
        timeouts = {"timeouts": Timeouts(upload_pause=0.05), **(parts or {})}
        return live(timeouts, archive=ArchiveConfig(**settings), flush_interval_seconds=0.05)

    return make


def stream(logger: StreamingLogger, count: int, size: int = 10) -> None:
    for number in range(count):
        logger.write(f"s{number}", f"{number};" * size)
        logger.complete_session(f"s{number}")


def archived(url: str) -> dict[str, str]:
    """The texts of all sessions that the index leads to."""
    bucket = Bucket(url)
    names = [key.split("/")[1] for key, _ in bucket.list("index")]
    (day,) = bucket.folders("") if not names else [name for name in bucket.folders("") if name != "index"]
    return {name: gzip.decompress(bucket.get(f"{day}/host=h/{name}.log.gz")).decode() for name in names}


def text_puts(s3: Proxy) -> list[str]:
    return [key for method, key in s3.requests if method == "PUT" and key.endswith(".log.gz")]


def test_store_that_is_down_loses_nothing(
    logger: Callable[..., StreamingLogger], s3: Proxy, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All is uploaded once it is back; while it is down that is said once, and the health is degraded."""
    s3.harm = lambda method, key: "503"
    streams = logger()
    stream(streams, 20)
    wait_until(lambda: streams.stats().upload_errors >= 3)
    assert streams.health().status == "degraded"
    assert caplog.text.count(f"cannot archive to {url}: ") == 1
    s3.harm = lambda method, key: ""
    wait_until(lambda: streams.stats().uploads == 20)
    assert archived(url) == logs(tmp_path / "logs")
    assert f"uploads to {url} work again" in caplog.text


def test_store_that_hangs_holds_up_nobody(
    logger: Callable[..., StreamingLogger], s3: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither writes, nor flushes, completions and sweeps; `close` waits no longer than `drain_seconds` and 2 s."""
    s3.harm = lambda method, key: "hang"
    streams = logger(drain_seconds=0.2)
    stream(streams, 5)
    wait_until(lambda: s3.count("PUT") >= 1)
    begun = time.monotonic()
    for _ in range(5):
        stream(streams, 5)
        streams.flush()
        streams.cleanup_completed_files()
    assert time.monotonic() - begun < 10
    begun = time.monotonic()
    streams.close()
    assert time.monotonic() - begun < 4
    assert "the next process goes on" in caplog.text
    assert len(logs(tmp_path / "logs")) == 5


def test_errors_now_and_then_lose_nothing(
    logger: Callable[..., StreamingLogger], s3: Proxy, url: str, tmp_path: Path
) -> None:
    """Errors of the server, and connections that end in the middle of a body, at every third request."""
    dice = random.Random(14)
    s3.harm = lambda method, key: dice.choice(["", "", "", "", "500", "cut"])
    streams = logger()
    stream(streams, 40, size=2000)
    wait_until(lambda: streams.stats().uploads >= 40, seconds=30)
    s3.harm = lambda method, key: ""
    assert archived(url) == logs(tmp_path / "logs")


def test_wrong_credentials_are_said_once(
    logger: Callable[..., StreamingLogger], s3: Proxy, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a retry of the request, in one line that has the store's answer."""
    s3.harm = lambda method, key: "403"
    streams = logger(max_retries=5, drain_seconds=0.2)
    stream(streams, 1)
    wait_until(lambda: streams.stats().upload_errors >= 2)
    (line,) = [record.getMessage() for record in caplog.records if "cannot archive" in record.getMessage()]
    assert line.startswith(f"cannot archive to {url}: ")
    assert "403 Forbidden" in line


CHILD = """
from streaming_logger import ArchiveConfig, RadarConfig
archive = ArchiveConfig(url=sys.argv[2], host="h", drain_seconds=float(sys.argv[3]), max_retries=0)
logger = open_logger(archive=archive, radar=RadarConfig(enabled=False), flush_interval_seconds=0.05)
begin = int(sys.argv[4])
for number in range(begin, begin + int(sys.argv[5])):
    logger.write(f"s{number}", f"{number};" * 1000)
    logger.complete_session(f"s{number}")
"""


def test_killed_uploads_are_finished_by_the_next_process(s3: Proxy, url: str, tmp_path: Path) -> None:
    """SIGKILL after the k-th request: each session is in the archive afterwards, whole."""
    directory = tmp_path / "logs"
    for k in range(1, 10):
        limit = s3.count("PUT") + k
        s3.harm = lambda method, key, limit=limit: "hang" if s3.count("PUT") > limit else ""  # type: ignore[misc]
        with running(CHILD + "time.sleep(60)", directory, url, "0", str(10 * k), "10") as program:
            wait_until(lambda limit=limit: s3.count("PUT") > limit)  # type: ignore[misc]
            program.send_signal(signal.SIGKILL)
            program.wait()
    s3.harm = lambda method, key: ""
    status, _, errors = run(CHILD, directory, url, "20", "0", "1")
    assert status == 0, errors
    assert archived(url) == logs(directory)
    assert len(logs(directory)) >= 80


def test_two_processes_upload_each_session_once(s3: Proxy, url: str, tmp_path: Path) -> None:
    """Workers that share a directory: one uploads at a time, and knows what the other has done."""
    directory = tmp_path / "logs"
    with (
        running(CHILD, directory, url, "10", "0", "50") as one,
        running(CHILD, directory, url, "10", "50", "50") as two,
    ):
        assert [one.wait(30), two.wait(30)] == [0, 0]
    status, _, errors = run(CHILD, directory, url, "10", "100", "1")  # whichever had no turn at its end
    assert status == 0, errors
    assert archived(url) == logs(directory)
    assert len(text_puts(s3)) == len(set(text_puts(s3))) == 101


def test_exit_while_uploads_hang(s3: Proxy, url: str, tmp_path: Path) -> None:
    """The process ends as if there were no archive: soon, with status 0 and nothing on stderr but a log line."""
    s3.harm = lambda method, key: "hang"
    begun = time.monotonic()
    status, _, errors = run(CHILD + "time.sleep(0.5)", tmp_path / "logs", url, "0.2", "0", "20")
    assert (status, time.monotonic() - begun < 5) == (0, True), errors
    (line,) = errors.splitlines()
    assert line.startswith("closed before all files are archived: the next process goes on")


def test_program_that_ends_at_once_uploads_its_only_session(s3: Proxy, url: str, tmp_path: Path) -> None:
    """Its upload thread is there by then: from Python 3.12 on none can start while the interpreter ends."""
    for number in range(5):
        status, _, errors = run(CHILD, tmp_path / "logs", url, "10", str(number), "1")
        assert (status, errors) == (0, "")
        assert len(archived(url)) == number + 1


def test_upload_thread_is_there_when_the_first_write_returns(
    logger: Callable[..., StreamingLogger], s3: Proxy, tmp_path: Path
) -> None:
    """And not before: a server that forks its workers after it made the logger has none in the parent."""
    started: list[str] = []

    def start(run: Callable[[], None], name: str) -> None:
        started.append(name)
        run_thread(run, name)

    streams = logger({"run_thread": start})
    assert started == []
    streams.write("s", "text")
    assert started == ["streaming_logger", "streaming_logger archive"]


def test_upload_that_outlives_close_uses_its_own_descriptors(
    logger: Callable[..., StreamingLogger], s3: Proxy, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The logger's numbers belong to someone else by then; the upload is marked where it belongs."""
    goes_on = threading.Event()

    def wait(method: str, key: str) -> str:
        goes_on.wait(20)
        return ""

    s3.harm = wait
    other = tmp_path / "someone else's"
    other.mkdir()
    streams = logger(drain_seconds=0)
    stream(streams, 1)
    wait_until(lambda: s3.count("PUT") == 1)
    streams.close()
    taken = [os.open(other, os.O_RDONLY | os.O_DIRECTORY) for _ in range(50)]
    try:
        goes_on.set()
        wait_until(lambda: (tmp_path / "logs/.streaming_logger/archived/s0.log").exists())
        wait_until(lambda: not any("archive" in thread.name for thread in threading.enumerate()))
    finally:
        for fd in taken:
            os.close(fd)
    assert list(other.iterdir()) == []
    assert "descriptor" not in caplog.text
    assert archived(url) == logs(tmp_path / "logs")


def test_directory_that_is_replaced_between_passes_is_found(
    logger: Callable[..., StreamingLogger], s3: Proxy, url: str, tmp_path: Path
) -> None:
    """The upload thread opens it by itself, so it must notice by itself."""
    streams = logger()
    stream(streams, 1)
    wait_until(lambda: streams.stats().uploads == 1)
    (tmp_path / "logs").rename(tmp_path / "older")
    streams.flush()  # looks at the directory
    streams.write("again", "text")
    streams.complete_session("again")
    wait_until(lambda: streams.stats().uploads == 2)
    assert archived(url)["again"] == "text"


FORKS = """
import logging
logging.basicConfig(format="%(message)s")
while logger.stats().uploads < 5:
    time.sleep(0.01)
pid = os.fork()
if pid == 0:
    logger.write("child", "text")
    logger.complete_session("child")
    time.sleep(0.3)
    logger.close()
    sys.exit(0)
_, status = os.waitpid(pid, 0)
end = time.monotonic() + 10
while logger.stats().uploads < 6 and time.monotonic() < end:
    time.sleep(0.01)
say(f"{status} {logger.stats().uploads}")
"""


def test_forked_child_leaves_uploads_to_its_parent(s3: Proxy, url: str, tmp_path: Path) -> None:
    """Its own requests would never end. It says so, goes on without, and the parent uploads its sessions."""
    status, output, errors = run(CHILD + FORKS, tmp_path / "logs", url, "5", "0", "5")
    assert (status, output) == (0, "0 6\n"), errors
    assert errors.count("this process was forked from one that uploads") == 1
    assert archived(url) == logs(tmp_path / "logs")


def test_gevent_process_uploads(s3: Proxy, url: str, tmp_path: Path) -> None:
    """The uploader's thread is a real one there, too."""
    code = "from gevent import monkey; monkey.patch_all()\n" + OPEN + CHILD + "logger.close()"
    command = [sys.executable, "-c", code, str(tmp_path / "logs"), url, "10", "0", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert archived(url) == logs(tmp_path / "logs")
    assert len(logs(tmp_path / "logs")) == 20
