"""The completed half: walks the directory in slices, asks `_retention`, deletes, reports.

It never needs to know which sessions are active: their files are locked, or their names
are in a live owner file. Only files that are old enough are opened at all, and while none
can be, the worker's sweeps do not even walk: see `_Outlook`.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

from streaming_logger._base.clock import Clock, StepGuard
from streaming_logger._base.stats import Counters, SweepReport
from streaming_logger._config.watch import Settings
from streaming_logger._disk.directory import PRIVATE
from streaming_logger._disk.names import session_id_of
from streaming_logger._disk.owner import Owners
from streaming_logger._disk.store import Entry, Removal, Store
from streaming_logger._events.event_log import Door
from streaming_logger._sweep.policy import Policy, oldest_first, shortfall

__all__ = ["Sweeper"]

#: Files looked at between two chances for a flush.
_SLICE = 256
#: So many sweeps after a walk there is another one, whatever it promised: files may be moved in, or backdated.
_WALK_EVERY = 10
#: Due files that were kept are remembered by name, so many at the most: else the next sweep walks.
_MAX_KEPT = 10_000


class _Outlook(NamedTuple):
    """What a walk over the directory saw ahead: until then, only the files that it names can be due.

    For a file's mtime only grows, and one that was made since is younger than the walk.
    """

    until: float
    kept: list[str]
    """Due, but in use, pinned, or kept for the trouble it ended in."""
    policy: Policy
    generation: int
    sweeps_left: int


class Sweeper:
    """Sweeps one directory. Several may run at once, in this process and in others."""

    def __init__(self, store: Store, settings: Settings, counters: Counters, clock: Clock, door: Door) -> None:
        self._store = store
        self._settings = settings
        self._counters = counters
        self._clock = clock
        self._door = door
        self._guard = StepGuard(clock)
        # Touched only by who holds the sweep lock.
        self._outlook: _Outlook | None = None

    def scheduled(self) -> Generator[None, None, None]:
        """The worker's sweep: none where another process is at it already."""
        if not self._settings.config.enabled:
            return
        lock = self._sweep_lock()
        if lock is None:
            return
        try:
            yield from self.sweep(ahead=True)
        finally:
            self._store.directory.close_file(lock)

    def sweep_at_once(self, policy: Policy | None = None, *, ahead: bool = False) -> SweepReport:
        """All slices of `sweep`, one after the other."""
        slices = self.sweep(policy, ahead=ahead)
        while True:
            try:
                next(slices)
            except StopIteration as end:
                report: SweepReport = end.value
                return report

    def sweep(self, policy: Policy | None = None, *, ahead: bool = False) -> Generator[None, None, SweepReport]:
        """One sweep, in slices. A policy of its own (`cleanup_old_sessions`) knows no emergencies.

        `ahead`: by what the last such sweep saw ahead, where that still holds; else it is a walk.
        """
        begun = self._clock.monotonic()
        run = _Run(self._store, policy or Policy.of(self._settings.config), self._clock, self._door)
        outlook, self._outlook = (self._outlook, None) if ahead else (None, self._outlook)
        skipped = self._why_not()
        if not skipped:
            try:
                short = policy is None and self._may_be_short()
                if outlook is None or short or not self._holds(outlook, run.policy):
                    yield from run.walk(keep_rest=short)
                else:
                    yield from run.follow(outlook)
                if short:
                    yield from run.for_room(self._settings)
                if ahead:
                    self._outlook = run.outlook(self._store.directory.generation)
            except OSError as error:
                run.failed("the directory", error)
            finally:
                run.close()
        report = run.report(skipped, self._clock.monotonic() - begun)
        self._counters.swept(report, self._clock.wall())
        if report.deleted:
            self._door.say(
                logging.INFO,
                "swept %d files (%s), %d bytes, %d errors, in %.3f s",
                report.deleted,
                ", ".join(f"{reason} {count}" for reason, count in sorted(report.deleted_by_reason.items())),
                report.bytes,
                report.errors,
                report.duration_seconds,
                bytes=report.bytes,
                reason=dict(report.deleted_by_reason),
            )
        return report

    def _why_not(self) -> str:
        """Why nothing may be deleted now; empty when all is well."""
        step = self._guard.stepped()
        if step:
            wait = self._settings.config.retention_seconds or 600.0
            self._guard.block(wait)
            self._door.say(logging.WARNING, "the clock was set by %+.0f s: nothing is deleted for %.0f s", step, wait)
        if self._guard.blocked:
            return "the clock was set"
        try:
            self._store.directory.open()
        except OSError as error:
            return str(error)
        if not self._store.directory.ours:
            return "the directory held other people's *.log files: set adopt to true to sweep it"
        if not self._store.locks:
            text = "this file system has no locks, so nobody can tell which files are in use"
            self._door.error("no locks", "nothing is swept: %s", text)
            return text
        return ""

    def _holds(self, outlook: _Outlook, policy: Policy) -> bool:
        same = outlook.policy == policy and outlook.generation == self._store.directory.generation
        return same and outlook.sweeps_left > 0 and self._clock.wall() < outlook.until

    def _may_be_short(self) -> bool:
        """Whether an emergency is possible: only then is every file remembered, 200 bytes each."""
        config = self._settings.config
        return config.max_directory_mb is not None or shortfall(config, 0, self._store.directory.free_bytes()) > 0

    def _sweep_lock(self) -> int | None:
        """The descriptor that holds the sweep lock, or None while somebody else has it."""
        directory = self._store.directory
        fd = None
        try:
            directory.open()
            if not directory.ours:
                return None
            fd = directory.open_file(f"{PRIVATE}/sweep.lock", os.O_RDWR | os.O_CREAT)
            if directory.lock(fd):
                return fd
        except OSError as error:
            self._counters.add(sweep_errors=1)
            self._door.error("sweep lock", "cannot sweep %s: %s", directory.path, error)
        if fd is not None:
            directory.close_file(fd)
        return None


