"""What a middleware's options select, and which options are rejected."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from log_lines import without_page
from streaming_logger.integrations import asgi, wsgi
from streaming_logger.integrations._formats import format_of
from streaming_logger.integrations._identity import Head, Identity, bounded
from streaming_logger.integrations._selection import Logs, Opened, Selection
from streaming_logger.testing import ManualLogger

STREAM = {"content-type": "text/event-stream"}


def selection(
    logger: ManualLogger, paths: tuple[str, ...] = ("*",), session_id: Any = None, **options: Any
) -> Selection:
    return Selection(paths, options.get("content_types"), Identity(session_id), Logs(logger))


def head(headers: dict[str, str], **fields: Any) -> Head:
    """A response to GET /chat; `fields` replace what it is by default."""
    return Head({}, "GET", "/chat", {}, {}, {}, 200, headers)._replace(**fields)


def session_of(opened: Opened) -> str | None:
    """The id under which a response is logged; None: it is not."""
    return None if opened[0] is None else opened[0].session_id


def reports(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """What the log says of responses that are not logged."""
    return [without_page(record) for record in caplog.records if record.levelno == level]


def app(*arguments: Any) -> Any:
    raise AssertionError("never called")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"paths": []}, ValueError, r"paths must not be empty, got \[\]"),
        ({"paths": "/chat"}, TypeError, "paths must be a list of str, not str"),
        ({"paths": None}, TypeError, "paths must be a list of str, not NoneType"),
        ({"paths": [1]}, TypeError, "paths must hold str, not int"),
        ({"paths": ["chat"]}, ValueError, r'paths must be "\*", or begin with "/".*, got \'chat\''),
        ({"paths": ["/chat/{id:int}"]}, ValueError, r"paths must be .* got '/chat/\{id:int\}'"),
        ({"paths": ["/chat/{id"]}, ValueError, r"got '/chat/\{id'"),
        ({"paths": ["/{id}/{id}"]}, ValueError, r"paths must have each \{name\} once, got '/\{id\}/\{id\}'"),
        ({"content_types": []}, ValueError, "content_types must not be empty"),
        ({"content_types": "text/plain"}, TypeError, "content_types must be a list of str, not str"),
        ({"content_types": ["text"]}, ValueError, "content_types must be like .*, got 'text'"),
        ({"content_types": ["text/plain; charset=utf-8"]}, ValueError, "content_types must be like"),
        ({"session_id": "x session"}, ValueError, "session_id must be the name of a header.*, got 'x session'"),
        ({"session_id": ""}, ValueError, "session_id must be the name of a header"),
        ({"session_id": "{a}/{b}"}, ValueError, "session_id must be the name of a header.*, got '{a}/{b}'"),
        ({"session_id": 7}, TypeError, "session_id must be a str, a function of the request or None, not int"),
        ({"text": "content"}, TypeError, "text must be callable or None, not str"),
        ({"include": ["thoughts"]}, ValueError, "include: .*'thoughts'"),
        ({"logger": "logs"}, TypeError, "logger must be a StreamingLogger, not str"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("middleware", [asgi.StreamLogMiddleware, wsgi.StreamLogMiddleware])
def test_bad_option_is_rejected_with_field_rule_and_value(
    manual: Callable[..., ManualLogger], middleware: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """Both middlewares reject it when the server starts, before any request."""
    with pytest.raises(error, match=text):
        middleware(app, **{"logger": manual(), "paths": ["*"], **options})


@pytest.mark.parametrize("middleware", [asgi.StreamLogMiddleware, wsgi.StreamLogMiddleware])
def test_paths_have_no_default(manual: Callable[..., ManualLogger], middleware: Any) -> None:
    """Nothing is logged that nobody selected: without `paths` there is no middleware."""
    with pytest.raises(TypeError, match="paths"):
        middleware(app, manual())


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("/chat/{session_id}", "/chat/sess_1", {"session_id": "sess_1"}),
        ("/chat/{session_id}", "/chat/sess_1/more", None),
        ("/chat/{session_id}", "/chat/", None),
        ("/chat/{session_id}", "/chat/a\nb", {"session_id": "a\nb"}),
        ("/{user}/{session_id}/x", "/ann/s/x", {"user": "ann", "session_id": "s"}),
        ("/v1/chat.completions", "/v1/chat.completions", {}),
        ("/v1/chat.completions", "/v1/chatXcompletions", None),
        ("/v1/*", "/v1/chat/completions", {}),
        ("/v1/*", "/v2/chat", None),
        ("*", "/anything/at/all", {}),
    ],
)
def test_path_patterns(
    manual: Callable[..., ManualLogger], pattern: str, path: str, found: dict[str, str] | None
) -> None:
    """`{name}` is one segment, `*` anything, and all else stands for itself."""
    assert selection(manual(), ("/other", pattern)).match(path) == found


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/event-stream", "sse"),
        ("application/x-ndjson", "jsonl"),
        ("application/ndjson", "jsonl"),
        ("application/jsonl", "jsonl"),
        ("application/x-jsonlines", "jsonl"),
        ("application/jsonlines", "jsonl"),
        ("application/json-lines", "jsonl"),
        ("application/stream+json", "jsonl"),
        ("application/json-seq", "jsonl"),
        ("application/geo+json-seq", "jsonl"),
        ("application/vnd.api+ndjson", "jsonl"),
        ("text/x-ndjson", "jsonl"),
        ("text/plain", "text"),
        ("text/markdown", "text"),
        ("text/html", "auto"),
        ("application/json", "auto"),
        ("application/octet-stream", "auto"),
        ("", "auto"),
        ("application/vnd.amazon.eventstream", None),
        ("application/pdf", None),
        ("image/png", None),
    ],
)
def test_content_type_tells_how_a_body_is_read(content_type: str, expected: str | None) -> None:
    """Where it says something; a default one says nothing; None is not text."""
    assert format_of(content_type) == expected


@pytest.mark.parametrize(
    ("headers", "fields", "is_logged"),
    [
        (STREAM, {}, True),
        ({"content-type": "Text/Event-Stream; charset=utf-8"}, {}, True),
        ({"content-type": "application/json"}, {}, True),
        ({}, {}, True),
        (STREAM, {"status": 503}, True),
        ({**STREAM, "content-encoding": "identity"}, {}, True),
        ({"content-type": "image/png"}, {}, False),
        ({**STREAM, "content-length": "10"}, {}, False),
        ({**STREAM, "content-encoding": "gzip"}, {}, False),
        (STREAM, {"method": "HEAD"}, False),
        (STREAM, {"status": 204}, False),
        (STREAM, {"status": 304}, False),
    ],
)
def test_response_is_logged_by_its_head(
    manual: Callable[..., ManualLogger], headers: dict[str, str], fields: dict[str, Any], is_logged: bool
) -> None:
    """Streamed, text, not compressed: all three, or it is not logged."""
    log, added = selection(manual()).open(head(headers, **fields))
    assert (log is not None) == is_logged == bool(added)


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/event-stream", b'data: {"text": "a"}\n\n', "a"),
        ("application/json-lines", b'{"text": "a"}\n', "a"),
        ("text/plain", b'data: {"text": "a"}\n\n', 'data: {"text": "a"}\n\n'),
        ("text/markdown", b'{"type": "refund"}', '{"type": "refund"}'),
        ("", b"Hello", "Hello"),
        ("text/html; charset=utf-8", b"Hello", "Hello"),
    ],
)
def test_body_is_read_as_its_content_type_says(
    manual: Callable[..., ManualLogger], content_type: str, body: bytes, text: str
) -> None:
    """Nothing is guessed against it: text that looks like events is text."""
    logger = manual()
    log, _ = selection(logger, session_id="x-chat").open(head({"content-type": content_type, "x-chat": "s"}))
    assert log is not None
    log.log(body)
    log.end("completed")
    assert logger.text == {"s": text}


def test_content_types_can_be_chosen(manual: Callable[..., ManualLogger]) -> None:
    """Those that are given take the place of the default ones; another one says nothing of its format."""
    chosen = selection(manual(), content_types=["Application/JSON", "application/vnd.chat"])
    for kind in ("application/json", "application/vnd.chat"):
        assert chosen.open(head({"content-type": kind}))[0] is not None
    assert chosen.open(head(STREAM)) == chosen.open(head({})) == (None, [])


@pytest.mark.parametrize(
    ("headers", "fields", "reason"),
    [
        ({**STREAM, "content-encoding": "br"}, {}, "it is compressed (br); compress it outside of this middleware"),
        ({"content-type": "image/png"}, {}, "its content type 'image/png' is not in content_types"),
        ({"content-type": "text/plain", "content-length": "5"}, {}, "it has a content-length, so it is not a stream"),
        (STREAM, {"request": {"id": None}}, "session_id() returned None"),
        (STREAM, {"request": {"id": ""}}, "session_id() returned ''"),
        (STREAM, {"request": {"id": 7}}, "session_id() returned int, not str"),
        (STREAM, {"request": {}}, "session_id() raised KeyError('id')"),
    ],
)
def test_response_that_is_not_logged_is_reported_once(
    manual: Callable[..., ManualLogger],
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    fields: dict[str, Any],
    reason: str,
) -> None:
    """With its path and the reason, in one warning of the library's logger."""
    selected = selection(manual(), session_id=lambda request: request["id"])
    for _ in range(3):
        assert selected.open(head(headers, **{"request": {"id": "s"}, **fields})) == (None, [])
    assert reports(caplog) == [f"a response of '/chat' is not logged: {reason} (reported once)"]
    assert caplog.records[0].name == "streaming_logger"


