"""Logs every stream of one API client. OpenAI's and Anthropic's SDKs come from one generator and have the same parts.

All their methods send by `client.request`, and all their streams are read by `stream._iterator`. So a stream
keeps its type and its methods, and the SDKs' own helpers, which read it, are logged as well. `instrument`
refuses an SDK that works differently; a single stream that does is passed on as it is.
"""

from __future__ import annotations

import functools
import inspect
import sys
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from streaming_logger.integrations._guard import Guard
from streaming_logger.integrations._supported import Supported

__all__ = ["instrument"]

_HEADER = "x-session-id"
#: By which a request asks for a response that is not parsed yet: "stream" of `with_streaming_response`.
_RAW = "X-Stainless-Raw-Response"


def instrument(sdk: Any, client: Any, guard: Guard, supported: Supported) -> None:
    """Logs the streams that `client.request` returns from now on. Copies of the client do the same.

    Raises `TypeError` for another object, and `UnsupportedError` for an SDK that cannot be patched.
    """
    version = supported.check(sdk)
    base = getattr(getattr(sdk, "_base_client", None), "BaseClient", None)
    if not isinstance(base, type):
        supported.refuse(version, "_base_client.BaseClient is missing")
    elif not isinstance(client, base):
        raise TypeError(f"client must be a client of {sdk.__name__}, not {type(client).__name__}")
    for name in ("request", "copy", "with_options"):
        if not callable(getattr(client, name, None)):
            supported.refuse(version, f"{type(client).__name__}.{name} is missing")
    for name in ("Stream", "AsyncStream"):
        try:
            _probe(getattr(sdk, name), client)
        except Exception as error:  # noqa: BLE001 - whatever a foreign class raises, it is not what we know
            supported.refuse(version, f"{name} is not read by its _iterator ({error!r})")
    _log_streams(sdk, client, guard)


def _probe(kind: Any, client: Any) -> None:
    """Reads a stream of this class, one without a response, by another `_iterator`. Raises if that does not work."""
    stream = kind(cast_to=object, response=SimpleNamespace(), client=client)
    item = object()
    if not hasattr(stream._iterator, "__next__" if hasattr(kind, "__next__") else "__anext__"):
        raise TypeError(f"a {type(stream._iterator).__name__}")
    stream._iterator = _OneItem(item)
    if hasattr(kind, "__next__"):
        found = next(stream)
    else:
        reading = stream.__anext__()
        try:
            reading.send(None)
        except StopIteration as read:
            found = read.value
        else:
            reading.close()
            raise TypeError("it waits for something else")
    if found is not item:
        raise TypeError("another item was read")


class _OneItem:
    def __init__(self, item: object) -> None:
        self._item = item

    def __next__(self) -> object:
        return self._item

    async def __anext__(self) -> object:
        return self._item


def _log_streams(sdk: Any, client: Any, guard: Guard) -> None:
    request, copy = client.request, client.copy
    if getattr(request, "logs_streams", None) is True:
        return

    streams = (sdk.Stream, sdk.AsyncStream)
    responses = tuple(filter(None, (getattr(sdk, name, None) for name in ("APIResponse", "AsyncAPIResponse"))))

    def logged(made: Any, *sent: Any) -> Any:
        if isinstance(made, streams):
            # The session's start is that of the request: the first chunk is often there as soon as the stream is.
            _attach(made, guard, _session_ids(guard, *sent[:2]), time.monotonic() - sent[2])
        elif isinstance(made, responses):
            try:
                if _options(*sent[:2]).headers.get(_RAW) == "stream":  # the Agents SDK has it parsed
                    kind: Any = type(made)
                    made.log_parsed = lambda parsed: logged(parsed, *sent)
                    made.__class__ = _parsing(kind)
            except Exception as error:  # noqa: BLE001 - a log must not end a request that has succeeded
                guard.not_logged(error)
        return made

    async def logged_later(made: Awaitable[Any], *sent: Any) -> Any:
        return logged(await made, *sent)

    @functools.wraps(request)
    def request_logged(*args: Any, **kwargs: Any) -> Any:
        asked_at = time.monotonic()
        made = request(*args, **kwargs)
        return (logged_later if hasattr(made, "__await__") else logged)(made, args, kwargs, asked_at)

    @functools.wraps(copy)
    def copy_logged(*args: Any, **kwargs: Any) -> Any:
        made = copy(*args, **kwargs)
        try:
            _log_streams(sdk, made, guard)
        except Exception as error:  # noqa: BLE001 - a log must not take the copy away
            guard.not_logged(error)
        return made

    request_logged.logs_streams = True  # type: ignore[attr-defined]
    client.request = request_logged
    client.copy = client.with_options = copy_logged


