"""The numbers: counters that the modules add to, and the frozen values a caller sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streaming_logger._base.sync import Guard

__all__ = ["FULL", "Counters", "Health", "Stats", "SweepReport"]

#: Why text is dropped that finds no memory.
FULL = "buffer full"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What one sweep did. Mappings are by reason: retention, max_age, disk; or why a file was kept.

    >>> SweepReport(deleted=2, bytes=300, deleted_by_reason={"retention": 2}).deleted
    2
    """

    deleted: int = 0
    bytes: int = 0
    errors: int = 0
    scanned: int = 0
    kept_in_use: int = 0
    """Files old enough to go, but active: locked, or parked by a live process."""
    duration_seconds: float = 0.0
    deleted_by_reason: Mapping[str, int] = field(default_factory=dict)
    bytes_by_reason: Mapping[str, int] = field(default_factory=dict)
    kept_by_reason: Mapping[str, int] = field(default_factory=dict)
    """Files old enough to go that were kept: active, pinned, "not archived"; retention: of a failed session."""
    skipped: str = ""
    """Why nothing was swept at all, e.g. another process is sweeping; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A snapshot of one process's logger. Counts are since its start, sizes in bytes.

    >>> Stats(sessions_active=1).sessions_active
    1
    """

    sessions_active: int = 0
    sessions_completed: int = 0
    """Completed on request, with whatever outcome."""
    sessions_abandoned: int = 0
    """Completed by the idle timeout."""
    chunks_written: int = 0
    """Chunks that write() accepted, buffered ones and dropped ones included."""
    bytes_written: int = 0
    """UTF-8 bytes of chunks that reached a file."""
    bytes_buffered: int = 0
    """UTF-8 bytes of chunks that wait in memory."""
    dropped_characters: Mapping[str, int] = field(default_factory=dict)
    """Characters that no file will hold, by reason."""
    flushes: int = 0
    write_errors: int = 0
    files_open: int = 0
    files_parked: int = 0
    files_reopened: int = 0
    """Files that were removed or renamed under an open session."""
    completions_overdue: int = 0
    """Times complete_session(wait=True) gave up waiting and left the rest to the worker."""
    extraction_errors: int = 0
    """Items of wrapped streams whose text could not be told; they passed unlogged."""
    streams_without_text: int = 0
    """Wrapped streams that yielded items in which no text was found."""
    loops_found: int = 0
    """Loops that the radar found in streams."""
    runaway_characters: int = 0
    """How many characters these loops went on for after they were found."""
    stalls: int = 0
    """Times an active session got no text for `stall_seconds`."""
    chunks_unjournaled: int = 0
    """Chunks that found no room in the crash journal."""
    sessions_recovered: int = 0
    """Sessions of dead processes whose crash journal this process recovered."""
    bytes_recovered: int = 0
    """Their text that only the journal had."""
    uploads: int = 0
    """Session files that were uploaded to the archive."""
    uploaded_bytes: int = 0
    """Their texts' bytes there, compressed."""
    upload_errors: int = 0
    """Passes over the directory and files that failed; both are tried again."""
    deleted_unarchived: int = 0
    """Files that had to be deleted before they were archived: by max_age or an emergency."""
    sweeps: int = 0
    sweep_errors: int = 0
    deleted_files: Mapping[str, int] = field(default_factory=dict)
    """By reason: retention, max_age, disk, immediate, archived."""
    deleted_bytes: Mapping[str, int] = field(default_factory=dict)
    last_sweep_time: float | None = None
    """Unix time at which the last sweep ended."""
    last_sweep_seconds: float | None = None
    reloads: int = 0
    reloads_refused: int = 0
    worker_alive: bool = False
    worker_restarts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a logger is, for a server's health endpoint: "ok", "degraded" or "failing", and why.

    Degraded: something goes wrong now, and nothing is lost by it yet. Failing: text is
    being dropped, or no worker can run.

    >>> Health(status="ok").reasons
    ()
    """

    status: Literal["ok", "degraded", "failing"]
    reasons: tuple[str, ...] = ()


class Counters:
    """What every module adds to. Without a lock: a signal handler that interrupts an addition on the
    main thread may wait for the worker, which adds, too. `counts[key] += n` on plain dicts, whose
    key is there, is one step under the GIL (see `_table`); without one `_guard` makes it one."""

    def __init__(self) -> None:
        self._guard = Guard()
        self._plain: dict[str, int] = {}
        self.dropped_characters: dict[str, int] = {}
        """By reason. `SessionTable` adds to it in the same step in which it drops."""
        self._deleted_files: dict[str, int] = {}
        self._deleted_bytes: dict[str, int] = {}
        self._last_sweep: tuple[float, float] | None = None

    def add(self, **amounts: int) -> None:
        for name, amount in amounts.items():
            self._count(self._plain, name, amount)

    def dropped(self, reason: str, characters: int) -> None:
        self._count(self.dropped_characters, reason, characters)

    def deleted(self, reason: str, files: int, size: int) -> None:
        self._count(self._deleted_files, reason, files)
        self._count(self._deleted_bytes, reason, size)

    def swept(self, report: SweepReport, wall: float) -> None:
        self.add(sweeps=1, sweep_errors=report.errors)
        self._last_sweep = (wall, report.duration_seconds)
        for reason, files in report.deleted_by_reason.items():
            self.deleted(reason, files, report.bytes_by_reason[reason])

    def snapshot(self, **live: int | bool) -> Stats:
        """The frozen value; `live` are the numbers that only exist at this moment."""
        ended, seconds = self._last_sweep or (None, None)
        return Stats(
            last_sweep_time=ended,
            last_sweep_seconds=seconds,
            dropped_characters={reason: count for reason, count in self.dropped_characters.copy().items() if count},
            deleted_files=self._deleted_files.copy(),
            deleted_bytes=self._deleted_bytes.copy(),
            **{**self._plain, **live},  # type: ignore[arg-type]
        )

    def _count(self, counts: dict[str, int], key: str, amount: int) -> None:
        counts.setdefault(key, 0)
        with self._guard:
            counts[key] += amount
