"""One sweep: scans the directory in slices, asks the rules, frees space, and tallies what was done.

Only files that are old enough are opened. Several sweeps may run at once: each step is safe with others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from heapq import merge
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from streaming_logger._base.stats import SweepReport
from streaming_logger._context import Context
from streaming_logger._disk.entries import Entry
from streaming_logger._disk.names import session_id_of
from streaming_logger._sweep.emergency import Emergency
from streaming_logger._sweep.files import Files, Swept
from streaming_logger._sweep.rules import Rules

__all__ = ["ScanPlan", "Slice", "SweepPass", "oldest_first"]

#: Files examined in a slice, and the pause behind it, for a flush and for threads that wait for the GIL.
_SLICE = 256
_PAUSE_SECONDS = 0.001
#: Forces a full scan every N sweeps: files may be moved in, or backdated.
_FULL_SCAN_EVERY = 10
#: Limit of due files that were kept and are remembered by name; with more of them the next sweep scans.
_MAX_RECHECK = 10_000

_by_mtime = attrgetter("mtime")


class Slice(NamedTuple):
    """A part of a sweep: what it did, and the seconds until the next part may begin."""

    pause: float
    files: list[Swept]
    """Those that were old enough to be looked at."""


class ScanPlan(NamedTuple):
    """What a scan of the directory foresees: before `until` only the files that it names can be due.

    For a file's mtime only grows, and a file made since is younger than the scan.
    """

    until: float
    recheck_names: list[str]
    """Old enough, but kept: in use, pinned, not archived yet, or failed."""
    rules: Rules
    generation: int
    sweeps_left: int


class SweepPass:
    """One sweep, and its tally."""

    def __init__(self, context: Context, files: Files) -> None:
        self._store = context.store
        self._clock = context.clock
        self._observers = context.events.observers
        self.files = files
        self.rules = files.rules
        self._deleted: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._kept: dict[str, str] = {}
        """Why files that are old enough were kept, by name."""
        self._scanned = 0
        self._swept: list[Swept] = []
        self._rest: list[list[Entry]] = []  # in slices, each sorted by age, for an emergency
        self._size = 0
        self._recheck_names: list[str] = []
        self._until = float("inf")
        self._sweeps_left = _FULL_SCAN_EVERY

    def scan(self, *, keep_rest: bool) -> Iterator[Slice]:
        """Deletes the due ones of all files; remembers the rest, in case space is low."""
        self._until = self._clock.wall() + self.rules.least_age
        # Closed explicitly: an exception that a signal raises in a generator's finalizer is swallowed.
        with closing(self._store.scan(_SLICE, self.files.failed)) as slices:
            yield from self._by_age(slices, keep_rest)

    def recheck(self, plan: ScanPlan) -> Iterator[Slice]:
        """Deletes the due ones of the files that a plan names."""
        self._until, self._sweeps_left = plan.until, plan.sweeps_left - 1
        with closing(self._store.find(plan.recheck_names, _SLICE, self.files.failed)) as slices:
            yield from self._by_age(slices, False)

    def plan(self) -> ScanPlan | None:
        """What this sweep foresees; None where it could not examine everything."""
        if self.files.errors or len(self._recheck_names) > _MAX_RECHECK:
            return None
        generation = self._store.directory.generation
        return ScanPlan(self._until, self._recheck_names, self.rules, generation, self._sweeps_left)

    def _by_age(self, slices: Iterable[list[Entry]], keep_rest: bool) -> Iterator[Slice]:
        oldest = float("inf")
        young = self._clock.wall() - self.rules.least_age
        for part in slices:
            self._scanned += len(part)
            rest = []
            for entry in part:
                if entry.mtime >= young:
                    if entry.mtime < oldest:
                        oldest = entry.mtime  # not min(): this runs for each file
                elif self._delete(entry):
                    continue
                else:
                    self._recheck_names.append(entry.name)
                if keep_rest:
                    rest.append(entry)
                    self._size += entry.size
            if keep_rest:
                rest.sort(key=_by_mtime)
                self._rest.append(rest)
            yield self._slice()
        self._until = min(self._until, oldest + self.rules.least_age)

    def free_space(self, emergency: Emergency) -> Iterator[Slice]:
        """In an emergency: deletes the oldest completed files, whatever their age."""
        need = emergency.need(self.rules, chain.from_iterable(self._rest), self._size, self.files.owners)
        self.files.emergency(need)
        for count, entry in enumerate(oldest_first(self._rest)):
            if not need:
                break
            if self._delete(entry, is_emergency=True):
                need = need.after(entry.size)
            if count % _SLICE == _SLICE - 1:
                yield self._slice()
        yield self._slice()

    def _slice(self) -> Slice:
        self._observers.batch()
        swept, self._swept = self._swept, []
        return Slice(_PAUSE_SECONDS, swept)

    def _delete(self, entry: Entry, *, is_emergency: bool = False) -> bool:
        """Deletes one file if it is due; whether it is gone."""
        if session_id_of(entry.name) is None:
            return self.files.delete_other(entry.name)
        swept = self.files.delete(entry, is_emergency=is_emergency)
        if swept is None:
            return False
        is_due, reason = swept.verdict.is_due, swept.verdict.reason
        if is_due:
            self._deleted[reason] += 1
            self._bytes[reason] += swept.size
            self._kept.pop(entry.name, None)
        elif is_emergency:
            return False  # most of these files are not old enough
        else:
            self._kept[entry.name] = reason
        self._swept.append(swept)
        return is_due

    def report(self, skipped: str, seconds: float) -> SweepReport:
        kept = Counter(self._kept.values())
        return SweepReport(
            deleted=self._deleted.total(),
            bytes=self._bytes.total(),
            errors=self.files.errors,
            scanned=self._scanned,
            kept_in_use=kept["active"],
            duration_seconds=seconds,
            deleted_by_reason=dict(self._deleted),
            bytes_by_reason=dict(self._bytes),
            kept_by_reason=dict(kept),
            skipped=skipped,
        )


def oldest_first(slices: Iterable[list[Entry]]) -> Iterator[Entry]:
    """Entries by mtime, from slices that were sorted one by one: no long sort holds the GIL."""
    return merge(*slices, key=_by_mtime)
