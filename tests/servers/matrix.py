"""The servers, and how a stream ends in each: what the manual says of servers is proved by."""

from __future__ import annotations

from typing import NamedTuple

from server_process import GUNICORN

__all__ = ["SERVERS", "Served"]

#: Seconds that each server lets streams run on after SIGTERM.
GRACE = "1"

FASTAPI = "servers.apps.fastapi_app:app"
FLASK = "servers.apps.flask_app:app"
DJANGO_ASGI = "servers.apps.django_app:asgi"
DJANGO_WSGI = "servers.apps.django_app:wsgi"


class Served(NamedTuple):
    """A server with an app.

    short, long: what becomes, at SIGTERM, of a stream that ends within the server's grace, and of a longer one:
    an outcome, "released", or "orphaned" where the process is killed.
    """

    command: list[str]
    short: set[str]
    long: set[str]
    is_quick: bool = False
    """Whether the default run of the tests has it."""
    slots: int = 200
    """How many streams run at once; others wait."""


def _module(words: str, app: str) -> list[str]:
    return ["-m", *words.split(), app]


def _gunicorn(words: str, app: str) -> list[str]:
    return [*GUNICORN, "--graceful-timeout", GRACE, *words.split(), app]


def _granian(words: str, app: str) -> list[str]:
    # Left to itself it waits for streams however long they take.
    return _module(f"granian --port PORT --log-level critical --workers-kill-timeout 2 {words}", app)


_UVICORN = f"uvicorn --port PORT --log-level critical --timeout-graceful-shutdown {GRACE}"
_COMPLETED, _CLOSED, _ORPHANED = {"completed"}, {"closed"}, {"orphaned"}
#: Django leaves its view's task to itself when its own is cancelled: the stream goes on until the process ends.
_STOPPED = {"closed", "released"}
#: The signal's default handler: no grace at all, but a short stream may have ended before.
_KILLED = {"completed", "orphaned"}

SERVERS = {
    "uvicorn-fastapi": Served(_module(_UVICORN, FASTAPI), _COMPLETED, _CLOSED, is_quick=True),
    "uvicorn-2-workers-fastapi": Served(_module(f"{_UVICORN} --workers 2", FASTAPI), _COMPLETED, _CLOSED),
    "uvicorn-django": Served(_module(_UVICORN, DJANGO_ASGI), _COMPLETED, _STOPPED),
    "hypercorn-fastapi": Served(
        _module(f"hypercorn --bind 127.0.0.1:PORT --graceful-timeout {GRACE}", FASTAPI), _COMPLETED, _CLOSED
    ),
    "granian-fastapi": Served(_granian("--interface asgi", FASTAPI), _COMPLETED, _ORPHANED),
    "granian-flask": Served(_granian("--interface wsgi --blocking-threads 50", FLASK), _COMPLETED, _ORPHANED, slots=50),
    "daphne-django": Served(_module("daphne -p PORT -v 0", DJANGO_ASGI), _STOPPED | _COMPLETED, _STOPPED),
    "gunicorn-uvicorn-fastapi": Served(
        _gunicorn("-k uvicorn.workers.UvicornWorker -w 2", FASTAPI), _COMPLETED, _ORPHANED
    ),
    "gunicorn-asgi-fastapi": Served(
        _gunicorn("-k asgi -w 2 --preload --asgi-disconnect-grace-period 1", FASTAPI),
        _COMPLETED,
        _ORPHANED,
    ),
    "gunicorn-sync-flask": Served(_gunicorn("-k sync -w 6", FLASK), _COMPLETED, _ORPHANED, slots=6),
    "gunicorn-gthread-flask": Served(
        _gunicorn("-k gthread -w 2 --threads 50 --preload", FLASK),
        _COMPLETED,
        _ORPHANED,
        is_quick=True,
        slots=100,
    ),
    "gunicorn-gthread-django": Served(
        _gunicorn("-k gthread -w 2 --threads 50", DJANGO_WSGI), _COMPLETED, _ORPHANED, slots=100
    ),
    "gunicorn-gevent-flask": Served(_gunicorn("-k gevent -w 2", FLASK), _COMPLETED, _ORPHANED, is_quick=True),
    "gunicorn-gevent-preload-flask": Served(_gunicorn("-k gevent -w 2 --preload", FLASK), _COMPLETED, _ORPHANED),
    "flask-dev": Served(["-m", "flask", "--app", FLASK, "run", "--port", "PORT"], _KILLED, _ORPHANED),
    "waitress-flask": Served(
        _module("waitress --listen=127.0.0.1:PORT --threads 50", FLASK), _KILLED, _ORPHANED, slots=50
    ),
}
