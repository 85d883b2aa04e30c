"""The events: what happens to sessions and to the logger, each a frozen dataclass.

`EventLog.emit` stamps an event with time and process. Its log record and its line in the ledger are both made from it,
and `from_line` makes it again from that line. What a newer version writes is kept as it is: unknown fields in `more`,
unknown events as `OtherEvent`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from streaming_logger._base.outcomes import CRASHED
from streaming_logger._disk.cut import SESSION_CAP
from streaming_logger._events.event import VERSION, Event, LogText, OtherEvent, event_classes, from_line, named

__all__ = [
    "VERSION",
    "ConfigRefused",
    "ConfigReloaded",
    "DiskEmergency",
    "Event",
    "LogText",
    "LoopEnded",
    "LoopFound",
    "NoTextFound",
    "OtherEvent",
    "RecoveryPassedOver",
    "ReloadRefused",
    "SessionArchived",
    "SessionDeleted",
    "SessionEnded",
    "SessionStalled",
    "StallEnded",
    "TextDropped",
    "WorkerRestarted",
    "event_classes",
    "from_line",
]

#: How much earlier than its file's last bytes an end may be written down: times are rounded.
_GRAIN_SECONDS = 0.01


@named("completed", "abandoned", "released", "crashed")
@dataclass(frozen=True, kw_only=True)
class SessionEnded(Event):
    """A turn of a session is over, and its text is in its file."""

    name_field = "reason"
    message = ("%s %s: %d bytes", "outcome", "file", "bytes")
    session: str
    file: str
    outcome: str
    """An `Ending`, or a word of another version."""
    bytes: int
    """What was written in this turn; of a crash, what was recovered."""
    begin: int | None = None
    """Where its turn begins and ends in the file, where that is known."""
    end: int | None = None
    reason: str = ""
    """The `Cause`."""
    age: float | None = None
    """Seconds since its last write."""
    error: str = ""
    """What the stream said of its failure."""

    @property
    def name(self) -> str:
        return self.reason if self.reason in self.names else self.names[0]

    @property
    def is_recovery(self) -> bool:
        """Whether its process died, and its text was recovered."""
        return self.reason == CRASHED

    def covers(self, mtime: float) -> bool:
        """Whether it is the end of what was written until `mtime`: of the file's last turn."""
        return self.at + _GRAIN_SECONDS >= mtime


@named("deleted")
@dataclass(frozen=True, kw_only=True)
class SessionDeleted(Event):
    """A completed file was deleted."""

    message = ("deleted %s: %s", "file", "reason")
    session: str
    file: str
    bytes: int
    reason: str
    """retention, max_age, disk, immediate, archived."""
    age: float | None = None
    archived: bool | None = None
    """False: it had to go before it was archived."""


@named("archived")
@dataclass(frozen=True, kw_only=True)
class SessionArchived(Event):
    """A completed file was uploaded."""

    message = ("archived %s: %d bytes", "file", "bytes")
    session: str
    file: str
    bytes: int
    key: str


@named("dropped")
@dataclass(frozen=True, kw_only=True)
class TextDropped(Event):
    """Text that no file will hold."""

    level = logging.ERROR
    message = ("%d characters of %s dropped: %s", "characters", "session", "reason")
    cap_message: ClassVar[str] = "%s is longer than max_session_mb: its beginning and its last part are kept"
    session: str
    characters: int
    reason: str
    begin: int | None = None
    """What was cut out of the file: from where, to where, and the size of the marker in its place."""
    end: int | None = None
    marker: int | None = None

    def log_text(self) -> LogText:
        if self.reason == SESSION_CAP:
            return LogText(logging.WARNING, self.cap_message, (self.session,))
        return LogText(self.level, self.message[0], (self.characters, self.session, self.reason), fault="dropped")


@named("loop")
@dataclass(frozen=True, kw_only=True)
class LoopFound(Event):
    """The radar found a loop. Offsets and lengths are in characters."""

    level = logging.WARNING
    message = ("%s loops since character %d: %d characters repeated, %r", "session", "offset", "repeated", "sample")
    session: str
    kind: str
    offset: int
    repeated: int
    period: int | None
    sample: str
    severity: str = "high"
    """low if ordinary answers may look like this."""
    ended: bool = False
    """Whether its turn was over by then."""


@named("loop_ended")
@dataclass(frozen=True, kw_only=True)
class LoopEnded(Event):
    """A loop that the radar found is over, or its stream is."""

    level = logging.INFO
    message = ("%s looped for %d characters, %d of them after it was found", "session", "repeated", "after")
    session: str
    kind: str
    offset: int
    repeated: int
    """Its whole length."""
    period: int | None
    after: int
    """How many of its characters came after it was found."""
    reason: str
    severity: str = "high"


@named("stalled")
@dataclass(frozen=True, kw_only=True)
class SessionStalled(Event):
    """An active session has got no text for `stall_seconds`."""

    level = logging.WARNING
    message = ("%s stalled: no text for %.1f s", "session", "seconds")
    session: str
    seconds: float


@named("stall_ended")
@dataclass(frozen=True, kw_only=True)
class StallEnded(Event):
    """A stalled session got text again, or ended."""

    level = logging.WARNING
    message = ("%s %s after a stall of %.1f s", "session", "reason", "seconds")
    session: str
    seconds: float
    reason: str
    """resumed, or how the session ended."""


@named("no_text")
@dataclass(frozen=True, kw_only=True)
class NoTextFound(Event):
    """A wrapped stream came to its end, and no text was found in its items."""

    level = logging.ERROR
    message = ("no text found in a stream of %s; pass text= to say where it is", "text")
    session: str
    text: str
    """The type and the keys of an item."""

    def log_text(self) -> LogText:
        return LogText(self.level, self.message[0], (self.text,), fault="no_text")


@named("emergency")
@dataclass(frozen=True, kw_only=True)
class DiskEmergency(Event):
    """Completed files are deleted before their time."""

    level = logging.WARNING
    message = ("low disk space: deleting the oldest completed files, %d bytes", "bytes")
    bytes: int
    reason: str


@named("passed_over")
@dataclass(frozen=True, kw_only=True)
class RecoveryPassedOver(Event):
    """A process that recovers a crash journal stands still; its work is done by this one."""

    level = logging.WARNING
    message = ("%s is passed over: %s", "holder", "reason")
    holder: str
    reason: str


@named("worker_restarted")
@dataclass(frozen=True, kw_only=True)
class WorkerRestarted(Event):
    """The worker thread died."""

    level = logging.ERROR
    message = ("the worker thread died and is started again",)


@named("reloaded")
@dataclass(frozen=True, kw_only=True)
class ConfigReloaded(Event):
    """An edit of the configuration took effect."""

    level = logging.INFO
    message = ("configuration reloaded: %s", "text")
    text: str
    """What it changed."""


@named("reload_refused")
@dataclass(frozen=True, kw_only=True)
class ReloadRefused(Event):
    """An edit of the configuration was refused: the settings before it stay in force."""

    level = logging.ERROR
    message = ("configuration reload rejected: %s", "text")
    text: str


@named("config_refused")
@dataclass(frozen=True, kw_only=True)
class ConfigRefused(Event):
    """The configuration was refused at a start: the defaults are in force."""

    level = logging.ERROR
    message = ("using the default settings: %s", "text")
    text: str
