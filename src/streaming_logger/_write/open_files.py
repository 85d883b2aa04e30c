"""The open files of active sessions: opened when needed, looked after, parked when there are too many.

Only who holds the worker's I/O lock is in here, so one thread at a time.
"""

from __future__ import annotations

import contextlib
import errno
from heapq import nsmallest

from streaming_logger._base.clock import Clock
from streaming_logger._base.stats import Counters
from streaming_logger._config.watch import Settings
from streaming_logger._disk.owner import OwnerFile
from streaming_logger._disk.store import OpenFile, Store
from streaming_logger._events.event_log import Door
from streaming_logger._memory.session import Session

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["OpenFiles"]

#: A directory changed so recently may change again within its time stamp's grain.
_GRAIN_NS = 20_000_000
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}


class OpenFiles:
    """Which sessions have their file open, and that it still is the file of that name."""

    def __init__(
        self, store: Store, owner: OwnerFile, settings: Settings, counters: Counters, clock: Clock, door: Door
    ) -> None:
        self._store = store
        self._owner = owner
        self._settings = settings
        self._counters = counters
        self._clock = clock
        self._door = door
        self._open: set[Session] = set()
        # The directory's time stamp at the last flush; None: it does not tell.
        self._seen: int | None = None
        self.suspect = True
        """Names in the directory came or went: each file is looked at before it is written."""

    def __len__(self) -> int:
        return len(self._open)

    def of(self, session: Session) -> OpenFile:
        """The session's open file, which is the one that its name leads to. Raises as `Store.open`."""
        file = session.file
        if file is not None and (self.suspect or file.generation != self._store.directory.generation):
            name = session.name
            if self._store.still_there(name, file):
                return file
            self.drop(session)
            self._counters.add(files_reopened=1)
            self._door.error(
                "file gone", "%s was removed or renamed while open; a new file goes on", name, session=session.id
            )
            file = None
        if file is None:
            file = self._opened(session)
        return file

    def drop(self, session: Session) -> None:
        """Closes a session's file, if it is open."""
        file = self.give(session)
        if file is not None:
            self._store.close(file)

    def give(self, session: Session) -> OpenFile | None:
        """Hands over a session's open file; the caller closes it."""
        file, session.file = session.file, None
        self._open.discard(session)
        return file

    def look_at_directory(self) -> None:
        """Once a flush: notices a directory, or names in it, that somebody removed, renamed or replaced."""
        directory = self._store.directory
        try:
            if directory.lost():
                self.suspect = True
                if not self._settings.config.enabled:
                    return  # nothing is logged, so no directory is made
                directory.replaced()
                directory.open()
                self._seen = None
            changed = directory.changed_at()
            self._owner.check()
        except OSError as error:
            self.suspect = True
            self._counters.add(write_errors=1)
            self._door.error("directory", "%s: %s", directory.path, error)
            return
        self.suspect = changed != self._seen
        recent = abs(self._clock.wall() * 1e9 - changed) < _GRAIN_NS
        self._seen = None if recent else changed

    def _opened(self, session: Session) -> OpenFile:
        if not self._open:
            # While there are descriptors: without an owner file none can be given back.
            with contextlib.suppress(OSError):
                self._owner.start()
        limit = self._limit
        if len(self._open) >= limit:
            self._park(len(self._open) - limit + 1 + limit // 8)
        try:
            file = self._store.open(session.name)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS or not self._open:
                raise
            self._park(1 + len(self._open) // 4)
            file = self._store.open(session.name)
        session.file = file
        self._open.add(session)
        return file

    def _park(self, count: int) -> None:
        """Closes the least recently written files; their sessions stay active by the owner file."""
        for session in nsmallest(count, self._open, key=lambda session: session.last_write):
            self._owner.add(session.name)  # first: an OSError leaves the file open and locked
            self.drop(session)

    @property
    def _limit(self) -> int:
        limit = self._settings.config.max_open_files
        if limit is None:
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else 512
            limit = soft // 4 if soft > 0 else 1 << 20
        return max(1, limit)
