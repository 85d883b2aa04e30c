"""The power fails: with durability "completed" every completed session is whole on the medium."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import records, running, wait_for_line

fcntl = pytest.importorskip("fcntl", reason="cuts the power by an ioctl")

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ext4 and loop mounts are Linux's"),
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs mkfs.ext4"),
]

#: The file system stops at once, and what its journal has not on the medium is gone: as a power cut.
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


class Disk:
    """An ext4 of its own, in a file, whose power can be cut."""

    def __init__(self, place: Path) -> None:
        self.path, self._image = place / "disk", place / "image"
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", self._image], check=True, capture_output=True)
        self.mount()

    def mount(self) -> None:
        # It commits by itself so rarely that no test is saved by it.
        done = subprocess.run(
            ["mount", "-o", "loop,commit=300", self._image, self.path], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")

    def cut(self) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def unmount(self) -> None:
        subprocess.run(["umount", self.path], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    subprocess.run(["umount", "-l", disk.path], capture_output=True)


VICTIM = """
logger = open_logger(flush_interval_seconds=0.05, durability=sys.argv[2])
turn = int(sys.argv[3]) * 1_000_000
while True:
    for number in range(200):
        logger.write(f"turn{turn}", f"{number}\\n")
        logger.write("open", f"{number}\\n")
    logger.complete_session(f"turn{turn}")
    say(f"complete {turn}")
    turn += 1
"""


def cut_while_writing(disk: Disk, durability: str, cuts: int) -> tuple[int, int]:
    """How many sessions were reported complete, and how many of them are not whole afterwards."""
    directory, completed, broken = disk.path / "logs", 0, 0
    for cut in range(cuts):
        with running(VICTIM, directory, durability, str(cut)) as program:
            wait_for_line(program, "complete")
            time.sleep(0.1 + 0.07 * cut)  # the moment is the test
            # Stopped, so that what it has printed by now was printed before the cut.
            os.kill(program.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WNOWAIT)
            disk.cut()
            program.kill()
            program.wait(30)
            assert program.stdout is not None
            done = [cut * 1_000_000, *(int(line.split()[1]) for line in program.stdout if line.endswith("\n"))]
        disk.unmount()
        disk.mount()  # the journal is replayed, as after a real one
        completed += len(done)
        broken += sum(records(directory / f"turn{turn}.log") != list(range(200)) for turn in done)
    return completed, broken


def test_power_cut_leaves_completed_sessions_whole(disk: Disk) -> None:
    """Every session whose completion had returned, over several cuts of the power."""
    completed, broken = cut_while_writing(disk, "completed", 10)
    print(f"10 power cuts, {completed} completed sessions of 200 records, {broken} not whole")
    assert completed
    assert broken == 0


def test_the_cut_is_a_real_one(disk: Disk) -> None:
    """Without that setting the same cut does lose completed sessions: the test above has teeth."""
    completed, broken = cut_while_writing(disk, "none", 1)
    print(f"durability none: 1 power cut, {completed} completed sessions, {broken} not whole")
    assert broken


CUT_OFF = """
logger = open_logger(flush_interval_seconds=0.05)
logger.write("s", "0\\n")
logger.flush()
say("ready")
sys.stdin.readline()
for number in range(1, 1000):
    logger.write("s", f"{number}\\n")
logger.flush()
logger.complete_session("s", wait=False)
logger.cleanup_completed_files()
stats = logger.stats()
assert stats.bytes_buffered == sum(len(f"{number}\\n") for number in range(1, 1000)), stats
assert not stats.dropped_characters and logger.health().status == "degraded", (stats, logger.health())
say("survived")
"""


def test_disk_that_is_gone_does_not_reach_the_server(disk: Disk) -> None:
    """Every call on the dead file system fails; the process goes on, and keeps what it could not write."""
    with running(CUT_OFF, disk.path / "logs") as program:
        wait_for_line(program, "ready")
        disk.cut()
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
        wait_for_line(program, "survived")
