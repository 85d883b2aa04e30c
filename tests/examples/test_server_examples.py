"""The examples with frameworks: real servers in processes of their own, before a server that replays recordings."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import openai
import pytest

from replay_server import ReplayServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
UVICORN = ["uvicorn", "--app-dir", str(EXAMPLES), "--log-level", "warning", "--port", "{port}"]
GUNICORN = ["gunicorn", "--chdir", str(EXAMPLES), "--threads", "64", "-b", "127.0.0.1:{port}", "--log-level", "warning"]
CHAT = {"fastapi_app:app": UVICORN, "flask_app:app": GUNICORN}
SETTINGS = {"streaming_logs": {"flush_interval_seconds": 0.05, "min_free_disk_mb": None}}


def until(holds: Callable[[], object], what: str) -> None:
    """Waits for what another process does; 20 s at most."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@contextlib.contextmanager
def served(app: str, place: Path, **environment: str) -> Iterator[str]:
    """An example's server in its own directory; its URL. It ends by SIGTERM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.format(port=port) for part in CHAT.get(app, UVICORN)]
    place.mkdir()
    directory = place / "logs"
    (place / "logging_config.json").write_text(json.dumps(SETTINGS))
    arguments = [sys.executable, "-m", *command, app]
    if command[0] == "gunicorn":  # --chdir decides where the relative directory of the logs is
        environment["STREAMING_LOGS_DIRECTORY"] = str(directory / "streaming")
        environment["STREAMING_LOGS_FLUSH_INTERVAL_SECONDS"] = "0.05"
    environ = {**os.environ, "OPENAI_API_KEY": "none", **environment}
    process = subprocess.Popen(arguments, cwd=place, env=environ, stderr=subprocess.PIPE, text=True)

    def answers() -> bool:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        until(answers, "the server does not answer")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def recorded(name: str) -> str:
    (file,) = (EXAMPLES / "streams").glob(f"{name}_t*.jsonl")
    return "".join(json.loads(line)[1] for line in file.read_text(encoding="utf-8").splitlines())


def text_of(place: Path, session: str) -> str:
    return (place / "logs" / "streaming" / f"{session}.log").read_text(encoding="utf-8")


def outcome_of(place: Path, session: str) -> str | None:
    """How the ledger says that a session ended."""
    ledger = place / "logs" / "streaming" / ".streaming_logger" / "ledger.jsonl"
    lines = map(json.loads, ledger.read_text().splitlines()) if ledger.exists() else ()
    return next((line["outcome"] for line in lines if line.get("session") == session and "outcome" in line), None)


def ask(url: str, session: str) -> str:
    """The whole text of one answer of a chat server."""
    with httpx.stream("POST", f"{url}/chat/{session}", json={"message": "Hello"}, timeout=30) as response:
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


@pytest.mark.parametrize("app", CHAT)
def test_chat_server_streams_and_logs_each_answer(app: str, tmp_path: Path, replay: ReplayServer) -> None:
    """Twenty clients at once get the model's text, and each session's file holds the same."""
    place = tmp_path / "place"
    with served(app, place, OPENAI_BASE_URL=f"{replay.url}/v1", MODEL="json") as url:
        with ThreadPoolExecutor(20) as clients:
            answers = list(clients.map(lambda number: ask(url, f"s{number}"), range(20)))
        assert answers == [recorded("json")] * 20
        until(lambda: all(outcome_of(place, f"s{number}") for number in range(20)), "a session is still active")
    assert {outcome_of(place, f"s{number}") for number in range(20)} == {"completed"}
    assert {text_of(place, f"s{number}") for number in range(20)} == {recorded("json")}


@pytest.mark.parametrize("app", CHAT)
def test_chat_server_whose_client_leaves(app: str, tmp_path: Path, replay: ReplayServer) -> None:
    """The session ends soon, as one that did not complete, and holds what was streamed."""
    place = tmp_path / "place"
    with served(app, place, OPENAI_BASE_URL=f"{replay.url}/v1", MODEL="poem+speed=1") as url:
        with httpx.stream("POST", f"{url}/chat/s", json={"message": "Hello"}, timeout=30) as response:
            for _ in zip(range(20), response.iter_raw(), strict=False):
                pass  # it has heard some of the answer
        until(lambda: outcome_of(place, "s"), "the session is still active")
    assert outcome_of(place, "s") == "closed"
    text = text_of(place, "s")
    assert text
    assert recorded("poem").startswith(text)
    assert len(text) < len(recorded("poem"))


@contextlib.contextmanager
def proxied(place: Path, replay: ReplayServer) -> Iterator[tuple[str, openai.OpenAI]]:
    with (
        served("openai_proxy:app", place, UPSTREAM=replay.url) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield url, client


def question(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}


def test_proxy_logs_streams_and_passes_everything_else(tmp_path: Path, replay: ReplayServer) -> None:
    """The OpenAI SDK sees no difference; whole answers, errors and other paths pass as they are."""
    place = tmp_path / "place"
    with proxied(place, replay) as (url, client):
        mine = {"x-session-id": "of another client"}
        stream = client.chat.completions.create(**question("essay"), stream=True, extra_headers=mine)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert text == recorded("essay")
        session = stream.response.headers["x-session-id"]
        assert session != "of another client"
        whole = client.chat.completions.create(**question("json"))
        assert whole.choices[0].message.content == recorded("json")
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(**question("json+status=500"), stream=True)
        direct = httpx.get(f"{replay.url}/nothing?a=b%20c")
        through = httpx.get(f"{url}/nothing?a=b%20c")
        assert (through.status_code, through.content) == (direct.status_code, direct.content)
        until(lambda: outcome_of(place, session), "the session is still active")
    assert (outcome_of(place, session), text_of(place, session)) == ("completed", recorded("essay"))
    assert len(list((place / "logs" / "streaming").glob("*.log"))) == 1


def test_proxy_passes_fifty_streams_byte_for_byte(tmp_path: Path, replay: ReplayServer) -> None:
    """Each body equals the upstream's, and each log its text. The id is made and sent back."""
    place = tmp_path / "place"
    path, asked = "/v1/chat/completions", question("list", stream=True)
    with proxied(place, replay) as (url, _), ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: httpx.post(url + path, json=asked, timeout=60), range(50)))
        ids = {answer.headers["x-session-id"] for answer in answers}
        assert len(ids) == 50
        until(lambda: all(outcome_of(place, session) for session in ids), "a session is still active")
        events = [[json.loads(line[6:]) for line in answer.text.split("\n\n") if "{" in line] for answer in answers]
        texts = ["".join(event["choices"][0]["delta"].get("content") or "" for event in of) for of in events]
    assert texts == [recorded("list")] * 50
    assert {text_of(place, session) for session in ids} == {recorded("list")}
    assert {outcome_of(place, session) for session in ids} == {"completed"}


