"""What `StreamingLogger.wrap` returns: a stream that logs its text as it is read, and completes its session once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self

from streaming_logger._base.outcomes import Ending
from streaming_logger._stream_log import Logger, StreamLog

__all__ = ["AsyncWrappedStream", "WrappedStream", "wrap"]


class _Wrapped:
    """What both kinds share: the wrapped object, its attributes, and its log."""

    __slots__ = ("__weakref__", "_iterator", "_log", "_manager", "_step", "_stream", "_stream_log")

    def __init__(self, stream: Any, stream_log: StreamLog) -> None:
        self._stream_log = stream_log
        self._log = stream_log.log
        self._manager = stream
        """What a `with` block enters and leaves."""
        self._read(stream)

    def _read(self, stream: Any) -> None:
        self._stream_log.reads(stream)
        self._stream = stream
        """Whose attributes pass through. What it is read by is `_iterator`, often the same."""
        self._iterator: Any = None
        self._step: Any = None

    @property
    def session_id(self) -> str:
        return self._stream_log.session_id

    @property
    def outcome(self) -> Ending | None:
        """How the stream ended; None: it has not."""
        return self._stream_log.outcome

    def __getattr__(self, name: str) -> Any:
        """The wrapped object's attributes. An iterator among them (`text_stream`) is logged as the stream is."""
        value = getattr(self._stream, name)
        return _wrapped(value, self._stream_log) if hasattr(value, "__next__") or hasattr(value, "__anext__") else value

    def _left_by(self, error: BaseException) -> None:
        """Reading raised. Some iterators can be read on after it; a generator, and one that stopped, cannot."""
        if isinstance(error, (StopIteration, StopAsyncIteration)) or _is_over(self._iterator):
            self._stream_log.end_by(error)
        elif not _is_running(self._iterator):
            self._stream_log.raised(error)
            if self._step is not None:
                self._step = partial(_read_on, self._stream_log, self._step)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session_id!r} of {self._stream!r}>"


class WrappedStream(_Wrapped):
    """An iterator or generator whose items are logged as they are read."""

    __slots__ = ()

    def _read(self, stream: Any) -> None:
        super()._read(stream)
        if hasattr(stream, "__iter__"):
            self._iterator = stream if hasattr(stream, "__next__") else iter(stream)
            self._step = self._iterator.__next__

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            item = self._step()
            self._log(item)
            return item
        except BaseException as error:
            self._left_by(error)
            raise

    def send(self, value: Any) -> Any:
        """As a generator's."""
        return self._advance(self._iterator.send, value)

    def throw(self, *error: Any) -> Any:
        """As a generator's."""
        return self._advance(self._iterator.throw, *error)

    def _advance(self, step: Callable[..., Any], *args: Any) -> Any:
        self._stream_log.read_on()
        try:
            item = step(*args)
            self._log(item)
            return item
        except BaseException as error:
            self._left_by(error)
            raise

    def close(self) -> None:
        """Closes the wrapped stream, if it can be; a session that is still active ends as "closed"."""
        try:
            for stream in _distinct(self._iterator, self._stream):
                if hasattr(stream, "close"):
                    stream.close()
        except BaseException as error:
            if not _is_running(self._iterator):
                self._stream_log.end_by(error)
            raise
        self._stream_log.end("closed")

    def __enter__(self) -> Self:
        if hasattr(self._manager, "__enter__"):
            entered = self._manager.__enter__()
            if entered is not self._stream:
                self._read(entered)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if error is not None:
            self._stream_log.end_by(error)
        if not hasattr(self._manager, "__exit__"):
            self.close()
            return None
        try:
            return self._manager.__exit__(kind, error, trace)  # type: ignore[no-any-return]
        finally:
            self._stream_log.end("closed")


