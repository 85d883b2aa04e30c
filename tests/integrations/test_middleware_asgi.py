"""The ASGI middleware logs what the app sends, changes nothing of it, and completes each session once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from log_lines import without_page
from streaming_logger.integrations.asgi import StreamLogMiddleware
from streaming_logger.testing import ManualLogger

Message = dict[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]

START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"Content-Type", b"text/event-stream")],
}
END: Message = {"type": "http.response.body", "body": b""}


def part(text: str) -> Message:
    """A message with one server-sent event."""
    return {"type": "http.response.body", "body": b'data: {"text": "%s"}\n\n' % text.encode(), "more_body": True}


def sends(*messages: Message) -> App:
    """An app that sends these."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


class Exchange:
    """A server's part of one request: what it got, and what it tells."""

    def __init__(self, path: str = "/chat/s", headers: tuple[tuple[bytes, bytes], ...] = (), **scope: Any) -> None:
        self.scope = {"type": "http", "path": path, "headers": list(headers), **scope}
        self.got: list[Message] = []
        self.fails_at: int | None = None

    async def receive(self) -> Message:
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if len(self.got) == self.fails_at:
            raise OSError("the client is gone")
        self.got.append(message)

    async def of(self, app: Any) -> None:
        await app(self.scope, self.receive, self.send)


def run(logger: ManualLogger, app: App, exchange: Exchange | None = None, **options: Any) -> Exchange:
    """One request to the app behind the middleware."""
    exchange = exchange or Exchange()
    options.setdefault("paths", ["/chat/{session_id}"])
    asyncio.run(exchange.of(StreamLogMiddleware(app, logger, **options)))
    return exchange


def test_text_is_logged_and_messages_pass_as_they_are(manual: Callable[..., ManualLogger]) -> None:
    """The server gets the very objects that the app sends, and the file the text of the body."""
    logger = manual()
    messages = [START, part("Hel"), part("lo"), END]
    exchange = run(logger, sends(*messages))
    assert all(got is sent for got, sent in zip(exchange.got, messages, strict=True))
    assert logger.text == {"s": "Hello"}
    assert logger.outcomes == {"s": "completed"}


def test_events_cut_anywhere_are_read(manual: Callable[..., ManualLogger]) -> None:
    """The app may send one byte at a time, in the middle of a character, too."""
    logger = manual()
    body = 'data: {"text": "Grüße"}\n\ndata: {"text": " 🙂"}\n\n'.encode()
    pieces = [{"type": "http.response.body", "body": bytes([byte]), "more_body": True} for byte in body]
    run(logger, sends(START, *pieces, END))
    assert logger.text == {"s": "Grüße 🙂"}


def test_end_of_the_body_completes_before_the_app_returns(manual: Callable[..., ManualLogger]) -> None:
    """Background tasks of the app come after the end of the stream: what they raise is not the stream's."""
    logger = manual()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await sends(START, part("a"), END)(scope, receive, send)
        assert (await receive())["type"] == "http.disconnect"
        while not logger.outcomes:
            await asyncio.sleep(0.01)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(logger, app)
    assert logger.outcomes == {"s": "completed"}
    assert logger.stats().sessions_completed == 1


