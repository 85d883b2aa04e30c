"""The benchmark itself works: it measures, verifies and reports. No figure is asserted: machines differ."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(HERE), *options], capture_output=True, text=True)


def test_quick_form_prints_environment_table_and_goals(tmp_path: Path) -> None:
    """Two measures in their quick form end well, and write the table that was asked for."""
    table = tmp_path / "table.md"
    options = ["--quick", "--rounds", "1", "--only", "flush", "memory", "--directory", str(tmp_path)]
    done = run(*options, "--markdown", str(table))
    assert done.returncode == 0, done.stderr
    assert "streaming-logger" in done.stdout.splitlines()[0]
    assert "flush of 1,000 dirty sessions" in done.stdout
    assert "of 3 goals met" in done.stdout
    assert table.read_text().count("| memory of") == 2
    assert [path for path in tmp_path.iterdir() if path.name.startswith("bench-")] == []


@pytest.mark.long
def test_quick_form_of_everything(tmp_path: Path) -> None:
    """All measures run, and every peer that is installed writes what it was given."""
    done = run("--quick", "--directory", str(tmp_path), "--plot", str(tmp_path / "growth.png"))
    assert done.returncode == 0, done.stderr
    assert "goals met" in done.stdout
