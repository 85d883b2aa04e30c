"""What test_syscalls.py injects faults into: a whole life, on one thread: the k-th call is always the same.

With `worker` the worker does the I/O, as in a server: the k-th call is then each thread's own, and nearly the same.

It imports and warms up once; each run is a fork of it. It talks over a socket alone, because
recv and send are among the calls that never fail here.

python disk_child.py SOCKET caller|worker
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from streaming_logger import Config, StreamingLogger
from streaming_logger._base.clock import Clock
from streaming_logger.testing import ManualLogger

SESSIONS = [f"s{number}" for number in range(5)]
PHASES = ("under faults", "healed", "closed")


def life(directory: Path, *, worker: bool) -> Iterator[str]:
    """Yields at the end of each phase; the caller ends the fault after the first."""
    # Two files at the most, so that sessions are parked.
    config = Config(max_open_files=2, min_free_disk_mb=None)
    logger = StreamingLogger(config, directory=directory) if worker else ManualLogger(config, directory, clock=Clock())

    def one_round(text: str) -> None:
        for session in SESSIONS:
            logger.write(session, text)
        logger.flush()

    (directory / "many.log").mkdir()
    for _ in range(300):
        logger.write("many", "m")
    logger.flush()
    (directory / "many.log").rmdir()
    for _ in range(300):  # chunks behind what was refused: writev
        logger.write("many", "m")
    one_round("1;")
    logger.write("done", "1;")
    logger.complete_session("done", wait=False)
    logger.flush()
    one_round("2;")
    logger.write("done", "2;")  # a new turn
    logger.complete_session("done", wait=False)
    hour_ago = time.time() - 3600
    for session in SESSIONS:
        with contextlib.suppress(FileNotFoundError):  # the fault kept it from being made
            os.utime(directory / f"{session}.log", (hour_ago, hour_ago))  # as if idle for so long: active all the same
    logger.cleanup_completed_files()
    logger._engine.worker.run_pending()
    one_round("3;")
    logger.stats(), logger.health()
    yield "under faults"
    one_round("4;")
    logger.cleanup_completed_files()
    logger.flush()
    stats = logger.stats()
    assert not stats.bytes_buffered, stats
    assert not stats.dropped_characters, stats
    assert stats.sessions_completed == 2, stats
    yield "healed"
    logger.close()
    yield "closed"


def descriptors() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of listdir itself
            found.append(f"{fd} -> {os.readlink(f'/proc/self/fd/{fd}')}")
    return sorted(found)


def one_run(say: Callable[[object], None], hear: Callable[[], str], phases: Iterator[str]) -> None:
    before = descriptors()
    say(os.getpid())
    hear()
    for phase in PHASES:
        try:
            reached: object = next(phases)
        except BaseException:  # noqa: BLE001 - whatever reaches the caller is the finding
            reached = traceback.format_exc()
        say(reached)
        if reached != phase:
            return
        hear()
    left = [descriptor for descriptor in descriptors() if descriptor not in before]
    say(left)


def main() -> None:
    talk = socket.socket(fileno=int(sys.argv[1]))
    talk.settimeout(50)

    def say(what: object) -> None:
        talk.send(json.dumps(what).encode())

    def hear() -> str:
        return talk.recv(65536).decode()

    with tempfile.TemporaryDirectory() as place:
        list(life(Path(place, "logs"), worker=False))  # whatever is imported or made at first use is there now
    while directory := hear():
        child = os.fork()
        if not child:
            one_run(say, hear, life(Path(directory), worker=sys.argv[2] == "worker"))
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
