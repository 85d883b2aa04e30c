"""A real S3 API on loopback, moto's, in a process of its own; and a proxy before it that counts requests and does harm.

The proxy's `harm(method, key)` says what happens to a request: "" it is passed on; "500", "403", ... it gets this
status; "hang" it gets no answer; "cut" its connection ends in the middle of its body.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["BUCKET", "ENVIRONMENT", "Proxy", "proxied", "proxied_objects", "running_moto"]

BUCKET = "logs"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}

_MOTO = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
import logging
logging.getLogger("werkzeug").disabled = True
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def running_moto(**environ: str) -> Iterator[int]:
    """The port of a server with one empty bucket; `environ` is for moto's own settings."""
    program = subprocess.Popen(
        [sys.executable, "-c", _MOTO],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | ENVIRONMENT | environ,
    )
    with program:
        try:
            assert program.stdout is not None
            port = int(program.stdout.readline())
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("PUT", f"/{BUCKET}")
            assert connection.getresponse().status == 200
            connection.close()
            yield port
        finally:
            program.kill()


Answer = tuple[int, list[tuple[str, str]], bytes]


class Proxy(ThreadingHTTPServer):
    """Before a server; `requests` are (method, key) of all that came."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = port
        self.requests: list[tuple[str, str]] = []
        self.harm: Callable[[str, str], str] = lambda method, key: ""
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self) -> dict[str, str]:
        """Leads obstore here."""
        return {**ENVIRONMENT, "AWS_ENDPOINT_URL": self.url}

    def count(self, method: str, part: str = "") -> int:
        return sum(found == method and part in key for found, key in self.requests)

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """What the server behind says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.behind, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients leave in the middle: they are killed here."""


@contextlib.contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    """A proxy before the server at that port."""
    with _serving(Proxy(port)) as server:
        yield server


@contextlib.contextmanager
def _serving(server: Proxy) -> Iterator[Proxy]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Objects(Proxy):
    """ListObjectsV2 and GET over keys in memory."""

    def __init__(self, keys: list[str], content: Callable[[str], bytes]) -> None:
        super().__init__(0)
        self._keys = keys
        self._content = content

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        address = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if "list-type" not in query:
            return 200, _HEADERS, self._content(unquote(address.path))
        prefix, after = query.get("prefix", ""), query.get("continuation-token") or query.get("start-after", "")
        contents, folders = [], []
        at = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        while at < len(self._keys) and len(contents) + len(folders) < _PAGE and self._keys[at].startswith(prefix):
            key = self._keys[at]
            rest, delimiter, _ = key.removeprefix(prefix).partition("/")
            if delimiter and query.get("delimiter"):
                folders.append(f"{prefix}{rest}/")
                at = bisect_left(self._keys, f"{prefix}{rest}0")  # "0" follows "/"
            else:
                contents.append(key)
                at += 1
        more = at < len(self._keys) and self._keys[at].startswith(prefix)
        text = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        text += f"<NextContinuationToken>{self._keys[at - 1]}</NextContinuationToken>" * more
        text += "".join(f"<Contents><Key>{key}</Key>{_OBJECT}</Contents>" for key in contents)
        text += "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders)
        return 200, _HEADERS, f"<ListBucketResult>{text}</ListBucketResult>".encode()


_PAGE = 1000
_MODIFIED = "Wed, 25 Nov 2026 00:00:00 GMT"
_HEADERS = [("content-type", "application/xml"), ("last-modified", _MODIFIED), ("etag", '"x"')]
_OBJECT = "<Size>1</Size><LastModified>2026-11-25T00:00:00Z</LastModified><ETag>x</ETag>"


@contextlib.contextmanager
def proxied_objects(keys: list[str], content: Callable[[str], bytes]) -> Iterator[Proxy]:
    """A store that is simulated: it lists so many keys, which are sorted, as S3 does, and makes up what is in them."""
    with _serving(_Objects(keys, content)) as server:
        yield server


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        key = unquote(address.path).removeprefix(f"/{BUCKET}").lstrip("/") or query.get("prefix", [""])[0]
        self.server.requests.append((self.command, key))
        harm = self.server.harm(self.command, key)
        size = int(self.headers.get("content-length") or 0)
        if harm == "cut":
            self.rfile.read(size // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        body = self.rfile.read(size)
        if harm == "hang":
            self.server.over.wait()
            self.close_connection = True
            return
        if harm:
            text = f"<Error><Code>Harm</Code><Message>status {harm}</Message></Error>".encode()
            self._answer(int(harm), [("content-type", "application/xml")], text)
            return
        self._answer(*self.server.answer(self.command, self.path, body, dict(self.headers.items())))

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection") and (
                name.lower() != "content-length" or self.command == "HEAD"
            ):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass  # noqa: N815 - as http.server names them

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server names it
        """Nothing."""
