"""The open files of active sessions: opened when needed, verified, parked when there are too many.

Only the thread that holds the worker's I/O lock runs this code.
"""

from __future__ import annotations

import contextlib
import errno
from heapq import nsmallest

from streaming_logger._context import Context
from streaming_logger._disk.store import OpenFile
from streaming_logger._write.session import Session

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["OpenFiles"]

#: A directory changed so recently may change again within its timestamp's granularity.
_GRAIN_NS = 20_000_000
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}


class OpenFiles:
    """Which sessions have their file open, and whether it still is the file of that name."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._owner = context.owner
        self._settings = context.settings
        self._counters = context.counters
        self._clock = context.clock
        self._events = context.events
        self._open: set[Session] = set()
        # The directory's timestamp at the last check; None: it does not tell.
        self._seen: int | None = None
        # Raised when names in the directory came or went. A file that was verified under an
        # older number is verified again before it is written.
        self._version = 1

    def __len__(self) -> int:
        return len(self._open)

    def is_verified(self, session: Session) -> bool:
        """Whether the session's file is open, and its name led to it when names last changed."""
        file = session.file
        return file is not None and file.verified == self._version

    def acquire(self, session: Session, *, verify: bool = False) -> OpenFile:
        """The session's open file, to which its name leads. Raises as `Store.open`."""
        file = session.file
        if file is None:
            return self._opened(session)
        if not verify and file.verified == self._version and file.generation == self._store.directory.generation:
            return file
        name, version = session.name, self._version
        if self._store.still_there(name, file):
            file.verified = version
            return file
        self.close(session)
        self._counters.add(files_reopened=1)
        self._events.report(
            "file gone", "%s was removed or renamed while open; writing to a new file", name, session=session.id
        )
        return self._opened(session)

    def close(self, session: Session) -> None:
        """Closes a session's file, if it is open."""
        file = self.detach(session)
        if file is not None:
            self._store.close(file)

    def detach(self, session: Session) -> OpenFile | None:
        """Hands over a session's open file; the caller closes it."""
        file, session.file = session.file, None
        self._open.discard(session)
        return file

    def check_directory(self) -> None:
        """Notices that the directory, or names in it, were removed, renamed or replaced."""
        directory = self._store.directory
        subject = str(directory.path)
        try:
            if directory.is_stale():
                self._version += 1
                if not self._settings.config.enabled:
                    self._events.clear("directory", "", subject=subject)
                    return  # nothing is logged, so no directory is made
                directory.invalidate()
                directory.open()
                self._seen = None
            changed = directory.changed_at()
            self._owner.check()
        except OSError as error:
            self._version += 1
            self._counters.add(write_errors=1)
            self._events.report("directory", "%s: %s", directory.path, error, subject=subject)
            return
        self._events.clear("directory", "%s can be used again", directory.path, subject=subject)
        if changed != self._seen:
            self._version += 1
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
        file.verified = self._version
        session.file = file
        self._open.add(session)
        return file

    def _park(self, count: int) -> None:
        """Closes the least recently written files; their sessions stay active by the owner file."""
        for session in nsmallest(count, self._open, key=lambda session: session.last_write):
            self._owner.add(session.name)  # first: an OSError leaves the file open and locked
            self.close(session)

    @property
    def _limit(self) -> int:
        limit = self._settings.config.max_open_files
        if limit is None:
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else 512
            limit = soft // 4 if soft > 0 else 1 << 20
        return max(1, limit)
