"""Measures of streams at the pace of a model: 50 chunks a second for each session, written in rounds.

Every 20 ms one thread writes one chunk to each session. What is measured is what this costs the
whole process, and how long a round takes while the worker flushes beside it.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path

from numbered_text import answers, ids, numbered, verify
from peers import Ours, Peer, open_peer

__all__ = ["cpu", "radar", "rounds_of_writes"]

_ROUND_SECONDS = 0.02
#: Of about five characters each, for the radar: 50 characters a second.
_CHUNKS_A_SECOND = 10


class _NoOp(Peer):
    """Takes each chunk and does nothing with it."""

    def write(self, session: str, chunk: str) -> None:
        pass


def cpu(peer: str, folder: Path, *, sessions: int, seconds: float) -> dict[str, float]:
    """Nanoseconds of CPU time for each chunk, of all threads, until all is in the files."""
    names, to = _opened(peer, folder, sessions)
    chunks = numbered(int(seconds / _ROUND_SECONDS))
    before = time.process_time()
    _write(to, names, chunks)
    to.flush()
    spent = time.process_time() - before
    _close(to, names, chunks)
    return {"ns": spent / len(chunks) / sessions * 1e9}


def radar(peer: str, folder: Path, *, sessions: int, seconds: float) -> dict[str, float]:
    """Shares of one core, of the worker and of the radar in it: sessions at 50 characters a second."""
    names, to = _opened(peer, folder, sessions)
    assert isinstance(to, Ours)
    chunks = answers(int(seconds * _CHUNKS_A_SECOND))
    spent_in = to.logger._engine.events.observers.seconds
    process, thread, before = time.process_time(), time.thread_time(), spent_in["radar"]
    begun = time.perf_counter()
    _write(to, names, chunks, 1 / _CHUNKS_A_SECOND)
    seconds = time.perf_counter() - begun
    worker = (time.process_time() - process) - (time.thread_time() - thread)
    figures = {"worker": worker / seconds, "radar": (spent_in["radar"] - before) / seconds}
    figures["characters"] = sum(map(len, chunks)) / seconds
    _close(to, names, chunks)
    return figures


def rounds_of_writes(peer: str, folder: Path, *, sessions: int, seconds: float) -> dict[str, float]:
    """Percentiles in milliseconds of one round of writes over all sessions."""
    names, to = _opened(peer, folder, sessions)
    chunks = answers(int(seconds / _ROUND_SECONDS))
    took = sorted(_write(to, names, chunks))
    _close(to, names, chunks)
    return {f"p{p:g}": 1e3 * took[min(len(took) - 1, int(len(took) * p / 100))] for p in (50, 99, 100)}


def _opened(peer: str, folder: Path, sessions: int) -> tuple[list[str], Peer]:
    """The names of some sessions, and a peer that has opened their files."""
    names = ids(sessions)
    to = _NoOp(folder, names) if peer == "no-op" else open_peer(peer, folder, names)
    for name in names:
        to.write(name, name)
    if isinstance(to, Ours):
        to.logger.flush()
        time.sleep(to.logger.flush_interval)  # the flush that finds new names in the directory verifies each file
    gc.collect()
    return names, to


def _write(to: Peer, names: list[str], chunks: list[str], pause: float = _ROUND_SECONDS) -> list[float]:
    """Seconds that each round took; one that is late begins at once."""
    write, clock, took = to.write, time.perf_counter, []
    due = clock()
    for chunk in chunks:
        time.sleep(max(0.0, due - clock()))
        due += pause
        begun = clock()
        for name in names:
            write(name, chunk)
        took.append(clock() - begun)
    return took


def _close(to: Peer, names: list[str], chunks: list[str]) -> None:
    """Ends it, and checks that all arrived."""
    to.close()
    if not isinstance(to, _NoOp):
        for name in names[:: max(1, len(names) // 100)]:
            verify(to.paths[name], name, chunks, to.end)