def test_app_that_raises_right_after_the_end_of_the_body_is_an_error(manual: Callable[..., ManualLogger]) -> None:
    """As an app does whose fault a middleware inside has hidden behind an end; a cancellation is no such fault."""
    for error, outcome in ((ZeroDivisionError(), "error"), (asyncio.CancelledError(), "completed")):
        logger = manual()

        async def app(scope: Any, receive: Any, send: Any, error: BaseException = error) -> None:
            await sends(START, part("a"), END)(scope, receive, send)
            raise error

        with pytest.raises(type(error)):
            run(logger, app)
        assert logger.outcomes == {"s": outcome}


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "completed"), (201, "completed"), (400, "error"), (503, "error")]
)
def test_status_of_an_error_is_the_outcome(manual: Callable[..., ManualLogger], status: int, outcome: str) -> None:
    """What the model server streams with it is in the file."""
    logger = manual()
    run(logger, sends({**START, "status": status}, part("a"), END))
    assert (logger.text, logger.outcomes) == ({"s": "a"}, {"s": outcome})


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
def test_file_that_the_server_sends(
    manual: Callable[..., ManualLogger], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Its text does not come by here, which the log says; the response is complete."""
    logger = manual()
    run(logger, sends(START, {"type": kind}))
    assert logger.outcomes == {"s": "completed"}
    assert [without_page(record) for record in caplog.records] == [
        "a response of '/chat/s' is not logged: it is a file that the server sends (reported once)"
    ]


def test_websocket_is_not_logged(manual: Callable[..., ManualLogger], caplog: pytest.LogCaptureFixture) -> None:
    """The app gets it as it came; the log says once that its text is missing."""
    seen: list[Any] = []

    async def app(*arguments: Any) -> None:
        seen.extend(arguments)

    logger = manual()
    exchange = Exchange()
    exchange.scope["type"] = "websocket"
    run(logger, app, exchange)
    assert seen == [exchange.scope, exchange.receive, exchange.send]
    assert ["it is a websocket" in record.getMessage() for record in caplog.records] == [True]


async def fails(scope: Any, receive: Any, send: Any) -> None:
    await sends(START, part("a"))(scope, receive, send)
    raise ZeroDivisionError


async def is_cancelled(scope: Any, receive: Any, send: Any) -> None:
    """As a server does that cancels its task when the client is gone, or at its shutdown."""
    await sends(START, part("a"))(scope, receive, send)
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(60)


async def returns_early(scope: Any, receive: Any, send: Any) -> None:
    await sends(START, part("a"))(scope, receive, send)


async def hears_and_returns(scope: Any, receive: Any, send: Any) -> None:
    """As Starlette does: it cancels its own stream."""
    await sends(START, part("a"))(scope, receive, send)
    assert (await receive())["type"] == "http.disconnect"


async def hears_and_ends(scope: Any, receive: Any, send: Any) -> None:
    """As an app does that asks `request.is_disconnected()`."""
    await hears_and_returns(scope, receive, send)
    await send(END)


async def hears_and_is_cancelled(scope: Any, receive: Any, send: Any) -> None:
    """As a server does that cancels the app when the client is gone."""
    await hears_and_returns(scope, receive, send)
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("app", "outcome", "error"),
    [
        (fails, "error", ZeroDivisionError),
        (is_cancelled, "closed", asyncio.CancelledError),
        (returns_early, "error", None),
        (hears_and_returns, "closed", None),
        (hears_and_ends, "closed", None),
        (hears_and_is_cancelled, "closed", asyncio.CancelledError),
    ],
)
def test_outcome_tells_how_the_body_ended(
    manual: Callable[..., ManualLogger], app: App, outcome: str, error: type[BaseException] | None
) -> None:
    """Each way out completes the session once, with its outcome; exceptions pass."""
    logger = manual()
    if error is None:
        run(logger, app)
    else:
        with pytest.raises(error):
            run(logger, app)
    assert logger.text == {"s": "a"}
    assert logger.outcomes == {"s": outcome}
    assert logger.stats().sessions_completed == 1


def test_send_that_fails_is_a_client_that_is_gone(manual: Callable[..., ManualLogger]) -> None:
    """Servers of ASGI 2.4 raise OSError from `send`; an app's own OSError is an error."""
    logger = manual()
    exchange = Exchange()
    exchange.fails_at = 2
    with pytest.raises(OSError, match="the client is gone"):
        run(logger, sends(START, part("a"), part("b"), END), exchange)

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise ConnectionError("of the model")

    with pytest.raises(ConnectionError):
        run(logger, fails, Exchange("/chat/own"))
    assert logger.outcomes == {"s": "closed", "own": "error"}


def test_app_that_goes_on_after_its_end_is_logged(manual: Callable[..., ManualLogger]) -> None:
    """Django's view outlives its task, which servers cancel at their shutdown: clients still get its text."""
    logger = manual()
    views: list[Awaitable[None]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part("Hello"))
        views.append(send(part(" again")))
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    async def serve() -> None:
        middleware = StreamLogMiddleware(app, logger, paths=["*"], session_id=lambda scope: "s")
        task = asyncio.ensure_future(Exchange().of(middleware))
        with pytest.raises(asyncio.CancelledError):
            await task
        await views[0]

    asyncio.run(serve())
    assert logger.text == {"s": "Hello again"}
    assert logger.outcomes == {"s": "closed"}


def test_text_that_cannot_be_told_breaks_nothing(manual: Callable[..., ManualLogger]) -> None:
    """The message passes, the fault is counted, and the rest is logged."""
    logger = manual()

    def text(body: bytes) -> str:
        return {b"a": "A"}[body]

    bodies = [{"type": "http.response.body", "body": body, "more_body": True} for body in (b"?", b"a")]
    exchange = run(logger, sends(START, *bodies, {**END, "body": b"a"}), text=text)
    assert len(exchange.got) == 4
    assert logger.text == {"s": "AA"}
    assert logger.stats().extraction_errors == 1


def test_unselected_responses_pass_as_they_are(manual: Callable[..., ManualLogger]) -> None:
    """Another path, another content type, a length: the same messages, nothing logged, no header added."""
    logger = manual()
    whole = {**START, "headers": [*START["headers"], (b"content-length", b"1")]}
    picture = {**START, "headers": [(b"content-type", b"image/png")]}
    for path, start in (("/other", START), ("/chat/s", whole), ("/chat/s", picture)):
        exchange = run(logger, sends(start, part("a"), END), Exchange(path))
        assert exchange.got[0] is start
    assert logger.text == {}
    assert logger.outcomes == {}


def test_unselected_path_reaches_the_app_without_anything_between(manual: Callable[..., ManualLogger]) -> None:
    """The app gets the server's own `receive` and `send`."""
    seen: list[Any] = []

    async def app(*arguments: Any) -> None:
        seen.extend(arguments)

    exchange = Exchange("/other")
    run(manual(), app, exchange)
    assert seen == [exchange.scope, exchange.receive, exchange.send]


def test_made_session_id_is_a_header_of_the_response(manual: Callable[..., ManualLogger]) -> None:
    """The client is told under which id its answer is logged; the app's own message stays as it is."""
    logger = manual()
    exchange = run(logger, sends(START, part("a"), END), Exchange("/chat"), paths=["/chat"])
    ((name, value),) = exchange.got[0]["headers"][1:]
    assert name == b"x-session-id"
    assert logger.text == {value.decode(): "a"}
    assert len(START["headers"]) == 1


@pytest.mark.parametrize(
    ("source", "exchange", "session_id"),
    [
        ("x-session-id", Exchange("/chat", ((b"x-session-id", b"asked"),)), "asked"),
        ("{session_id}", Exchange("/chat", path_params={"session_id": "routed"}), "routed"),
        ("x-session-id", Exchange("/api/chat", ((b"x-session-id", b"mounted"),), root_path="/api"), "mounted"),
        ("x-session-id", Exchange("/chat", ((b"x-session-id", b"proxied"),), root_path="/api"), "proxied"),
        ("x-session-id", Exchange("/chat", ((b"x-session-id", b"../../etc/passwd"),)), "../../etc/passwd"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_session_id_of_a_request(
    manual: Callable[..., ManualLogger], source: str, exchange: Exchange, session_id: str
) -> None:
    """By header, by the router's path parameters, below a mount; a hostile one is a name like others."""
    logger = manual()
    run(logger, sends(START, part("a"), END), exchange, paths=["/chat"], session_id=source)
    assert logger.text == {session_id: "a"}


def test_client_cannot_write_into_the_session_of_another(manual: Callable[..., ManualLogger]) -> None:
    """Nor end it: by default its headers name nothing."""
    logger = manual()
    logger.write("victim", "text")
    run(logger, sends(START, part("a"), END), Exchange("/chat", ((b"x-session-id", b"victim"),)), paths=["/chat"])
    assert logger.text["victim"] == "text"
    assert "victim" not in logger.outcomes
    assert len(logger.text) == 2


def test_headers_as_str_break_nothing(manual: Callable[..., ManualLogger]) -> None:
    """uvicorn accepts them from an app, so the middleware does."""
    logger = manual()
    run(logger, sends({**START, "headers": [("content-type", "text/event-stream")]}, part("a"), END))
    assert logger.text == {"s": "a"}


def test_sessions_of_concurrent_requests_stay_apart(manual: Callable[..., ManualLogger]) -> None:
    """One middleware, many streams at a time."""
    logger = manual()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for number in range(10):
            await send(part(f"{scope['path'][6:]}{number};"))
            await asyncio.sleep(0)
        await send(END)

    async def many() -> None:
        middleware = StreamLogMiddleware(app, logger, paths=["/chat/{session_id}"])
        await asyncio.gather(*(Exchange(f"/chat/{letter}").of(middleware) for letter in "abc"))

    asyncio.run(many())
    assert logger.text == {letter: "".join(f"{letter}{number};" for number in range(10)) for letter in "abc"}


def test_lifespan_closes_the_logger(manual: Callable[..., ManualLogger]) -> None:
    """One line in the app is enough: `CloseOnShutdown` is included."""
    logger = manual()
    logger.write("s", "text")
    told = iter(["lifespan.startup", "lifespan.shutdown"])
    exchange = Exchange()
    exchange.scope["type"] = "lifespan"

    async def receive() -> Message:
        return {"type": next(told)}

    exchange.receive = receive  # type: ignore[method-assign]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Knows nothing of the protocol."""

    run(logger, app, exchange)
    assert [message["type"] for message in exchange.got] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert (logger.base_dir / "s.log").read_text() == "text"


def test_streamed_json_array_is_read(manual: Callable[..., ManualLogger]) -> None:
    """Gemini's REST API streams one array of chunks as application/json."""
    logger = manual()
    chunks = [b'{"candidates": [{"content": {"parts": [{"text": "%s"}]}}]}' % text for text in (b"Hel", b"lo")]
    bodies = [b"[" + chunks[0] + b"\n,\r\n", chunks[1], b"\n]"]
    parts = [{"type": "http.response.body", "body": body, "more_body": True} for body in bodies]
    start = {**START, "headers": [(b"content-type", b"application/json; charset=UTF-8")]}
    run(logger, sends(start, *parts, END))
    assert logger.text == {"s": "Hello"}
