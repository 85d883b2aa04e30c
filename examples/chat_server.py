"""A chat server that logs every chunk it streams. Standard library only; answers are recorded real ones.

python3 examples/chat_server.py --demo         plays clients against it, shows the log directory, ends by itself
python3 examples/chat_server.py --port 8000    serves: curl -N 'http://127.0.0.1:8000/chat?prompt=poem'
"""

import argparse
import contextlib
import http.client
import json
import logging
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

try:
    from streaming_logger import Config, StreamingLogger
except ImportError:  # a fresh clone, not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    from streaming_logger import Config, StreamingLogger

RECORDED = Path(__file__).resolve().parent / "streams"
STREAMS = {file.name.split("_t")[0]: file for file in RECORDED.glob("*.jsonl")}
SECOND = 1 / 60  # the retention is set in minutes


# -- the server ----------------------------------------------------------------------


class ChatServer(ThreadingHTTPServer):
    """Serves GET /chat?prompt=NAME[&limit=CHUNKS], a thread for each client."""

    daemon_threads = False  # server_close() waits for the streams, and each ends soon after `stopping`

    def __init__(self, port: int, logger: StreamingLogger) -> None:
        super().__init__(("127.0.0.1", port), ChatHandler)
        self.logger = logger
        self.stopping = threading.Event()

    def answer(self, prompt: str, limit: int | None) -> Iterator[str]:
        """The recorded answer, at the pace at which the model gave it."""
        began = time.monotonic()
        for line in STREAMS[prompt].read_text(encoding="utf-8").splitlines()[:limit]:
            at, chunk = json.loads(line)
            if self.stopping.wait(max(0.0, began + at - time.monotonic())):
                raise InterruptedError("the server stops")
            yield chunk


class ChatHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 10  # a client that takes nothing for so long is gone
    server: ChatServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        prompt, limit = query.get("prompt", [""])[0], query.get("limit", [""])[0]
        if url.path != "/chat" or prompt not in STREAMS:
            self.send_error(404, explain="ask for /chat?prompt= one of " + ", ".join(sorted(STREAMS)))
            return
        self.close_connection = True
        session_id = f"{prompt}_{secrets.token_hex(3)}"
        with contextlib.suppress(OSError):  # the client went away, or the server stops: the log knows
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.send_header("X-Session-Id", session_id)
            self.end_headers()
            with self.server.logger.session(session_id):  # completes on every way out
                for chunk in self.server.answer(prompt, int(limit) if limit.isdecimal() else None):
                    self.server.logger.write(session_id, chunk)
                    self.send_chunk(chunk)
            self.send_chunk("")  # the end: who sees it may rely on the log being whole

    def send_chunk(self, chunk: str) -> None:
        data = chunk.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def log_message(self, *args: object) -> None:
        """Silent: the session log says what there is to say."""


@contextlib.contextmanager
def serving(port: int, logger: StreamingLogger) -> Iterator[ChatServer]:
    """A server that runs in the background until the block ends."""
    server = ChatServer(port, logger)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="chat server")
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


def serve(port: int, directory: Path | None) -> int:
    """Serves until Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("streaming_logger").setLevel(logging.DEBUG)  # says the end of each session
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends it as Ctrl-C does
    with StreamingLogger(Config(), directory=directory) as logger:
        with contextlib.suppress(KeyboardInterrupt), serving(port, logger) as server:
            print(f"Logs go to {logger.base_dir}. Ctrl-C ends. Ask for {', '.join(sorted(STREAMS))}:")
            print(f"  curl -N 'http://127.0.0.1:{server.server_port}/chat?prompt=poem'", flush=True)
            threading.Event().wait()
        logger.close()
        print(
            f"\nStopped: {logger.stats().sessions_completed} sessions, {logger.stats().bytes_written:,} bytes logged."
        )
    return 0


# -- the demo ------------------------------------------------------------------------


class Client(threading.Thread):
    """Asks over real HTTP and keeps what it receives and what was logged; hangs up after so many bytes, if told to."""

    def __init__(
        self, port: int, logs: Path, prompt: str, limit: int | None = None, hang_up_after: int | None = None
    ) -> None:
        super().__init__()
        self.port, self.logs, self.hang_up_after = port, logs, hang_up_after
        self.path = f"/chat?prompt={prompt}" + (f"&limit={limit}" if limit else "")
        self.session_id = ""
        self.received = b""
        self.logged = b""
        self.ended = False

    def run(self) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request("GET", self.path)
            with connection.getresponse() as response:
                self.session_id = response.headers["X-Session-Id"]
                while part := response.read1():
                    self.received += part
                    if self.hang_up_after and len(self.received) >= self.hang_up_after:
                        return
        self.logged = (self.logs / f"{self.session_id}.log").read_bytes()  # now: it is swept soon
        self.ended = True


class Outcomes(logging.Handler):
    """Remembers how each session ended, from the fields of the library's log records."""

    def __init__(self) -> None:
        super().__init__()
        self.by_session: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "outcome"):
            self.by_session[record.session] = record.outcome


