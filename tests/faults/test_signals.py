"""Real signals in loops: what a process wrote before, inside and after them is in its files, once and in order."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest
from programs import records, run

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="timers of microseconds")

#: Each says at its end which numbers it is sure of: those whose write() returned.
CTRL_C = """
import random
logger = open_logger()
number = 0
signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0005, 0.05))
signal.signal(signal.SIGALRM, signal.default_int_handler)  # as Ctrl-C, at a random moment
try:
    while True:
        logger.write("s", f"{number}\\n")
        number += 1
except KeyboardInterrupt:
    say(f"sure {number}")
"""

#: A request timeout: the handler raises, the request is given up, the server goes on.
TIMEOUT = """
import random
class Timeout(BaseException):
    pass

def expire(*_):
    raise Timeout

signal.signal(signal.SIGALRM, expire)
logger = open_logger(flush_interval_seconds=0.01)
number, unsure, armed, end = 0, [], False, time.monotonic() + 0.4
while time.monotonic() < end:
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-5, 3e-4))
            while True:
                number += 1
                logger.write("s", f"{number}\\n")
                if number % 997 == 0:
                    logger.complete_session("s")
                elif number % 1009 == 0:
                    logger.flush()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Timeout:
        unsure.append(number)
begun = time.monotonic()
logger.flush()
logger.complete_session("s")
logger.close()
assert time.monotonic() - begun < 4, time.monotonic() - begun
assert not logger.stats().dropped_characters and not logger.stats().completions_overdue, logger.stats()
say("unsure " + " ".join(map(str, unsure)))
say(f"sure {number + 1}")
"""

#: The usual end of a service: close() in the handler, then the default action.
TERMINATED = """
import mmap, random
logger = open_logger()
counter = memoryview(mmap.mmap(-1, 8)).cast("q")

def end(number, frame):
    begun = time.monotonic()
    logger.close()
    say(f"sure {counter[0]}")
    say(f"took {time.monotonic() - begun}")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, end)
threading.Timer(random.uniform(0.0005, 0.05), os.kill, (os.getpid(), signal.SIGTERM)).start()
LOG = None
if sys.argv[2] == "logging":
    import logging
    logging.basicConfig(filename=sys.argv[1] + ".txt", level=logging.DEBUG)
    LOG = logging.getLogger("app")
while True:
    logger.write("s", f"{counter[0]}\\n")
    counter[0] += 1
    if LOG:
        LOG.info("%d", counter[0])
        logger.write("t", "x")
        logger.complete_session("t", wait=False)
"""

#: A handler that itself logs, completes, flushes.
CALLS_BACK = """
import random
from streaming_logger import get_streaming_logger
os.chdir(os.path.dirname(sys.argv[1]))
logger = open_logger(flush_interval_seconds=0.01)
back = 0

def handler(*_):
    global back
    logger.write("back", f"{back}\\n")
    back += 1
    random.choice([
        lambda: logger.write("s", ""), lambda: logger.complete_session("s", wait=False), logger.stats,
        logger.flush, get_streaming_logger, lambda: logger.complete_session("back"),
    ])()
    signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-5, 3e-4))

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 1e-4)
number, end = 0, time.monotonic() + 0.4
while time.monotonic() < end:
    logger.write("s", f"{number}\\n")
    number += 1
    if number % 997 == 0:
        logger.complete_session("s")
signal.signal(signal.SIGALRM, signal.SIG_IGN)  # a handler that runs now may arm the timer once more
begun = time.monotonic()
logger.close()
assert time.monotonic() - begun < 4, time.monotonic() - begun
assert not logger.stats().dropped_characters and not logger.stats().completions_overdue, logger.stats()
say(f"back {back}")
say(f"sure {number}")
"""


def printed(output: str, word: str) -> str:
    found = re.search(rf"^{word} (.*)$", output, re.MULTILINE)
    return found[1] if found else ""


def one_run(program: str, place: Path, how: str = "") -> int:
    """One process; how many records it wrote, of which none is lost, doubled or out of order."""
    place.mkdir()
    status, output, errors = run(program, place / "logs", how)
    assert printed(output, "sure"), errors
    assert status in (0, -signal.SIGTERM), errors
    sure = int(printed(output, "sure"))
    unsure = set(map(int, printed(output, "unsure").split()))
    if took := printed(output, "took"):
        assert float(took) < 4, took  # 5 s where something waits for a lock
    found = records(place / "logs" / "s.log")
    if program in (CTRL_C, TERMINATED):
        unsure |= {sure}  # the one whose write() was interrupted
    start = 1 if program == TIMEOUT else 0
    assert sorted(set(found)) == found, "doubled or out of order"
    assert set(range(start, sure)) - unsure <= set(found) <= set(range(start, sure + 1)), "lost"
    if back := printed(output, "back"):
        assert records(place / "logs" / "back.log") == list(range(int(back)))
    return sure


PROGRAMS = {
    "ctrl-c": (CTRL_C, ""),
    "timeout": (TIMEOUT, ""),
    "sigterm": (TERMINATED, "plain"),
    "sigterm while the application logs": (TERMINATED, "logging"),
    "handler that logs": (CALLS_BACK, ""),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_signals_lose_nothing(tmp_path: Path, name: str) -> None:
    """A few processes of each kind."""
    runs = 5 if name in ("timeout", "handler that logs") else 8
    for number in range(runs):
        one_run(PROGRAMS[name][0], tmp_path / f"{number}", PROGRAMS[name][1])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PROGRAMS)
def test_300_processes_of_each_kind_lose_nothing(tmp_path: Path, name: str) -> None:
    """The loops in which the first design lost 511 chunks, or everything."""
    written = sum(one_run(PROGRAMS[name][0], tmp_path / f"{number}", PROGRAMS[name][1]) for number in range(300))
    print(f"figures {name}: 300 processes, {written:,} records, 0 lost, 0 doubled")
