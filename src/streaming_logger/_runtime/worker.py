"""The one daemon thread, as a shell around `run_pending()`, a function of time.

It knows neither the flusher nor the sweeper: it has jobs (done first, in the order in which
they came) and tasks (generators, advanced slice by slice while they are due). The caller of
`run_pending()` does the work on its own thread, under the one I/O lock.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from streaming_logger._base.sync import AutoResetEvent, OneShotEvent, RLock, allocate_lock, is_owned
from streaming_logger._context import Context
from streaming_logger._events.model import WorkerRestarted

__all__ = ["Slices", "Task", "Worker"]

#: A piece of work in slices. It yields the seconds until its next slice may begin: other work,
#: and threads that want the GIL, come in between.
Slices = Generator[float, None, Any]

#: A worker that died so often within `Timeouts.restart` is not started again before the next.
_MAX_DEATHS = 3
#: How often a caller that waits for the worker checks that it still lives; where none runs, how
#: often it retries what failed (a sweeper may hold a file for milliseconds).
_CHECK_SECONDS = 0.25
_INLINE_SECONDS = 0.02


class Task:
    """Work that is due every `interval()` seconds; asked each time, so it may change."""

    def __init__(self, name: str, run: Callable[[], Slices], interval: Callable[[], float]) -> None:
        self.name = name
        self._run = run
        self._interval = interval
        self._slices: Slices | None = None
        self._resume_at = 0.0
        self.started = float("-inf")

    def due_in(self, now: float) -> float:
        """Seconds until its next slice."""
        return (self._resume_at if self._slices is not None else self.started + self._interval()) - now

    @property
    def is_running(self) -> bool:
        """Whether it has begun and is not done."""
        return self._slices is not None

    def run_now(self) -> None:
        """Makes it due now."""
        self.started = float("-inf")

    def cancel(self) -> None:
        """Ends it where it stands, which releases what it holds."""
        slices, self._slices = self._slices, None
        if slices is not None:
            with contextlib.suppress(ValueError):  # in a forked child: the thread that was in it is not there
                slices.close()

    def step(self, now: float) -> None:
        """Does one slice."""
        if self._slices is None:
            self.started = now
            self._slices = self._run()
        slices, self._slices = self._slices, None
        for pause in slices:
            self._resume_at = now + pause
            self._slices = slices  # it goes on; an exception or the end leave it None
            return

    def run_whole(self, now: float) -> None:
        """Does all slices, without their pauses."""
        self.step(now)
        while self._slices is not None:
            self.step(now)


class Worker:
    """Jobs and tasks, and the thread that does them."""

    def __init__(
        self,
        tasks: Sequence[Task],
        context: Context,
        *,
        autostart: bool = True,
        on_start: Callable[[], None] = lambda: None,
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        """`tasks[0]`, the flush, is what callers do themselves where no thread can run.

        Without `autostart` there is no thread: jobs wait for `run_pending()`. The thread begins with `on_start`,
        and who started it goes on after that. `on_death`: it died, and `ensure` starts another one.
        """
        self._tasks = tasks
        self._on_start = on_start
        self._on_death = on_death
        self._clock = context.clock
        self._events = context.events
        self._counters = context.counters
        self._timeouts = context.timeouts
        self._run_thread = context.run_thread
        self.autostart = autostart
        self._jobs: deque[Callable[[], None]] = deque()  # append and popleft are atomic
        self._wake = AutoResetEvent()
        self._stopping = False
        self._stopped = OneShotEvent()
        # Held by the thread that does I/O; callers never want it while the worker thread lives.
        self._io = RLock()
        # Held by the worker thread while it lives, and by nobody else: so any number of starters
        # may race, or be interrupted, and one thread stays. Guards the next three.
        self._running = allocate_lock()
        self._died = False
        self._deaths = 0
        self._last_death = float("-inf")
        self._not_before = float("-inf")
        self.begun_at = float("inf")
        """Monotonic time at which the thread began, or will."""

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

    def submit(self, job: Callable[[], None]) -> None:
        """Has a job done soon, after all that were submitted before. Lock-free: finalizers call it.

        One that waits already is done once: beside a hung worker the jobs do not pile up.
        """
        if job not in self._jobs.copy():
            self._jobs.append(job)
        self.ensure()
        if self._running.locked():
            self._wake.set()
        elif self.autostart:
            self._run_inline()

    def wait(self, event: AutoResetEvent, seconds: float) -> bool:
        """Waits for a job to set the event; does the jobs itself where no thread will."""
        if self.is_current:
            return False
        left = seconds
        while left > 0:
            self.ensure()
            step = _CHECK_SECONDS
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
        """Ends the thread, waiting at most so long; whether it has ended."""
        self._stopping = True
        self._wake.set()
        if self.is_current or (self.alive and not self._stopped.wait(seconds)):
            return False
        self.run_jobs()  # what came in while it ended
        self.cancel()
        return True

    def cancel(self) -> None:
        """Ends what tasks have begun, which releases what they hold."""
        for task in self._tasks:
            task.cancel()

    # -- the work --------------------------------------------------------------------

    def run_pending(self) -> float:
        """Does all that is due, without pauses between slices. Returns seconds until more is due."""
        if not self.is_current:
            with self._io:
                self._do_due(paced=False)
            self._events.records.deliver_waiting(block=True)
        return self._seconds_left()

    def _seconds_left(self) -> float:
        """Until the next task is due."""
        now = self._clock.monotonic()
        return max(0.0, min(task.due_in(now) for task in self._tasks))

    def run_jobs(self) -> None:
        """Does what was submitted, on this thread; nothing when this thread is doing it already."""
        if not self.is_current:
            with self._io:
                self._do_jobs()
            self._events.records.deliver_waiting(block=True)

    def _run_inline(self) -> None:
        """Without a thread: the jobs, and a flush when it is due, which retries what failed."""
        if self.is_current:
            return
        with self._io:
            self._do_jobs()
            flush, now = self._tasks[0], self._clock.monotonic()
            if self.autostart and self.inline and flush.due_in(now) <= 0:
                self._advance(flush, lambda: flush.run_whole(now))
                self._do_jobs()
        self._events.records.deliver_waiting(block=True)

    def _do_due(self, *, paced: bool) -> None:
        """Jobs, and slices in turn, until nothing is due; unpaced, a task that has begun is."""
        while True:
            self._do_jobs()
            now = self._clock.monotonic()
            due = [task for task in self._tasks if task.due_in(now) <= 0 or (task.is_running and not paced)]
            if not due:
                return
            for task in due:
                self._advance(task, lambda task=task, now=now: task.step(now))  # type: ignore[misc]
                self._do_jobs()

    def _do_jobs(self) -> None:
        while self._jobs:
            self._guarded("job", self._jobs.popleft())

    def _advance(self, task: Task, work: Callable[[], None]) -> None:
        """Does work of a task. One that failed is at fault until it is done once as a whole."""
        if self._guarded(task.name, work, subject=task.name) and not task.is_running:
            self._events.clear(f"worker {task.name}", "", subject=task.name)
            if task is self._tasks[0]:
                self._events.clear("worker death", "", subject="thread")

    def _guarded(self, name: str, work: Callable[[], None], subject: str | None = None) -> bool:
        """Does something; whether it raised nothing."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the worker outlives every fault; faults.md: "worker thread raises"
            self._counters.add(write_errors=1)
            self._events.report(f"worker {name}", "%s failed: %r", name, error, subject=subject)
            return False
        return True

    # -- the thread ------------------------------------------------------------------

    def _start(self) -> None:
        if self._died:
            self._died = False
            self._counters.add(worker_restarts=1)
            self._events.emit(WorkerRestarted())
        try:
            if self._deaths > _MAX_DEATHS:
                raise RuntimeError(f"it died {self._deaths} times in a minute")
            begun = OneShotEvent()
            self._run_thread(lambda: self._live(begun), "streaming_logger")
        except (RuntimeError, MemoryError) as error:
            self._not_before = self._clock.monotonic() + self._timeouts.restart
            self._deaths = 0
            self._events.report(
                "no worker",
                "no worker thread (%s): callers write files, and delete them, at completion",
                error,
                subject="thread",
            )
        else:
            begun.wait(self._timeouts.thread_start)
            self._events.clear("no worker", "the worker thread runs again", subject="thread")

    def _live(self, begun: OneShotEvent) -> None:
        """The thread. No signal handler runs on it, so it releases what it takes."""
        won = self._running.acquire(blocking=False)
        if not won:  # another start was first
            begun.set()
            return
        self._stopped = stopped = OneShotEvent()
        self.begun_at = self._clock.monotonic()
        try:
            self._guarded("start", self._on_start)
            begun.set()
            while not self._stopping:
                with self._io:  # for the records, too: a log handler that flushes must not wait for this thread
                    self._do_due(paced=True)
                    self._events.records.deliver_waiting(block=False)
                if not self._jobs:
                    self._wake.wait(self._seconds_left())
            with self._io:
                # Here, not in `stop`: a signal that interrupted a sweep's end there left its lock taken.
                self.cancel()
        except BaseException as error:  # noqa: BLE001 - it ends this thread; the next caller starts another one
            now = self._clock.monotonic()
            self._deaths = 1 if now - self._last_death > self._timeouts.restart else self._deaths + 1
            self._last_death = now
            self._died = True
            self._events.report("worker death", "%s failed: %r", "the worker thread", error, subject="thread")
        finally:
            self._running.release()
            stopped.set()
            if self._died:
                self._on_death()
