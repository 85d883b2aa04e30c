"""Measures of files: a flush of many sessions, sweeps, completions, memory, and the import."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

from numbered_text import ids, numbered, verify
from peers import Ours

__all__ = ["complete", "flush", "imports", "look", "make_files", "memory", "sweep"]


def flush(candidate: str, folder: Path, *, sessions: int, times: int) -> dict[str, float]:
    """Seconds to write what so many dirty sessions hold, 30 bytes each, their files being open."""
    names = ids(sessions)
    text = numbered(5)
    took = []
    if candidate == "os.write":
        fds = [os.open(folder / f"{name}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT) for name in names]
        for fd, name in zip(fds, names, strict=True):
            os.write(fd, name.encode())
        data = "".join(text).encode()
        for _ in range(times):
            begun = time.perf_counter()
            for fd in fds:
                os.write(fd, data)
            took.append(time.perf_counter() - begun)
        for fd in fds:
            os.close(fd)
    else:
        ours = Ours(folder, names, flush_interval_seconds=3600)
        for name in names:
            ours.write(name, name)
        ours.logger.flush()
        for _ in range(times):
            ours.stream(names, text)
            begun = time.perf_counter()
            ours.logger.flush()
            took.append(time.perf_counter() - begun)
        ours.close()
    for name in names:
        verify(folder / f"{name}.log", name, text * times)
    return {"seconds": median(took)}


def make_files(folder: Path, count: int, age: float) -> None:
    """So many completed session files of 60 bytes, so many seconds old, in a directory of ours."""
    then = time.time() - age
    (folder / ".streaming_logger").mkdir(exist_ok=True)
    here = os.open(folder, os.O_RDONLY)
    for number in range(count):
        fd = os.open(f"old_{number:06d}.log", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=here)
        os.write(fd, b"x" * 60)
        os.utime(fd, (then, then))
        os.close(fd)
    os.close(here)


def sweep(candidate: str, folder: Path, *, expired: bool, known: bool = False) -> dict[str, float]:
    """Seconds of one sweep of the files in the folder, all of them expired or none; `known`: the second of a worker."""
    files = _count(folder)
    if candidate == "find":
        command = ["find", str(folder), "-type", "f", "-name", "*.log", "-mmin", "+10"] + ["-delete"] * expired
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, check=True)
        seconds = time.perf_counter() - begun
        assert done.stdout == b""
    else:
        ours = Ours(folder, [])
        once = partial(ours.logger._engine.sweeper.sweep_at_once, planned=known)
        if known:
            once()
        begun = time.perf_counter()
        report = once()
        seconds = time.perf_counter() - begun
        ours.close()
        assert report.deleted == (files if expired else 0), report
    assert _count(folder) == (0 if expired else files)
    return {"seconds": seconds, "us": seconds / files * 1e6}


def look(candidate: str, folder: Path) -> dict[str, float]:
    """Seconds until `streaming-logger ls` has shown all files of the folder; the ledger knows them."""
    ledger = folder / ".streaming_logger" / "ledger.jsonl"
    if not ledger.exists():
        ledger.write_text("".join(map(_completion, sorted(path.name for path in folder.glob("*.log")))))
    command = [sys.executable, "-m", "streaming_logger", "ls", "--dir", str(folder)]
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begun
    assert done.stdout.count("\n") == _count(folder) + 1  # and the heading
    return {"seconds": seconds}


def _completion(name: str) -> str:
    event = {"at": time.time(), "event": "completed", "pid": 1, "session": name[:-4], "file": name}
    return json.dumps({**event, "outcome": "completed", "bytes": 60, "age": 0.1, "reason": "completed"}) + "\n"


def _count(folder: Path) -> int:
    return sum(name.endswith(".log") for name in os.listdir(folder))


def complete(candidate: str, folder: Path, *, wait: bool, sessions: int, times: int) -> dict[str, float]:
    """Microseconds (p50) of complete_session, of streams with text to write, beside so many open ones.

    Their files exist: what the file system takes to create one (20 to 800 us on ext4) is not ours.
    """
    others, names = ids(sessions), ids(times, 1)
    ours = Ours(folder, others + names)
    for name in others + names:
        ours.write(name, name)
    ours.logger.flush()
    done, took = ours.logger.complete_session, []
    for name in names:
        ours.write(name, "end")
        before = time.perf_counter()
        done(name, wait=wait)
        took.append(time.perf_counter() - before)
    ours.close()
    for name in names:
        verify(ours.paths[name], name, ["end"])
    return {"us": median(took) * 1e6}


def memory(candidate: str, folder: Path, *, of: str, count: int) -> dict[str, float]:
    """Bytes of resident memory for each open idle session, or for each buffered 6-byte chunk of 100 sessions."""
    names = ids(count if of == "session" else 100)
    ours = Ours(folder, names, flush_interval_seconds=3600, max_buffer_mb=1000)
    text = numbered(count // 100)
    before = 0
    for number in range(0, len(names), 100):
        if of == "session" and number == 100:
            before = _resident()
        for name in names[number : number + 100]:
            ours.write(name, name)
        ours.logger.flush()
    if of == "chunk":
        before = _resident()
        ours.stream(names, text)
    size = _resident() - before
    ours.close()
    for name in names:
        verify(ours.paths[name], name, text if of == "chunk" else [])
    return {"bytes": size / (count - 100 if of == "session" else count)}


def _resident() -> int:
    gc.collect()
    with open("/proc/self/smaps_rollup") as lines:
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Rss"))


def imports(candidate: str, folder: Path, *, module: str) -> dict[str, float]:
    """Seconds of an import in a fresh interpreter, its byte code being cached: the best of 5."""
    code = f"import time; begun = time.perf_counter(); import {module}; print(time.perf_counter() - begun)"
    took = []
    for _ in range(6):
        done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
        took.append(float(done.stdout))
    return {"seconds": min(took[1:])}
