"""Starts a real chat server, talks to it as clients do, and reads what its logger left in the directory."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from conftest import logs

__all__ = ["Client", "Server", "replay_process", "text_of", "wait_until"]

TESTS = Path(__file__).resolve().parents[1]


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 20) -> None:
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        threading.Event().wait(0.02)  # another process: nothing tells but looking again
    raise AssertionError(f"not within {seconds:g} s: {what}")


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


class Server:
    """One server of a chat app, which runs in `place`, where its logs and its output are, too.

    It starts when it is first asked for, and again after a `stop`.
    """

    def __init__(self, command: list[str], upstream: str, place: Path, **settings: Any) -> None:
        self.place = place
        self.logs = place / "logs" / "streaming"
        self._command = command
        self._upstream = upstream
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        settings = {"flush_interval_seconds": 0.1, "min_free_disk_mb": None} | settings
        (place / "logging_config.json").write_text(json.dumps({"streaming_logs": settings}))

    @property
    def port(self) -> int:
        """Where it listens; starts it, if it does not run."""
        if self._process is None:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self._port = free.getsockname()[1]
            command = [sys.executable, *(word.replace("PORT", str(self._port)) for word in self._command)]
            environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "UPSTREAM": self._upstream}
            with (self.place / "output").open("ab") as output:
                self._process = subprocess.Popen(
                    command, cwd=self.place, env=environ, stdout=output, stderr=output, start_new_session=True
                )
            wait_until(self._answers, f"{self._command} answers", 40)
        return self._port

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.place / "output").read_text()
        with contextlib.suppress(OSError, http.client.HTTPException):
            Client(self._port, "/").close()
            return True
        return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        """As its supervisor stops it; returns when it is gone."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(20)
        self.kill()

    def kill(self) -> None:
        """Ends whatever is left of it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    # -- what its logger left ------------------------------------------------------------

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


class Client:
    """One request and its answer, over a connection of its own."""

    def __init__(self, port: int, path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path.replace("+", "%2B"))
            self._socket = connection.sock
            self._response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self.status = self._response.status
        self.received = b""
        self.is_whole = False

    def read(self, enough: int | None = None) -> bytes:
        """Reads so many bytes, or to the end: the answer's own, or that of the connection."""
        try:
            while enough is None or len(self.received) < enough:
                part = self._response.read1()
                if not part:
                    self.is_whole = True
                    break
                self.received += part
        except (http.client.HTTPException, ConnectionError):
            pass
        if self.is_whole or enough is None:
            self.close()
        return self.received

    def reset(self) -> None:
        """Goes without a word: the connection ends by a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._response.close()
        self._connection.close()


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
