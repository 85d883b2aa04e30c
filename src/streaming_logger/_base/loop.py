"""Event loops, asyncio's and trio's: what a coroutine waits for while another thread works.

Imports neither: whichever runs here is imported already.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any, Protocol

from streaming_logger._base.modules import loaded
from streaming_logger._base.sync import OneShotEvent

__all__ = ["LoopEvent", "call_later", "is_on_event_loop", "run_in_thread", "sleep"]


def is_on_event_loop() -> bool:
    """Whether this thread runs an event loop right now.

    >>> is_on_event_loop()
    False
    """
    return _trio() is not None or _asyncio() is not None


def _trio() -> Any:
    """trio, if this code runs in one of its tasks. Asked first: as a guest it runs on asyncio's loop."""
    trio = loaded("trio")
    try:
        return None if trio is None or trio.lowlevel.current_task() is None else trio
    except (AttributeError, RuntimeError):  # half of a module; no task of its runs here
        return None


def _asyncio() -> Any:
    """asyncio, if its loop runs here."""
    get_running_loop = getattr(loaded("asyncio.events"), "_get_running_loop", None)
    return None if get_running_loop is None or get_running_loop() is None else loaded("asyncio")


async def sleep(seconds: float) -> None:
    """The running loop's sleep; returns at once on a loop of another kind."""
    if library := _trio() or _asyncio():
        await library.sleep(seconds)


async def run_in_thread(function: Callable[[], object]) -> None:
    """Runs a function beside the loop. A cancellation that came before does not keep it from running."""
    if trio := _trio():
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(function)
    elif asyncio := _asyncio():
        await asyncio.to_thread(function)
    else:
        function()


def call_later(seconds: float, function: Callable[[], object]) -> Callable[[], object]:
    """Has the loop call a function later; returns what cancels that. Without a known loop it is never called."""
    if trio := _trio():
        scope = trio.CancelScope()

        async def wait() -> None:
            with scope:
                await trio.sleep(seconds)
                function()

        trio.lowlevel.spawn_system_task(wait)
        return scope.cancel  # type: ignore[no-any-return]
    if asyncio := _asyncio():
        return asyncio.get_running_loop().call_later(seconds, function).cancel  # type: ignore[no-any-return]
    return lambda: None


class LoopEvent(OneShotEvent):
    """Set once, from any thread; awaited on the loop that runs where it is made.

    >>> import asyncio, threading
    >>> async def wait():
    ...     event = LoopEvent()
    ...     threading.Timer(0, event.set).start()
    ...     return await event.wait_async(5)
    >>> asyncio.run(wait())
    True
    """

    __slots__ = ("_waiter",)

    def __init__(self) -> None:
        super().__init__()
        self._waiter: _Waiter | None = _TrioWaiter() if _trio() else _AsyncioWaiter() if _asyncio() else None

    def set(self) -> None:
        super().set()
        if self._waiter is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._waiter.wake()

    async def wait_async(self, seconds: float) -> bool:
        """Whether it was set in time. The loop goes on meanwhile; one of an unknown kind does not wait."""
        if not self.is_set and self._waiter is not None:
            await self._waiter.wait(seconds)
        return self.is_set


class _Waiter(Protocol):
    def wake(self) -> None:
        """Ends the wait, from any thread."""

    async def wait(self, seconds: float) -> None: ...


class _AsyncioWaiter:
    __slots__ = ("_loop", "_woken")

    def __init__(self) -> None:
        self._loop = _asyncio().get_running_loop()
        self._woken = self._loop.create_future()

    def wake(self) -> None:
        self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)

    async def wait(self, seconds: float) -> None:
        await _asyncio().wait((self._woken,), timeout=seconds)


class _TrioWaiter:
    __slots__ = ("_token", "_woken")

    def __init__(self) -> None:
        trio = _trio()
        self._token = trio.lowlevel.current_trio_token()
        self._woken = trio.Event()

    def wake(self) -> None:
        self._token.run_sync_soon(self._woken.set)

    async def wait(self, seconds: float) -> None:
        """As asyncio's: a cancellation that comes meanwhile ends it, and not one that came before."""
        trio = _trio()
        with trio.move_on_after(seconds) as scope:
            scope.shield = trio.current_effective_deadline() == -math.inf
            await self._woken.wait()
