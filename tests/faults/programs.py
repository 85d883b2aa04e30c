"""Real programs for the tests of processes: started with the logger at hand, watched, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["OPEN", "records", "run", "running", "wait_for_line"]

#: How every program begins: `logger` writes into its first argument, `say` tells the test.
OPEN = """
import ctypes, multiprocessing, os, signal, sys, threading, time
from streaming_logger import Config, StreamingLogger

def say(text):
    sys.stdout.flush()
    os.write(1, (text + chr(10)).encode())  # one call: threads say whole lines

def open_logger(**settings):
    settings.setdefault("crash_journal_directory", os.environ.get("CRASH_STORAGE", "/dev/shm"))
    return StreamingLogger(Config(min_free_disk_mb=None, **settings), directory=sys.argv[1])
"""


@contextlib.contextmanager
def running(code: str, directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The program runs in a process group of its own; whatever is left of it at the end is killed."""
    program = subprocess.Popen(
        [sys.executable, "-c", OPEN + code, str(directory), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with program:
        try:
            yield program
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)


def run(code: str, directory: Path, *arguments: str, seconds: float = 40) -> tuple[int, str, str]:
    """The program to its end: exit status, output, errors."""
    with running(code, directory, *arguments) as program:
        output, errors = program.communicate(timeout=seconds)
    return program.returncode, output, errors


def wait_for_line(program: subprocess.Popen[str], start: str) -> str:
    """The rest of the next line that starts so."""
    assert program.stdout is not None
    for line in program.stdout:
        if line.startswith(start):
            return line.removeprefix(start).strip()
    assert program.stderr is not None
    raise AssertionError(f"the program ended before it printed {start!r}: {program.stderr.read()}")


def records(path: Path) -> list[int]:
    """The numbered records of a file, one a line; a last line that is cut off counts not."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [int(line) for line in text.split("\n")[:-1]]
