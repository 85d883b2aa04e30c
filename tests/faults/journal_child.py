"""A program to be killed: eight threads log numbered records to 500 sessions, which end and begin again.

`python journal_child.py directory acknowledged how seed`. For what `write()` has returned stands in the file
`acknowledged`, in memory that outlives the process: for each writer the number of its next record.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import resource
import signal
import sys
import threading
import time
from pathlib import Path

from streaming_logger import Config, StreamingLogger

__all__ = ["SESSIONS", "SHARED", "THREADS", "WRITERS", "text_of"]

SESSIONS, THREADS = 500, 8
#: Sessions that all threads write: each thread is a writer of its own there.
SHARED = 4
WRITERS = SESSIONS + SHARED * THREADS

_FILLINGS = ("é€", "x" * 200, "\0", "\ud800", "\x1b[0m")


def text_of(writer: int, number: int) -> str:
    """A record; some are long, some are not ASCII, some hold what a journal has to escape."""
    filling = _FILLINGS[(writer + number // 11) % len(_FILLINGS)] if number % 11 == 0 else ""
    return f"{writer}:{number}{filling};"


def main() -> None:
    directory, how, seed = Path(sys.argv[1]), sys.argv[3], int(sys.argv[4])
    dice = random.Random(seed)
    with Path(sys.argv[2]).open("r+b") as file:
        counts = memoryview(mmap.mmap(file.fileno(), 8 * WRITERS)).cast("q")
    interval = dice.choice([0.02, 0.1, 1.0])
    config = Config(flush_interval_seconds=interval, min_free_disk_mb=None, crash_journal=True, crash_journal_mb=8)
    logger = StreamingLogger(config, directory=directory)

    def write(session_id: str, writer: int) -> None:
        number = counts[writer]
        logger.write(session_id, text_of(writer, number))
        counts[writer] = number + 1

    def stream(thread: int) -> None:
        own = random.Random(seed * THREADS + thread)
        mine = range(thread, SESSIONS, THREADS)
        while True:
            session = own.choice(mine)
            for _ in range(own.randrange(1, 30)):
                write(f"s{session}", session)
            if own.random() < 0.3:
                logger.complete_session(f"s{session}", wait=own.random() < 0.05)
            for shared in range(SHARED):
                write(f"shared{shared}", SESSIONS + shared * THREADS + thread)
            if own.random() < 0.02:
                logger.complete_session(f"shared{own.randrange(SHARED)}", wait=False)
            if own.random() < 0.5:
                time.sleep(0.0005)

    for thread in range(THREADS):
        threading.Thread(target=stream, args=(thread,), daemon=True).start()
    os.write(1, b"ready\n")
    if how == "kill":
        signal.pause()
    time.sleep(dice.uniform(0.0, 0.15))
    end(how)


def end(how: str) -> None:
    """Dies, in one of the ways in which a server does."""
    if how == "segv":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(3)
    elif how == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    elif how == "cpu":
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
        while True:
            pass
    elif how == "exec":
        os.execv("/bin/true", ["true"])  # noqa: S606 - no shell is wanted
    elif how == "oom":
        hoard = []
        while True:
            hoard.append(b"x" * 1_000_000)


if __name__ == "__main__":
    main()
