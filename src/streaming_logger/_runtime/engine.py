"""The wiring: the parts of one logger, made together, closed together."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable

from streaming_logger._archive.archiver import Archiver
from streaming_logger._base.errors import DirectoryError
from streaming_logger._base.loop import LoopEvent
from streaming_logger._base.outcomes import Ending
from streaming_logger._base.stats import FULL, Health, Stats
from streaming_logger._base.sync import OneShotEvent
from streaming_logger._config.watch import write_copy
from streaming_logger._context import Context
from streaming_logger._events.model import NoTextFound
from streaming_logger._runtime import process
from streaming_logger._runtime.intake import Intake
from streaming_logger._runtime.older_text import OlderText
from streaming_logger._runtime.open_streams import OpenStreams, Stream
from streaming_logger._runtime.remarks import make_storage, warn
from streaming_logger._runtime.worker import Slices, Task, Worker
from streaming_logger._sweep.rules import Disposal, Rules
from streaming_logger._sweep.sweeper import Sweeper
from streaming_logger._wal.log import Log
from streaming_logger._wal.private import PrivateStorage
from streaming_logger._wal.record import key_of
from streaming_logger._wal.supply import Storage
from streaming_logger._watch.radar import Radar
from streaming_logger._watch.stalls import Stalls
from streaming_logger._write.cap import Cap
from streaming_logger._write.flusher import Flusher
from streaming_logger._write.sessions import Peek
from streaming_logger._write.timing import TimingFiles

__all__ = ["Engine"]

#: A completion without a waiting caller is done within so long.
_SOON_SECONDS = 2.0
#: How often a flush that met a busy file is retried before its caller goes on: for about 1 s.
_BUSY_TRIES = 6
#: How often the log is written out, when it is closed, before what others still add is left to them.
_CLOSE_TRIES = 8
#: How often a coroutine that waits for the worker checks that it still lives, and how long that check may take.
_CHECK_SECONDS = 0.25
_NO_WORKER_SECONDS = 0.001
#: A flush counts as hung after this number of intervals and this number of seconds more.
_LATE_INTERVALS = 3
_LATE_SECONDS = 2.0
#: A full disk brings the next sweep forward, at most so often.
_MIN_SWEEP_SECONDS = 5.0


class Engine:
    """All of one logger but its public face. A forked child makes its own."""

    def __init__(self, context: Context, *, autostart: bool = True) -> None:
        self.context = context
        self.pid = os.getpid()
        self.closed = False
        self._close_done = False
        self._given_up = 0
        self._is_asked = False
        self.settings = context.settings
        self.counters = context.counters
        self.events = context.events
        self.directory = context.store.directory
        self.radar = Radar(context)
        for observer in (self.radar, Stalls(context)):
            context.events.observers.add(observer)
        config = self.settings.config
        self.log = Log(self._make_storage, 3 if config.record_timing else 2, self._has_room, self._on_filling)
        self.flusher = Flusher(
            context,
            self.log,
            at_completion=self._at_completion,
            on_disk_full=self._on_disk_full,
        )
        self.sessions = self.flusher.sessions
        self.intake = Intake(self.log, self.sessions, self.counters, context.clock.monotonic)
        timing = TimingFiles(context) if config.record_timing else None
        if timing is not None:
            self.flusher.writer.extend(timing)
        self.flusher.writer.extend(Cap(context, self.flusher.files, timing.was_cut if timing is not None else None))
        self.sweeper = Sweeper(context)
        self.flusher.writer.extend(OlderText(self.sweeper.crashes))
        flush = Task("flush", self._flush, lambda: self.flusher.interval)
        flush.started = context.clock.monotonic()
        self._sweep = Task("sweep", self.sweeper.scheduled, lambda: self.sweeper.interval)
        radar = Task("radar", self.radar.work, lambda: self.flusher.interval)
        self.streams = OpenStreams(context.clock, lambda: self.flusher.interval, self._keep_alive)
        streams = Task("streams", self.streams.tend, lambda: self.streams.interval)
        self.archiver = Archiver(context, autostart=autostart)
        archive = Task("archive", self.archiver.tend, lambda: self.flusher.interval)
        apply = Task("apply", self.flusher.apply, lambda: self.flusher.apply_interval)
        tasks = [flush, apply, streams, self._sweep, radar, archive]
        self.worker = Worker(
            tasks,
            context,
            autostart=autostart,
            on_start=self.archiver.start,
            on_death=self.sessions.known.clear,  # the next chunk of each session starts another one
        )
        self.events.records.is_deferred = lambda: self.worker.is_current

    def open(self) -> None:
        """Makes the directory ready. Raises `DirectoryError`; any other fault heals by itself later."""
        try:
            if self.settings.config.enabled:
                self._open_directory()
        finally:
            self.settings.opened(self.events)  # last: a log handler may write to the logger

    def _open_directory(self) -> None:
        config, path = self.settings.config, self.directory.path
        try:
            self.directory.open()
        except DirectoryError:
            raise
        except OSError as error:
            self.events.report("directory", "%s: %s; text stays in memory", path, error, subject=str(path))
        else:
            warn(self.directory, self.settings.config, self.events)
            write_copy(config, self.directory)
            if self.sweeper.crashes.is_due:
                self.worker.submit(self.sweeper.crashes.recover_all)  # before anything else is written

    def begin_session(self, session_id: str, waited: float = 0.0) -> bool:
        """A session without text yet: how it ends is known, even if its first chunk never comes.

        It began `waited` seconds ago. False: nothing is logged.
        """
        if not self.settings.config.enabled or self.closed or not session_id or not isinstance(session_id, str):
            return False
        self.worker.ensure()
        process.close_with_multiprocessing()
        self.intake.begin("".join((session_id,)), waited)  # an exact str, as in `write`
        return True

    def begin_stream(self, stream: Stream) -> None:
        """The same for a stream that is wrapped."""
        if self.begin_session(stream.session_id):
            self.streams.begin(stream)

    def end_stream(self, stream: Stream, outcome: Ending, error: str) -> None:
        """Ends the session with the last of its streams."""
        ended = self.streams.end(stream, outcome, error)
        if ended is not None:
            self.end(stream.session_id, ended[0], None, ended[1])

    def end(self, session_id: str, outcome: Ending, done: OneShotEvent | None, error: str = "") -> bool:
        """Ends a session and has `done` set when its file is closed; False: there is nothing to wait for."""
        if not self.log.is_open:
            return False
        self.sessions.end(key_of(session_id), outcome, "completed", done=done, error=error)
        self._complete(soon=done is not None)
        return True

    def extraction_failed(self, session_id: str, error: Exception) -> None:
        """An item whose text could not be told: it is not logged, and the stream goes on."""
        self.counters.add(extraction_errors=1)
        self.events.report("extraction", "cannot extract text from a stream item: %r", error, session=session_id)

    def no_text_found(self, session_id: str, item: str) -> None:
        """A stream that yielded items, none of which had text that is known."""
        self.counters.add(streams_without_text=1)
        self.events.emit(NoTextFound(session=session_id, text=item))

    def now(self) -> float:
        """Monotonic time."""
        return self.context.clock.monotonic()

    def _keep_alive(self, session_id: str) -> None:
        """A session's stream yields items, if no text: it is neither idle nor stalled."""
        session = self.sessions.live.get(key_of(session_id))
        if session is not None:
            session.last_write = self.context.clock.monotonic()
            if session.written:
                with contextlib.suppress(OSError):  # its mtime is what other processes know of it
                    self.directory.touch(session.name)

    def _complete(self, *, soon: bool) -> None:
        """Has the worker complete what has left the table; not `soon`: at its next flush, unless that is far.

        Waking a thread costs the caller more than all the rest (a system call and two GIL handovers).
        """
        if soon or self.flusher.interval > _SOON_SECONDS or not self.worker.alive:
            self.worker.submit(self.flusher.complete_ended)

    def flush(self) -> bool:
        """Has the worker write what waits; whether it did so in time."""
        if self.closed:
            return self.release()

        def job() -> None:
            self.flusher.flush_all()
            self.events.records.deliver_waiting(block=False)

        for _ in range(_BUSY_TRIES):
            if not self._run_on_worker(job):
                return False
            if not self.flusher.met_busy:
                break
            time.sleep(self.flusher.interval)  # a sweeper held a file for microseconds
        return True

    def release(self) -> bool:
        """Writes and closes whatever a closed logger still holds; whether the disk responded in time."""

        self.streams.release()

        keep = self._given_up > 0  # the disk did not respond: the log is left to whoever recovers it

        def job() -> None:
            self._give_up(0)  # it responds after all: what it loses now is counted one by one
            for _ in range(_CLOSE_TRIES):  # who writes meanwhile, or is interrupted by this, releases it again
                self.flusher.release()
                if self.log.close(self.sessions.applied, keep=keep) is not False:
                    break
            self.context.owner.close()
            self.directory.close()

        answered = self._run_on_worker(job)
        if not answered and not self.worker.is_current:
            seconds, characters = self.context.timeouts.wait, self._peek().characters
            self._give_up(characters)
            self.events.log(
                logging.ERROR, "the disk did not respond within %g s: %d characters given up", seconds, characters
            )
        return answered

    def _give_up(self, characters: int) -> None:
        """Counts, once, what a closed logger holds and the disk does not take."""
        before, self._given_up = self._given_up, characters
        self.counters.dropped("closed", characters - before)

    def close(self) -> None:
        """Writes everything, ends the thread; bounded in time, and harmless twice.

        One that was interrupted is done again from its beginning.
        """
        if self._close_done or self.pid != os.getpid():
            return
        self.closed = True  # from here on writers do not buffer
        self.intake.close()
        answered = self.release()
        if self.worker.stop(self.context.timeouts.wait if answered else 0.0):
            self.archiver.close()
            self.directory.close()  # a sweep that was due before that may have opened it again
        if not self.worker.is_current:
            self.events.records.deliver_waiting(block=True)
        # Within the worker's own work, or a signal handler that interrupts it, nothing was done yet.
        self._close_done = not self.worker.is_current

    def wait(self, done: OneShotEvent) -> bool:
        """Waits for the worker to set an event; whether it did in time. At once for the worker itself."""
        if self.worker.is_current:
            return True
        return self.worker.wait(done, self.context.timeouts.wait)

    async def wait_async(self, done: LoopEvent) -> bool:
        """The same on an event loop, which goes on meanwhile."""
        left = self.context.timeouts.wait
        while left > 0:
            if not self.worker.alive:
                self.worker.wait(done, _NO_WORKER_SECONDS)  # does the work here, where no thread will
            if await done.wait_async(_CHECK_SECONDS):
                return True
            left -= _CHECK_SECONDS
        return False

    def successor(self) -> Engine:
        """After a fork, in the child: a new engine. The parent writes what was buffered, and keeps its locks."""
        closed, self.closed = self.closed, True
        self.directory.forget_in_child()
        self.archiver.forget_in_child()
        self.log.forget_in_child()
        self.worker.cancel()  # after it: a sweep that is ended must not unlock what the parent holds
        engine = Engine(self.context.renewed(), autostart=self.worker.autostart)
        engine.closed = closed
        engine.radar.on_runaway = self.radar.on_runaway
        return engine

    # -- numbers ---------------------------------------------------------------------

    def _peek(self) -> Peek:
        return self.sessions.peek(self.flusher.unfinished)

    def session_ids(self) -> dict[str, list[str]]:
        """The unwritten text of each active session."""
        return self._peek().text

    def stats(self) -> Stats:
        found = self.sessions.peek(self.flusher.unfinished, with_text=False)
        return self.counters.snapshot(
            sessions_active=len(found.text),
            chunks_written=found.chunks,
            bytes_buffered=found.size + self.streams.held,
            chunks_unjournaled=self.log.unprotected,
            files_open=len(self.flusher.files),
            files_parked=len(self.context.owner),
            worker_alive=self.worker.alive,
        )

    def health(self) -> Health:
        """Failing: text was dropped in the last minute, or no worker can run. Degraded: any other fault."""
        faults = self.events.faults()
        if self.settings.refusal:
            faults["configuration"] = f"configuration rejected: {self.settings.refusal}"
        if self.counters.dropped_characters.get(FULL, 0) > self.sessions.drops_reported:  # a hung disk delays reports
            faults["dropped"] = "text is being dropped: the buffers are full"
        if self._flush_hangs():
            faults["flush"] = "the worker hangs: no flush has ended for several intervals"
        failing = "dropped" in faults or self.worker.inline
        return Health(status="failing" if failing else "degraded" if faults else "ok", reasons=tuple(faults.values()))

    def _flush_hangs(self) -> bool:
        """Whether the worker lives, and no flush has ended for some intervals."""
        late = _LATE_INTERVALS * self.settings.config.flush_interval_seconds + _LATE_SECONDS
        since = max(self.worker.begun_at, self.flusher.ended_at)
        return self.worker.alive and self.context.clock.monotonic() - since > late

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

    # -- inside ----------------------------------------------------------------------

    def _flush(self) -> Slices:
        """What the worker does once a flush interval."""
        if self.settings.refresh(self.events, self.counters):
            write_copy(self.settings.config, self.directory)
        if not self.settings.config.enabled:
            self.intake.known.clear()  # each chunk is looked at: it may be enabled again
        yield from self.streams.tend()  # before it: what it lets go is written at once
        yield from self.flusher.flush()

    def _make_storage(self) -> Storage:
        if self.closed:
            return PrivateStorage()
        return make_storage(self.directory, self.settings.config, self.events, is_again=self.log.is_open)

    def _has_room(self, size: int) -> bool:
        """Whether so many bytes more fit into memory: what is not applied yet counts, too."""
        return self.log.end - self.sessions.applied + self.sessions.used + size <= self.settings.buffer_bytes

    def _on_filling(self) -> None:
        """The log fills faster than it is applied: look now."""
        if not self._is_asked:
            self._is_asked = True
            self.worker.submit(self._apply_now)

    def _apply_now(self) -> None:
        self._is_asked = False  # first: what comes from here on asks again
        for _ in self.flusher.apply():
            pass

    def _at_completion(self, *, failed: bool, released: bool, silent: float) -> Disposal:
        """What happens to a session's file at its end."""
        rules = Rules.of(self.settings.config)
        return rules.at_completion(failed=failed, released=released, silent=silent, inline=self.worker.inline)

    def _on_disk_full(self) -> None:
        """Emergency cleanup need not wait for its interval; but not at every flush."""
        if self.context.clock.monotonic() - self._sweep.started > _MIN_SWEEP_SECONDS:
            self.sweeper.emergency.disk_is_full()
            self._sweep.run_now()

    def _run_on_worker(self, work: Callable[[], object]) -> bool:
        """Has the worker do something; whether it was done in time."""
        done = OneShotEvent()

        def job() -> None:
            try:
                work()
            finally:
                done.set()

        self.worker.submit(job)
        return self.worker.wait(done, self.context.timeouts.wait)
