"""Measures of streams: the cost of one write(), saturated throughput, and the tail of paced writers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from numbered_text import ids, numbered, verify
from peers import Ours, Peer, open_peer

__all__ = ["call", "large", "paced", "saturated"]

_THREADS = 4
#: Ends what runs beside the writers, and says from when to when it did.
Windows = Callable[[], list[tuple[float, float]]]


class _LockedLists:
    """The yardstick of one call: a method, a lock, the session's list, an append. And no more."""

    def __init__(self, sessions: list[str]) -> None:
        self._lock = threading.Lock()
        self._buffers: dict[str, list[str]] = {session: [] for session in sessions}

    def write(self, session: str, chunk: str) -> None:
        with self._lock:
            self._buffers[session].append(chunk)

    def clear(self) -> None:
        for chunks in self._buffers.values():
            chunks.clear()


def call(candidate: str, folder: Path, *, sessions: int, blocks: int) -> dict[str, float]:
    """Nanoseconds of one write(), one thread, `sessions` in turns; the worker writes them at the end."""
    names = ids(sessions)
    order = names * max(1, 256_000 // sessions)
    chunks = numbered(blocks)
    if candidate == "yardstick":
        peer: _LockedLists | Ours = _LockedLists(names)
    else:
        peer = Ours(folder, names, max_open_files=min(sessions, 15_000), flush_interval_seconds=3600)
    write = peer.write
    for name in names:
        write(name, name)
    times = []
    for chunk in chunks:
        begun = time.perf_counter()
        for name in order:
            write(name, chunk)
        times.append((time.perf_counter() - begun) / len(order))
        if isinstance(peer, _LockedLists):
            peer.clear()
    if isinstance(peer, Ours):
        while peer.logger.stats().bytes_buffered:
            peer.logger.flush()  # close() would wait 5 s only, and a slow disk takes longer to make 100,000 files
        peer.close()
        each = len(order) // sessions
        for name in names[:: max(1, sessions // 100)]:
            verify(peer.paths[name], name, [chunk * each for chunk in chunks])
    return {"ns": median(times) * 1e9}


def saturated(peer: str, folder: Path, *, chunks: int, sessions: int = 100) -> dict[str, float]:
    """Chunks a second until all is in the files: 4 threads without a pause, 6-byte chunks."""
    shares = [ids(sessions // _THREADS, thread) for thread in range(_THREADS)]
    text = numbered(chunks // sessions)
    return {"rate": len(text) * sessions / _seconds(peer, folder, shares, text)}


def large(peer: str, folder: Path, *, size: int, megabytes: int) -> dict[str, float]:
    """Megabytes a second of one stream of larger chunks; "os.write" writes blocks of 1 MiB instead."""
    if peer == "os.write":
        fd = os.open(folder / "raw.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        block = os.urandom(1 << 20)
        begun = time.perf_counter()
        for _ in range(megabytes):
            os.write(fd, block)
        os.close(fd)
        return {"mb": megabytes * len(block) / 1e6 / (time.perf_counter() - begun)}
    text = numbered(megabytes * 1_000_000 // size, size)
    return {"mb": len(text) * size / 1e6 / _seconds(peer, folder, [ids(1)], text)}


def _seconds(peer_name: str, folder: Path, shares: list[list[str]], text: list[str]) -> float:
    """Seconds from the first write of all threads to the end of close(); then looks whether all arrived."""
    peer = open_peer(peer_name, folder, [name for share in shares for name in share])
    for share in shares:
        for name in share:
            peer.stream([name], [name])  # opens the files
    gate = threading.Barrier(len(shares) + 1)

    def run(share: list[str]) -> None:
        gate.wait()
        peer.stream(share, text)

    threads = [threading.Thread(target=run, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    begun = time.perf_counter()
    gate.wait()
    for thread in threads:
        thread.join()
    peer.close()
    seconds = time.perf_counter() - begun
    for share in shares:
        for name in share:
            verify(peer.paths[name], name, text, peer.end)
    return seconds


def paced(
    peer: str, folder: Path, *, sessions: int, seconds: float, beside: str = "", rate: int = 20_000
) -> dict[str, float]:
    """Percentiles in microseconds of write() at `rate` chunks a second, from 4 threads that pause in between.

    `beside`: "sweep" looks at all files in the folder again and again; "flush" counts only
    calls made while 10,000 dirty sessions besides are being flushed.
    """
    shares = [ids(sessions // _THREADS, thread) for thread in range(_THREADS)]
    names = [name for share in shares for name in share]
    others = ids(10_000, 9) if beside == "flush" else []
    if peer == "streaming_logger":
        to: Peer = Ours(folder, names + others, flush_interval_seconds=0.5)
    else:
        to = open_peer(peer, folder, names)
    for name in names + others:
        to.write(name, name)
    if isinstance(to, Ours):
        to.logger.flush()
    clock = time.perf_counter
    text = numbered(int(rate * seconds / sessions) + 2)
    samples: list[list[tuple[float, float]]] = [[] for _ in shares]
    written = [0] * _THREADS

    def write_paced(number: int) -> None:
        write, mine, share, done = to.write, samples[number], shares[number], 0
        begun = clock()
        while (now := clock() - begun) < seconds:
            while done < int(now * rate / _THREADS):
                turn, place = divmod(done, len(share))
                before = clock()
                write(share[place], text[turn])
                mine.append((before, clock() - before))
                done += 1
            time.sleep(0.0005)
        written[number] = done

    windows = _flushing(to, others) if beside == "flush" else _sweeping(to) if beside == "sweep" else None
    writers = [threading.Thread(target=write_paced, args=(number,)) for number in range(_THREADS)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    spans = windows() if windows else [(float("-inf"), float("inf"))]
    to.close()
    for share, done in zip(shares, written, strict=True):
        for place, name in enumerate(share):
            verify(to.paths[name], name, text[: len(range(place, done, len(share)))], to.end)
            to.paths[name].unlink()
    took = sorted(_within(samples, spans))
    assert len(took) > 1000, f"only {len(took)} calls to look at"
    return {f"p{p:g}": 1e6 * took[min(len(took) - 1, int(len(took) * p / 100))] for p in (50, 99, 99.9, 100)}


def _flushing(to: Peer, others: list[str]) -> Windows:
    """Dirties other sessions gently and flushes them."""
    assert isinstance(to, Ours)

    def dirty() -> None:
        for start in range(0, len(others), 50):
            to.stream(others[start : start + 50], ["dirty "])
            time.sleep(0.0002)

    return _again_and_again(dirty, to.logger.flush)


def _sweeping(to: Peer) -> Windows:
    """Looks at all files."""
    assert isinstance(to, Ours)
    return _again_and_again(lambda: None, to.logger.cleanup_completed_files)


def _again_and_again(prepare: Callable[[], object], work: Callable[[], object]) -> Windows:
    """Does it until the answer is called, which says when there was work going on."""
    stop = threading.Event()
    spans: list[tuple[float, float]] = []

    def run() -> None:
        while not stop.is_set():
            prepare()
            before = time.perf_counter()
            work()
            spans.append((before, time.perf_counter()))

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> list[tuple[float, float]]:
        stop.set()
        thread.join()
        return spans

    return end


def _within(samples: list[list[tuple[float, float]]], spans: list[tuple[float, float]]) -> Iterator[float]:
    """The durations of all calls that began inside one of the spans."""
    for mine in samples:
        rest = iter(spans)
        begin, end = next(rest)
        for at, took in mine:
            while at > end:
                begin, end = next(rest, (float("inf"), float("inf")))
            if at >= begin:
                yield took
