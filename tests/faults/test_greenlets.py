"""gevent and eventlet, patched before or after the logger exists: no hang, nothing lost, a slow disk stops nobody."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest
from programs import run, running, wait_for_line

from conftest import logs

#: How each patches the interpreter, starts a greenlet, and sleeps.
LIBRARIES = {
    "gevent": "import gevent.monkey; gevent.monkey.patch_all(); spawn, sleep = gevent.spawn, gevent.sleep",
    # Without its own DNS: that imports an HTTP client, which imports trio, which asks for what its sockets lack.
    "eventlet": "import os; os.environ['EVENTLET_NO_GREENDNS'] = 'yes'; import eventlet; eventlet.monkey_patch(); "
    "spawn, sleep = eventlet.spawn, eventlet.sleep",
}

STREAMS = """
def stream(name):
    for number in range(600):
        logger.write(name, f"{number};")
        if number % 100 == 0:
            sleep(0.001)
    logger.complete_session(name)
    return name

jobs = [spawn(stream, f"s{number}") for number in range(10)]
for job in jobs:
    (job.get if hasattr(job, "get") else job.wait)()
logger.write("open", "text")
logger.flush()
logger.close()
logger.write("open", " later")
"""

SLOW_DISK = """
gaps, done = [], []

def tick():
    before = time.perf_counter()
    while not done:
        sleep(0.01)
        gaps.append(time.perf_counter() - before)
        before = time.perf_counter()

ticking = spawn(tick)
sleep(0.05)
logger.write("s", "text")
say("waiting")
logger.complete_session("s")
done.append(True)
sleep(0.05)
say(f"ticks {len(gaps)}")
say(f"worst {max(gaps)}")
logger.close()
"""


def program(library: str, order: str, code: str) -> str:
    pytest.importorskip(library)
    opened = "logger = open_logger(flush_interval_seconds=0.05)"
    first, second = (LIBRARIES[library], opened) if order == "patched first" else (opened, LIBRARIES[library])
    quiet = "import warnings; warnings.simplefilter('ignore')"
    return "\n".join([quiet, first, second, code])


@pytest.mark.parametrize("order", ["patched first", "logger first"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_greenlets_lose_nothing_and_never_hang(tmp_path: Path, library: str, order: str) -> None:
    """Ten streams in turns, each completed, and a clean end."""
    status, _, errors = run(program(library, order, STREAMS), tmp_path / "logs", seconds=20)
    assert status == 0, errors
    whole = "".join(f"{number};" for number in range(600))
    assert logs(tmp_path / "logs") == {**{f"s{number}": whole for number in range(10)}, "open": "text later"}


@pytest.mark.parametrize("order", ["patched first", "logger first"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_slow_disk_does_not_stop_other_greenlets(tmp_path: Path, library: str, order: str) -> None:
    """One waits 1 s for a completion that another lock delays; the others go on."""
    place = tmp_path / "logs"
    place.mkdir(mode=0o700)
    (place / "s.log").touch(0o600)
    with (place / "s.log").open("rb") as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        with running(program(library, order, SLOW_DISK), place) as child:
            wait_for_line(child, "waiting")
            release = threading.Timer(1.0, fcntl.flock, (foreign, fcntl.LOCK_UN))
            release.start()
            ticks = int(wait_for_line(child, "ticks"))
            worst = float(wait_for_line(child, "worst"))
            release.join()
            assert child.wait(10) == 0
    assert ticks > 20
    assert worst < 0.8
    assert logs(place) == {"s": "text"}
