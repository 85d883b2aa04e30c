"""How a process may end: what ends with its interpreter loses nothing, what is cut off loses one flush at most."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from programs import records, run, running, wait_for_line

#: 500 records, far within one flush interval, in three sessions of which one is complete.
SHORT = """
logger = open_logger(flush_interval_seconds=3600)
for number in range(500):
    for session in ("done", "open", "other"):
        logger.write(session, f"{number}\\n")
logger.complete_session("done")
"""

ENDINGS = {
    "the end of the program": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("raise ValueError('in main')", 1),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT)\nwhile True: time.sleep(1)", -signal.SIGINT),
    "sys.exit in a thread": (
        "thread = threading.Thread(target=lambda: (logger.write('other', '500\\n'), sys.exit(4)))\n"
        "thread.start(); thread.join()",
        0,
    ),
    "a thread that outlives main": (
        "main = threading.main_thread()\n"
        "threading.Thread(target=lambda: (main.join(), logger.write('other', '500\\n'))).start()",
        0,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_ending_that_the_interpreter_sees_loses_nothing(tmp_path: Path, ending: str) -> None:
    """Also where all of it happened within one flush interval."""
    code, expected = ENDINGS[ending]
    status, _, errors = run(SHORT + code, tmp_path / "logs")
    assert status == expected, errors
    for session in ("done", "open", "other"):
        found = records(tmp_path / "logs" / f"{session}.log")
        assert found[:500] == list(range(500))
    assert len(found) == (501 if "thread" in ending else 500)


@pytest.mark.parametrize("ending", ["os._exit(5)", "os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), 15)"])
def test_a_cut_off_process_keeps_what_was_completed_or_flushed(tmp_path: Path, ending: str) -> None:
    """What was written since the last flush is what may be lost, and nothing else."""
    code = "logger.flush()\nlogger.write('open', '500\\n')\n"
    status, _, errors = run(SHORT + code + ending + "\ntime.sleep(30)", tmp_path / "logs")
    assert status in (5, -9, -15), errors
    for session in ("done", "open", "other"):
        assert records(tmp_path / "logs" / f"{session}.log")[:500] == list(range(500))


STREAM = """
interval = float(sys.argv[2])
logger = open_logger(flush_interval_seconds=interval)
turn = 0
while True:
    logger.write("open", f"{time.time_ns()}\\n")
    logger.write(f"turn{turn % 5}", f"{turn}\\n")
    if turn % 100 == 99:
        logger.complete_session(f"turn{turn % 5}")
        say(f"complete {turn}")
    if len(sys.argv) > 3 and turn == 1500:
        os._exit(5)
    turn += 1
    time.sleep(0.001)
"""


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGKILL", "os._exit"])
def test_a_cut_off_process_loses_at_most_one_flush_interval(tmp_path: Path, ending: str) -> None:
    """The last record in the file is no older than the interval, plus the machine's own delays."""
    interval = 0.25
    with running(STREAM, tmp_path / "logs", str(interval), *(["exit"] if ending == "os._exit" else [])) as program:
        wait_for_line(program, "complete 899")
        if ending == "os._exit":
            program.wait(30)
        else:
            os.kill(program.pid, getattr(signal, ending))
        killed = time.time_ns()
        program.wait(30)
        assert program.stdout is not None
        completed = [899] + [int(line.split()[1]) for line in program.stdout]
    stamps = records(tmp_path / "logs" / "open.log")
    assert stamps == sorted(stamps)
    lost = (killed - stamps[-1]) / 1e9
    print(f"{ending} lost the last {lost:.3f} s of an interval of {interval} s")
    assert lost < interval + 0.5
    for last in completed:
        assert last in records(tmp_path / "logs" / f"turn{last % 5}.log")
