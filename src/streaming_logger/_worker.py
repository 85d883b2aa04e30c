"""The one daemon thread, as a shell around `run_pending()`, a function of time.

It knows neither the flusher nor the sweeper: it has orders (done first, in the order
in which they came) and tasks (generators, advanced slice by slice when they are due).
Whoever calls `run_pending()` does the work on its own thread, under the one I/O lock.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence

from streaming_logger._clock import Clock
from streaming_logger._latch import Bell, held_here
from streaming_logger._log import Door
from streaming_logger._stats import Counters

__all__ = ["Task", "Worker"]

#: A worker that died so often within a minute, or could not start, is not tried again before the next.
_MAX_DEATHS = 3
_RETRY_SECONDS = 60.0
#: How often a caller that waits for the worker looks whether it still lives.
_LOOK_SECONDS = 0.25


class Task:
    """Something that is due every `interval()` seconds; asked anew each time, so it may change."""

    def __init__(
        self, name: str, run: Callable[[], Generator[None, None, None]], interval: Callable[[], float]
    ) -> None:
        self.name = name
        self._run = run
        self._interval = interval
        self._slices: Generator[None, None, None] | None = None
        self.started = float("-inf")

    def due_in(self, now: float) -> float:
        """Seconds until it wants to be advanced."""
        return 0.0 if self._slices is not None else self.started + self._interval() - now

    def hurry(self) -> None:
        """Makes it due now."""
        self.started = float("-inf")

    def abandon(self) -> None:
        """Ends it where it stands, which lets go of what it holds."""
        slices, self._slices = self._slices, None
        if slices is not None:
            with contextlib.suppress(ValueError):  # in a forked child: the thread that was in it is not there
                slices.close()

    def advance(self, now: float) -> None:
        """Does one slice."""
        if self._slices is None:
            self.started = now
            self._slices = self._run()
        slices, self._slices = self._slices, None
        for _ in slices:
            self._slices = slices  # it goes on; an exception or the end leave it None
            return


class Worker:
    """Orders and tasks, and the thread that sees to them."""

    def __init__(self, tasks: Sequence[Task], clock: Clock, door: Door, counters: Counters) -> None:
        self._tasks = tasks
        self._clock = clock
        self._door = door
        self._counters = counters
        self._orders: deque[Callable[[], None]] = deque()  # append and popleft are atomic
        self._bell = Bell()
        self._stopping = False
        # Held by whoever does I/O; never wanted by a caller while the thread lives.
        self._io = threading.RLock()
        # Tried, never waited for, by whoever starts the thread. Guards the four below.
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._deaths = 0
        self._last_death = self._not_before = float("-inf")
        self.autostart = True
        """False: no thread; orders wait for `run_pending()`. For tests with a frozen clock."""

    # -- callers ---------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def inline(self) -> bool:
        """No thread can run: callers do the work themselves."""
        return self._clock.monotonic() < self._not_before

    @property
    def is_current(self) -> bool:
        """Whether this thread is doing I/O right now, and so must not wait for any."""
        return held_here(self._io)

    def submit(self, order: Callable[[], None]) -> None:
        """Has it done soon, after all that was submitted before. Lock-free: finalizers call it."""
        self._orders.append(order)
        self.ensure()
        if self.alive:
            self._bell.ring()
        elif self.autostart:
            self.run_orders()

    def wait(self, latch: Bell, seconds: float) -> bool:
        """Waits for an order to ring; does the orders itself where no thread will."""
        if self.is_current:
            return False
        for _ in range(max(1, round(seconds / _LOOK_SECONDS))):
            self.ensure()
            if not self.alive:
                self.run_orders()
            if latch.wait(_LOOK_SECONDS):
                return True
        return False

    def ensure(self) -> None:
        """Starts the thread if it should run and does not: at first use, after a fork, after a death."""
        if self.alive or not self.autostart or self._stopping or self.inline:
            return
        if not self._starting.acquire(blocking=False):
            return
        try:
            self._start()
        finally:
            self._starting.release()

    def stop(self, seconds: float) -> bool:
        """Ends the thread, waiting so long at the most; whether it has ended."""
        self._stopping = True
        self._bell.ring()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)
            if thread.is_alive():
                return False
        self.run_orders()  # what came in while it ended
        self.abandon()
        return True

    def abandon(self) -> None:
        """Ends what tasks have begun, which lets go of what they hold."""
        for task in self._tasks:
            task.abandon()

    # -- the work --------------------------------------------------------------------

    def run_pending(self) -> float:
        """Does all that is due: orders first and between slices. Returns seconds until more is due."""
        if not self.is_current:
            with self._io:
                self._do_due()
        now = self._clock.monotonic()
        return max(0.0, min(task.due_in(now) for task in self._tasks))

    def run_orders(self) -> None:
        """Does what was submitted, on this thread; nothing when this thread is at it already."""
        if not self.is_current:
            with self._io:
                self._do_orders()

    def _do_due(self) -> None:
        while True:
            self._do_orders()
            now = self._clock.monotonic()
            due = [task for task in self._tasks if task.due_in(now) <= 0]
            if not due:
                return
            for task in due:
                self._guarded(task.name, lambda task=task, now=now: task.advance(now))  # type: ignore[misc]
                self._do_orders()

    def _do_orders(self) -> None:
        while self._orders:
            self._guarded("order", self._orders.popleft())

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the worker outlives every fault; faults.md: "worker thread raises"
            self._counters.add(write_errors=1)
            self._door.error(f"worker {name}", "%s failed: %r", name, error)

    # -- the thread ------------------------------------------------------------------

    def _start(self) -> None:
        now = self._clock.monotonic()
        if self._thread is not None:  # it died
            self._deaths = 1 if now - self._last_death > _RETRY_SECONDS else self._deaths + 1
            self._last_death = now
            self._counters.add(worker_restarts=1)
            self._door.record("worker_restarted", logging.ERROR, "the worker thread died and is started again")
        thread = threading.Thread(target=self._live, name="streaming_logger", daemon=True)
        try:
            if self._deaths > _MAX_DEATHS:
                raise RuntimeError(f"it died {self._deaths} times in a minute")
            thread.start()
        except (RuntimeError, MemoryError) as error:
            self._not_before = now + _RETRY_SECONDS
            self._deaths = 0
            self._thread = None
            self._door.error(
                "no worker", "no worker thread (%s): callers write files, and delete them, at completion", error
            )
        else:
            self._thread = thread
            self._door.recovered("no worker", "the worker thread runs again")

    def _live(self) -> None:
        while not self._stopping:
            self._bell.wait(self.run_pending())
