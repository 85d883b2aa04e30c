"""What the tests of the command share: the command as a process, a server's writing as a process, a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "streaming_logger"]

#: A server, as far as the command can tell: it does what it is told on its standard input.
_SERVER = """
import json, sys
from streaming_logger import StreamingLogger
directory, settings = sys.argv[1], json.loads(sys.argv[2])
logger = StreamingLogger({"streaming_logs": {"min_free_disk_mb": None, **settings}}, directory=directory)
for line in sys.stdin:
    verb, arguments, keywords = json.loads(line)
    getattr(logger, verb)(*arguments, **keywords)
    print("done", flush=True)
logger.close()
"""


def run(*arguments: str | Path, check: int | None = 0, **more: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end; its exit code must be `check`."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=50, **more)
    assert check is None or done.returncode == check, f"exit code {done.returncode}: {done.stdout}{done.stderr}"
    return done


def listed(directory: Path) -> dict[str, dict[str, Any]]:
    """What `ls --json` says, by session."""
    return {session["id"]: session for session in json.loads(run("ls", "--json", "--dir", directory).stdout)}


class Server:
    """A real process that writes sessions. `write`, `flush`, `complete_session` return when they are done."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(directory), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __getattr__(self, verb: str) -> Callable[..., None]:
        def call(*arguments: object, **keywords: object) -> None:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(json.dumps([verb, arguments, keywords]) + "\n")
            self.process.stdin.flush()
            assert self.process.stdout.readline() == "done\n"

        return call

    def stream(self, session: str, *chunks: str) -> None:
        """Writes chunks, and has them in the file."""
        for chunk in chunks:
            self.write(session, chunk)
        self.flush()

    def kill(self) -> None:
        """A crash: SIGKILL."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait(20)
        self.process.stdout.close()  # type: ignore[union-attr]


class Started:
    """The command as a process that goes on; its output can be waited for."""

    def __init__(self, *arguments: str | Path, directory: Path) -> None:
        self._out = directory / f"out-{uuid.uuid4().hex}"
        with self._out.open("wb") as out:
            self.process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=out, stderr=subprocess.STDOUT)

    @property
    def output(self) -> str:
        return self._out.read_text()

    def shows(self, text: str) -> None:
        """Returns when its output has that text."""
        wait_until(lambda: text in self.output, lambda: f"{text!r} is not in {self.output!r}")

    def ends(self) -> int:
        return self.process.wait(20)

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()


def wait_until(holds: Callable[[], bool], why: Callable[[], str], seconds: float = 20) -> None:
    """Another process makes it so; there is no event to wait for but what it shows."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, why()
        time.sleep(0.05)


class Terminal:
    """A real terminal: tmux, its screen and its keyboard."""

    def __init__(self, columns: int = 100, lines: int = 24) -> None:
        self._tmux = ["tmux", "-L", f"test-{uuid.uuid4().hex}", "-f", "/dev/null"]
        size = ["-x", str(columns), "-y", str(lines)]
        self._call("new-session", "-d", *size, "env PS1='$ ' LC_ALL=C.UTF-8 bash --norc --noprofile")

    def types(self, text: str) -> None:
        self._call("send-keys", "-l", text)

    def enters(self, *arguments: str | Path) -> None:
        self.types(" ".join(f"'{argument}'" for argument in [*COMMAND, *map(str, arguments)]))
        self._call("send-keys", "Enter")

    def presses(self, key: str) -> None:
        self._call("send-keys", key)

    def screen(self, *, colours: bool = False, joined: bool = False) -> str:
        """What it shows; `joined`: a line that it had to break is one line."""
        return self._call("capture-pane", "-p", *(["-e"] if colours else []), *(["-J"] if joined else []))

    def shows(self, holds: str | Callable[[str], bool]) -> str:
        """Returns the screen as soon as it shows a text, or what is wanted of it."""
        wanted = (lambda screen: holds in screen) if isinstance(holds, str) else holds
        wait_until(lambda: wanted(self.screen()), self.screen)
        return self.screen()

    def resizes(self, columns: int, lines: int) -> None:
        self._call("resize-window", "-x", str(columns), "-y", str(lines))

    def state(self) -> str:
        """What a program must leave as it found it."""
        return self._call(
            "display", "-p", "#{?alternate_on,other,own} screen, #{?cursor_flag,cursor,no cursor}"
        ).strip()

    def child(self) -> int:
        """The process that the shell has started."""
        shell = self._call("display", "-p", "#{pane_pid}").strip()
        return int(Path(f"/proc/{shell}/task/{shell}/children").read_text().split()[0])

    def close(self) -> None:
        self._call("kill-server")

    def _call(self, *arguments: str) -> str:
        done = subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, timeout=20, check=True)
        return done.stdout


@contextlib.contextmanager
def terminal(columns: int = 100, lines: int = 24) -> Iterator[Terminal]:
    """A terminal, or a skip where there is no tmux."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is missing, which is the terminal of these tests")
    made = Terminal(columns, lines)
    try:
        yield made
    finally:
        made.close()


def age(path: Path, seconds: float) -> None:
    """Sets a file's mtime so far back from now."""
    os.utime(path, (time.time() - seconds, time.time() - seconds))
