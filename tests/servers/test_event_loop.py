"""The event loop of a chat server never waits for the logger, however slow the disk is."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from faults.disk_shim import preload
from replay_server import ReplayServer, spoken
from server_process import Client
from servers.harness import Server
from servers.matrix import SERVERS

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

STREAMS = 30
ROUNDS = 3
MODEL = "json+limit=60+speed=0.8"
LONG = ["granian-fastapi", "gunicorn-asgi-fastapi", "gunicorn-gevent-flask"]


def latest(server: Server, number: int) -> tuple[float, list[str]]:
    """A second of streams: how much too late the loop woke a task at the worst, in seconds; and the sessions."""
    port = server.port
    sessions = [f"{('sdk', 'body', 'middleware')[count % 3]}-{number}-{count}" for count in range(STREAMS)]

    def read(session_id: str) -> None:
        Client(port, f"/{session_id.partition('-')[0]}/{session_id}?model={MODEL}").read()

    with ThreadPoolExecutor(STREAMS + 1) as pool:
        ticks = pool.submit(Client(port, "/tick?seconds=1").read)
        list(pool.map(read, sessions))
        return max(json.loads(ticks.result())), sessions


@pytest.mark.parametrize(
    "name",
    ["uvicorn-fastapi", *(pytest.param(name, marks=pytest.mark.long) for name in LONG)],
)
def test_loop_is_not_delayed_while_the_disk_hangs(
    name: str, replay: ReplayServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams begin, go on and end; at the best of some rounds no tick is 5 ms later than with logging disabled."""
    preload(tmp_path, monkeypatch)
    hangs = tmp_path / "hangs"
    monkeypatch.setenv("HANG_WHILE", str(hangs))
    servers = {}
    found: dict[str, list[float]] = {"on": [], "off": []}
    with ExitStack() as stack:
        for kind in ("on", "off"):
            (tmp_path / kind).mkdir()
            server = Server(SERVERS[name].command, replay.url, tmp_path / kind, enabled=kind == "on")
            servers[kind] = stack.enter_context(server)
        for number in range(ROUNDS):
            for kind, server in servers.items():
                hangs.touch()
                late, sessions = latest(server, number)
                found[kind].append(late)
                if kind == "on":
                    assert not any(server.ended(*sessions).values()), "the disk hangs"
                    hangs.unlink()
                    assert set(server.outcomes(*sessions).values()) == {"completed"}
                    assert set(server.texts(*sessions).values()) == {spoken(MODEL)}
    print({kind: [f"{late * 1000:.1f} ms" for late in lates] for kind, lates in found.items()})
    assert min(found["on"]) < min(found["off"]) + 0.005
