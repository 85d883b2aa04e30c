"""A chat server's process with what its logger leaves in the directory, and the model's API beside it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conftest import logs
from server_process import ServerProcess, wait_until

__all__ = ["Server", "replay_process", "text_of"]

TESTS = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def replay_process() -> Iterator[str]:
    """The model's API, in a process of its own; its URL."""
    command = [sys.executable, str(TESTS / "replay_server.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


class Server(ServerProcess):
    """A server of one of the apps; settings of the logger as keywords."""

    def __init__(self, command: list[str], upstream: str, place: Path, **settings: Any) -> None:
        super().__init__(command, place, UPSTREAM=upstream)
        self.logs = place / "logs" / "streaming"
        settings = {"flush_interval_seconds": 0.1, "min_free_disk_mb": None} | settings
        (place / "logging_config.json").write_text(json.dumps({"streaming_logs": settings}))

    @property
    def ledger(self) -> list[dict[str, Any]]:
        path = self.logs / ".streaming_logger" / "ledger.jsonl"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]  # the last line may be half written

    def ended(self, *session_ids: str) -> dict[str, list[str]]:
        """Every end of these sessions: an outcome, or "released"."""
        found: dict[str, list[str]] = {session_id: [] for session_id in session_ids}
        for line in self.ledger:
            if line.get("session") in found and line["event"] in ("completed", "abandoned", "released"):
                found[line["session"]].append(line["outcome"] if line["event"] == "completed" else line["event"])
        return found

    def outcomes(self, *session_ids: str) -> dict[str, str]:
        """How these sessions ended, once they all have; each once."""
        with contextlib.suppress(AssertionError):  # below it says which
            wait_until(lambda: all(self.ended(*session_ids).values()), "all end")
        found = self.ended(*session_ids)
        assert [id_ for id_, ends in found.items() if len(ends) != 1] == [], "a session ends once"
        return {session_id: ends[0] for session_id, ends in found.items()}

    def texts(self, *session_ids: str) -> dict[str, str]:
        found = logs(self.logs)
        return {session_id: found.get(session_id, "") for session_id in session_ids}

    def text(self, session_id: str) -> str:
        return self.texts(session_id)[session_id]

    def active(self) -> list[str]:
        """The sessions whose file is still locked."""
        return [path.stem for path in self.logs.glob("*.log") if _is_locked(path)]


def _is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def text_of(received: bytes, route: str) -> str:
    """The model's text in what a client received."""
    if not route.endswith("middleware"):
        return received.decode("utf-8", "ignore")  # the last character may be cut
    text = ""
    for line in received.decode("utf-8", "ignore").split("\n")[:-1]:
        if line.startswith("data: {"):
            choice = json.loads(line.removeprefix("data: "))["choices"][0]
            text += choice["delta"].get("content") or ""
    return text