def _options(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The second parameter of `client.request`."""
    return kwargs["options"] if "options" in kwargs else args[1]


def _session_ids(guard: Guard, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[object]:
    """What may name a request's session: its header, and what the user's callable makes of its parameters."""
    options = _options(args, kwargs)
    headers = options.headers if isinstance(options.headers, Mapping) else {}
    yield from (value for name, value in headers.items() if str(name).lower() == _HEADER and isinstance(value, str))
    body = options.json_data if isinstance(options.json_data, Mapping) else {}
    # The SDKs mark what was not given by a value of their own.
    given = {name: value for name, value in body.items() if type(value).__name__ not in ("NotGiven", "Omit")}
    yield guard.chosen({**given, "extra_headers": headers})


def _attach(stream: Any, guard: Guard, session_ids: Iterator[object], waited: float) -> None:
    """Has the SDK read its stream through its log, and ends that when the reader closes the response.

    The request was made `waited` seconds ago.

    Every `close` of the SDKs closes the response alone. No reference cycle is made: it would leave a
    dropped stream, and its connection, to the garbage collector.
    """
    try:
        iterator, response = stream._iterator, stream.response
        if isinstance(getattr(response, "stream_log", None), _Attached):  # a stream that was parsed twice
            return
        kind: Any = type(response)
        response.stream_log = _Attached(guard)
        response.__class__ = _closing(kind)
        wrapped = guard.wrap(session_ids, iterator, waited)
        if wrapped is not iterator:
            stream._iterator = wrapped
            response.stream_log = _Attached(guard, weakref.ref(wrapped))
    except Exception as error:  # noqa: BLE001 - a log must not end a request that has succeeded
        guard.not_logged(error)


class _Attached(NamedTuple):
    """What a response knows of its stream's log."""

    guard: Guard
    wrapped: Callable[[], Any] = lambda: None

    def left_early(self, response: Any) -> Any:
        """The log of a response that its reader closes; None where the SDK does, at the stream's end."""
        wrapped = self.wrapped()
        by_sdk = getattr(wrapped, "gi_running", False) or getattr(wrapped, "ag_running", False)
        return None if by_sdk or response.is_closed else wrapped


@functools.cache
def _parsing(kind: Any) -> Any:
    """The class of a response that has the stream that it is parsed to logged."""
    if inspect.iscoroutinefunction(kind.parse):

        class AsyncResponse(kind):  # type: ignore[misc,unused-ignore]
            async def parse(self, *args: Any, **kwargs: Any) -> Any:
                return self.log_parsed(await super().parse(*args, **kwargs))

        return AsyncResponse

    class Response(kind):  # type: ignore[misc,unused-ignore]
        def parse(self, *args: Any, **kwargs: Any) -> Any:
            return self.log_parsed(super().parse(*args, **kwargs))

    return Response


@functools.cache
def _closing(kind: Any) -> Any:
    """The class of a response that ends its stream's log when it is closed."""

    class Response(kind):  # type: ignore[misc,unused-ignore]
        stream_log: _Attached

        def close(self) -> None:
            try:
                if (wrapped := self.stream_log.left_early(self)) is not None:
                    wrapped.__exit__(*sys.exc_info())
            except Exception as error:  # noqa: BLE001 - the reader's `close` is to close the response
                self.stream_log.guard.not_logged(error)
            finally:
                super().close()

        async def aclose(self) -> None:
            try:
                if (wrapped := self.stream_log.left_early(self)) is not None:
                    await wrapped.__aexit__(*sys.exc_info())
            except Exception as error:  # noqa: BLE001 - as above
                self.stream_log.guard.not_logged(error)
            finally:
                await super().aclose()

    return Response
