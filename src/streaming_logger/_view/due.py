"""What a sweep would do with the files of a directory, or does: for `ls`, `stats`, `doctor` and `sweep`."""

from __future__ import annotations

from collections.abc import Callable, Generator

from streaming_logger._base.stats import SweepReport
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context
from streaming_logger._sweep.files import Swept
from streaming_logger._sweep.rules import Facts, Verdict
from streaming_logger._sweep.sweep_pass import Slice
from streaming_logger._sweep.sweeper import Sweeper
from streaming_logger._view.target import Target

__all__ = ["Verdicts", "collected", "dry_run"]


class Verdicts:
    """The rules' verdicts on the files of one directory.

    On a file that is old enough to be deleted, or where space is short, it is the verdict of a dry run.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._rules = target.rules
        self._swept: dict[str, Verdict] = {}

    def look(self, oldest: float) -> None:
        """Looks at the directory, whose oldest file has this age in seconds."""
        directory = self._target.directory
        is_short = self._rules.is_short(directory.free_bytes(), directory.volume_bytes())
        if not self._rules.refusal and (is_short or oldest > self._rules.least_age):
            files, _ = dry_run(self._target, _ignored)
            self._swept = {file.name: file.verdict for file in files}

    def of(self, name: str, facts: Facts) -> Verdict:
        """The verdict on one file; `facts` count while it is too young for a sweep."""
        if facts.in_use or name not in self._swept:
            return self._rules.judge(facts)
        return self._swept[name]


def dry_run(target: Target, report: Callable[..., None]) -> tuple[list[Swept], SweepReport]:
    """What a sweep would do now. `report` is called with what cannot be examined."""
    context = Context.make(Settings(target.config), target.path)
    with context.store.directory.opened_readonly():
        return collected(Sweeper(context).dry_run(target.rules, report))


def collected(slices: Generator[Slice, None, SweepReport]) -> tuple[list[Swept], SweepReport]:
    """Runs a sweep to its end: its files, the oldest first, and its report."""
    files: dict[str, Swept] = {}
    while True:
        try:
            files |= {file.name: file for file in next(slices).files}  # an emergency comes back to a file that was kept
        except StopIteration as end:
            return sorted(files.values(), key=lambda file: -file.age), end.value


def _ignored(*what: object, **fields: object) -> None:
    """Another verb reports it."""
