"""Real servers in processes of their own, and clients that talk to them over sockets."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

__all__ = ["GUNICORN", "Client", "ServerProcess", "wait_until"]

GUNICORN = ["-m", "gunicorn", "--bind", "127.0.0.1:PORT", "--log-level", "critical"]
if "control_socket_disable" in pytest.importorskip("gunicorn.config").make_settings():
    GUNICORN.append("--no-control-socket")  # newer ones would make one in the home directory


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 20) -> None:
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        threading.Event().wait(0.02)  # another process: nothing tells but looking again
    raise AssertionError(f"not within {seconds:g} s: {what}")


class ServerProcess:
    """A server that runs in `place`, where its output is, too; PORT in its command stands for the port.

    It starts when it is first asked for its port, and again after a `stop`.
    """

    def __init__(self, command: list[str], place: Path, **environ: str) -> None:
        self.place = place
        self._command = command
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    @property
    def port(self) -> int:
        """Where it listens; starts it, if it does not run."""
        if self._process is None:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self._port = free.getsockname()[1]
            command = [sys.executable, *(word.replace("PORT", str(self._port)) for word in self._command)]
            environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(self.place), *sys.path]), **self._environ}
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
