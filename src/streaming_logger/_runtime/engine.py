"""The wiring: the rooms of one logger, made together, closed together."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path

from streaming_logger._base.clock import Clock
from streaming_logger._base.errors import DirectoryError
from streaming_logger._base.stats import FULL, Counters, Health, Stats
from streaming_logger._base.sync import OneShotEvent
from streaming_logger._config.watch import Settings, differences, write_copy
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.ledger import Ledger
from streaming_logger._disk.owner import OwnerFile, Owners
from streaming_logger._disk.store import Store
from streaming_logger._events.event_log import Door
from streaming_logger._memory.table import SessionTable
from streaming_logger._runtime.worker import Task, Worker
from streaming_logger._sweep.sweeper import Sweeper
from streaming_logger._write.flusher import Flusher
from streaming_logger._write.open_files import OpenFiles

__all__ = ["Engine"]

#: How long a caller waits for the worker before it goes on without it.
WAIT_SECONDS = 5.0
#: A completion that nobody waits for is done within so long.
_SOON_SECONDS = 2.0
#: How often a flush that met a busy file is tried again before its caller goes on: 1 s or so.
_BUSY_TRIES = 6
#: A full disk brings the next sweep forward, so often at the most.
_HURRY_SECONDS = 5.0


class Engine:
    """All of one logger but its face. A forked child makes its own."""

    def __init__(self, settings: Settings, path: Path, clock: Clock) -> None:
        self.pid = os.getpid()
        self.settings = settings
        self.clock = clock
        self.closed = False
        self._close_done = False
        self.counters = Counters()
        self.directory = Directory(path, adopt=settings.config.adopt)
        self.door = Door(clock, Ledger(self.directory))
        self.store = Store(self.directory)
        self.owner = OwnerFile(self.directory)
        self.table = SessionTable(settings, self.counters, clock, self._on_high_water)
        self.files = OpenFiles(self.store, self.owner, settings, self.counters, clock, self.door)
        self.flusher = Flusher(
            self.table,
            self.store,
            self.files,
            self.owner,
            settings,
            self.counters,
            clock,
            self.door,
            delete_at_completion=lambda: settings.config.immediate or self.worker.inline,
            disk_full=self._disk_full,
        )
        self.sweeper = Sweeper(self.store, settings, self.counters, clock, self.door)
        flush = Task("flush", self._tick, lambda: self.flusher.interval)
        flush.started = clock.monotonic()
        self._sweep = Task("sweep", self.sweeper.scheduled, lambda: settings.config.cleanup_interval_seconds)
        self.worker = Worker([flush, self._sweep], clock, self.door, self.counters)
        self.door.is_deferred = lambda: self.worker.is_current

    def open(self) -> None:
        """Makes the directory ready. Raises `DirectoryError`; any other fault heals by itself later."""
        if not self.settings.config.enabled:
            return
        try:
            self.directory.open()
        except DirectoryError:
            raise
        except OSError as error:
            self.door.error("directory", "%s: %s; text waits in memory", self.directory.path, error)
        else:
            self._compare_settings()
            write_copy(self.settings.config, self.directory)
            if not self.directory.can_lock:
                self.door.say(
                    logging.WARNING,
                    "this system has no flock: files in use are told by what the system refuses to delete (Windows), "
                    "and no promise is tested here",
                )
            if self.directory.group_writable:
                self.door.say(
                    logging.WARNING,
                    "%s is writable by its group, whose members can replace the files in it; run: chmod g-w %s",
                    self.directory.path,
                    self.directory.path,
                )
            if not self.directory.ours:
                self.door.say(
                    logging.WARNING,
                    "%s already holds *.log files of others: it is written to, not swept; adopt: true sweeps it too",
                    self.directory.path,
                )

    def _compare_settings(self) -> None:
        """Warns where a process that lives goes by other rules: each sweeps by its own, so the shortest window wins."""
        others = Owners(self.directory)
        try:
            if (
                self.directory.ours
                and others.any_alive()
                and (text := differences(self.settings.config, self.directory))
            ):
                self.door.say(
                    logging.WARNING,
                    "another process uses %s with other settings: %s; the shortest window wins for all files",
                    self.directory.path,
                    text,
                )
        except OSError:
            pass  # there is no copy, or it cannot be read: nothing depends on it
        finally:
            others.close()

    def complete(self, *, soon: bool) -> None:
        """Has the worker complete what has left the table; not `soon`: at its next flush, unless that is far.

        To wake a thread costs the caller more than all the rest (a system call and the GIL's way there and back).
        """
        if soon or self.flusher.interval > _SOON_SECONDS or not self.worker.alive:
            self.worker.submit(self.flusher.complete_ended)

    def flush(self, seconds: float) -> bool:
        """Has the worker write what waits; whether it did so in time."""
        if self.closed:
            return self.release()

        def order() -> None:
            self.flusher.flush_all()
            self.door.emit_waiting(patiently=False)

        for _ in range(_BUSY_TRIES):
            if not self._ordered(order, seconds):
                return False
            if not self.flusher.met_busy:
                break
            time.sleep(self.flusher.interval)  # a sweeper held a file for microseconds
        return True

    def release(self) -> bool:
        """Writes and closes whatever a closed logger still holds; whether the disk answered in time."""

        def order() -> None:
            self.flusher.release()
            self.owner.close()
            self.directory.close()

        answered = self._ordered(order, WAIT_SECONDS)
        if not answered and not self.worker.is_current:
            self.door.say(logging.ERROR, "the disk did not answer within %g s: what it holds up is lost", WAIT_SECONDS)
        return answered

    def close(self) -> None:
        """Writes everything, ends the thread; bounded in time, and harmless twice.

        One that was interrupted is done again from its beginning.
        """
        if self._close_done or self.pid != os.getpid():
            return
        self.closed = True  # from here on writers do not buffer
        answered = self.release()
        if self.worker.stop(WAIT_SECONDS if answered else 0.0):
            self.directory.close()  # a sweep that was due before the thread ended may have opened it again
        if not self.worker.is_current:
            self.door.emit_waiting(patiently=True)
        # From within the worker's own work, or a signal handler inside it, nothing was done yet.
        self._close_done = not self.worker.is_current

    def forget_in_child(self) -> None:
        """After a fork, in the child: the parent writes what was buffered, and keeps its locks."""
        self.closed = True
        self.directory.forget_in_child()
        self.worker.abandon()  # after it: a sweep that is ended must not unlock what the parent holds

    def stats(self) -> Stats:
        unfinished = self.flusher.unfinished()
        return self.counters.snapshot(
            sessions_active=len(self.table.live),
            chunks_written=self.table.chunks_written(unfinished),
            bytes_buffered=self.table.bytes_buffered(unfinished),
            files_open=len(self.files),
            files_parked=len(self.owner),
            worker_alive=self.worker.alive,
        )

    def health(self) -> Health:
        """Failing: text was dropped in the last minute, or no worker can run. Degraded: any other fault."""
        faults = self.door.faults()
        if self.counters.dropped_characters.get(FULL, 0) > self.table.drops_reported:  # a hung disk holds it up
            faults["dropped"] = "text is being dropped: the buffers are full"
        failing = "dropped" in faults or self.worker.inline
        return Health(status="failing" if failing else "degraded" if faults else "ok", reasons=tuple(faults.values()))

    def status(self) -> str:
        """One line for the operator; also the logger's repr."""
        stats = self.stats()
        if self.closed:
            state = "closed"
        elif stats.worker_alive:
            state = "worker alive"
        else:
            state = "no worker can run" if self.worker.inline else "worker not started"
        return (
            f"{stats.sessions_active} active, {stats.sessions_completed} completed, "
            f"{stats.sessions_abandoned} abandoned, "
            f"{stats.bytes_written} bytes written, {stats.bytes_buffered} buffered, "
            f"{sum(stats.dropped_characters.values())} characters dropped, "
            f"{sum(stats.deleted_files.values())} files deleted, "
            f"{stats.write_errors + stats.sweep_errors} errors, {state}"
        )

    def _tick(self) -> Generator[None, None, None]:
        """What the worker does once a flush interval."""
        if self.settings.refresh(self.door, self.counters):
            write_copy(self.settings.config, self.directory)
        yield from self.flusher.flush()

    def _on_high_water(self) -> None:
        """Memory fills faster than the flush interval drains it: flush now."""
        self.worker.submit(self.flusher.flush_all)

    def _disk_full(self) -> None:
        """Emergency cleanup need not wait for its interval; but not at every flush."""
        if self.clock.monotonic() - self._sweep.started > _HURRY_SECONDS:
            self._sweep.hurry()

    def _ordered(self, work: Callable[[], object], seconds: float) -> bool:
        """Has the worker do something; whether it was done in time."""
        done = OneShotEvent()

        def order() -> None:
            try:
                work()
            finally:
                done.set()

        self.worker.submit(order)
        return self.worker.wait(done, seconds)