def test_each_reason_is_reported(manual: Callable[..., ManualLogger], caplog: pytest.LogCaptureFixture) -> None:
    """One does not hide another, and one content type not the next."""
    selected = selection(manual())
    for headers in (
        {"content-type": "image/png"},
        {"content-type": "application/pdf"},
        {**STREAM, "content-length": "1"},
    ):
        selected.open(head(headers))
    assert len(reports(caplog)) == 3


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({"content-type": "application/json", "content-length": "5"}, {}),
        ({"content-type": "text/html", "content-length": "5"}, {}),
        ({"content-type": "image/png", "content-length": "5"}, {}),
        (STREAM, {"method": "HEAD"}),
        ({}, {"status": 204}),
        ({"content-type": "text/html"}, {"status": 500}),
        ({}, {"status": 302}),
    ],
)
def test_ordinary_response_is_no_warning(
    manual: Callable[..., ManualLogger],
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    fields: dict[str, Any],
) -> None:
    """A page, a whole answer, an error page, a response without a body: one record of level INFO."""
    caplog.set_level(logging.INFO)
    selected = selection(manual())
    for _ in range(3):
        assert selected.open(head(headers, **fields)) == (None, [])
    assert reports(caplog) == []
    assert len(reports(caplog, logging.INFO)) == 1


