"""Each example runs as a user would run it: the plain interpreter, the standard library, real HTTP."""

from __future__ import annotations

import ast
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PLAIN = [sys.executable, "-I", "-S", "-W", "error"]  # no site-packages: only the standard library
BARE = {"PATH": "/usr/bin:/bin", "HOME": os.path.expanduser("~")}  # above all no PYTHONUNBUFFERED


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PLAIN, *arguments], capture_output=True, text=True, timeout=50, check=False, env=BARE)


def recorded(prompt: str) -> bytes:
    """The whole recorded answer."""
    (file,) = (EXAMPLES / "streams").glob(f"{prompt}_t*.jsonl")
    return "".join(json.loads(line)[1] for line in file.read_text(encoding="utf-8").splitlines()).encode()


class Served:
    """The chat server in its serving mode, as a process."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.process = subprocess.Popen(
            [*PLAIN, str(EXAMPLES / "chat_server.py"), "--port", "0", "--dir", str(logs)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()
        printed = re.search(r"curl -N 'http://127\.0\.0\.1:(\d+)/", self.process.stdout.readline())
        assert printed, "the server prints its curl line"
        self.port = int(printed[1])

    def ask(self, prompt: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse, Path]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", f"/chat?prompt={prompt}")
        response = connection.getresponse()
        return connection, response, self.logs / f"{response.headers['X-Session-Id']}.log"

    def interrupt(self) -> tuple[str, str]:
        """Ctrl-C; what it printed until its end."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=20)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path / "served")
    with server.process:
        yield server
        if server.process.poll() is None:
            server.interrupt()


def test_demo_shows_the_whole_life_in_time() -> None:
    """It ends by itself with 0 in under 40 s, having seen streams, completion and the sweep."""
    began = time.monotonic()
    ran = run(str(EXAMPLES / "chat_server.py"), "--demo")
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert time.monotonic() - began < 40
    for title in ("While they stream", "All streams have ended", "After the sweep", "Statistics", "(no session files)"):
        assert title in ran.stdout
    assert re.search(r"rhyme_\w+\.log +[\d,]+ +[\d.]+ s  active", ran.stdout)
    assert re.search(r"essay_\w+\.log +[\d,]+ +[\d.]+ s  completed \(error\)", ran.stdout)
    place = re.search(r"Logs: (\S+),", ran.stdout)
    assert place
    assert not os.path.exists(os.path.dirname(place[1]))


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("two_lines.py", "The answer is 42."),
        ("asyncio_stream.py", "grace says 5."),
        ("stop_by_signal.py", " 0 lost"),
        ("stop_runaway.py", "stopped"),
    ],
)
def test_short_examples_run(name: str, printed: str) -> None:
    """Each one ends with 0, says nothing on stderr, and shows what it logged."""
    ran = run(str(EXAMPLES / name))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert printed in ran.stdout


def test_signal_example_ends_well_each_time() -> None:
    """Whatever the signal interrupts, the output included, which is buffered here."""
    for _ in range(8):
        ran = run(str(EXAMPLES / "stop_by_signal.py"))
        assert (ran.returncode, ran.stderr) == (0, "")


def test_no_example_prints_in_a_signal_handler() -> None:
    """A function that is set as one writes by os.write, if at all: print() may raise there."""
    for path in EXAMPLES.glob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        handlers = {ast.unparse(call.args[1]) for call in calls if ast.unparse(call.func) == "signal.signal"}
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name in handlers:
                called = {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
                assert not called & {"print", "sys.stdout.write", "sys.stderr.write", "logging.info"}, path.name


def test_duckdb_queries_the_archive_by_partition() -> None:
    """By day, host and outcome, with the loops that the radar found; on what was really archived."""
    command = [sys.executable, str(EXAMPLES / "archive_query.py")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    cells = [[cell.strip() for cell in line.split("│")[2:-1]] for line in ran.stdout.splitlines() if "web-" in line]
    assert [cell[:3] for cell in cells] == [
        [host, outcome, sessions]
        for host in ("web-1", "web-2")
        for outcome, sessions in (("completed", "11"), ("error", "1"))
    ]
    assert int(cells[0][-1]) >= 4


def test_bytes_arrive_as_they_are_streamed_and_the_log_equals_them(served: Served) -> None:
    """The answer comes in many parts over its recorded time; at its end the file is whole."""
    connection, response, file = served.ask("json")
    parts = []
    began = time.monotonic()
    while part := response.read1():
        parts.append(part)
    took = time.monotonic() - began
    connection.close()
    assert len(parts) > 10
    assert took > 0.5  # the recording lasts 0.88 s
    assert b"".join(parts) == file.read_bytes() == recorded("json")


def test_a_client_that_hangs_up_completes_its_session(served: Served) -> None:
    """The file holds what the client received, and the session ends with outcome error."""
    connection, response, file = served.ask("poem")
    received = response.read1()
    response.close()
    connection.close()
    assert served.process.stderr is not None
    printed = served.process.stderr.readline()  # of the session's end, long before the poem's
    assert f"error {file.name}" in printed
    assert file.read_bytes().startswith(received)
    assert len(file.read_bytes()) < len(recorded("poem"))


def test_interrupt_ends_cleanly_and_loses_nothing(served: Served) -> None:
    """Ctrl-C in mid-stream: exit code 0, no traceback, and all that was sent is in the file."""
    connection, response, file = served.ask("poem")
    received = response.read1()
    printed, errors = served.interrupt()
    try:
        while part := response.read1():
            received += part
    except http.client.IncompleteRead as cut:
        received += cut.partial
    response.close()
    connection.close()
    assert served.process.returncode == 0
    assert "Stopped: 1 sessions" in printed
    assert "Traceback" not in errors
    assert received
    assert file.read_bytes() == received


def test_an_unknown_prompt_is_refused_with_the_known_ones(served: Served) -> None:
    """404, a list of what can be asked, and no session."""
    connection, response, _ = served.ask("nonsense")
    assert response.status == 404
    assert b"poem" in response.read()
    connection.close()
    assert list(served.logs.glob("*.log")) == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_receives_the_answer(served: Served) -> None:
    """The printed command's own client gets the recorded answer."""
    url = f"http://127.0.0.1:{served.port}/chat?prompt=logfile"
    ran = subprocess.run(["curl", "-sN", url], capture_output=True, timeout=30, check=True)
    assert ran.stdout == recorded("logfile")
