"""The worker: a function of time, with a thread as a shell around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import logs
from streaming_logger import Config, StreamingLogger
from streaming_logger._base.clock import Clock
from streaming_logger._base.sync import OneShotEvent
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context
from streaming_logger._runtime.worker import Task, Worker
from streaming_logger.testing import ManualClock


class Bench:
    """A worker with one task that writes down when it ran."""

    def __init__(self, clock: Clock, folder: Path, *, autostart: bool = True) -> None:
        self.ran: list[object] = []
        self.slices = 1
        self.interval = 2.0
        self.clock = clock
        task = Task("task", self._run, lambda: self.interval)
        context = Context.make(Settings(Config()), folder, clock=clock)
        self.counters = context.counters
        self.worker = Worker([task], context, autostart=autostart)

    def _run(self) -> Iterator[float]:
        for _ in range(self.slices):
            self.ran.append(self.clock.monotonic())
            yield 0.0

    def stat(self, name: str) -> object:
        return getattr(self.counters.snapshot(), name)


@pytest.fixture
def bench(clock: ManualClock, tmp_path: Path) -> Bench:
    return Bench(clock, tmp_path, autostart=False)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(Clock(), tmp_path)
    yield bench
    assert bench.worker.stop(5)


def test_task_runs_when_it_is_due(bench: Bench, clock: ManualClock) -> None:
    """At once, then once an interval; run_pending says how long until then."""
    assert bench.worker.run_pending() == 2
    clock.advance(1.5)
    assert bench.worker.run_pending() == 0.5
    clock.advance(0.5)
    assert bench.worker.run_pending() == 2
    assert bench.ran == [1000, 1002]


def test_interval_is_asked_anew_each_time(bench: Bench, clock: ManualClock) -> None:
    """A shorter one takes effect at the next look."""
    bench.worker.run_pending()
    bench.interval = 0.5
    clock.advance(0.5)
    bench.worker.run_pending()
    assert bench.ran == [1000, 1000.5]


def test_time_that_was_slept_through_is_not_made_up_for(bench: Bench, clock: ManualClock) -> None:
    """After an hour's suspension a task runs once."""
    bench.worker.run_pending()
    clock.advance(3600)
    bench.worker.run_pending()
    assert len(bench.ran) == 2


def test_orders_come_first_in_order_and_between_slices(bench: Bench) -> None:
    """A long task does not keep a completion waiting."""
    bench.slices = 3
    bench.worker.submit(lambda: bench.ran.append("first"))
    bench.worker.submit(lambda: bench.ran.append("second"))
    bench.worker.submit(lambda: bench.worker.submit(lambda: bench.ran.append("from within")))
    bench.worker.run_pending()
    assert bench.ran == ["first", "second", "from within", 1000, 1000, 1000]


def test_order_that_raises_stops_nothing(bench: Bench) -> None:
    """It is counted, logged, and the next one runs."""

    def bad() -> None:
        raise ValueError("an order's own fault")

    bench.worker.submit(bad)
    bench.worker.submit(lambda: bench.ran.append("next"))
    bench.worker.run_pending()
    assert bench.ran[0] == "next"
    assert bench.stat("write_errors") == 1


def test_task_that_raises_is_due_again_an_interval_later(bench: Bench, clock: ManualClock) -> None:
    """A sweep that fails does not run in a tight loop."""

    def bad() -> Iterator[None]:
        bench.ran.append(clock.monotonic())
        yield
        raise ValueError("a task's own fault")

    task = Task("bad", bad, lambda: 10.0)
    bench.worker._tasks = [task]
    assert bench.worker.run_pending() == 10
    clock.advance(10)
    bench.worker.run_pending()
    assert bench.ran == [1000, 1010]


def test_run_pending_within_run_pending_does_nothing(bench: Bench) -> None:
    """A log handler of the server's that calls back on the same thread does not wait for itself."""
    bench.worker.submit(lambda: bench.ran.append(bench.worker.is_current))
    bench.worker.submit(bench.worker.run_jobs)
    bench.worker.submit(lambda: bench.ran.append(bench.worker.wait(OneShotEvent(), 5)))
    bench.worker.run_pending()
    assert bench.ran[:2] == [True, False]
    assert not bench.worker.is_current


def test_order_wakes_the_thread(running: Bench) -> None:
    """It need not wait for the next task."""
    running.interval = 3600
    done = OneShotEvent()
    running.worker.submit(done.set)
    assert running.worker.wait(done, 5)
    assert running.worker.alive


def die() -> None:
    """Ends the worker's thread, and no other one."""
    if threading.current_thread().name == "streaming_logger":
        raise SystemExit


def let_it_die(worker: Worker) -> None:
    """Returns when the thread that took the order is gone."""
    worker.submit(die)
    for _ in range(500):
        if not worker.alive:
            return
        threading.Event().wait(0.01)


def test_dead_thread_is_started_again(running: Bench) -> None:
    """At the next order; the death is counted and the order done."""
    done = OneShotEvent()
    let_it_die(running.worker)
    running.worker.submit(done.set)
    assert running.worker.wait(done, 5)
    assert running.stat("worker_restarts") == 1


def test_thread_that_dies_again_and_again_is_given_up_for_a_minute(running: Bench) -> None:
    """Then callers do the work themselves."""
    for _ in range(5):
        let_it_die(running.worker)
    assert running.worker.inline
    running.worker.submit(lambda: running.ran.append(threading.get_ident()))
    assert running.ran[-1] == threading.get_ident()


def no_thread(target: object, name: str) -> None:
    raise RuntimeError("can't start new thread")


def test_without_a_thread_everything_goes_on_inline(
    live: Callable[..., StreamingLogger], caplog: pytest.LogCaptureFixture
) -> None:
    """Completion writes; the file is deleted, so that the disk cannot fill; one error line says so."""
    logger = live({"run_thread": no_thread})
    logger.write("kept", "flushed")
    logger.flush()
    assert logs(logger.base_dir) == {"kept": "flushed"}
    for number in range(10):
        logger.write(f"s{number}", "text")
        logger.complete_session(f"s{number}")
    assert logs(logger.base_dir) == {"kept": "flushed"}
    stats = logger.stats()
    assert (stats.sessions_completed, stats.deleted_files, stats.worker_alive) == (10, {"immediate": 10}, False)
    assert logger.health().status == "failing"
    assert len([record for record in caplog.records if "no worker thread" in record.getMessage()]) == 1
    assert "no worker can run" in repr(logger)
