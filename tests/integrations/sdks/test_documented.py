"""What the documentation of the SDKs' integrations shows runs: docstrings, and the example."""

from __future__ import annotations

import doctest
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import SDK_MODULES
from replay_server import ReplayServer, spoken

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.mark.parametrize("name", SDK_MODULES)
def test_doctests_of(name: str) -> None:
    """As tests/test_docs.py does for the other modules."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_langchain_example(tmp_path: Path, replay: ReplayServer) -> None:
    """It prints the answer, and its session's file holds the same."""
    environment = {"OPENAI_BASE_URL": f"{replay.url}/v1", "OPENAI_API_KEY": "none", "MODEL": "json"}
    command = [sys.executable, str(EXAMPLES / "langchain_app.py"), "Hello?"]
    ran = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, timeout=50
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == spoken("json") + "\n"
    assert "sess_langchain.log" in ran.stderr
    (ledger,) = tmp_path.rglob("ledger.jsonl")
    assert '"outcome": "completed"' in ledger.read_text()