class _Run:
    """One sweep, and its tally."""

    def __init__(self, store: Store, policy: Policy, clock: Clock, door: Door) -> None:
        self._store = store
        self.policy = policy
        self._clock = clock
        self._door = door
        self._owners = Owners(store.directory)
        self._files: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._errors = self._scanned = self._in_use = 0
        self._rest: list[list[Entry]] = []  # in slices, each sorted by age, for an emergency
        self._size = 0
        self._kept: list[str] = []
        self._until = float("inf")
        self._sweeps_left = _WALK_EVERY

    def walk(self, *, keep_rest: bool) -> Iterator[None]:
        """Deletes what is old enough, of all files; remembers the rest in case room is short."""
        self._until = self._clock.wall() + self.policy.least_age
        yield from self._by_age(self._store.scan(_SLICE, self.failed), keep_rest)

    def follow(self, outlook: _Outlook) -> Iterator[None]:
        """The same, of those that an earlier walk named."""
        self._until, self._sweeps_left = outlook.until, outlook.sweeps_left - 1
        yield from self._by_age(self._store.find(outlook.kept, _SLICE, self.failed), False)

    def outlook(self, generation: int) -> _Outlook | None:
        """What this sweep saw ahead; None where it could not see everything."""
        if self._errors or len(self._kept) > _MAX_KEPT:
            return None
        return _Outlook(self._until, self._kept, self.policy, generation, self._sweeps_left)

    def _by_age(self, slices: Iterable[list[Entry]], keep_rest: bool) -> Iterator[None]:
        now, oldest = self._clock.wall(), float("inf")
        young = now - self.policy.least_age
        for part in slices:
            self._scanned += len(part)
            rest = []
            for entry in part:
                if entry.mtime >= young:
                    if entry.mtime < oldest:
                        oldest = entry.mtime  # not min(): this runs for each file
                elif (reason := self.policy.reason(now - entry.mtime)) and self._delete(entry, reason):
                    continue
                else:
                    self._kept.append(entry.name)
                if keep_rest:
                    rest.append(entry)
                    self._size += entry.size
            if keep_rest:
                rest.sort(key=lambda entry: entry.mtime)
                self._rest.append(rest)
            self._door.ledger.write()
            yield
        self._until = min(self._until, oldest + self.policy.least_age)

    def for_room(self, settings: Settings) -> Iterator[None]:
        """In an emergency: deletes the oldest completed files, inside their window too."""
        needed = shortfall(settings.config, self._size, self._store.directory.free_bytes())
        freed = 0
        if needed:
            self._door.record(
                "emergency",
                logging.WARNING,
                "room is short: the oldest completed files go, %d bytes",
                needed,
                bytes=needed,
                reason="disk",
            )
        for count, entry in enumerate(oldest_first(self._rest)):
            if freed >= needed:
                break
            if self._delete(entry, "disk"):
                freed += entry.size
            if count % _SLICE == _SLICE - 1:
                self._door.ledger.write()
                yield
        self._door.ledger.write()

    def failed(self, what: str, error: OSError) -> None:
        self._errors += 1
        self._door.error(f"sweep {error.errno}", "cannot sweep %s: %s", what, error.strerror or error, reason="error")

    def close(self) -> None:
        self._owners.close()

    def report(self, skipped: str, seconds: float) -> SweepReport:
        return SweepReport(
            deleted=self._files.total(),
            bytes=self._bytes.total(),
            errors=self._errors,
            scanned=self._scanned,
            kept_in_use=self._in_use,
            duration_seconds=seconds,
            deleted_by_reason=dict(self._files),
            bytes_by_reason=dict(self._bytes),
            skipped=skipped,
        )

    def _delete(self, entry: Entry, reason: str) -> bool:
        """Deletes one file if it is a completed session's, still unused and still due under its lock."""
        session = session_id_of(entry.name)
        if session is None or entry.pinned:
            return False

        def due(fd: int, found: os.stat_result) -> bool:
            age = self._clock.wall() - found.st_mtime
            if found.st_mtime != entry.mtime and self.policy.reason(age) is None:
                return False  # written to since the scan
            # It ended in trouble: somebody will want to see it. max_session_age_hours is above that.
            if reason == "retention" and self.policy.reason(age, trouble=True) is None:
                return self._store.outcome(fd) is None and not self._owners.parked(entry.name)
            return not self._owners.parked(entry.name)

        try:
            how, size = self._store.delete_if(entry.name, due)
        except OSError as error:
            if error.errno != errno.ELOOP:  # a symlink was put there since the scan: not ours
                self.failed(entry.name, error)
            return False
        if how is not Removal.DELETED:
            self._in_use += how is not Removal.GONE
            return False
        self._files[reason] += 1
        self._bytes[reason] += size
        self._door.record(
            "deleted",
            logging.DEBUG,
            "deleted %s: %s",
            entry.name,
            reason,
            session=session,
            file=entry.name,
            bytes=size,
            age=round(self._clock.wall() - entry.mtime, 3),
            reason=reason,
        )
        return True
