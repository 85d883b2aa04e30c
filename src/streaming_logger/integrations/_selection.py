"""Which responses a middleware logs, and under which session id: what the server's developer selects."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from streaming_logger._logger import StreamingLogger
from streaming_logger._stream_log import StreamLog
from streaming_logger._text.extractor import TextExtractor

__all__ = ["STREAMED_TYPES", "Selection"]

#: The content types that are logged by default.
STREAMED_TYPES = ("text/event-stream", "application/x-ndjson", "application/jsonl", "text/plain")

_log = logging.getLogger("streaming_logger")
_PATTERN = re.compile(r"\*|/(?:[^{}]|\{[A-Za-z_]\w*\})*")
_WILD = re.compile(r"\{(\w+)\}|(\*)")
_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)


class Selection:
    """The options of a middleware. Raises `TypeError` and `ValueError` for bad ones.

    `paths`: `{name}` stands for one segment of a path, `*` for anything. It has no default: nothing is
    logged unless somebody selects it. `content_types`: as in the header, without
    parameters. `session_id`: the name of a header, or a function of the request that returns the
    id, or None for a response that is not logged. `text` and `include`: as in `StreamingLogger.wrap`.
    """

    def __init__(
        self,
        logger: StreamingLogger,
        paths: Iterable[str],
        content_types: Iterable[str] = STREAMED_TYPES,
        session_id: str | Callable[[Any], str | None] = "x-session-id",
        text: Callable[[Any], str | None] | None = None,
        include: Iterable[str] = (),
    ) -> None:
        if not isinstance(logger, StreamingLogger):
            raise TypeError(f"logger must be a StreamingLogger, not {type(logger).__name__}")
        if isinstance(session_id, str):
            _valid("session_id", session_id, _HEADER, "the name of a header, or a function of the request")
        elif not callable(session_id):
            raise TypeError(f"session_id must be a str or a function of the request, not {type(session_id).__name__}")
        if text is not None and not callable(text):
            raise TypeError(f"text must be callable or None, not {type(text).__name__}")
        self._logger = logger
        self._paths = [
            _compiled(_valid("paths", path, _PATTERN, '"*", or begin with "/" and have {name} for one segment'))
            for path in _strings("paths", paths)
        ]
        self._types = {
            _valid("content_types", kind, _CONTENT_TYPE, 'like "text/plain", without parameters').lower()
            for kind in _strings("content_types", content_types)
        }
        self._id_of = None if isinstance(session_id, str) else session_id
        self._header = session_id.lower() if isinstance(session_id, str) else ""
        self._text = text
        self._include = include if isinstance(include, str) else tuple(include)
        TextExtractor(self._include)  # rejects a bad one now, not at the first response
        self._reported: set[str] = set()

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters of a selected path; None for another one."""
        for pattern in self._paths:
            if found := pattern.fullmatch(path):
                return found.groupdict()
        return None

    def open(
        self, request: Any, path_params: Mapping[str, Any], asked: Mapping[str, str], answered: Mapping[str, str]
    ) -> tuple[StreamLog | None, list[tuple[str, str]]]:
        """The log of a response, None if it is not selected; and the headers to add to it.

        `asked` and `answered` are the headers of request and response, with names in lower case.
        """
        if not self._is_selected(answered):
            return None, []
        if self._id_of is None:
            found = answered.get(self._header) or path_params.get("session_id") or asked.get(self._header)
            log = StreamLog(self._logger, str(found) if found else None, self._text, self._include)
            # Only an id made here is sent: one from the request may hold what no header may.
            return log, [] if found else [(self._header, log.session_id)]
        try:
            found = self._id_of(request)
            return StreamLog(self._logger, found, self._text, self._include) if found else None, []
        except Exception as error:  # noqa: BLE001 - the response goes on, whatever a function of the server's does
            self._report_once("session_id", "a response is not logged: session_id() raised %r", error)
            return None, []

    def _is_selected(self, answered: Mapping[str, str]) -> bool:
        if "content-length" in answered:
            return False  # it is whole before it is sent: not a stream
        kind = answered.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in self._types:
            return False
        encoding = answered.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            self._report_once(
                "content-encoding",
                "a %s response is not logged: it is compressed (%s); compress it outside of this middleware",
                kind,
                encoding,
            )
        return encoding == "identity"

    def _report_once(self, reason: str, text: str, *args: object) -> None:
        if reason not in self._reported:
            self._reported.add(reason)
            _log.warning(text + " (reported once)", *args)


def _strings(field: str, values: Iterable[str]) -> list[str]:
    """A field's strings; at least one."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{field} must be a list of str, not {type(values).__name__}")
    values = list(values)
    if not values:
        raise ValueError(f"{field} must not be empty, got {values!r}")
    return values


def _valid(field: str, value: str, rule: re.Pattern[str], words: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{field} must hold str, not {type(value).__name__}")
    if not rule.fullmatch(value):
        raise ValueError(f"{field} must be {words}, got {value!r}")
    return value


def _compiled(path: str) -> re.Pattern[str]:
    """A path pattern as a regular expression."""
    expression, end = "", 0
    for wild in _WILD.finditer(path):
        name = wild[1]
        expression += re.escape(path[end : wild.start()]) + (f"(?P<{name}>[^/]+)" if name else ".*")
        end = wild.end()
    try:
        return re.compile(expression + re.escape(path[end:]), re.DOTALL)
    except re.error as error:
        raise ValueError(f"paths must have each {{name}} once, got {path!r}") from error
