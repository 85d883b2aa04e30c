"""The completed half: scans the directory in slices, asks the rules, deletes, reports.

It need not know which sessions are active: their files are locked, or their names are in a
live owner file. Only files that are old enough are opened, and while no file can be due the
worker's sweeps do not even scan: see `ScanPlan`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import closing

from streaming_logger._base.clock import StepGuard
from streaming_logger._base.stats import SweepReport
from streaming_logger._context import Context
from streaming_logger._disk.turns import Patience, Turn, Turns
from streaming_logger._sweep.crashes import Crashes
from streaming_logger._sweep.emergency import Emergency
from streaming_logger._sweep.files import DryRun, Files
from streaming_logger._sweep.rules import Need, Rules
from streaming_logger._sweep.sweep_pass import ScanPlan, Slice, SweepPass

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
                for part in slices:
                    turn.show_progress()
                    yield part.pause
        finally:
            turn.close()

    def sweep_at_once(self, rules: Rules | None = None, *, planned: bool = False) -> SweepReport:
        """All slices of `sweep`, without pauses."""
        slices = self.sweep(rules, planned=planned)
        while True:
            try:
                next(slices)
            except StopIteration as end:
                report: SweepReport = end.value
                return report

    def sweep(self, rules: Rules | None = None, *, planned: bool = False) -> Generator[Slice, None, SweepReport]:
        """One sweep, in slices: by the settings, or by rules of its own (`cleanup_old_sessions`).

        `planned`: by the plan of the last such sweep, where that still holds; else it scans.
        """
        by_settings, begun = rules is None, self._clock.monotonic()
        rules = rules or Rules.of(self._settings.config)
        sweep_pass = SweepPass(self._context, Files(self._context, rules, self._faults.report))
        plan, self._plan = (self._plan, None) if planned else (None, self._plan)
        if plan is not None and not self._holds(plan, rules):
            plan = None
        skipped = self._why_not()
        if not skipped:
            try:
                for pause in self.crashes.recover():
                    yield Slice(pause, [])
                sweep_pass.files.remove_leftovers()
                if by_settings and not self.emergency.is_possible(rules):
                    sweep_pass.files.emergency(Need())
                is_whole = yield from self._steps(sweep_pass, plan)
                if planned:
                    self._plan = sweep_pass.plan()
                if is_whole and by_settings:
                    self._faults.end()
            except Exception as error:  # noqa: BLE001 - a caller sweeps, too, and must not see it
                sweep_pass.files.failed("the directory", error)
            finally:
                sweep_pass.files.close()
        self._report_claims(sweep_pass.files.claims)
        if by_settings and not skipped:
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

    def dry_run(self, rules: Rules, report: Callable[..., None]) -> Generator[Slice, None, SweepReport]:
        """What a sweep would do now: the same steps, and nothing is changed. For who opened the directory to read it.

        `report` is called with what cannot be examined.
        """
        begun, sweep_pass = self._clock.monotonic(), SweepPass(self._context, DryRun(self._context, rules, report))
        try:
            yield from self._steps(sweep_pass, None)
        finally:
            sweep_pass.files.close()
        return sweep_pass.report("", self._clock.monotonic() - begun)

    def _steps(self, sweep_pass: SweepPass, plan: ScanPlan | None) -> Generator[Slice, None, bool]:
        """Deletes what is due, then what an emergency asks for; whether all files were looked at."""
        low_space = self.emergency.is_possible(sweep_pass.rules)
        if low_space or plan is None:
            yield from sweep_pass.scan(keep_rest=low_space)
        else:
            yield from sweep_pass.recheck(plan)
        if low_space:
            yield from sweep_pass.free_space(self.emergency)
        return low_space or plan is None

    def _why_not(self) -> str:
        """Why nothing may be deleted now; empty when sweeping is safe."""
        if not self._settings.config.enabled:
            return "logging is disabled"
        step = self._guard.stepped()
        if step:
            wait = Rules.of(self._settings.config).usual_retention  # whatever the rules of this sweep are
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

    def _holds(self, plan: ScanPlan, rules: Rules) -> bool:
        same = plan.rules == rules and plan.generation == self._store.directory.generation
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
