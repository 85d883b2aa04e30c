"""The completed half: scans the directory in slices, asks `policy`, deletes, reports.

It need not know which sessions are active: their files are locked, or their names are in a
live owner file. Only files that are old enough are opened, and while no file can be due the
worker's sweeps do not even scan: see `ScanPlan`.
"""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import NamedTuple

from streaming_logger._base.clock import StepGuard
from streaming_logger._base.stats import SweepReport
from streaming_logger._context import Context
from streaming_logger._disk.names import session_id_of
from streaming_logger._disk.owner import Owners
from streaming_logger._disk.store import Claim, DeleteResult, Entry
from streaming_logger._disk.timing import TIMING_SUFFIX, log_name_of
from streaming_logger._disk.turns import Patience, Turn, Turns
from streaming_logger._sweep.crashes import Crashes
from streaming_logger._sweep.emergency import Emergency
from streaming_logger._sweep.policy import Policy, oldest_first

__all__ = ["Sweeper"]

#: Files examined in a slice, and the pause behind it, for a flush and for threads that wait for the GIL.
_SLICE = 256
_PAUSE_SECONDS = 0.001
#: Forces a full scan every N sweeps: files may be moved in, or backdated.
_FULL_SCAN_EVERY = 10
#: A sweep that another process holds up is tried again after this, and watched while that process is passed over.
_RETRY_SECONDS, _WATCH_SECONDS = 5.0, 30.0
#: At most so many due files that were kept are remembered by name; with more the next sweep scans.
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


