"""What the parts of one logger share: made once, handed to each part as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streaming_logger._base.clock import Clock
from streaming_logger._base.stats import Counters
from streaming_logger._base.sync import run_thread
from streaming_logger._config.watch import Settings
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.owner import OwnerFile
from streaming_logger._disk.store import Store
from streaming_logger._events.event_log import EventLog
from streaming_logger._events.ledger import Ledger

__all__ = ["Context", "Timeouts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long things may take, in seconds."""

    wait: float = 5.0
    """A caller waits so long for the worker, then goes on without it."""
    thread_start: float = 5.0
    """A thread that was started runs within this, or its starter goes on without it."""
    restart: float = 60.0
    """A worker that could not start, or keeps dying, is tried again after this."""
    upload_pause: float = 2.0
    """Between the uploader's passes, and after a session's last text; after a failure twice as long each time, up to
    some minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The shared parts. Frozen: a forked child makes its own."""

    settings: Settings
    path: Path
    """The log directory, as it was given."""
    counters: Counters
    clock: Clock
    events: EventLog
    store: Store
    owner: OwnerFile
    timeouts: Timeouts
    make_store: Callable[[Directory], Store]
    run_thread: Callable[[Callable[[], None], str], None]

    @classmethod
    def make(
        cls,
        settings: Settings,
        path: Path,
        *,
        clock: Clock | None = None,
        timeouts: Timeouts | None = None,
        make_store: Callable[[Directory], Store] = Store,
        run_thread: Callable[[Callable[[], None], str], None] = run_thread,
    ) -> Context:
        """The parts for one directory; a test may give its own clock, timeouts, store and threads."""
        clock = clock or Clock()
        store = make_store(Directory(path, adopt=settings.config.adopt))
        events = EventLog(clock)
        events.observers.add(Ledger(store.directory, clock))
        return cls(
            settings=settings,
            path=path,
            counters=Counters(),
            clock=clock,
            events=events,
            store=store,
            owner=OwnerFile(store.directory),
            timeouts=timeouts or Timeouts(),
            make_store=make_store,
            run_thread=run_thread,
        )

    def renewed(self) -> Context:
        """The same for a forked child: the settings, clock, timeouts, threads and kind of store of its parent."""
        return Context.make(
            self.settings,
            self.path,
            clock=self.clock,
            timeouts=self.timeouts,
            make_store=self.make_store,
            run_thread=self.run_thread,
        )
