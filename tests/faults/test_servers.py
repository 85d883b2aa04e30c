"""Real servers, stopped by real signals: what streams had written is in the files."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path

import pytest

from conftest import logs
from server_process import GUNICORN, Client, ServerProcess, wait_until

pytest.importorskip("uvicorn")

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

UVICORN = ["-m", "uvicorn", "apps:asgi", "--port", "PORT", "--log-level", "warning"]
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
    return " ".join(word for word in value if word not in GUNICORN) if isinstance(value, list) else str(value)


def check(command: list[str], number: signal.Signals, place: Path) -> None:
    (place / "apps.py").write_text(APPS)
    (place / "gunicorn.conf.py").write_text(GUNICORN_CONF)
    sessions = [f"s{count}" for count in range(8)]
    with ServerProcess(command, place, LOGS=str(place / "logs")) as server:
        for session in sessions:
            assert Client(server.port, f"/{session}").read() == b"ok"
        if "gunicorn" in command:
            wait_until(lambda: len(list(place.glob("up.*"))) == 2, "both workers are up")
        server.stop(number)
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
