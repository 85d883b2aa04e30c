"""Chat servers end to end: the model's API, a real server process, real clients, and every way in which a stream ends.

In each server a stream is logged in three ways at once: by `wrap` around the SDK's stream, by `wrap` around the
app's generator, and by the middleware.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from replay_server import spoken
from servers.harness import Client, Server, replay_process, text_of, wait_until
from servers.matrix import SERVERS, Served

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

ROUTES = ("sdk", "body", "middleware")


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with replay_process() as url:
        yield url


class Running(NamedTuple):
    served: Served
    server: Server


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if served.is_quick else pytest.mark.long) for name, served in SERVERS.items()],
)
def running(
    request: pytest.FixtureRequest, upstream: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    served = SERVERS[request.param]
    server = Server(served.command, upstream, tmp_path_factory.mktemp("server"))
    yield Running(served, server)
    server.kill()


def ask(
    server: Server, scenario: str, model: str, options: str = "", routes: tuple[str, ...] = ROUTES
) -> dict[str, Client]:
    """A client for each route; by session id."""
    asked = {}
    for route in routes:
        session_id = f"{scenario}-{route.replace('/', '-')}"
        asked[session_id] = Client(server.port, f"/{route}/{session_id}?model={model}{options}")
    return asked


def enough(session_id: str, characters: int = 40) -> int:
    """How many bytes of an answer surely hold so many characters of the model's text."""
    return characters * 100 if session_id.endswith("middleware") else characters


def check_parts(server: Server, clients: dict[str, Client], model: str) -> None:
    """Each file holds a beginning of the model's text, and all that its client received; none is in use."""
    for session_id, client in clients.items():
        text = server.text(session_id)
        assert spoken(model).startswith(text)
        assert text.startswith(text_of(client.received, session_id))
    assert server.active() == []


def test_stream_that_ends(running: Running) -> None:
    """ "completed"; the file is the model's text, byte for byte, and so is what the client got."""
    server = running.server
    clients = ask(server, "ends", "json")
    for session_id, client in clients.items():
        assert text_of(client.read(), session_id) == spoken("json")
    assert set(server.outcomes(*clients).values()) == {"completed"}
    assert {server.text(session_id) for session_id in clients} == {spoken("json")}
    assert server.active() == []


@pytest.mark.parametrize(
    ("model", "options"), [("poem+speed=5", "&fail_after=20"), ("poem+speed=5+break=20", "")], ids=["app", "model"]
)
def test_stream_that_fails(running: Running, model: str, options: str) -> None:
    """ "error", whether the app's generator raises or the model's connection breaks."""
    server = running.server
    clients = ask(server, f"fails{'' if options else '-model'}", model, options)
    assert set(server.outcomes(*clients).values()) == {"error"}
    for session_id, client in clients.items():
        assert text_of(client.read(enough(session_id)), session_id) != ""
        client.close()
    check_parts(server, clients, "poem")


def test_client_that_leaves(running: Running) -> None:
    """Ends the stream: "closed" where the server closes it, "cancelled" where it cancels the app's task."""
    served, server = running
    clients = ask(server, "left", "poem+speed=1")
    for session_id, client in clients.items():
        client.read(enough(session_id))
        client.reset()
    *wrapped, middleware = server.outcomes(*clients).values()
    assert set(wrapped) <= served.left[0]
    assert middleware in served.left[1]
    check_parts(server, clients, "poem")
    assert len(server.text("left-body")) < len(spoken("poem"))


def test_200_streams_at_once(running: Running) -> None:
    """Each is whole in its file, and completed once."""
    served, server = running
    model = "json+limit=30" + "+speed=0.3" * (served.slots >= 200)
    port = server.port

    def read(number: int) -> str:
        route = ROUTES[number % 3]
        session_id = f"crowd-{number}-{route}"
        assert text_of(Client(port, f"/{route}/{session_id}?model={model}").read(), route) == spoken(model)
        return session_id

    with ThreadPoolExecutor(200) as pool:
        sessions = list(pool.map(read, range(200)))
    assert set(server.outcomes(*sessions).values()) == {"completed"}
    assert {session_id: server.text(session_id) for session_id in sessions} == dict.fromkeys(sessions, spoken(model))
    assert server.active() == []


def test_server_that_stops(running: Running) -> None:
    """SIGTERM in the middle of streams: a short one, and one that outlives the server's grace. No file stays in use."""
    served, server = running
    short = ask(server, "short", "json+limit=50+speed=1")
    long = ask(server, "long", "poem+speed=1")
    for session_id, client in {**short, **long}.items():
        client.read(enough(session_id, 20))
        wait_until(lambda id_=session_id: len(server.text(id_)) >= 20, "it can be read while it streams")  # type: ignore[misc]
    seen = {session_id: server.text(session_id) for session_id in long}
    server.stop()
    for clients, model, ends in ((short, "json+limit=50", served.short), (long, "poem", served.long)):
        found = server.ended(*clients)
        for session_id, client in clients.items():
            assert set(found[session_id] or ["orphaned"]) <= ends
            text = server.text(session_id)
            assert spoken(model).startswith(text)
            assert text.startswith(seen.get(session_id, ""))
            if "orphaned" not in ends:
                assert text.startswith(text_of(client.read(), session_id))
            client.close()
    if served.short == {"completed"}:
        assert {server.text(session_id) for session_id in short} == {spoken("json+limit=50")}
    assert server.active() == []
