"""The collectors' configurations: rsyslog's by the real program, which ships what is streamed to a receiver."""

from __future__ import annotations

import shutil
import socketserver
import subprocess
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import make_old, wait_until
from streaming_logger import StreamingLogger

EXAMPLES = Path(__file__).parents[2] / "examples" / "collectors"

pytestmark = pytest.mark.skipif(shutil.which("rsyslogd") is None, reason="needs rsyslog")


class Receiver(socketserver.ThreadingTCPServer):
    """Takes lines by TCP; `texts` are those of each session."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.texts: dict[str, list[str]] = defaultdict(list)


class _Connection(socketserver.StreamRequestHandler):
    server: Receiver

    def handle(self) -> None:
        for line in self.rfile:
            _, _, path, text = line.decode().removesuffix("\n").split(" ", 3)
            self.server.texts[Path(path).stem].append(text)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def rsyslog(tmp_path: Path, receiver: Receiver) -> Iterator[Callable[[], None]]:
    """Runs rsyslog with the example's configuration, as a process of its own; the function it gives starts it."""
    text = (EXAMPLES / "rsyslog.conf").read_text()
    text = text.replace("/srv/chat/logs/streaming", str(tmp_path / "logs")).replace(
        "10514", str(receiver.server_address[1])
    )
    (tmp_path / "work").mkdir()
    (tmp_path / "rsyslog.conf").write_text(f'global(workDirectory="{tmp_path}/work" maxMessageSize="64k")\n{text}')
    command = ["rsyslogd", "-n", "-f", str(tmp_path / "rsyslog.conf"), "-i", str(tmp_path / "rsyslog.pid")]
    started: list[subprocess.Popen[bytes]] = []
    yield lambda: started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for process in started:
        process.terminate()
        assert process.wait(20) == 0


def test_configuration_is_accepted(tmp_path: Path) -> None:
    """By rsyslog's own check, as it stands in the repository; Debian's own configuration has a work directory."""
    path = tmp_path / "rsyslog.conf"
    path.write_text(f'global(workDirectory="{tmp_path}")\n{(EXAMPLES / "rsyslog.conf").read_text()}')
    done = subprocess.run(["rsyslogd", "-N1", "-f", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_rsyslog_ships_each_line_once(
    tmp_path: Path, live: Callable[..., StreamingLogger], receiver: Receiver, rsyslog: Callable[[], None]
) -> None:
    """Of sessions from before it ran and after, with the session's name; also of those that are swept meanwhile."""
    streams = live(flush_interval_seconds=0.05)
    wanted: dict[str, list[str]] = {}

    def stream(session: str, lines: int) -> None:
        wanted[session] = [f"{session} line {number}: ö" for number in range(lines)]
        for line in wanted[session]:
            streams.write(session, line + "\n")
        streams.complete_session(session)

    for number in range(20):
        stream(f"before-{number}", 20)
    rsyslog()
    wait_until(lambda: len(receiver.texts) == 20)
    for number in range(20):
        stream(f"after-{number}", 20)
    wait_until(lambda: sum(map(len, receiver.texts.values())) >= 800)
    for path in (tmp_path / "logs").glob("*.log"):
        make_old(path, 700)
    assert streams.cleanup_completed_files().deleted == 40
    for number in range(20):
        stream(f"last-{number}", 20)
    wait_until(lambda: sum(map(len, receiver.texts.values())) >= 1200)
    assert dict(receiver.texts) == wanted
