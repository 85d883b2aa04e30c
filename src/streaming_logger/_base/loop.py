"""asyncio: an event that a coroutine waits for while another thread works. Imports asyncio only where a loop runs."""

from __future__ import annotations

import contextlib

from streaming_logger._base.modules import loaded
from streaming_logger._base.sync import OneShotEvent

__all__ = ["LoopEvent", "is_on_event_loop"]


def is_on_event_loop() -> bool:
    """Whether this thread runs an event loop right now.

    >>> is_on_event_loop()
    False
    """
    get_running_loop = getattr(loaded("asyncio.events"), "_get_running_loop", None)
    return get_running_loop is not None and get_running_loop() is not None


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

    __slots__ = ("_loop", "_woken")

    def __init__(self) -> None:
        import asyncio

        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._woken = self._loop.create_future()

    def set(self) -> None:
        super().set()
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)

    async def wait_async(self, seconds: float) -> bool:
        """Whether it was set in time. The loop goes on meanwhile."""
        import asyncio

        if not self.is_set:
            await asyncio.wait((self._woken,), timeout=seconds)
        return self.is_set
