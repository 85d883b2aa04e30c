"""Measures of the archive, to a directory as its store: what the stream feels of uploads, and how fast they are."""

from __future__ import annotations

import time
from pathlib import Path

from numbered_text import ids, numbered
from peers import Ours

__all__ = ["beside", "rate"]


def beside(candidate: str, folder: Path, *, sessions: int, seconds: float) -> dict[str, float]:
    """Nanoseconds of single calls of write() and milliseconds of a flush, while 100 sessions end each second."""
    from streaming_logger import ArchiveConfig

    url = (folder.absolute() / "archive").as_uri() if candidate == "with" else None
    names = ids(sessions)
    ours = Ours(folder / "logs", names, archive=ArchiveConfig(url=url), flush_interval_seconds=0.1)
    write, clock, took, flushes = ours.write, time.perf_counter_ns, [], []
    ended = 0
    end = time.monotonic() + seconds
    for chunk in numbered(1_000_000):
        for name in names:
            before = clock()
            write(name, chunk)
            took.append(clock() - before)
        for _ in range(2):
            write(f"short{ended}", chunk)
            ours.logger.complete_session(f"short{ended}", wait=False)
            ended += 1
        time.sleep(0.02)
        if len(took) // sessions % 25 == 0:
            begun = time.perf_counter()
            ours.logger.flush()
            flushes.append(time.perf_counter() - begun)
        if time.monotonic() > end:
            break
    uploads = ours.logger.stats().uploads
    assert (uploads > 0) == (url is not None)
    ours.close()
    took.sort()
    flushes.sort()
    found = {f"p{p:g}": float(took[int(len(took) * p / 100)]) for p in (50, 99.9)}
    return {**found, "flush": flushes[len(flushes) // 2] * 1e3}


def rate(candidate: str, folder: Path, *, sessions: int) -> dict[str, float]:
    """Sessions of 2 kB that one process archives a second."""
    from streaming_logger import ArchiveConfig, Config
    from streaming_logger._archive.passes import Passes
    from streaming_logger._config.watch import Settings
    from streaming_logger._context import Context

    names = ids(sessions)
    ours = Ours(folder / "logs", names)
    for name in names:
        ours.write(name, f"{name} says something. " * 80)
    ours.close()
    config = Config(archive=ArchiveConfig(url=(folder.absolute() / "archive").as_uri()))
    context = Context.make(Settings(config), folder / "logs")
    passes = Passes(context)
    passes.drain(float("inf"))
    begun = time.perf_counter()
    passes.run()
    seconds = time.perf_counter() - begun
    assert context.counters.snapshot().uploads == sessions
    context.store.directory.close()
    return {"rate": sessions / seconds}
