"""The completed half: scans the directory in slices, asks `policy`, deletes, reports.

It need not know which sessions are active: their files are locked, or their names are in a
live owner file. Only files that are old enough are opened, and while no file can be due the
worker's sweeps do not even scan: see `ScanPlan`.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing

from streaming_logger._base.clock import StepGuard
from streaming_logger._base.stats import SweepReport
from streaming_logger._context import Context
from streaming_logger._disk.turns import Patience, Turn, Turns
from streaming_logger._sweep.crashes import Crashes
from streaming_logger._sweep.emergency import Emergency
from streaming_logger._sweep.policy import Policy
from streaming_logger._sweep.sweep_pass import ScanPlan, SweepPass

__all__ = ["Sweeper"]

#: A sweep that another process holds up is tried again after this, and watched while that process is passed over.
_RETRY_SECONDS, _WATCH_SECONDS = 5.0, 30.0


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
        self._faults, self._stuck = context.events.rounds(), context.events.rounds()
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
            for rounds in (self._faults, self._stuck, self.crashes.faults):
                rounds.abandon()
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
        sweep_pass = SweepPass(self._context, policy or Policy.of(self._settings.config), self._faults.report)
        plan, self._plan = (self._plan, None) if planned else (None, self._plan)
        skipped = self._why_not()
        if not skipped:
            try:
                yield from self.crashes.recover()
                sweep_pass.remove_files_of_dead_processes()
                low_space = policy is None and self.emergency.is_possible
                if policy is None and not low_space:
                    self.emergency.is_over()
                is_whole = plan is None or low_space or not self._holds(plan, sweep_pass.policy)
                if plan is None or is_whole:
                    yield from sweep_pass.scan(keep_rest=low_space)
                else:
                    yield from sweep_pass.recheck(plan)
                if low_space:
                    yield from sweep_pass.free_space(self.emergency)
                if planned:
                    self._plan = sweep_pass.plan()
                if is_whole and policy is None:
                    self._faults.end()
            except Exception as error:  # noqa: BLE001 - a caller sweeps, too, and must not see it
                sweep_pass.failed("the directory", error)
            finally:
                sweep_pass.close()
        self._report_claims(sweep_pass.claims)
        if policy is None and not skipped:
            self._stuck.end()
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
            self._events.report("no locks", "nothing is swept: %s", text, subject="file system")
            return text
        self._events.clear("no locks", "", subject="file system")
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
            self._events.report("sweep lock", "cannot sweep %s: %s", directory.path, error, subject="lock")
            return None
        self._events.clear("sweep lock", "", subject="lock")
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
        self._again_in = _WATCH_SECONDS
        self._stuck.report(
            f"stuck {what}", "%s holds %s and makes no progress: continuing without it", holder, what, subject=what
        )
