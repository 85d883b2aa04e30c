"""What `doctor` finds, and what the ledger tells of it: refused configurations, and what went wrong lately."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from streaming_logger._events.ledger import read_events
from streaming_logger._events.model import (
    ConfigRefused,
    ConfigReloaded,
    DiskEmergency,
    Event,
    ReloadRefused,
    TextDropped,
    WorkerRestarted,
)
from streaming_logger._view.target import Target
from streaming_logger.cli import _system
from streaming_logger.cli._text import duration

__all__ = ["RECENT_SECONDS", "Finding", "recently", "refused_configurations"]

#: So far back the ledger's events are problems of today.
RECENT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: how serious it is, and how to fix it."""

    level: str
    """ok, note, or problem."""
    text: str
    todo: str = ""


def refused_configurations(target: Target, owners: list[_system.Owner]) -> Iterator[Finding]:
    """Configurations that were refused, at a start or at an edit, as long as nothing has mended that.

    They are mended by an edit that a server accepted, or ended with their process.
    """
    alive = {owner.pid for owner in owners if owner.alive}
    refused: list[ReloadRefused | ConfigRefused] = []
    with contextlib.suppress(OSError):  # reported by `recently`
        for event in read_events(target.directory):
            if isinstance(event, ConfigReloaded):
                refused.clear()
            elif isinstance(event, ReloadRefused | ConfigRefused):
                refused.append(event)
    now = time.time()
    for kind, texts in _REFUSALS.items():
        current = [
            event
            for event in refused
            if isinstance(event, kind)
            and (event.pid in alive or not _system.has_ended(event.pid))
            and (event.pid in alive or now - event.at < RECENT_SECONDS)
        ]
        if current:
            last = f"{current[-1].text}, {duration(now - current[-1].at)} ago"
            yield Finding(
                "problem",
                f"{texts[len(current) > 1].format(len(current))} (last: {last})",
                "`check-config FILE` names every problem",
            )


#: What the ledger has of configurations that are not in force.
_REFUSALS: dict[type[ReloadRefused | ConfigRefused], tuple[str, str]] = {
    ReloadRefused: ("{} edit of the configuration was refused", "{:,} edits of the configuration were refused"),
    ConfigRefused: (
        "the configuration was refused at a start: the defaults are in force",
        "the configuration was refused at {:,} starts: the defaults are in force",
    ),
}


def recently(target: Target) -> Iterator[Finding]:
    """What the ledger says of the last hour."""
    counts: Counter[type[Event]] = Counter()
    last: dict[type[Event], str] = {}
    try:
        for event in read_events(target.directory):
            kind, seconds = type(event), time.time() - event.at
            if seconds < RECENT_SECONDS:
                counts[kind] += event.characters if isinstance(event, TextDropped) else 1
                reason = event.reason if isinstance(event, TextDropped | DiskEmergency) else ""
                last[kind] = f"{reason}, {duration(seconds)} ago".removeprefix(", ")
    except OSError as error:
        yield Finding("note", f"the ledger cannot be read: {error}")
        return
    for kind, (texts, todo) in _EVENTS.items():
        if counts[kind]:
            text = texts[counts[kind] > 1].format(counts[kind])
            yield Finding("problem", f"in the last hour {text} (last: {last[kind]})", todo)


#: What to say of one event, of several, and what to do.
_EVENTS: dict[type[Event], tuple[tuple[str, str], str]] = {
    TextDropped: (
        ("{} character was dropped", "{:,} characters were dropped"),
        "the disk did not take text fast enough or failed: see disk space and faults above; then max_buffer_mb",
    ),
    DiskEmergency: (
        ("{} sweep had to free disk space", "{:,} sweeps had to free disk space"),
        "the disk or max_directory_mb is too small for the retention",
    ),
    WorkerRestarted: (
        ("a worker thread died once", "a worker thread died {:,} times"),
        "a defect: report the server's log around that time",
    ),
}
