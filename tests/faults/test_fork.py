"""Forks of a process that logs: nothing lost, nothing doubled, nothing hangs, nothing inherited."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from programs import records, run, running, wait_for_line

from conftest import make_old
from streaming_logger import Config, StreamingLogger

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks at descriptors in /proc"),
]

#: Which session files a process has open, by /proc.
HELD = """
def held():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + fd)
        except OSError:
            continue
        # Files, which may carry a lock; a sweep that another thread was in leaves the directory itself open.
        if target.startswith(os.path.realpath(sys.argv[1])) and not os.path.isdir(target):
            found.append(target)
    return found
"""

LOAD = """
import warnings
warnings.simplefilter("ignore")  # Python 3.12 warns of a fork with threads: that is what is tested
logger = open_logger(flush_interval_seconds=0.02)
forks, fork = int(sys.argv[2]), sys.argv[3]
stop = threading.Event()

def writes(name):
    number = 0
    while not stop.is_set():
        logger.write(name, f"{number}\\n")
        logger.write("shared", f"{name[1:]}{number:08}\\n")
        number += 1
        if not number % 64:
            time.sleep(0.001)
    say(f"{name} {number}")

threads = [threading.Thread(target=writes, args=(f"p{n}",)) for n in range(1, 4)]
for thread in threads:
    thread.start()

def in_child(index):
    inherited = held()
    for number in range(200):
        logger.write(f"c{index}", f"{number}\\n")
        logger.write("shared", f"{9}{index:04}{number:04}\\n")
    logger.complete_session(f"c{index}")
    logger.close()
    os._exit(7 if inherited else 0)

for index in range(forks):
    time.sleep(0.01)
    pid = os.fork() if fork == "os" else ctypes.PyDLL(None).fork()
    if pid == 0:
        try:
            in_child(index)
        finally:
            os._exit(8)
    say(f"child {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")
stop.set()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("forks", [20, pytest.param(300, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
def test_fork_under_load(tmp_path: Path, forks: int) -> None:
    """Three threads write while the process forks; each record is there once, the parent's and the children's."""
    status, output, errors = run(HELD + LOAD, tmp_path / "logs", str(forks), "os", seconds=250)
    assert status == 0, errors
    printed = [line.split() for line in output.splitlines()]
    assert [code for name, code in printed if name == "child"] == ["0"] * forks, errors
    shared = Counter(records(tmp_path / "logs" / "shared.log"))
    expected = Counter(int(f"9{index:04}{number:04}") for index in range(forks) for number in range(200))
    for name, count in printed:
        if name != "child":
            assert records(tmp_path / "logs" / f"{name}.log") == list(range(int(count)))
            expected.update(int(f"{name[1:]}{number:08}") for number in range(int(count)))
    for index in range(forks):
        assert records(tmp_path / "logs" / f"c{index}.log") == list(range(200))
    assert shared == expected
    print(f"{forks} forks, {2 * shared.total()} records, 0 lost")


LIBC = """
logger = open_logger(flush_interval_seconds=3600)
for number in range(500):
    logger.write("parent", f"{number}\\n")
logger.flush()
logger.write("parent", "500\\n")
time.sleep(0.3)  # the worker sleeps again: a thread that waits for the GIL hangs the child, with or without us
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    for number in range(500):
        logger.write("child", f"{number}\\n")
    logger.complete_session("child")
    say("held " + ",".join(held()))
    logger.close()
    os._exit(0)
say(f"child {os.waitpid(pid, 0)[1]}")
logger.write("parent", "501\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="calls libc.fork")
def test_a_fork_that_python_does_not_see(tmp_path: Path) -> None:
    """A C-level fork runs no hooks: the child's own session and the parent's are whole, and no file is inherited."""
    status, output, errors = run(HELD + LIBC, tmp_path / "logs")
    assert status == 0, errors
    assert "child 0" in output.splitlines(), errors
    held = next(line for line in output.splitlines() if line.startswith("held"))
    assert "parent.log" not in held
    assert records(tmp_path / "logs" / "parent.log") == list(range(502))
    assert records(tmp_path / "logs" / "child.log") == list(range(500))


MULTIPROCESSING = """
import warnings
warnings.simplefilter("ignore")

def task(directory, index):
    logger = StreamingLogger(Config(flush_interval_seconds=3600), directory=directory) if parent is None else parent
    keep.append(logger)
    for number in range(500):
        logger.write(f"c{index}", f"{number}\\n")

keep, parent = [], None
if __name__ == "__main__":
    parent = open_logger(flush_interval_seconds=3600)
    parent.write("parent", "0\\n")
    context = multiprocessing.get_context(sys.argv[2])
    children = [context.Process(target=task, args=(sys.argv[1], index)) for index in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
        say(f"child {child.exitcode}")
    parent.write("parent", "1\\n")
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_multiprocessing_child_that_returns(tmp_path: Path, method: str) -> None:
    """It leaves by os._exit, without atexit, and still loses nothing, within one flush interval."""
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing, sys\nfrom streaming_logger import Config, StreamingLogger\n"
        "def say(text): print(text, flush=True)\n"
        "def open_logger(**settings): return StreamingLogger(Config(**settings), directory=sys.argv[1])\n"
        + MULTIPROCESSING
    )
    # a spawned child imports the main module by its path
    code = "os.execv(sys.executable, [sys.executable, sys.argv[3], *sys.argv[1:3]])"
    status, output, errors = run(code, tmp_path / "logs", method, str(program))
    assert status == 0, errors
    assert output.splitlines() == ["child 0"] * 3, errors
    assert records(tmp_path / "logs" / "parent.log") == [0, 1]
    for index in range(3):
        assert records(tmp_path / "logs" / f"c{index}.log") == list(range(500))


OUTLIVES = """
logger = open_logger(flush_interval_seconds=0.05)
logger.write("parent", "0\\n")
logger.flush()
if os.fork() == 0:
    logger.write("child", "0\\n")
    logger.flush()
    say("held " + " ".join(held()))
    sys.stdin.readline()
    logger.write("child", "1\\n")
    logger.complete_session("child")
    logger.close()
    say("child done")
    os._exit(0)
time.sleep(0.2)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_child_that_outlives_its_parent(tmp_path: Path) -> None:
    """The killed parent's file is swept although the child lives; the child's own is not, while it is open."""
    directory = tmp_path / "logs"
    with running(HELD + OUTLIVES, directory) as program, StreamingLogger(Config(), directory=directory) as logger:
        held = wait_for_line(program, "held ")
        assert "child.log" in held
        assert "parent.log" not in held
        program.wait(30)
        for name in ("parent", "child"):
            make_old(directory / f"{name}.log", 3600)
        assert logger.cleanup_completed_files().deleted == 1
        assert not (directory / "parent.log").exists()
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
        wait_for_line(program, "child done")
    assert records(directory / "child.log") == [0, 1]
