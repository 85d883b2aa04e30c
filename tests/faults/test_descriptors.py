"""More sessions than descriptors: parked ones stay active, and every byte is in its file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="limits on descriptors are a POSIX matter")

SCENARIO = """
import os, resource, sys, time
from pathlib import Path
from streaming_logger import Config, StreamingLogger

directory, sessions, allowed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
config = Config(
    flush_interval_seconds=0.2, cleanup_interval_seconds=0.2, file_retention_minutes=0.01, min_free_disk_mb=None
)
with StreamingLogger(config, directory=directory) as logger:
    for turn in range(3):
        for number in range(sessions):
            logger.write(f"s{number}", f"{turn}:{number};")
        logger.flush()
        time.sleep(0.7)  # longer than the retention: whatever counts as completed is swept now
        logger.cleanup_completed_files()
    while logger.stats().bytes_buffered:
        logger.flush()
    stats = logger.stats()
    assert stats.sessions_active == sessions, stats
    assert stats.files_open <= allowed // 4 and stats.files_parked > 0, stats
    assert not stats.deleted_files and not stats.dropped_characters and not stats.files_reopened, stats
    assert len(os.listdir("/proc/self/fd")) <= allowed // 4 + 20
    wrong = [
        number for number in range(sessions)
        if (directory / f"s{number}.log").read_text() != "".join(f"{turn}:{number};" for turn in range(3))
    ]
    assert not wrong, wrong[:5]
    for number in range(sessions):
        logger.complete_session(f"s{number}", wait=False)
    logger.flush()
    end = time.monotonic() + 20
    while list(directory.glob("*.log")):  # completed, they are swept like all others: by the worker, or here
        assert time.monotonic() < end, os.listdir(directory)
        time.sleep(0.1)
        logger.cleanup_completed_files()
"""


def run(place: Path, sessions: int, allowed: int, seconds: float) -> None:
    subprocess.run(
        [sys.executable, "-c", SCENARIO, place / "logs", str(sessions), str(allowed)], check=True, timeout=seconds
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc")
def test_more_sessions_than_descriptors(tmp_path: Path) -> None:
    """1,500 active sessions, 64 descriptors: nothing lost, nothing swept while parked."""
    run(tmp_path, 1_500, 64, 50)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc")
def test_ten_thousand_sessions_with_256_descriptors(tmp_path: Path) -> None:
    """The same with 10,000 and 256."""
    run(tmp_path, 10_000, 256, 250)
