"""Numbered records through worst-case races: each is in a file or in what was swept, in order, once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

pytest.importorskip("fcntl", reason="the protocol stands on flock")

CHILD = Path(__file__).with_name("race_child.py")
PROCESSES = 3


def race(place: Path, seconds: float, variant: str) -> tuple[int, list[str]]:
    """Runs the processes; returns how many records there were and what is wrong with them."""
    directory, archive = place / "logs", place / "archive"
    archive.mkdir(parents=True)
    children = [
        subprocess.Popen([sys.executable, CHILD, directory, archive, str(number), str(seconds), variant])
        for number in range(PROCESSES)
    ]
    assert [child.wait(seconds + 40) for child in children] == [0] * PROCESSES

    written: Counter[str] = Counter()
    for tally in archive.glob("written.*.json"):
        written.update(json.loads(tally.read_text()))
    found: dict[str, list[int]] = defaultdict(list)
    # The archive's names sort by time; what is still in the directory came last.
    for file in [*sorted(archive.glob("*.log.*")), *directory.glob("*.log")]:
        session = file.name.partition(".")[0]
        for record in file.read_text().split(";")[:-1]:
            process, thread, number = record.split(".")
            found[f"{session}/{process}.{thread}"].append(int(number))
    wrong = [
        f"{writer}: {count} written, {len(found[writer])} found, in order: {found[writer] == sorted(found[writer])}"
        for writer, count in written.items()
        if found[writer] != list(range(count))
    ]
    return written.total(), wrong


def test_no_record_is_lost_doubled_or_moved(tmp_path: Path) -> None:
    """Three processes write and sweep the same six sessions for some seconds."""
    records, wrong = race(tmp_path, 5, "whole")
    assert wrong == []
    assert records > 20_000, "the race was too slow to tell"


@pytest.mark.long
@pytest.mark.timeout(400)
def test_no_record_is_lost_doubled_or_moved_for_minutes(tmp_path: Path) -> None:
    """The same, until luck is no explanation."""
    records, wrong = race(tmp_path, 240, "whole")
    print(f"records {records}, wrong {len(wrong)}")
    assert wrong == []


@pytest.mark.parametrize("variant", ["no lock", "no recheck after the lock", "no identity check before unlink"])
def test_a_broken_protocol_is_caught(tmp_path: Path, variant: str) -> None:
    """The suite has teeth: each simpler protocol loses records within ten seconds of racing."""
    begun = time.monotonic()
    for attempt in range(9):
        _, wrong = race(tmp_path / str(attempt), 1, variant)
        if wrong:
            break
    assert wrong, f"{variant}: not caught"
    assert time.monotonic() - begun < 30  # ten seconds of racing, and the interpreters' starts