HOSTILE = {"x-session-id": "of another client"}


def test_id_is_made_and_told_unless_the_developer_names_its_source(manual: Callable[..., ManualLogger]) -> None:
    """Whatever the client sends, and whatever the app's routes name: each response has an id of its own."""
    selected = selection(manual())
    heads = [
        head(STREAM, request_headers=HOSTILE),
        head(STREAM, path_params={"session_id": "of another client"}),
        head(STREAM, named={"user": "of another client"}),
    ]
    opened = [selected.open(one) for one in heads]
    ids = {session_of(one) for one in opened}
    assert len(ids) == 3
    assert not ids & {None, "of another client"}
    assert [added for _, added in opened] == [[("x-session-id", session_of(one))] for one in opened]


def test_header_of_the_app_is_kept(manual: Callable[..., ManualLogger], caplog: pytest.LogCaptureFixture) -> None:
    """It may echo what the client sent, so it is no id; the log says how to use it; no second header is added."""
    selected = selection(manual())
    for _ in range(2):
        opened = selected.open(head({**STREAM, **HOSTILE}))
        assert session_of(opened) not in (None, "of another client")
        assert opened[1] == []
    assert reports(caplog) == [
        "the x-session-id of a response is not used as the session id: name it by session_id='x-session-id' "
        "(reported once)"
    ]


@pytest.mark.parametrize(
    ("source", "fields", "session_id"),
    [
        ("X-Chat", {"headers": {**STREAM, "x-chat": "answered"}, "request_headers": {"x-chat": "asked"}}, "answered"),
        ("X-Chat", {"request_headers": {"x-chat": "asked"}, "named": {"session_id": "path"}}, "asked"),
        ("{chat}", {"named": {"chat": "path"}, "request_headers": {"x-session-id": "asked"}}, "path"),
        ("{chat}", {"path_params": {"chat": 7}}, "7"),
        (None, {"named": {"session_id": "path"}, "request_headers": {"x-session-id": "asked"}}, "path"),
        (lambda request: request["id"], {"request": {"id": "mine"}, "named": {"session_id": "path"}}, "mine"),
    ],
)
def test_session_id_comes_from_the_source_that_is_named(
    manual: Callable[..., ManualLogger], source: Any, fields: dict[str, Any], session_id: str
) -> None:
    """And from no other one; what was found is not sent back."""
    opened = selection(manual(), session_id=source).open(head(**{"headers": STREAM, **fields}))
    assert (session_of(opened), opened[1]) == (session_id, [])


@pytest.mark.parametrize(("source", "header"), [("x-chat", "x-chat"), ("{chat}", "x-session-id")])
def test_id_is_made_where_the_named_source_has_none(
    manual: Callable[..., ManualLogger], source: str, header: str
) -> None:
    """It is told by the header that is named, if one is."""
    opened = selection(manual(), session_id=source).open(head(STREAM, request_headers={"x-chat": ""}))
    assert opened[1] == [(header, session_of(opened))]


def test_long_ids_are_bounded_and_stay_apart(manual: Callable[..., ManualLogger]) -> None:
    """Whatever their source; two that begin alike, and one made to equal a shortened one, are three sessions."""
    logger = manual()
    long = ["x" * 5000 + end for end in "ab"]
    crafted = bounded(long[0])
    ids = []
    for session_id in (*long, crafted):
        for source, fields in (
            ("x-chat", {"request_headers": {"x-chat": session_id}}),
            ("{chat}", {"named": {"chat": session_id}}),
            (lambda request: request["id"], {"request": {"id": session_id}}),
        ):
            found = session_of(selection(logger, session_id=source).open(head(STREAM, **fields)))
            assert found == bounded(session_id)
            assert len(found) == 1024
        ids.append(bounded(session_id))
    assert len(set(ids)) == 3
    assert bounded("x" * 1023) == "x" * 1023
    assert len(bounded("\ud800" * 2000)) == 1024


def test_path_of_a_client_is_matched_in_linear_time(manual: Callable[..., ManualLogger]) -> None:
    """A regular expression would try every way to share it among the stars: hours for this one."""
    path = "/a/v1/" * 4_000
    assert selection(manual(), ("/*/v1/*/v1/*/v1/*x",)).match(path) is None
