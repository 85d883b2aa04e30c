"""Several processes in one directory: what one still writes no other sweeps, and what a dead one left, any does."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import records, running, wait_for_line

from conftest import logs, make_old
from streaming_logger import Config, StreamingLogger
from streaming_logger.testing import ManualLogger

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes and signals")

WRITER = """
logger = open_logger(flush_interval_seconds=0.05, max_open_files=int(sys.argv[2]))
for number in range(20):
    logger.write(f"s{number}", "0\\n")
logger.flush()
say("ready")
for line in sys.stdin:
    for number in range(20):
        logger.write(f"s{number}", "1\\n")
    logger.flush()
    say("written")
"""


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("max_open", [100, 3])
def test_files_of_an_idle_or_stopped_process_stay(
    tmp_path: Path, manual: Callable[..., ManualLogger], stopped: bool, max_open: int
) -> None:
    """Idle or stopped (SIGSTOP) past every retention, open or parked: kept; swept once the process is killed."""
    sweeper = manual()
    with running(WRITER, tmp_path / "logs", str(max_open)) as program:
        wait_for_line(program, "ready")
        if stopped:
            os.kill(program.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WNOWAIT)
        for path in (tmp_path / "logs").glob("*.log"):
            make_old(path, 48 * 3600)
        assert sweeper.cleanup_completed_files().deleted == 0
        assert sweeper.cleanup_old_sessions(1).deleted == 0
        if stopped:
            os.kill(program.pid, signal.SIGCONT)
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
        wait_for_line(program, "written")
        assert set(logs(tmp_path / "logs").values()) == {"0\n1\n"}
        program.kill()
        program.wait(30)
        assert sweeper.cleanup_completed_files().deleted == 0, "orphans have their debugging window too"
        for path in (tmp_path / "logs").glob("*.log"):
            make_old(path, 700)  # more than the window: the clock by hand stood still meanwhile
        assert sweeper.cleanup_completed_files().deleted == 20


def test_one_sweeper_at_a_time(tmp_path: Path, manual: Callable[..., ManualLogger]) -> None:
    """While another process holds the sweep lock the scheduled sweep is left to it; freed, it is done here."""
    sweeper = manual(cleanup_interval_seconds=1)
    old = tmp_path / "logs" / "old.log"
    old.write_text("x")
    make_old(old, 3600)
    with foreign_lock(tmp_path / "logs" / ".streaming_logger" / "sweep.lock"):
        sweeper.advance(2)
        assert old.exists()
    sweeper.advance(2)
    assert not old.exists()


def foreign_lock(path: Path) -> subprocess.Popen[str]:
    """Another program's process that holds the lock; `with` releases it."""
    program = subprocess.Popen(
        ["flock", "-x", str(path), "sh", "-c", "echo held; read line || true"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "held\n"
    return program


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock of util-linux")
def test_a_foreign_lock_delays_its_own_session_only(tmp_path: Path, live: Callable[..., StreamingLogger]) -> None:
    """Others are written meanwhile, within a bound; the text of the locked one follows, in order, when it is free."""
    logger = live(flush_interval_seconds=0.05)
    (tmp_path / "logs" / "locked.log").touch()
    with foreign_lock(tmp_path / "logs" / "locked.log"):
        for number in range(3):
            begun = time.monotonic()
            logger.write("locked", f"{number}\n")
            logger.write("free", f"{number}\n")
            logger.flush()
            assert time.monotonic() - begun < 6
        assert logs(tmp_path / "logs") == {"locked": "", "free": "0\n1\n2\n"}
    deadline = time.monotonic() + 20
    while records(tmp_path / "logs" / "locked.log") != [0, 1, 2] and time.monotonic() < deadline:
        logger.flush()
    assert records(tmp_path / "logs" / "locked.log") == [0, 1, 2]


VICTIM = """
logger = open_logger(flush_interval_seconds=0.05)
life = sys.argv[2]
number = 0
say("ready")
while True:
    session = f"k{life}_{number // 50}"
    logger.write(session, f"{number}\\n")
    logger.write(f"open{life}", f"{time.time_ns()}\\n")
    number += 1
    if not number % 50:
        logger.complete_session(session)
        say(f"complete {number // 50 - 1}")
    if not number % 10:
        time.sleep(0.001)
"""


@pytest.mark.parametrize("kills", [10, pytest.param(300, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_sigkill_at_random_moments(tmp_path: Path, kills: int) -> None:
    """No byte of a completed session is lost; of the others at most what one flush interval holds."""
    directory, completed, worst = tmp_path / "logs", 0, 0.0
    for life in range(kills):
        with running(VICTIM, directory, str(life)) as program:
            wait_for_line(program, "ready")
            began = time.time_ns()
            time.sleep(random.uniform(0.1, 0.3))  # the moment is the test
            program.kill()
            killed = time.time_ns()
            program.wait(30)
            assert program.stdout is not None
            done = [int(line.split()[1]) for line in program.stdout if line.endswith("\n")]
        for index in done:
            assert records(directory / f"k{life}_{index}.log") == list(range(index * 50, index * 50 + 50))
        stamps = records(directory / f"open{life}.log")
        assert stamps == sorted(stamps)
        worst = max(worst, (killed - max([began, *stamps])) / 1e9)
        completed += len(done)
    print(f"{kills} kills, {completed} sessions of 50 records completed, 0 lost; open ones at most {worst:.3f} s")
    assert completed
    assert worst < 0.05 + 1.5
    with StreamingLogger(Config(), directory=directory) as logger:
        logger.flush()  # what the last one left is recovered
        files = list(directory.glob("*.log"))
        for path in files:
            make_old(path, 700)  # more than the window: the clock by hand stood still meanwhile
        assert logger.cleanup_completed_files().deleted == len(files)
