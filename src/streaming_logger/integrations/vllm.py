"""Logs what vLLM streams, and any other model server that takes an ASGI middleware.

    vllm serve MODEL --middleware streaming_logger.integrations.vllm.StreamLog

Each response is logged under its own id, `chatcmpl-...` or `resp_...`, which the server's log lines carry, too.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterable

from streaming_logger._base.loop import call_later
from streaming_logger._base.outcomes import Outcome
from streaming_logger._default import get_streaming_logger
from streaming_logger._logger import StreamingLogger
from streaming_logger._text.extractor import TextExtractor
from streaming_logger.integrations._formats import Format
from streaming_logger.integrations._identity import Identity
from streaming_logger.integrations._selection import Log, Logs, Selection
from streaming_logger.integrations.asgi import LoggedApp

__all__ = ["PATHS", "StreamLog"]

#: The paths by which model servers stream text.
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
#: "reasoning", "tool_calls" or both, with a comma between them, for a server that is configured by flags alone.
INCLUDE_VARIABLE = "STREAMING_LOGGER_INCLUDE"
#: What is held until an id is found. The first event of a response may repeat its instructions and its tools.
_MAX_HELD_BYTES = 256 * 1024
_MAX_HELD_DOCUMENTS = 4
#: Comments, and the fields of an event beside its data.
_WITHOUT_TEXT = (b":", b"event:", b"id:", b"retry:")

_log = logging.getLogger("streaming_logger")


class StreamLog(LoggedApp):
    """ASGI middleware that needs no arguments: the logger is `get_streaming_logger()`, the paths are `PATHS`.

    `include` is as in `StreamingLogger.wrap`; None: what the environment variable STREAMING_LOGGER_INCLUDE
    names, as in "reasoning,tool_calls". Only what streams is logged. The session id is the `id` in the first
    events of the body; a stream without one gets an id that is made. Outcomes are those of
    `integrations.asgi.StreamLogMiddleware`. Raises `TypeError` and `ValueError` for a bad option.

    vLLM makes its ids from the header `x-request-id`, if a client sends one: trust the clients, or remove it
    before the server.

    >>> app.add_middleware(StreamLog, paths=["/generate"], include=["reasoning"])  # doctest: +SKIP
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        *,
        logger: StreamingLogger | None = None,
        paths: Iterable[str] = PATHS,
        include: Iterable[str] | None = None,
    ) -> None:
        logger = get_streaming_logger() if logger is None else logger
        logs = _LogsByBody(logger, None, _include_of_environment() if include is None else include)
        super().__init__(app, logger, Selection(paths, None, Identity(None), logs))


class _LogsByBody(Logs):
    """Logs whose session id is in the body."""

    def open(self, session_id: str | None, format: Format) -> Log:  # noqa: A002 - as in `wrap`
        return _LogByBody(lambda found: super(_LogsByBody, self).open(found, format), self._logger.flush_interval)


class _LogByBody:
    """The log of a response that begins once its id has been read. What came before is held until then.

    A chunk without an id is held for `seconds` at most; comments, which models that wait send, say nothing.
    """

    def __init__(self, open_log: Callable[[str | None], Log], seconds: float) -> None:
        self._open = open_log
        self._seconds = seconds
        self._cancel: Callable[[], object] | None = None
        self._log: Log | None = None
        self._held = bytearray()
        self._lines_end = 0
        self._documents = 0

    @property
    def session_id(self) -> str | None:
        return None if self._log is None else self._log.session_id

    def log(self, item: bytes | None) -> None:
        if self._log is not None:
            self._log.log(item)
        elif item:
            self._held += item
            session_id = self._found(item)
            if session_id or len(self._held) > _MAX_HELD_BYTES or self._documents >= _MAX_HELD_DOCUMENTS:
                self._begin(session_id)
            elif self._documents and self._cancel is None:
                self._cancel = call_later(self._seconds, self._begun)

    def end(self, outcome: Outcome) -> None:
        self._begun().end(outcome)

    def end_by(self, error: BaseException) -> None:
        self._begun().end_by(error)

    def _begun(self) -> Log:
        return self._begin(None) if self._log is None else self._log

    def _begin(self, session_id: str | None) -> Log:
        if self._cancel is not None:
            self._cancel()
        log = self._log = self._open(session_id)
        held, self._held = bytes(self._held), bytearray()
        if held:
            log.log(held)
        return log

    def _found(self, new: bytes) -> str | None:
        """The id in the lines that this piece ends."""
        if b"\n" not in new and b"\r" not in new:
            return None
        end = max(self._held.rfind(b"\n"), self._held.rfind(b"\r")) + 1
        lines = bytes(self._held[self._lines_end : end]).splitlines()
        self._lines_end = end
        for line in lines:
            document = line.removeprefix(b"\xef\xbb\xbf").removeprefix(b"data:").strip()
            if document.startswith(b"{"):
                self._documents += 1
                if found := _id_in(document):
                    return found
            elif document and not line.startswith(_WITHOUT_TEXT):
                self._documents = _MAX_HELD_DOCUMENTS  # words: no id comes with them
        return None


def _id_in(document: bytes) -> str | None:
    """The id of a chunk, or of the response or message that an event begins."""
    try:
        event = json.loads(document)
    except (ValueError, RecursionError):
        return None
    for part in (event, event.get("response"), event.get("message")):
        found = part.get("id") if isinstance(part, dict) else None
        if found and isinstance(found, str):
            return found
    return None


def _include_of_environment() -> tuple[str, ...]:
    names = tuple(name.strip() for name in os.environ.get(INCLUDE_VARIABLE, "").split(",") if name.strip())
    try:
        TextExtractor(names)
    except ValueError as error:  # a server that is configured by flags starts all the same
        _log.log(logging.ERROR, "%s is ignored: %s", INCLUDE_VARIABLE, error)
        return ()
    return names