class Sweeper:
    """Sweeps one directory. Several may run at once, in this process and in others."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store
        self._settings = context.settings
        self._counters = context.counters
        self._clock = context.clock
        self._events = context.events
        self._guard = StepGuard(context.clock)
        self.crashes = Crashes(context)
        self.emergency = Emergency(context)
        # Only scheduled sweeps touch these: the worker does one at a time.
        self._plan: ScanPlan | None = None
        self._turns = Turns(context.store.directory, context.clock)
        self._claims = Patience(context.clock)
        self._again_in = float("inf")

    @property
    def interval(self) -> float:
        """Seconds from one scheduled sweep to the next: sooner while another process holds them up."""
        return min(self._settings.config.cleanup_interval_seconds, self._again_in)

    def scheduled(self) -> Generator[float, None, None]:
        """The worker's sweep; none while another process sweeps. Yields the seconds until the next slice."""
        if not self._settings.config.enabled:
            return
        self._again_in = float("inf")
        turn = self._turn()
        if turn is None:
            return
        try:
            with closing(self.sweep(planned=True)) as slices:
                for pause in slices:
                    turn.show_progress()
                    yield pause
        finally:
            turn.close()

    def sweep_at_once(self, policy: Policy | None = None, *, planned: bool = False) -> SweepReport:
        """All slices of `sweep`, without pauses."""
        slices = self.sweep(policy, planned=planned)
        while True:
            try:
                next(slices)
            except StopIteration as end:
                report: SweepReport = end.value
                return report

    def sweep(self, policy: Policy | None = None, *, planned: bool = False) -> Generator[float, None, SweepReport]:
        """One sweep, in slices. With a policy of its own (`cleanup_old_sessions`) there are no emergencies.

        `planned`: by the plan of the last such sweep, where that still holds; else it scans.
        """
        begun = self._clock.monotonic()
        sweep_pass = SweepPass(self._context, policy or Policy.of(self._settings.config))
        plan, self._plan = (self._plan, None) if planned else (None, self._plan)
        skipped = self._why_not()
        if not skipped:
            try:
                yield from self.crashes.recover()
                low_space = policy is None and self.emergency.is_possible
                if plan is None or low_space or not self._holds(plan, sweep_pass.policy):
                    yield from sweep_pass.scan(keep_rest=low_space)
                else:
                    yield from sweep_pass.recheck(plan)
                if low_space:
                    yield from sweep_pass.free_space(self.emergency)
                if planned:
                    self._plan = sweep_pass.plan()
            except OSError as error:
                sweep_pass.failed("the directory", error)
            finally:
                sweep_pass.close()
        self._report_claims(sweep_pass.claims)
        report = sweep_pass.report(skipped, self._clock.monotonic() - begun)
        self._counters.swept(report, self._clock.wall())
        if report.deleted:
            self._events.log(
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
        """Why nothing may be deleted now; empty when sweeping is safe."""
        step = self._guard.stepped()
        if step:
            wait = self._settings.config.retention_seconds or 600.0
            self._guard.block(wait)
            self._events.log(logging.WARNING, "the clock jumped by %+.0f s: nothing is deleted for %.0f s", step, wait)
        if self._guard.blocked:
            return "the clock jumped"
        try:
            self._store.directory.open()
        except OSError as error:
            return str(error)
        if not self._store.directory.managed:
            return "the directory held other *.log files before: set adopt to true to sweep it"
        if not self._store.locks:
            text = "this file system has no locks, so files in use cannot be told from others"
            self._events.report("no locks", "nothing is swept: %s", text)
            return text
        return ""

    def _holds(self, plan: ScanPlan, policy: Policy) -> bool:
        same = plan.policy == policy and plan.generation == self._store.directory.generation
        return same and plan.sweeps_left > 0 and self._clock.wall() < plan.until

    def _turn(self) -> Turn | None:
        """This process's turn to sweep; None while another process sweeps."""
        directory = self._store.directory
        try:
            directory.open()
            if not directory.managed:
                return None
            turn = self._turns.take("sweep.lock")
        except OSError as error:
            self._counters.add(sweep_errors=1)
            self._events.report("sweep lock", "cannot sweep %s: %s", directory.path, error)
            return None
        if turn is None:
            self._again_in = _RETRY_SECONDS
        elif turn.stuck:
            self._report_stuck(turn.stuck, "sweep.lock")
        return turn

    def _report_claims(self, claims: dict[str, str]) -> None:
        """Names the processes that keep due files claimed: a claim takes microseconds, unless its holder is stuck."""
        self._claims.retain(claims)
        for name, holder in claims.items():
            self._again_in = min(self._again_in, _RETRY_SECONDS)
            if self._claims.is_over(name, holder):
                self._report_stuck(holder, name)

    def _report_stuck(self, holder: str, what: str) -> None:
        self._again_in = _WATCH_SECONDS  # so that health() stays degraded meanwhile
        self._events.report(f"stuck {what}", "%s holds %s and makes no progress: continuing without it", holder, what)


class SweepPass:
    """One sweep, and its tally."""

    def __init__(self, context: Context, policy: Policy) -> None:
        self._store = context.store
        self._clock = context.clock
        self._events = context.events
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

    def _delete_timing(self, entry: Entry) -> bool:
        """A timing file goes with its log, and by itself where that was deleted without it."""
        try:
            return session_id_of(log_name_of(entry.name)) is not None and self._store.delete_orphaned_timing(entry.name)
        except OSError as error:
            self.failed(entry.name, error)
            return False

    def free_space(self, emergency: Emergency) -> Iterator[float]:
        """In an emergency: deletes the oldest completed files, even inside their window."""
        need = emergency.need(chain.from_iterable(self._rest), self._size, self._owners)
        freed = deleted = 0
        if any(need):
            self._events.emit(
                "emergency",
                logging.WARNING,
                "low disk space: deleting the oldest completed files, %d bytes",
                need.bytes,
                bytes=need.bytes,
                reason="disk",
            )
        for count, entry in enumerate(oldest_first(self._rest)):
            if freed >= need.bytes and deleted >= need.files:
                break
            if self._delete(entry, "disk"):
                freed, deleted = freed + entry.size, deleted + 1
            if count % _SLICE == _SLICE - 1:
                self._events.observers.batch()
                yield _PAUSE_SECONDS
        self._events.observers.batch()

    def failed(self, what: str, error: OSError) -> None:
        """Counts and reports what could not be examined or deleted."""
        self._errors += 1
        text = error.strerror or error
        self._events.report(f"sweep {error.errno}", "cannot sweep %s: %s", what, text, reason="error")

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
            return self._delete_timing(entry)
        if session is None or entry.pinned:
            return False

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
        except OSError as error:
            if error.errno != errno.ELOOP:  # a symlink was put there since the scan: not a session's file
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
            **({} if is_archived else {"archived": False}),
        )
        return True

    def _is_archived(self, claim: Claim) -> bool:
        """Whether the archive is done with it; true where there is none."""
        if self._settings.config.archive.url is None:
            return True
        mark = self._store.marks.read(claim.name)
        return mark is not None and mark.covers(claim.found)