class AsyncWrappedStream(_Wrapped):
    """The same for an async iterator or generator."""

    __slots__ = ()

    def _read(self, stream: Any) -> None:
        super()._read(stream)
        if hasattr(stream, "__aiter__"):
            self._iterator = stream if hasattr(stream, "__anext__") else stream.__aiter__()
            self._step = self._iterator.__anext__

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await self._step()
            self._log(item)
            return item
        except BaseException as error:
            self._left_by(error)
            raise

    async def asend(self, value: Any) -> Any:
        """As an async generator's."""
        return await self._aadvance(self._iterator.asend, value)

    async def athrow(self, *error: Any) -> Any:
        """As an async generator's."""
        return await self._aadvance(self._iterator.athrow, *error)

    async def _aadvance(self, step: Callable[..., Any], *args: Any) -> Any:
        self._stream_log.read_on()
        try:
            item = await step(*args)
            self._log(item)
            return item
        except BaseException as error:
            self._left_by(error)
            raise

    async def aclose(self) -> None:
        """Closes the wrapped stream, if it can be; a session that is still active ends as "closed"."""
        try:
            for stream in _distinct(self._iterator, self._stream):
                close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
                if close is not None and hasattr(closing := close(), "__await__"):
                    await closing
        except BaseException as error:
            if not _is_running(self._iterator):
                self._stream_log.end_by(error)
            raise
        self._stream_log.end("closed")

    def __getattr__(self, name: str) -> Any:
        """`close` is `aclose`, if the stream has one, as the SDKs' have. Else Django would call it without awaiting."""
        value = super().__getattr__(name)
        return self.aclose if name == "close" else value

    async def __aenter__(self) -> Self:
        if hasattr(self._manager, "__aenter__"):
            entered = await self._manager.__aenter__()
            if entered is not self._stream:
                self._read(entered)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if error is not None:
            self._stream_log.end_by(error)
        if not hasattr(self._manager, "__aexit__"):
            await self.aclose()
            return None
        try:
            return await self._manager.__aexit__(kind, error, trace)  # type: ignore[no-any-return]
        finally:
            self._stream_log.end("closed")


class _DualWrappedStream(WrappedStream, AsyncWrappedStream):
    """Of an object that can be read both ways (LiteLLM's): each way logs, and the first end counts."""

    __slots__ = ()

    def _read(self, stream: Any) -> None:
        _Wrapped._read(self, stream)
        self._iterator = stream

    def __next__(self) -> Any:
        return self._advance(self._stream.__next__)

    async def __anext__(self) -> Any:
        return await self._aadvance(self._stream.__anext__)


def _read_on(stream_log: StreamLog, step: Callable[[], Any]) -> Any:
    """The next item of a stream that raised before."""
    stream_log.read_on()
    return step()


def _is_over(iterator: Any) -> bool:
    """Whether a generator, sync or async, has ended; False for whatever else."""
    frame = getattr(iterator, "gi_frame", iterator)
    return frame is None or (frame is iterator and getattr(iterator, "ag_frame", iterator) is None)


def _is_running(iterator: Any) -> bool:
    """Whether a generator is in the middle of a step, on another thread or task."""
    return bool(getattr(iterator, "gi_running", False) or getattr(iterator, "ag_running", False))


def wrap(
    logger: Logger,
    session_id: str | None,
    stream: Any,
    text: Callable[[Any], str | None] | None,
    include: Iterable[str],
    format: str,  # noqa: A002 - as in `StreamingLogger.wrap`
) -> Any:
    """See `StreamingLogger.wrap`."""
    if not any(hasattr(stream, name) for name in ("__iter__", "__aiter__", "__enter__", "__aenter__")):
        hint = ": await it first" if hasattr(stream, "__await__") else ""
        raise TypeError(f"stream must be an iterator or async iterator, not {type(stream).__name__}{hint}")
    return _wrapped(stream, StreamLog(logger, session_id, text, include, format))


def _wrapped(stream: Any, stream_log: StreamLog) -> WrappedStream | AsyncWrappedStream:
    if hasattr(stream, "__next__") and hasattr(stream, "__anext__"):
        return _DualWrappedStream(stream, stream_log)
    is_async = hasattr(stream, "__aiter__") or (hasattr(stream, "__aenter__") and not hasattr(stream, "__iter__"))
    return AsyncWrappedStream(stream, stream_log) if is_async else WrappedStream(stream, stream_log)


def _distinct(iterator: Any, stream: Any) -> tuple[Any, ...]:
    """What has to be closed: the iterator first, and what it was made from."""
    return (stream,) if iterator is None or iterator is stream else (iterator, stream)
