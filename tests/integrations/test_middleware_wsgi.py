"""The WSGI middleware logs what the server reads of a body, and completes each session once."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from log_lines import without_page
from streaming_logger.integrations.wsgi import StreamLogMiddleware
from streaming_logger.testing import ManualLogger

STREAM = [("Content-Type", "text/event-stream")]


def event(text: str) -> bytes:
    """One server-sent event."""
    return b'data: {"text": "%s"}\n\n' % text.encode()


class Body:
    """An iterator that knows how it was used."""

    def __init__(self, chunks: Iterable[bytes], error: BaseException | None = None) -> None:
        self.chunks = iter(chunks)
        self.error = error
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for chunk in self.chunks:
            return chunk
        raise self.error or StopIteration

    def close(self) -> None:
        self.closed += 1


class Server:
    """A server's part of one request, with what it got."""

    def __init__(self, logger: ManualLogger, app: Any, path: str = "/chat/s", **options: Any) -> None:
        options.setdefault("paths", ["/chat/{session_id}"])
        self.environ: dict[str, Any] = {"PATH_INFO": path}
        setup_testing_defaults(self.environ)
        self.app = StreamLogMiddleware(app, logger, **options)
        self.headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self.headers = headers
        return self.written.append

    def body(self) -> Any:
        return self.app(self.environ, self.start_response)


def answers(body: Any, headers: list[tuple[str, str]] = STREAM) -> Any:
    """An app that returns this body."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)
        return body

    return app


def test_text_is_logged_and_chunks_pass_as_they_are(manual: Callable[..., ManualLogger]) -> None:
    """The server reads the very objects that the app yields; the app's body is closed once."""
    logger = manual()
    chunks = [event("Hel"), event("lo")]
    app_body = Body(chunks)
    body = Server(logger, answers(app_body)).body()
    assert all(got is sent for got, sent in zip(body, chunks, strict=True))
    body.close()
    assert app_body.closed == 1
    assert logger.text == {"s": "Hello"}
    assert logger.outcomes == {"s": "completed"}
    assert logger.stats().sessions_completed == 1


def test_app_that_is_a_generator_is_logged(manual: Callable[..., ManualLogger]) -> None:
    """It calls `start_response` only when the server reads the body's first chunk."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", STREAM if environ["PATH_INFO"] == "/chat/s" else [("Content-Type", "image/png")])
        yield event("a")
        yield event("b")

    logger = manual()
    for path in ("/chat/s", "/chat/image"):
        body = Server(logger, app, path).body()
        assert list(body) == [event("a"), event("b")]
        body.close()
    assert logger.text == {"s": "ab"}


def test_body_that_is_closed_early(manual: Callable[..., ManualLogger]) -> None:
    """So servers tell that the client is gone; also one that reads nothing, as for a HEAD request."""
    logger = manual()
    for path, count in (("/chat/some", 1), ("/chat/none", 0)):
        app_body = Body([event("a"), event("b")])
        body = Server(logger, answers(app_body), path).body()
        chunks = iter(body)
        for _ in range(count):
            next(chunks)
        body.close()
        assert app_body.closed == 1
    assert logger.outcomes == {"some": "closed", "none": "closed"}
    assert logger.text["some"] == "a"


def test_body_that_is_never_closed(manual: Callable[..., ManualLogger]) -> None:
    """A server that breaks PEP 3333 leaves no session open."""
    logger = manual()
    body = Server(logger, answers(Body([event("a"), event("b")]))).body()
    next(iter(body))
    del body
    assert logger.outcomes == {"s": "closed"}


@pytest.mark.parametrize("by", ["call", "body", "close"])
def test_app_that_raises(manual: Callable[..., ManualLogger], by: str) -> None:
    """In the call, in the body, while it is closed: the outcome is "error", and the exception passes."""

    class Breaks(Body):
        def close(self) -> None:
            super().close()
            if by == "close":
                raise ZeroDivisionError

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", STREAM)(event("w"))
        if by == "call":
            raise ZeroDivisionError
        return Breaks([event("a")], ZeroDivisionError() if by == "body" else None)

    logger = manual()
    server = Server(logger, app)

    def serve() -> None:
        body = server.body()
        try:
            next(chunks := iter(body))
            if by == "body":
                next(chunks)
        finally:
            body.close()

    with pytest.raises(ZeroDivisionError):
        serve()
    assert logger.outcomes == {"s": "error"}
    assert logger.text["s"] == ("w" if by == "call" else "wa")


def test_written_chunks_are_logged(manual: Callable[..., ManualLogger]) -> None:
    """The callable that `start_response` returns sends a part of the body as well."""

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", STREAM)
        write(event("a"))
        write(event("b"))
        return [event("c")]

    logger = manual()
    server = Server(logger, app)
    body = server.body()
    assert list(body) == [event("c")]
    body.close()
    assert server.written == [event("a"), event("b")]
    assert logger.text == {"s": "abc"}
    assert logger.outcomes == {"s": "completed"}


def test_response_that_is_replaced_by_an_error(manual: Callable[..., ManualLogger]) -> None:
    """`start_response` with `exc_info`: what was begun ends as an error, and the new response is looked at anew."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", STREAM)
        start_response("500 Oh", [("Content-Type", "text/html")], (ValueError, ValueError(), None))
        return [b"<p>sorry</p>"]

    logger = manual()
    body = Server(logger, app).body()
    assert body == [b"<p>sorry</p>"]
    assert logger.outcomes == {"s": "error"}


