"""Measures of the crash journal: what it adds to one write() and to a flush, and how fast it is recovered."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from numbered_text import ids, numbered, verify
from peers import Ours

__all__ = ["flush", "recovery", "single"]

#: Both are given the same room for text; the journal holds all that is written between two flushes.
_ROOM = {"max_buffer_mb": 256, "crash_journal_mb": 64}

_CRASH = """
import os, sys
from streaming_logger import Config, StreamingLogger
directory, sessions, chunks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
room = {"max_buffer_mb": 256, "crash_journal_mb": 128}  # so much that it is not flushed early
config = Config(min_free_disk_mb=None, flush_interval_seconds=3600, crash_journal=True, **room)
logger = StreamingLogger(config, directory=directory)
for number in range(chunks):
    for session in range(sessions):
        logger.write(f"s{session:06}", f"{number:08} of a text; ")
os._exit(0)
"""


def single(candidate: str, folder: Path, *, sessions: int, chunks: int) -> dict[str, float]:
    """Nanoseconds of single calls of write(), one thread, without what the clock takes; a flush every 0.1 s."""
    names = ids(sessions)
    ours = Ours(folder, names, crash_journal=candidate == "with", flush_interval_seconds=0.1, **_ROOM)
    write, clock, text, took = ours.write, time.perf_counter_ns, numbered(chunks // sessions), []
    for name in names:
        write(name, name)
    for number, chunk in enumerate(text):
        for name in names:
            before = clock()
            write(name, chunk)
            took.append(clock() - before)
        if number % 8 == 0:
            time.sleep(0.002)  # no server writes without a pause
    assert ours.logger.stats().chunks_unjournaled == 0
    ours.close()
    for name in names[:: max(1, sessions // 100)]:
        verify(ours.paths[name], name, text)
    empty = []
    for _ in range(10_000):
        before = clock()
        empty.append(clock() - before)
    clock_takes = sorted(empty)[5000]
    took.sort()
    return {f"p{p:g}": took[int(len(took) * p / 100)] - clock_takes for p in (50, 99.9)}


def flush(candidate: str, folder: Path, *, sessions: int, times: int) -> dict[str, float]:
    """Seconds of a flush of so many sessions with 30 bytes each, their files being open."""
    names = ids(sessions)
    ours = Ours(folder, names, crash_journal=candidate == "with", flush_interval_seconds=3600, **_ROOM)
    for name in names:
        ours.write(name, name)
    ours.logger.flush()
    text, took = numbered(5), []
    for _ in range(times):
        ours.stream(names, text)
        begun = time.perf_counter()
        ours.logger.flush()
        took.append(time.perf_counter() - begun)
    ours.close()
    return {"seconds": sorted(took)[times // 2]}


def recovery(candidate: str, folder: Path, *, sessions: int, megabytes: int) -> dict[str, float]:
    """Megabytes of text a second that a logger recovers when it starts; and the seconds that it takes otherwise."""
    chunks = megabytes * 1_000_000 // (20 * sessions)
    subprocess.run([sys.executable, "-c", _CRASH, str(folder), str(sessions), str(chunks)], check=True)
    begun = time.perf_counter()
    ours = Ours(folder, [], crash_journal=False)
    ours.logger.flush()  # it is the worker's first work
    seconds = time.perf_counter() - begun
    recovered = ours.logger.stats().bytes_recovered
    ours.close()
    assert recovered == 20 * sessions * chunks
    return {"mb": recovered / 1e6 / seconds}
