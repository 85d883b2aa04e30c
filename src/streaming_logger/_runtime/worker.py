"""The one daemon thread, as a shell around `run_pending()`, a function of time.

It knows neither the flusher nor the sweeper: it has orders (done first, in the order
in which they came) and tasks (generators, advanced slice by slice when they are due).
Whoever calls `run_pending()` does the work on its own thread, under the one I/O lock.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Generator, Sequence

from streaming_logger._base.clock import Clock
from streaming_logger._base.stats import Counters
from streaming_logger._base.sync import AutoResetEvent, OneShotEvent, RLock, allocate_lock, is_owned, run_thread
from streaming_logger._events.event_log import Door

__all__ = ["Task", "Worker"]

#: A worker that died so often within a minute, or could not start, is not tried again before the next.
_MAX_DEATHS = 3
_RETRY_SECONDS = 60.0
#: How often a caller that waits for the worker looks whether it still lives; where none runs, how
#: often it retries what failed (somebody may hold a file for milliseconds).
_LOOK_SECONDS = 0.25
_INLINE_SECONDS = 0.02
#: A thread that was started runs within this, or its starter goes on without it.
_START_SECONDS = 5.0


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

    def run_whole(self, now: float) -> None:
        """Does all slices."""
        self.advance(now)
        while self._slices is not None:
            self.advance(now)


class Worker:
    """Orders and tasks, and the thread that sees to them."""

    def __init__(self, tasks: Sequence[Task], clock: Clock, door: Door, counters: Counters) -> None:
        """`tasks[0]`, the flush, is what callers do themselves where no thread can run."""
        self._tasks = tasks
        self._clock = clock
        self._door = door
        self._counters = counters
        self._orders: deque[Callable[[], None]] = deque()  # append and popleft are atomic
        self._wake = AutoResetEvent()
        self._stopping = False
        self._stopped = OneShotEvent()
        # Held by whoever does I/O; never wanted by a caller while the thread lives.
        self._io = RLock()
        # Held by the worker thread while it lives, and by nobody else: so any number of starters
        # may race, or be interrupted, and one thread stays. Guards the next three.
        self._running = allocate_lock()
        self._died = False
        self._deaths = 0
        self._last_death = float("-inf")
        self._not_before = float("-inf")
        self.autostart = True
        """False: no thread; orders wait for `run_pending()`. For tests with a frozen clock."""

    # -- callers ---------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return bool(self._running.locked())

    @property
    def inline(self) -> bool:
        """No thread can run: callers do the work themselves."""
        return self._clock.monotonic() < self._not_before

    @property
    def is_current(self) -> bool:
        """Whether this thread is doing I/O right now, and so must not wait for any."""
        return is_owned(self._io)

    def submit(self, order: Callable[[], None]) -> None:
        """Has it done soon, after all that was submitted before. Lock-free: finalizers call it."""
        self._orders.append(order)
        self.ensure()
        if self._running.locked():
            self._wake.set()
        elif self.autostart:
            self._run_inline()

    def wait(self, event: AutoResetEvent, seconds: float) -> bool:
        """Waits for an order to set the event; does the orders itself where no thread will."""
        if self.is_current:
            return False
        left = seconds
        while left > 0:
            self.ensure()
            step = _LOOK_SECONDS
            if not self.alive:
                self._run_inline()
                step = _INLINE_SECONDS
            if event.wait(min(step, left)):
                return True
            left -= step
        return False

    def ensure(self) -> None:
        """Starts the thread if it should run and does not: at first use, after a fork, after a death."""
        if self._running.locked() or not self.autostart or self._stopping or self.inline:
            return
        self._start()

    def stop(self, seconds: float) -> bool:
        """Ends the thread, waiting so long at the most; whether it has ended."""
        self._stopping = True
        self._wake.set()
        if self.is_current or (self.alive and not self._stopped.wait(seconds)):
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
            self._door.emit_waiting(patiently=True)
        return self._seconds_left()

    def _seconds_left(self) -> float:
        """Until the next task is due."""
        now = self._clock.monotonic()
        return max(0.0, min(task.due_in(now) for task in self._tasks))

    def run_orders(self) -> None:
        """Does what was submitted, on this thread; nothing when this thread is at it already."""
        if not self.is_current:
            with self._io:
                self._do_orders()
            self._door.emit_waiting(patiently=True)

    def _run_inline(self) -> None:
        """Without a thread: the orders, and a flush when it is due, which retries what failed."""
        if self.is_current:
            return
        with self._io:
            self._do_orders()
            flush, now = self._tasks[0], self._clock.monotonic()
            if self.autostart and self.inline and flush.due_in(now) <= 0:
                self._guarded(flush.name, lambda: flush.run_whole(now))
                self._do_orders()
        self._door.emit_waiting(patiently=True)

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
        if self._died:
            self._died = False
            self._counters.add(worker_restarts=1)
            self._door.record("worker_restarted", logging.ERROR, "the worker thread died and is started again")
        try:
            if self._deaths > _MAX_DEATHS:
                raise RuntimeError(f"it died {self._deaths} times in a minute")
            begun = OneShotEvent()
            run_thread(lambda: self._live(begun), "streaming_logger")
        except (RuntimeError, MemoryError) as error:
            self._not_before = self._clock.monotonic() + _RETRY_SECONDS
            self._deaths = 0
            self._door.error(
                "no worker", "no worker thread (%s): callers write files, and delete them, at completion", error
            )
        else:
            begun.wait(_START_SECONDS)
            self._door.recovered("no worker", "the worker thread runs again")

    def _live(self, begun: OneShotEvent) -> None:
        """The thread. No signal handler runs on it, so what it takes it gives back."""
        won = self._running.acquire(blocking=False)
        begun.set()
        if not won:  # another start was first
            return
        self._stopped = stopped = OneShotEvent()
        try:
            while not self._stopping:
                with self._io:  # for the records, too: a log handler that flushes must not wait for this thread
                    self._do_due()
                    self._door.emit_waiting(patiently=False)
                if not self._orders:
                    self._wake.wait(self._seconds_left())
        except BaseException as error:  # noqa: BLE001 - it ends this thread; the next caller starts another one
            now = self._clock.monotonic()
            self._deaths = 1 if now - self._last_death > _RETRY_SECONDS else self._deaths + 1
            self._last_death = now
            self._died = True
            self._door.error("worker death", "%s failed: %r", "the worker thread", error)
        finally:
            self._running.release()
            stopped.set()