def test_unselected_bodies_are_the_apps_own(manual: Callable[..., ManualLogger]) -> None:
    """The server gets the same object: a file that it sends itself, a list whose length it knows."""
    logger = manual()
    kinds: list[tuple[Any, list[tuple[str, str]], str]] = [
        (Body([b"x"]), STREAM, "/other"),
        ([b"x"], [("Content-Type", "image/png")], "/chat/s"),
        (Body([b"x"]), [*STREAM, ("Content-Length", "1")], "/chat/s"),
        (FileWrapper(io.BytesIO(b"x")), [("Content-Type", "application/pdf")], "/chat/s"),
    ]
    for app_body, headers, path in kinds:
        server = Server(logger, answers(app_body, headers), path)
        assert server.body() is app_body
        assert server.headers is headers
    assert logger.outcomes == {}


def test_file_is_the_servers_to_send(manual: Callable[..., ManualLogger], caplog: pytest.LogCaptureFixture) -> None:
    """A `wsgi.file_wrapper` passes untouched, whatever its content type; the log says that its text is missing."""
    file = FileWrapper(io.BytesIO(b"x"))
    server = Server(manual(), answers(file))
    server.environ["wsgi.file_wrapper"] = FileWrapper
    assert server.body() is file
    assert server.body() is file
    assert [without_page(record) for record in caplog.records] == [
        "a response of '/chat/s' is not logged: it is a file that the server sends (reported once)"
    ]


@pytest.mark.parametrize(
    ("content_type", "chunks", "text"),
    [
        (None, [b"Hel", b"lo"], "Hello"),
        ("text/html; charset=utf-8", [b"Hel", b"lo"], "Hello"),
        ("text/plain", [b"data: x\n", b"id: 7\n"], "data: x\nid: 7\n"),
        ("text/event-stream", [b'data: {"text": "Hello"}\n\n'], "Hello"),
        ("application/jsonlines", [b'{"text": "Hel"}\n{"text"', b': "lo"}\n'], "Hello"),
    ],
)
def test_body_is_read_as_its_content_type_says(
    manual: Callable[..., ManualLogger], content_type: str | None, chunks: list[bytes], text: str
) -> None:
    """A default one, as Flask's and Django's streaming responses have, says nothing and excludes nothing."""
    logger = manual()
    body = Server(logger, answers(Body(chunks), [("Content-Type", content_type)] if content_type else [])).body()
    assert list(body) == chunks
    body.close()
    assert (logger.text, logger.outcomes) == ({"s": text}, {"s": "completed"})


def test_status_of_an_error_is_the_outcome(manual: Callable[..., ManualLogger]) -> None:
    """What is streamed with it is in the file."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("503 Service Unavailable", STREAM)
        return Body([event("a")])

    logger = manual()
    body = Server(logger, app).body()
    assert list(body) == [event("a")]
    body.close()
    assert (logger.text, logger.outcomes) == ({"s": "a"}, {"s": "error"})


def test_length_of_a_body_is_kept(manual: Callable[..., ManualLogger]) -> None:
    """Servers make a content-length of a list with one item; a generator has none."""
    logger = manual()
    body = Server(logger, answers([event("a")])).body()
    assert len(body) == 1
    assert list(body) == [event("a")]
    assert not hasattr(Server(logger, answers(Body([]))).body(), "__len__")
    assert logger.text["s"] == "a"


def test_session_id_of_a_request(manual: Callable[..., ManualLogger]) -> None:
    """By a header that is named, by a path in UTF-8, by a function of the environ; else it is made and told."""
    logger = manual()

    def serve(**options: Any) -> list[tuple[str, str]]:
        path = options.pop("path", "/chat")
        environ = options.pop("environ", {})
        server = Server(logger, answers(Body([event("a")])), path, **options)
        server.environ.update(environ)
        body = server.body()
        list(body)
        body.close()
        return server.headers

    by_header = {"HTTP_X_SESSION_ID": "asked"}
    assert serve(paths=["/chat"], environ=by_header, session_id="x-session-id") is STREAM
    assert serve(path="/chat/grüße".encode().decode("latin-1")) is STREAM
    assert serve(paths=["*"], session_id=lambda environ: environ["REMOTE_USER"], environ={"REMOTE_USER": "ann"})
    (made,) = serve(paths=["/chat"], environ={"HTTP_X_SESSION_ID": "of another client"})[1:]
    assert made[0] == "x-session-id"
    assert logger.text == dict.fromkeys(["asked", "grüße", "ann", made[1]], "a")


def test_wsgirefs_validator_has_no_complaint(manual: Callable[..., ManualLogger]) -> None:
    """Towards the app it is a server that keeps PEP 3333, towards the server such an app."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", STREAM)(event("w"))
        return Body([event("a")])

    logger = manual()
    server = Server(logger, validator(app))
    body = validator(server.app)({**server.environ, "QUERY_STRING": "", "SCRIPT_NAME": ""}, server.start_response)
    chunks = iter(body)
    assert next(chunks) == event("a")
    with pytest.raises(StopIteration):
        next(chunks)
    body.close()
    assert logger.text == {"s": "wa"}