def test_proxy_whose_client_or_model_server_leaves(tmp_path: Path, replay: ReplayServer) -> None:
    """A client that leaves ends the session and the upstream request; a broken upstream is an error; none is a 502."""
    place = tmp_path / "place"
    path = "/v1/chat/completions"
    with proxied(place, replay) as (url, _):
        asked = question("poem+speed=1", stream=True)
        with httpx.stream("POST", url + path, json=asked, timeout=30) as response:
            left = response.headers["x-session-id"]
            for _ in zip(range(20), response.iter_raw(), strict=False):
                pass  # it has heard some of the answer
        until(lambda: outcome_of(place, left), "the session is still active")
        with httpx.stream("POST", url + path, json=question("poem+break=20", stream=True), timeout=30) as response:
            broken = response.headers["x-session-id"]
            with pytest.raises(httpx.RemoteProtocolError):
                response.read()
        until(lambda: outcome_of(place, broken), "the session is still active")
    assert outcome_of(place, left) == "closed"
    assert recorded("poem").startswith(text_of(place, left))
    assert outcome_of(place, broken) == "error"
    assert recorded("poem").startswith(text_of(place, broken))
    with served("openai_proxy:app", tmp_path / "alone", UPSTREAM="http://127.0.0.1:9") as url:
        answer = httpx.get(f"{url}/v1/models")
        assert answer.status_code == 502
        assert "does not answer" in answer.json()["error"]["message"]


def test_latency_that_the_proxy_adds(tmp_path: Path, replay: ReplayServer) -> None:
    """Printed, to be read; that chunks are not gathered is asserted: they arrive at the pace of the model."""
    place = tmp_path / "place"
    asked = question("json+speed=4", stream=True)
    figures: dict[str, list[tuple[float, float]]] = {"direct": [], "proxy": []}
    with proxied(place, replay) as (url, _), httpx.Client(timeout=30) as client:
        for _ in range(3):
            for name, base in (("direct", replay.url), ("proxy", url)):
                begun, times = time.perf_counter(), []
                with client.stream("POST", f"{base}/v1/chat/completions", json=asked) as response:
                    for _ in response.iter_raw():
                        times.append(time.perf_counter() - begun)
                figures[name].append((times[0], times[-1]))
                assert len(times) > 60
    first, last = (
        1e3 * (median(row[at] for row in figures["proxy"]) - median(row[at] for row in figures["direct"]))
        for at in (0, 1)
    )
    print(f"figures proxy: first chunk {first:+.2f} ms, last chunk {last:+.2f} ms")


def test_model_server_logs_its_answers(tmp_path: Path) -> None:
    """Each under the id that its client gets."""
    place = tmp_path / "place"
    asked = {"messages": [{"role": "user", "content": "It says what it is told."}]}
    with served("model_server:app", place) as url, ThreadPoolExecutor(10) as clients:
        answers = list(clients.map(lambda _: httpx.post(f"{url}/v1/chat/completions", json=asked), range(10)))
        ids = [json.loads(answer.text.partition("\n")[0][6:])["id"] for answer in answers]
        until(lambda: all(outcome_of(place, session) for session in ids), "a session is still active")
    assert len(set(ids)) == 10
    assert {text_of(place, session) for session in ids} == {"It says what it is told. "}
    assert {outcome_of(place, session) for session in ids} == {"completed"}


@pytest.mark.parametrize(
    "name", ["fastapi_app.py", "flask_app.py", "openai_proxy.py", "langchain_app.py", "model_server.py"]
)
def test_example_is_short(name: str) -> None:
    """Under 60 lines: it is read before it is copied."""
    assert len((EXAMPLES / name).read_text().splitlines()) < 60
