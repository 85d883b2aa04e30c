"""Which responses a middleware logs, and why it does not log another one: what the server's developer selects."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from streaming_logger._base.outcomes import Outcome
from streaming_logger._logger import StreamingLogger
from streaming_logger._stream_log import StreamLog
from streaming_logger._text.extractor import TextExtractor
from streaming_logger.integrations._formats import Format, format_of, is_declared_stream
from streaming_logger.integrations._identity import Head, Identity, NotLogged, bounded
from streaming_logger.integrations._paths import PathPattern

__all__ = ["Log", "Logs", "Opened", "Selection", "end_of_body"]

_log = logging.getLogger("streaming_logger")
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
#: Statuses of responses that have no body.
_BODILESS = {204, 205, 304}


class Log(Protocol):
    """The log of one response."""

    @property
    def session_id(self) -> str | None:
        """None: not known yet."""

    def log(self, item: Any) -> None: ...

    def end(self, outcome: Outcome) -> None: ...

    def end_by(self, error: BaseException) -> None: ...


class Logs:
    """Opens the log of each response. Raises `TypeError` and `ValueError` for bad options.

    `text` and `include` are as in `StreamingLogger.wrap`.
    """

    def __init__(
        self,
        logger: StreamingLogger,
        text: Callable[[Any], str | None] | None = None,
        include: Iterable[str] = (),
    ) -> None:
        if not isinstance(logger, StreamingLogger):
            raise TypeError(f"logger must be a StreamingLogger, not {type(logger).__name__}")
        if text is not None and not callable(text):
            raise TypeError(f"text must be callable or None, not {type(text).__name__}")
        self._logger = logger
        self._text = text
        self._include = include if isinstance(include, str) else tuple(include)
        TextExtractor(self._include)  # rejects a bad one now, not at the first response

    def open(self, session_id: str | None, format: Format) -> Log:  # noqa: A002 - as in `wrap`
        """A log under this id; None: one that is made."""
        session_id = session_id and bounded(session_id)
        return StreamLog(self._logger, session_id, self._text, self._include, format=format)


#: The log of a response, None if it is not logged; and the headers to add to the response.
Opened = tuple[Log | None, list[tuple[str, str]]]


class Selection:
    """The responses that are logged. Raises `TypeError` and `ValueError` for bad options.

    `paths`: `{name}` stands for one segment of a path, `*` for anything. It has no default: nothing is
    logged unless somebody selects it. `content_types`: as in the header, without parameters; None: all that
    can hold text, and a response without one.
    """

    def __init__(
        self, paths: Iterable[str], content_types: Iterable[str] | None, identity: Identity, logs: Logs
    ) -> None:
        self._paths = [PathPattern(path) for path in _strings("paths", paths)]
        self._types = None if content_types is None else {*map(_lower, _strings("content_types", content_types))}
        self._identity = identity
        self._logs = logs
        self._reported: set[str] = set()

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters of a selected path; None for another one."""
        for pattern in self._paths:
            if (found := pattern.match(path)) is not None:
                return found
        return None

    def open(self, head: Head) -> Opened:
        """Decides about a response of a selected path."""
        content_type = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            self._check(head, content_type)
            session_id = self._identity.find(head)
        except NotLogged as refusal:
            self.report(head.path, refusal)
            return None, []
        log = self._logs.open(session_id, format_of(content_type) or "auto")
        if session_id is not None or log.session_id is None:
            return log, []
        return log, self._telling(head, log.session_id)

    def report(self, path: str, refusal: NotLogged) -> None:
        """Logs once for each reason that a response is not logged."""
        if refusal.reason not in self._reported:
            self._reported.add(refusal.reason)
            _log.log(refusal.level, "a response of %.200r is not logged: %s (reported once)", path, refusal)

    def _check(self, head: Head, content_type: str) -> None:
        """Raises `NotLogged` for a response that is not a stream, or not one of text."""
        if head.method == "HEAD" or head.status in _BODILESS:
            raise NotLogged("it has no body", level=logging.INFO)
        if "content-length" in head.headers:
            # Ordinary pages and answers are not worth a warning; a stream that something has buffered is.
            level = logging.WARNING if is_declared_stream(content_type) else logging.INFO
            raise NotLogged("it has a content-length, so it is not a stream", f"content-length {level}", level)
        if format_of(content_type) is None if self._types is None else content_type not in self._types:
            why = f"its content type {content_type!r} is not in content_types"
            raise NotLogged(why, why)
        if head.status >= 300 and format_of(content_type) == "auto":
            raise NotLogged(f"it is the page of status {head.status}", "status", logging.INFO)
        encoding = head.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise NotLogged(f"it is compressed ({encoding}); compress it outside of this middleware", "compressed")

    def _telling(self, head: Head, session_id: str) -> list[tuple[str, str]]:
        """The header that tells a made id, unless the app has one of this name."""
        name = self._identity.header
        if name not in head.headers:
            return [(name, session_id)]
        if name not in self._reported:
            self._reported.add(name)
            _log.log(
                logging.WARNING,
                "the %s of a response is not used as the session id: name it by session_id=%r (reported once)",
                name,
                name,
            )
        return []


def end_of_body(status: int) -> Outcome:
    """The outcome of a response whose body came to its end."""
    return "error" if status >= 400 else "completed"


def _strings(field: str, values: Iterable[str]) -> list[str]:
    """A field's strings; at least one."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{field} must be a list of str, not {type(values).__name__}")
    values = list(values)
    if not values:
        raise ValueError(f"{field} must not be empty, got {values!r}")
    return values


def _lower(content_type: str) -> str:
    """A content type as responses are compared with it."""
    if not isinstance(content_type, str):
        raise TypeError(f"content_types must hold str, not {type(content_type).__name__}")
    if not _CONTENT_TYPE.fullmatch(content_type):
        raise ValueError(f'content_types must be like "text/plain", without parameters, got {content_type!r}')
    return content_type.lower()
