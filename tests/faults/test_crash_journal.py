"""Processes that die at random moments: each chunk whose `write()` had returned is in its file after recovery, once."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from journal_child import SESSIONS, SHARED, THREADS, WRITERS, text_of
from programs import wait_for_line

from streaming_logger import Config, StreamingLogger
from streaming_logger._wal.storage import is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="needs memory-backed storage in /dev/shm")

CHILD = Path(__file__).with_name("journal_child.py")


class Lives:
    """Processes that log to one directory, one after the other, and die; and what they have acknowledged."""

    def __init__(self, place: Path) -> None:
        place.mkdir(exist_ok=True)
        self.directory = place / "logs"
        self.acknowledged = place / "acknowledged"
        self.acknowledged.write_bytes(bytes(8 * WRITERS))
        self.records = 0

    def live_and_die(self, how: str, seed: int, limits: tuple[str, ...] = ()) -> int:
        """One process; the status that it died with."""
        program = subprocess.Popen(
            [*limits, sys.executable, str(CHILD), str(self.directory), str(self.acknowledged), how, str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with program:
            wait_for_line(program, "ready")
            if how == "kill":
                time.sleep(random.uniform(0, 0.25))  # the moment is the test
                program.kill()
            return program.wait(30)

    def recover(self) -> int:
        """In this process; how many sessions were recovered."""
        with StreamingLogger(Config(min_free_disk_mb=None), directory=self.directory) as logger:
            logger.flush()  # it is the worker's first work
            return logger.stats().sessions_recovered

    def check(self) -> None:
        """Each acknowledged record is in its file once and in order, byte for byte, and at most one more a writer."""
        counts = memoryview(bytearray(self.acknowledged.read_bytes())).cast("q")
        self.records = sum(counts)
        for session in range(SESSIONS):
            path = self.directory / f"s{session}.log"
            text = path.read_bytes() if path.exists() else b""
            counts[session] += self._more(text, session, counts[session])
        for shared in range(SHARED):
            text = (self.directory / f"shared{shared}.log").read_bytes()
            found = re.findall(rb"(\d+):[^;]*;", text)
            assert b"".join(match[0] for match in re.finditer(rb"\d+:[^;]*;", text)) == text, "torn"
            for thread in range(THREADS):
                writer = SESSIONS + shared * THREADS + thread
                own = b"".join(m for m in re.findall(rb"(?:^|(?<=;))(%d:[^;]*;)" % writer, text))
                counts[writer] += self._more(own, writer, counts[writer])
            assert len(found) == sum(counts[SESSIONS + shared * THREADS :][:THREADS])
        self.acknowledged.write_bytes(bytes(counts))  # what was written and not acknowledged counts from now on

    def _more(self, text: bytes, writer: int, count: int) -> int:
        """Whether the record that was being written is there, too."""
        wanted = "".join(text_of(writer, number) for number in range(count))
        data = wanted.encode("utf-8", "backslashreplace")
        one_more = data + text_of(writer, count).encode("utf-8", "backslashreplace")
        if text not in (data, one_more):
            at = len(os.path.commonprefix([text, one_more]))  # noqa: RUF071 - these are no paths
            kind = "lost" if len(text) < len(data) else "doubled or out of order"
            near = slice(max(0, at - 40), at + 40)
            raise AssertionError(f"{kind}: writer {writer}, {count} records, at {at}: {text[near]!r}, {data[near]!r}")
        return int(text == one_more)


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    return Lives(tmp_path / "lives")


def test_sigkill_at_random_moments_loses_nothing(lives: Lives) -> None:
    """Twelve kills under load: no acknowledged record is lost, doubled or out of order."""
    for seed in range(12):
        assert lives.live_and_die("kill", seed) == -signal.SIGKILL
        lives.recover()
        lives.check()
    assert lives.records > 1000


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_sigkills_lose_nothing(tmp_path: Path) -> None:
    """The same, in fifty directories."""
    records = 0
    for place in range(50):
        lives = Lives(tmp_path / f"{place}")
        for seed in range(20):
            assert lives.live_and_die("kill", place * 20 + seed) == -signal.SIGKILL
            lives.recover()
            lives.check()
        records += lives.records
    print(f"figures 1,000 SIGKILLs, {records:,} records acknowledged, 0 lost, 0 doubled, 0 out of order")


@pytest.mark.parametrize(
    ("how", "status"),
    [("segv", -signal.SIGSEGV), ("exit", 3), ("term", -signal.SIGTERM), ("cpu", -signal.SIGKILL), ("exec", 0)],
)
def test_other_deaths_lose_nothing(lives: Lives, how: str, status: int) -> None:
    """SIGSEGV, `os._exit`, SIGTERM with the default handler, a limit on CPU time, exec of another program."""
    for seed in range(2):
        found = lives.live_and_die(how, seed)
        assert found in (status, -signal.SIGXCPU if how == "cpu" else status)
        lives.recover()
        lives.check()
    assert lives.records


def test_a_kill_out_of_memory_loses_nothing(lives: Lives) -> None:
    """The kernel's out-of-memory killer, in a control group that may use 100 MB."""
    with memory_limit(100_000_000) as enter:
        for seed in range(2):
            assert lives.live_and_die("oom", seed, enter) == -signal.SIGKILL
            lives.recover()
            lives.check()
    assert lives.records


@contextmanager
def memory_limit(size: int) -> Iterator[tuple[str, ...]]:
    """A control group: what a command has to begin with to be in it."""
    group = Path(f"/sys/fs/cgroup/memory/streaming_logger_{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(size))
    except OSError as error:
        pytest.skip(f"no control groups here: {error}")
    try:
        yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    finally:
        group.rmdir()