def show(title: str, logger: StreamingLogger, outcomes: Outcomes) -> None:
    """The log directory as a table."""
    print(f"\n{title}\n")
    active = logger.session_files
    rows = []
    for file in sorted(logger.base_dir.glob("*.log")):
        with contextlib.suppress(FileNotFoundError):  # swept in this very moment
            found = file.stat()
            outcome = outcomes.by_session.get(file.stem, "completed")
            state = "active" if file.stem in active else "completed" + f" ({outcome})" * (outcome != "completed")
            age = max(0.0, time.time() - found.st_mtime)
            rows.append(f"  {file.name:<22} {found.st_size:>7,} {age:>6.1f} s  {state}")
    print(f"  {'file':<22} {'bytes':>7} {'age':>8}  state")
    print("\n".join(rows) if rows else "  (no session files)", flush=True)


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Returns when it is so; says what was not seen otherwise."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not seen within {seconds:g} s: {what}")
        time.sleep(0.05)


def check(true: bool, what: str) -> None:
    if not true:
        raise AssertionError(what)
    print(f"  ok  {what}")


def demo(directory: Path) -> None:
    """Raises `AssertionError` for anything claimed that was not seen."""
    outcomes = Outcomes()
    library = logging.getLogger("streaming_logger")
    library.addHandler(outcomes)
    library.setLevel(logging.DEBUG)  # the end of each session is a record of this level
    config = Config(
        flush_interval_seconds=0.2,
        cleanup_interval_seconds=0.5,
        file_retention_minutes=6 * SECOND,
        min_free_disk_mb=None,
    )
    with StreamingLogger(config, directory=directory) as logger, serving(0, logger) as server:
        port = server.server_port
        leaver = Client(port, directory, "essay", hang_up_after=400)
        readers = [Client(port, directory, prompt) for prompt in ("logfile", "json", "list", "steps", "multiply")]
        readers += [Client(port, directory, "rhyme", limit=380), Client(port, directory, "poem", limit=300)]
        clients = [*readers, leaver]
        print(f"{len(clients)} clients ask http://127.0.0.1:{port}/chat at once; one hangs up, two read cut runaways.")
        print(f"Logs: {logger.base_dir}, kept for 6 seconds here (10 minutes by default).")
        for client in clients:
            client.start()
        wait_until(lambda: all(client.received for client in clients), 20, "all clients receive text")
        wait_until(lambda: any(client.ended for client in readers), 20, "the shortest answer ends")
        show("While they stream", logger, outcomes)
        wait_until(lambda: leaver.session_id in outcomes.by_session, 20, "the session of the client that hung up ends")
        leaver_file = (directory / f"{leaver.session_id}.log").read_bytes()  # before it is swept
        for client in clients:
            client.join()
        show("All streams have ended", logger, outcomes)

        print()
        check(all(client.ended for client in readers), f"{len(readers)} clients received their whole answer")
        same = all(client.logged == client.received for client in readers)
        check(same, "each file equals, byte for byte, what its client received")
        begun = leaver_file.startswith(leaver.received)
        check(begun, "the file of the client that hung up begins with what it had received")
        ended = outcomes.by_session[leaver.session_id]
        check(ended == "error" and not logger.session_files, "and its session was completed, outcome 'error'")

        # A sweep is counted at its end, a moment after its last file is gone.
        wait_until(
            lambda: logger.stats().deleted_files.get("retention") == len(clients), 30, "all completed files are swept"
        )
        show("After the sweep", logger, outcomes)
        print()
        gone = not any((directory / f"{client.session_id}.log").exists() for client in clients)
        check(gone, f"{len(clients)} files were swept, 6 seconds after they were completed")
    stats = logger.stats()
    print("\nStatistics\n")
    for name, value in {
        "sessions completed": stats.sessions_completed,
        "chunks written": stats.chunks_written,
        "bytes written": stats.bytes_written,
        "flushes": stats.flushes,
        "sweeps": stats.sweeps,
        "files deleted": sum(stats.deleted_files.values()),
        "bytes deleted": sum(stats.deleted_bytes.values()),
        "characters dropped": sum(stats.dropped_characters.values()),
        "write, sweep errors": stats.write_errors + stats.sweep_errors,
    }.items():
        print(f"  {name:<20} {value:>8,}")
    print()
    check(not stats.dropped_characters and stats.write_errors == stats.sweep_errors == 0, "nothing lost, no errors")


def run_demo(directory: Path | None) -> int:
    """0 if all that it claims was seen, else 1 with the reason."""
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streaming-logs-"))) / "logs"
        try:
            demo(directory)
        except AssertionError as reason:
            print(f"\nFAILED: {reason}", flush=True)
            return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="play clients against the server, then end")
    parser.add_argument("--port", type=int, default=8000, help="where to serve; 0 = any free port (default 8000)")
    parser.add_argument("--dir", type=Path, help="where the logs go (demo: a temporary directory that is removed)")
    given = parser.parse_args()
    try:
        return run_demo(given.dir) if given.demo else serve(given.port, given.dir)
    except OSError as error:  # the port is taken, the directory is refused
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
