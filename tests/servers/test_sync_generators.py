"""Sync generators under Starlette, which reads them in threads and closes none of them itself."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from replay_server import ReplayServer, spoken
from server_process import Client
from servers.harness import Server
from servers.matrix import SERVERS

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]


def test_client_that_leaves_a_sync_generator(replay: ReplayServer, tmp_path: Path) -> None:
    """The middleware ends the session at once; `wrap`, when later requests bring a garbage collection."""
    with Server(SERVERS["uvicorn-fastapi"].command, replay.url, tmp_path) as server:
        sessions = ("sdk", "body", "middleware")
        for session_id in sessions:
            client = Client(server.port, f"/sync/{session_id}/{session_id}?model=poem+speed=2")
            client.read(1000 if session_id == "middleware" else 20)
            client.reset()
        assert server.outcomes("middleware") == {"middleware": "closed"}
        for number in count():
            if all(server.ended(*sessions).values()):
                break
            assert number < 500
            assert Client(server.port, f"/body/{number}?model=json+limit=20").read()
        assert set(server.outcomes(*sessions).values()) <= {"closed", "abandoned"}
        assert all(spoken("poem").startswith(text) for text in server.texts(*sessions).values())
