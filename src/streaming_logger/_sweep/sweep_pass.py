"""One sweep: scans the directory in slices, deletes what is due, frees space, and tallies what it did.

Only files that are old enough are opened. Several sweeps may run at once: each step is safe with others.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from itertools import chain
from typing import NamedTuple

from streaming_logger._base.errors import reason_of
from streaming_logger._base.stats import SweepReport
from streaming_logger._context import Context
from streaming_logger._disk.directory import PRIVATE
from streaming_logger._disk.names import session_id_of
from streaming_logger._disk.owner import Owners
from streaming_logger._disk.process_files import is_temporary, remove_abandoned, temporary_files
from streaming_logger._disk.store import Claim, DeleteResult, Entry
from streaming_logger._disk.timing import TIMING_SUFFIX, log_name_of
from streaming_logger._events.model import DiskEmergency, SessionDeleted
from streaming_logger._sweep.emergency import Emergency
from streaming_logger._sweep.policy import Policy, oldest_first

__all__ = ["ScanPlan", "SweepPass"]

#: Files examined in a slice, and the pause behind it, for a flush and for threads that wait for the GIL.
_SLICE = 256
_PAUSE_SECONDS = 0.001
#: Forces a full scan every N sweeps: files may be moved in, or backdated.
_FULL_SCAN_EVERY = 10
#: Limit of due files that were kept and are remembered by name; with more of them the next sweep scans.
_MAX_RECHECK = 10_000


class ScanPlan(NamedTuple):
    """What a scan of the directory foresees: before `until` only the files that it names can be due.

    For a file's mtime only grows, and a file made since is younger than the scan.
    """

    until: float
    recheck_names: list[str]
    """Due, but in use, pinned, or kept because their session failed."""
    policy: Policy
    generation: int
    sweeps_left: int


class SweepPass:
    """One sweep, and its tally."""

    def __init__(self, context: Context, policy: Policy, report: Callable[..., None] | None = None) -> None:
        """`report` is called with what cannot be examined or deleted; by default that is current for a minute."""
        self._store = context.store
        self._clock = context.clock
        self._events = context.events
        self._report = report or context.events.report
        self.policy = policy
        self._settings = context.settings
        self._counters = context.counters
        self._owners = Owners(context.store.directory)
        self.claims: dict[str, str] = {}
        """Due files that another process has claimed, and which one."""
        self._files: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._errors = self._scanned = self._in_use = 0
        self._rest: list[list[Entry]] = []  # in slices, each sorted by age, for an emergency
        self._size = 0
        self._recheck_names: list[str] = []
        self._until = float("inf")
        self._sweeps_left = _FULL_SCAN_EVERY

    def scan(self, *, keep_rest: bool) -> Iterator[float]:
        """Deletes the due ones of all files; remembers the rest, in case space is low."""
        self._until = self._clock.wall() + self.policy.least_age
        # Closed explicitly: an exception that a signal raises in a generator's finalizer is swallowed.
        with closing(self._store.scan(_SLICE, self.failed)) as slices:
            yield from self._by_age(slices, keep_rest)

    def recheck(self, plan: ScanPlan) -> Iterator[float]:
        """Deletes the due ones of the files that a plan names."""
        self._until, self._sweeps_left = plan.until, plan.sweeps_left - 1
        with closing(self._store.find(plan.recheck_names, _SLICE, self.failed)) as slices:
            yield from self._by_age(slices, False)

    def plan(self) -> ScanPlan | None:
        """What this sweep foresees; None where it could not examine everything."""
        if self._errors or len(self._recheck_names) > _MAX_RECHECK:
            return None
        generation = self._store.directory.generation
        return ScanPlan(self._until, self._recheck_names, self.policy, generation, self._sweeps_left)

    def _by_age(self, slices: Iterable[list[Entry]], keep_rest: bool) -> Iterator[float]:
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
                    self._recheck_names.append(entry.name)
                if keep_rest:
                    rest.append(entry)
                    self._size += entry.size
            if keep_rest:
                rest.sort(key=lambda entry: entry.mtime)
                self._rest.append(rest)
            self._events.observers.batch()
            yield _PAUSE_SECONDS
        self._until = min(self._until, oldest + self.policy.least_age)

    def remove_files_of_dead_processes(self) -> None:
        """Temporary files and owner files, whatever their age."""
        try:
            for name in temporary_files(self._store.directory):
                self._remove_abandoned(name)
        except OSError as error:
            self.failed(PRIVATE, error)
        with suppress(OSError):  # reported with each session's file that may be parked, then
            self._owners.any_alive()  # looking removes those of the dead

    def _remove_abandoned(self, name: str) -> bool:
        try:
            return remove_abandoned(self._store.directory, name)
        except FileNotFoundError:
            return True  # its process lives and is done with it, or another sweep removed it
        except Exception as error:  # noqa: BLE001 - it is this file's: the others are swept
            self.failed(name, error)
            return False

    def _delete_timing(self, name: str) -> bool:
        """A timing file goes with its log, and by itself where that was deleted without it."""
        try:
            return session_id_of(log_name_of(name)) is not None and self._store.delete_orphaned_timing(name)
        except Exception as error:  # noqa: BLE001 - it is this file's: the others are swept
            self.failed(name, error)
            return False

    def free_space(self, emergency: Emergency) -> Iterator[float]:
        """In an emergency: deletes the oldest completed files, even inside their window."""
        need = emergency.need(chain.from_iterable(self._rest), self._size, self._owners)
        freed = deleted = 0
        if any(need):
            self._events.emit(DiskEmergency(bytes=need.bytes, reason="disk"))
        for count, entry in enumerate(oldest_first(self._rest)):
            if freed >= need.bytes and deleted >= need.files:
                break
            if self._delete(entry, "disk"):
                freed, deleted = freed + entry.size, deleted + 1
            if count % _SLICE == _SLICE - 1:
                self._events.observers.batch()
                yield _PAUSE_SECONDS
        self._events.observers.batch()

    def failed(self, what: str, error: Exception) -> None:
        """Counts and reports what could not be examined or deleted."""
        self._errors += 1
        kind = error.errno if isinstance(error, OSError) else type(error).__name__
        text = (error.strerror if isinstance(error, OSError) else None) or reason_of(error)
        self._report(f"sweep {kind}", "cannot sweep %s: %s", what, text, subject=what, reason="error")

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
        """Deletes one file if it is a completed session's, unused and still due while it is claimed."""
        session = session_id_of(entry.name)
        if session is None and entry.name.endswith(TIMING_SUFFIX):
            return self._delete_timing(entry.name)
        if entry.pinned:
            return False
        if session is None:
            return is_temporary(entry.name) and self._remove_abandoned(entry.name)

        is_archived = True

        def due(claim: Claim) -> bool:
            nonlocal is_archived, reason
            age = self._clock.wall() - claim.found.st_mtime
            if claim.found.st_mtime != entry.mtime and self.policy.reason(age) is None:
                return False  # written to since the scan
            # failed_retention_minutes delays the retention, not max_session_age_hours or an emergency.
            kept_if_failed = reason == "retention" and self.policy.reason(age, failed=True) is None
            if kept_if_failed and self._store.outcome(claim.fd) is not None:
                return False
            is_archived = self._is_archived(claim)
            if not is_archived and reason == "retention":  # the archive delays the same rule, and no other
                if self.policy.max_age is None or age <= self.policy.max_age:
                    return False
                reason = "max_age"
            return True

        try:
            result, size = self._store.delete_if(entry.name, due, self._owners)
        except Exception as error:  # noqa: BLE001 - it is this file's: the others are swept
            # A symlink may have been put there since the scan: not a session's file.
            if not (isinstance(error, OSError) and error.errno == errno.ELOOP):
                self.failed(entry.name, error)
            return False
        if result is DeleteResult.CLAIMED:
            self.claims[entry.name] = self._store.directory.holder(entry.name)
        if result is not DeleteResult.DELETED:
            self._in_use += result is not DeleteResult.GONE
            return False
        self._files[reason] += 1
        self._bytes[reason] += size
        self._counters.add(deleted_unarchived=not is_archived)
        self._events.emit(
            SessionDeleted(
                session=session,
                file=entry.name,
                bytes=size,
                reason=reason,
                age=round(self._clock.wall() - entry.mtime, 3),
                archived=None if is_archived else False,
            )
        )
        return True

    def _is_archived(self, claim: Claim) -> bool:
        """Whether the archive is done with it; true where there is none."""
        if self._settings.config.archive.url is None:
            return True
        mark = self._store.marks.read(claim.name)
        return mark is not None and mark.covers(claim.found)
