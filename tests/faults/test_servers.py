"""Real servers, stopped by real signals: what streams had written is in the files."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from conftest import logs

pytest.importorskip("uvicorn")
gunicorn = pytest.importorskip("gunicorn.config")

#: Never flushed by the clock: what is in a file, the end of the server has put there.
APPS = """
import os, time
from streaming_logger import Config, StreamingLogger
from streaming_logger.integrations.asgi import CloseOnShutdown

logger = StreamingLogger(Config(flush_interval_seconds=3600, min_free_disk_mb=None), directory=os.environ["LOGS"])

def stream(path):
    for number in range(100):
        logger.write(path.strip("/"), f"{number};")

def wsgi(environ, start_response):
    stream(environ["PATH_INFO"])
    if environ["PATH_INFO"].endswith("0"):
        time.sleep(0.01)  # under gevent other requests are served meanwhile
        logger.complete_session(environ["PATH_INFO"].strip("/"))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    stream(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

asgi = CloseOnShutdown(app, logger)
"""

#: A signal that reaches a gunicorn worker before it has its handlers is lost, with any app: each says when it has.
GUNICORN_CONF = """
def post_worker_init(worker):
    open(f"up.{worker.pid}", "w").close()
"""

UVICORN = ["uvicorn", "apps:asgi", "--port", "PORT", "--log-level", "warning"]
GUNICORN = ["gunicorn", "--bind", "127.0.0.1:PORT", "--log-level", "warning"]
if "control_socket_disable" in gunicorn.make_settings():
    GUNICORN.append("--no-control-socket")  # newer ones would make one in the home directory
#: Older ones leave ASGI to uvicorn's worker; newer ones have a worker of their own, too.
UVICORN_WORKER = "uvicorn.workers.UvicornWorker"
ASGI_WORKERS = [UVICORN_WORKER, *(["asgi"] if importlib.util.find_spec("gunicorn.asgi") else [])]
QUICK = [
    (UVICORN, signal.SIGTERM),
    ([*GUNICORN, "-w", "2", "--preload", "apps:wsgi"], signal.SIGTERM),
    ([*GUNICORN, "-w", "2", "-k", "gevent", "--preload", "apps:wsgi"], signal.SIGTERM),
]
ALL = [
    (server, number)
    for number in (signal.SIGTERM, signal.SIGINT)
    for server in (
        UVICORN,
        [*UVICORN, "--workers", "2"],
        *(
            [*GUNICORN, "-w", "2", *kind, *preload]
            for kind in (
                ["-k", "sync", "apps:wsgi"],
                ["-k", "gthread", "--threads", "4", "apps:wsgi"],
                ["-k", "gevent", "apps:wsgi"],
                *(["-k", worker, "apps:asgi"] for worker in ASGI_WORKERS),
            )
            for preload in ([], ["--preload"])
        ),
    )
    # At SIGINT that worker goes on, with any app, until gunicorn kills it 30 s later: a SIGKILL like others.
    if not (number == signal.SIGINT and UVICORN_WORKER in server)
]


def name(value: object) -> str:
    return " ".join(value).replace(" --log-level warning", "") if isinstance(value, list) else str(value)


@contextlib.contextmanager
def serving(server: list[str], place: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (place / "apps.py").write_text(APPS)
    (place / "gunicorn.conf.py").write_text(GUNICORN_CONF)
    command = [sys.executable, "-m", *(word.replace("PORT", str(port)) for word in server)]
    environ = {**os.environ, "LOGS": str(place / "logs"), "PYTHONPATH": str(place)}
    with subprocess.Popen(command, cwd=place, env=environ, start_new_session=True) as process:
        try:
            yield process, port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        threading.Event().wait(0.05)  # nothing tells that a port is open but trying
    raise AssertionError("the server did not come up")


def answers(port: int, session: str) -> bool:
    """One stream; False while the server is not there yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection), contextlib.suppress(ConnectionRefusedError):
        connection.request("GET", f"/{session}")
        return connection.getresponse().read() == b"ok"
    return False


def check(server: list[str], number: signal.Signals, place: Path) -> None:
    with serving(server, place) as (process, port):
        sessions = [f"s{count}" for count in range(8)]
        for session in sessions:
            wait_until(partial(answers, port, session))
        if server[0] == "gunicorn":
            wait_until(lambda: len(list(place.glob("up.*"))) == 2)
        process.send_signal(number)
        process.wait(20)
    whole = "".join(f"{count};" for count in range(100))
    assert logs(place / "logs") == dict.fromkeys(sessions, whole)


@pytest.mark.parametrize(("server", "number"), QUICK, ids=name)
def test_server_that_is_stopped_loses_nothing(server: list[str], number: signal.Signals, tmp_path: Path) -> None:
    """Open sessions, nothing flushed yet, and the signal that stops servers every day."""
    check(server, number, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("server", "number"), ALL, ids=name)
def test_every_server_that_is_stopped_loses_nothing(server: list[str], number: signal.Signals, tmp_path: Path) -> None:
    """uvicorn with and without workers, gunicorn of each kind, with and without preload, both signals."""
    check(server, number, tmp_path)
