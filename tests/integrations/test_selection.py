"""What a middleware's options select, and which options are rejected."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from streaming_logger.integrations import asgi, wsgi
from streaming_logger.integrations._selection import STREAMED_TYPES, Selection
from streaming_logger.testing import ManualLogger

STREAM = {"content-type": "text/event-stream"}


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
        ({"session_id": None}, TypeError, "session_id must be a str or a function.*, not NoneType"),
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
    assert Selection(manual(), ["/other", pattern]).match(path) == found


@pytest.mark.parametrize(
    ("headers", "is_logged"),
    [
        (STREAM, True),
        ({"content-type": "Text/Event-Stream; charset=utf-8"}, True),
        *(({"content-type": kind}, True) for kind in STREAMED_TYPES),
        ({"content-type": "application/json"}, False),
        ({}, False),
        ({**STREAM, "content-length": "10"}, False),
        ({**STREAM, "content-encoding": "identity"}, True),
        ({**STREAM, "content-encoding": "gzip"}, False),
    ],
)
def test_response_is_logged_by_its_headers(
    manual: Callable[..., ManualLogger], headers: dict[str, str], is_logged: bool
) -> None:
    """Streamed, of a selected content type, not compressed: all three, or it is not logged."""
    log, added = Selection(manual(), ["*"]).open({}, {}, {}, headers)
    assert (log is not None) == is_logged == bool(added)


def test_content_types_can_be_chosen(manual: Callable[..., ManualLogger]) -> None:
    """Those that are given take the place of the default ones."""
    selection = Selection(manual(), ["*"], ["Application/JSON"])
    assert selection.open({}, {}, {}, {"content-type": "application/json"})[0] is not None
    assert selection.open({}, {}, {}, STREAM) == (None, [])


def test_compressed_response_is_reported_once(
    manual: Callable[..., ManualLogger], caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why such responses are missing, and what to do."""
    selection = Selection(manual(), ["*"])
    for _ in range(3):
        selection.open({}, {}, {}, {**STREAM, "content-encoding": "br"})
    (record,) = [record for record in caplog.records if "compressed" in record.getMessage()]
    assert (record.name, record.levelno) == ("streaming_logger", logging.WARNING)
    assert "text/event-stream" in record.getMessage()
    assert "(br)" in record.getMessage()


@pytest.mark.parametrize(
    ("path_params", "asked", "answered", "session_id"),
    [
        ({"session_id": "path"}, {"x-chat": "asked"}, {"x-chat": "answered"}, "answered"),
        ({"session_id": "path"}, {"x-chat": "asked"}, {}, "path"),
        ({"session_id": 7}, {}, {}, "7"),
        ({"other": "path"}, {"x-chat": "asked"}, {}, "asked"),
    ],
)
def test_session_id_is_looked_for_in_order(
    manual: Callable[..., ManualLogger],
    path_params: dict[str, Any],
    asked: dict[str, str],
    answered: dict[str, str],
    session_id: str,
) -> None:
    """The app's own word, then the path, then the client's; what was found is not sent back."""
    log, added = Selection(manual(), ["*"], session_id="X-Chat").open({}, path_params, asked, {**STREAM, **answered})
    assert log is not None
    assert (log.session_id, added) == (session_id, [])


def test_missing_session_id_is_made_and_told(manual: Callable[..., ManualLogger]) -> None:
    """Client and operator find the session by the response's header; each response has its own."""
    selection = Selection(manual(), ["*"])
    (first, added), (second, _) = (selection.open({}, {}, {"x-session-id": ""}, STREAM) for _ in range(2))
    assert first is not None
    assert second is not None
    assert added == [("x-session-id", first.session_id)]
    assert len({first.session_id, second.session_id, ""}) == 3


def test_session_id_by_a_function(manual: Callable[..., ManualLogger], caplog: pytest.LogCaptureFixture) -> None:
    """It gets the request; None is a response that is not logged, and a fault in it breaks no response."""
    selection = Selection(manual(), ["*"], session_id=lambda request: request["id"])
    log, added = selection.open({"id": "mine"}, {"session_id": "path"}, {}, STREAM)
    assert log is not None
    assert (log.session_id, added) == ("mine", [])
    assert selection.open({"id": None}, {}, {}, STREAM) == (None, [])
    assert [selection.open(request, {}, {}, STREAM) for request in ({}, {"id": 7}, {})] == [(None, [])] * 3
    assert [record.getMessage() for record in caplog.records if "session_id" in record.getMessage()] == [
        "a response is not logged: session_id() raised KeyError('id') (reported once)"
    ]
