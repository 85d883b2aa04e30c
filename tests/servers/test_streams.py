"""Chat servers end to end: the model's API, a real server process, real clients, and every way in which a stream ends.

In each server a stream is logged in three ways at once: by `wrap` around the SDK's stream, by `wrap` around the
app's generator, and by the middleware.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pytest

from replay_server import spoken
from server_process import Client, wait_until
from servers.harness import Server, replay_process, text_of
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
    with Server(served.command, upstream, tmp_path_factory.mktemp("server")) as server:
        yield Running(served, server)


@contextmanager
def clients(server: Server, scenario: str, model: str, options: str = "") -> Iterator[dict[str, Client]]:
    """A client for each route; by session id."""
    with ExitStack() as stack:
        asked = {}
        for route in ROUTES:
            session_id = f"{scenario}-{route}"
            asked[session_id] = Client(server.port, f"/{route}/{session_id}?model={model}{options}")
            stack.callback(asked[session_id].close)
        yield asked


def enough(session_id: str, characters: int = 20) -> int:
    """How many bytes of an answer surely hold so many characters of the model's text."""
    return characters * 100 if session_id.endswith("middleware") else characters


def check_parts(server: Server, asked: dict[str, Client], model: str) -> None:
    """Each file holds a beginning of the model's text, and all that its client received; none is in use."""
    for session_id, client in asked.items():
        text = server.text(session_id)
        assert spoken(model).startswith(text)
        assert text.startswith(text_of(client.received, session_id))
    assert server.active() == []


def test_stream_that_ends(running: Running) -> None:
    """ "completed"; the file is the model's text, byte for byte, and so is what the client got."""
    server = running.server
    with clients(server, "ends", "json") as asked:
        for session_id, client in asked.items():
            assert text_of(client.read(), session_id) == spoken("json")
        assert set(server.outcomes(*asked).values()) == {"completed"}
    assert {server.text(session_id) for session_id in asked} == {spoken("json")}
    assert server.active() == []


@pytest.mark.parametrize(
    ("model", "options"), [("poem+speed=5", "&fail_after=20"), ("poem+speed=5+break=20", "")], ids=["app", "model"]
)
def test_stream_that_fails(running: Running, model: str, options: str) -> None:
    """ "error", whether the app's generator raises or the model's connection breaks."""
    server = running.server
    with clients(server, f"fails{'' if options else '-model'}", model, options) as asked:
        assert set(server.outcomes(*asked).values()) == {"error"}
        for session_id, client in asked.items():
            assert text_of(client.read(enough(session_id)), session_id) != ""
        check_parts(server, asked, "poem")


def test_client_that_leaves(running: Running) -> None:
    """Ends the stream: "closed", whichever way the logger is attached, and however the server ends the stream."""
    server = running.server
    with clients(server, "left", "poem+speed=1") as asked:
        for session_id, client in asked.items():
            client.read(enough(session_id))
            client.reset()
        assert set(server.outcomes(*asked).values()) == {"closed"}
        check_parts(server, asked, "poem")
    assert all(len(server.text(session_id)) < len(spoken("poem")) for session_id in asked)


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
    assert server.texts(*sessions) == dict.fromkeys(sessions, spoken(model))
    assert server.active() == []


def test_server_that_stops(running: Running) -> None:
    """SIGTERM in the middle of streams, short ones and such as outlive the server's grace: no file stays in use.

    Where the server lets them end, or the app learn of it, the files hold all that was streamed.
    """
    served, server = running
    with clients(server, "long", "poem+speed=1") as long, clients(server, "short", "json+limit=60+speed=1") as short:
        for session_id, client in {**long, **short}.items():
            client.read(enough(session_id, 10))
        wait_until(lambda: all(server.texts(*long).values()), "they can be read while they stream")
        seen = server.texts(*long)
        server.stop()
        texts = server.texts(*long, *short)
        for asked, model, ends in ((short, "json+limit=60", served.short), (long, "poem", served.long)):
            found = server.ended(*asked)
            for session_id, client in asked.items():
                assert set(found[session_id] or ["orphaned"]) <= ends
                assert spoken(model).startswith(texts[session_id])
                assert texts[session_id].startswith(seen.get(session_id, ""))
                if "orphaned" not in ends:
                    assert texts[session_id].startswith(text_of(client.read(), session_id))
    if served.short == {"completed"}:
        assert {texts[session_id] for session_id in short} == {spoken("json+limit=60")}
    assert server.active() == []
