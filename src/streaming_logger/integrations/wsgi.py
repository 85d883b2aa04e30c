"""Logs the streamed responses of a WSGI app: Flask, Django, or any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from streaming_logger._base.outcomes import Outcome
from streaming_logger._logger import StreamingLogger
from streaming_logger.integrations._identity import Head, Identity, NotLogged
from streaming_logger.integrations._selection import Log, Logs, Selection, end_of_body

__all__ = ["StreamLogMiddleware"]

_Write = Callable[[bytes], object]
_StartResponse = Callable[..., _Write]
_App = Callable[[dict[str, Any], _StartResponse], Iterable[bytes]]


class StreamLogMiddleware:
    """WSGI middleware that logs the text of the streamed responses of selected paths.

    In `paths`, `{name}` stands for one segment and `*` for anything, as in `["/chat/{session_id}"]`.
    `content_types` limits it further; None: all that can hold text. What the content type says decides how a
    body is read. A response with a content-length is not a stream, a compressed body cannot be read, and a file
    (`wsgi.file_wrapper`) is sent by the server itself: a response of a selected path that is not logged is
    reported once for each reason.

    The session id is the segment `{session_id}` of a path in `paths`, else it is made and told by the header
    `x-session-id` of the response. `session_id` names another source: "x-chat", a header of the response or
    else of the request; "{chat}", a parameter of a path in `paths`; or a function of the environ that returns
    the id, or None for a response that is not logged. An id that a client can choose must be trusted: who sends
    another's writes into that session, and ends it.

    `text` and `include` are as in `StreamingLogger.wrap`. Raises `TypeError` and `ValueError` for a bad option.

    The outcome is "completed" at the end of the body, "error" when the app raises or the status is an error,
    and "closed" when the server closes the body before its end, as it does when the client is gone.

    >>> import tempfile
    >>> logger = StreamingLogger(directory=tempfile.mkdtemp())
    >>> def app(environ, start_response):
    ...     start_response("200 OK", [("content-type", "text/event-stream")])
    ...     yield b'data: {"text": "Hel"}\\n\\n'
    ...     yield b'data: {"text": "lo"}\\n\\n'
    >>> app = StreamLogMiddleware(app, logger, paths=["/chat/{session_id}"])
    >>> for chunk in app({"PATH_INFO": "/chat/sess_1"}, lambda status, headers: None):
    ...     print(logger.session_buffers["sess_1"])
    ['Hel']
    ['Hel', 'lo']
    >>> logger.close()
    """

    def __init__(
        self,
        app: _App,
        logger: StreamingLogger,
        *,
        paths: Iterable[str],
        content_types: Iterable[str] | None = None,
        session_id: str | Callable[[dict[str, Any]], str | None] | None = None,
        text: Callable[[Any], str | None] | None = None,
        include: Iterable[str] = (),
    ) -> None:
        self.app = app
        self._selection = Selection(paths, content_types, Identity(session_id), Logs(logger, text, include))

    def __call__(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        named = self._selection.match(_path_of(environ))
        if named is None:
            return self.app(environ, start_response)
        response = _Response(self._selection, environ, named, start_response)
        try:
            return response.body_of(self.app(environ, response.start))
        except BaseException as error:
            response.end_by(error)
            raise


class _Response:
    """One response of a selected path."""

    def __init__(
        self,
        selection: Selection,
        environ: dict[str, Any],
        named: Mapping[str, str],
        start_response: _StartResponse,
    ) -> None:
        self._selection = selection
        self._environ = environ
        self._named = named
        self._start_response = start_response
        self._started = False
        self._status = 200
        self.log: Log | None = None

    def start(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> _Write:
        """The app's `start_response`; decides whether the response is logged."""
        self.end("error")  # a second call replaces the response by an error's
        self._started = True
        asked = {
            name[5:].replace("_", "-").lower(): value
            for name, value in self._environ.items()
            if name.startswith("HTTP_")
        }
        self._status = _number_of(status)
        self.log, added = self._selection.open(
            Head(
                request=self._environ,
                method=self._environ.get("REQUEST_METHOD", ""),
                path=self._path,
                named=self._named,
                path_params={},
                request_headers=asked,
                status=self._status,
                headers={name.lower(): value for name, value in headers},
            )
        )
        write = self._start_response(status, [*headers, *added] if added else headers, *exc_info)
        return write if self.log is None else partial(_logged_write, self.log, write)

    def body_of(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """The body for the server: the app's own, unless it is logged or `start` is still to come."""
        if self._started and self.log is None:
            return body
        file_wrapper = self._environ.get("wsgi.file_wrapper")
        if isinstance(file_wrapper, type) and isinstance(body, file_wrapper):
            if self.log is not None:
                self._selection.report(self._path, NotLogged("it is a file that the server sends"))
            self.end_of_body()
            return body
        return _SizedBody(self, body) if hasattr(body, "__len__") else _Body(self, body)

    @property
    def _path(self) -> str:
        return _path_of(self._environ)

    def end_of_body(self) -> None:
        self.end(end_of_body(self._status))

    def end(self, outcome: Outcome) -> None:
        if self.log is not None:
            self.log.end(outcome)

    def end_by(self, error: BaseException) -> None:
        """The response ends by this exception."""
        if self.log is not None:
            self.log.end_by(error)


class _Body:
    """A body that is logged while the server reads it."""

    def __init__(self, response: _Response, body: Iterable[bytes]) -> None:
        self._response = response
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        response = self._response
        try:
            for chunk in self._body:
                if response.log is not None:
                    response.log.log(chunk)
                yield chunk
        except BaseException as error:
            response.end_by(error)
            raise
        response.end_of_body()

    def close(self) -> None:
        """Called by the server at the end, whether or not it has read the body."""
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        except BaseException as error:
            self._response.end_by(error)
            raise
        self._response.end("closed")


class _SizedBody(_Body):
    """One that has a length, from which servers derive a content-length."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


def _logged_write(log: Log, write: _Write, data: bytes) -> None:
    """The older way to send a body: the callable that `start_response` returns."""
    log.log(data)
    write(data)


def _path_of(environ: Mapping[str, Any]) -> str:
    path: str = environ.get("PATH_INFO", "")
    return path.encode("latin-1").decode("utf-8", "replace")  # PEP 3333's bytes in a str


def _number_of(status: str) -> int:
    number = status.partition(" ")[0]
    return int(number) if number.isascii() and number.isdecimal() else 200
