"""Events: what happens to sessions and to the logger, each a frozen dataclass.

`EventLog.emit` stamps an event with time and process. Its log record and its line in the ledger are both made from it,
and `from_line` makes it again from that line. What a newer version writes is kept as it is: unknown fields in `more`,
unknown events as `OtherEvent`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar, get_args, get_type_hints

from streaming_logger._base.outcomes import CRASHED
from streaming_logger._disk.cut import SESSION_CAP

__all__ = [
    "VERSION",
    "ConfigRefused",
    "ConfigReloaded",
    "DiskEmergency",
    "Event",
    "LogText",
    "LoopFound",
    "NoTextFound",
    "OtherEvent",
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

#: Of the ledger's lines. A line stays a flat JSON object; new fields and new events need no new version.
VERSION = 1
#: No time, size or age of ours is beyond it, and every float and date takes part of it.
_LARGEST = 1e15
#: How much earlier than its file's last bytes an end may be written down: times are rounded.
_GRAIN_SECONDS = 0.01

Scalar = str | int | float | bool | None
E = TypeVar("E", bound="type[Event]")


class LogText(NamedTuple):
    """The log record of an event."""

    level: int
    text: str
    """A format string."""
    args: tuple[object, ...]
    fault: str = ""
    """The kind of background error that it is, whose repeats are counted instead of logged; or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event has. A subclass declares its own fields, and its log record."""

    names: ClassVar[tuple[str, ...]] = ()
    """What the ledger calls it."""
    level: ClassVar[int] = logging.DEBUG
    message: ClassVar[tuple[str, ...]] = ("",)
    """The text of its log record, and the fields that it shows; an event without a text has no record."""

    at: float = 0.0
    """Unix time."""
    pid: int = 0
    v: int = VERSION
    """The version of the ledger's line; 0 for lines that are older than versions."""
    more: Mapping[str, Scalar] = field(default_factory=dict)
    """Fields that this version does not know."""

    @property
    def name(self) -> str:
        """What the ledger calls it."""
        return self.names[0]

    def fields(self) -> dict[str, Scalar]:
        """What it says beside when, where and what: its own fields, without those that have their default."""
        defaults = _SCHEMAS[type(self)].defaults
        return {key: value for key, default in defaults.items() if (value := getattr(self, key)) != default}

    def to_line(self) -> dict[str, Scalar]:
        """The object that the ledger's line is the JSON of."""
        line: dict[str, Scalar] = {"v": self.v} if self.v else {}
        return line | {"at": self.at, "event": self.name, "pid": self.pid} | self.fields() | dict(self.more)

    def log_text(self) -> LogText:
        """Its log record."""
        text, *shown = self.message
        return LogText(self.level if text else 0, text, tuple(getattr(self, key) for key in shown))


class _Schema(NamedTuple):
    """The fields of one class of events."""

    types: dict[str, frozenset[type]]
    """The exact types that each may have on a line."""
    defaults: dict[str, object]
    """Of its own fields; `MISSING` for a field that every line must have."""
    required: frozenset[str]


_SCHEMAS: dict[type[Event], _Schema] = {}
_CLASSES: dict[str, type[Event]] = {}
_HEADER = frozenset({"at", "pid", "v", "more"})


def _named(*names: str) -> Callable[[E], E]:
    """Registers a class under the names by which the ledger has it."""

    def register(cls: E) -> E:
        cls.names = names
        hints = get_type_hints(cls)
        own = {found.name: found.default for found in fields(cls) if found.name not in _HEADER}
        types = {key: _types(hints[key]) for key in (*own, "at", "pid", "v")}
        _SCHEMAS[cls] = _Schema(types, own, frozenset(key for key, default in own.items() if default is MISSING))
        _CLASSES.update(dict.fromkeys(names, cls))
        return cls

    return register


def _types(hint: Any) -> frozenset[type]:
    found = frozenset(get_args(hint) or (hint,))
    return found | {int} if float in found else found


@_named("completed", "abandoned", "released", "crashed")
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(Event):
    """A turn of a session is over, and its text is in its file."""

    message = ("%s %s: %d bytes", "outcome", "file", "bytes")
    session: str
    file: str
    outcome: str
    """An `Ending`, or a word of another version."""
    bytes: int
    """What was written in this turn; of a crash, what was recovered."""
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


@_named("deleted")
@dataclass(frozen=True, slots=True, kw_only=True)
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


@_named("archived")
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionArchived(Event):
    """A completed file was uploaded."""

    message = ("archived %s: %d bytes", "file", "bytes")
    session: str
    file: str
    bytes: int
    key: str


@_named("dropped")
@dataclass(frozen=True, slots=True, kw_only=True)
class TextDropped(Event):
    """Text that no file will hold."""

    level = logging.ERROR
    message = ("%d characters of %s dropped: %s", "characters", "session", "reason")
    cap_message: ClassVar[str] = "%s is longer than max_session_mb: its beginning and its last part are kept"
    session: str
    characters: int
    reason: str

    def log_text(self) -> LogText:
        if self.reason == SESSION_CAP:
            return LogText(logging.WARNING, self.cap_message, (self.session,))
        return LogText(self.level, self.message[0], (self.characters, self.session, self.reason), fault="dropped")


@_named("loop")
@dataclass(frozen=True, slots=True, kw_only=True)
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
    ended: bool = False
    """Whether its turn was over by then."""


@_named("stalled")
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStalled(Event):
    """An active session has got no text for `stall_seconds`."""

    level = logging.WARNING
    message = ("%s stalled: no text for %.1f s", "session", "seconds")
    session: str
    seconds: float


@_named("stall_ended")
@dataclass(frozen=True, slots=True, kw_only=True)
class StallEnded(Event):
    """A stalled session got text again, or ended."""

    level = logging.WARNING
    message = ("%s %s after a stall of %.1f s", "session", "reason", "seconds")
    session: str
    seconds: float
    reason: str
    """resumed, or how the session ended."""


@_named("no_text")
@dataclass(frozen=True, slots=True, kw_only=True)
class NoTextFound(Event):
    """A wrapped stream came to its end, and no text was found in its items."""

    level = logging.ERROR
    message = ("no text found in a stream of %s; pass text= to say where it is", "text")
    session: str
    text: str
    """The type and the keys of an item."""

    def log_text(self) -> LogText:
        return LogText(self.level, self.message[0], (self.text,), fault="no_text")


@_named("emergency")
@dataclass(frozen=True, slots=True, kw_only=True)
class DiskEmergency(Event):
    """Completed files are deleted before their time."""

    level = logging.WARNING
    message = ("low disk space: deleting the oldest completed files, %d bytes", "bytes")
    bytes: int
    reason: str


@_named("worker_restarted")
@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRestarted(Event):
    """The worker thread died."""

    level = logging.ERROR
    message = ("the worker thread died and is started again",)


@_named("reloaded")
@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigReloaded(Event):
    """An edit of the configuration took effect."""

    level = logging.INFO
    message = ("configuration reloaded: %s", "text")
    text: str
    """What it changed."""


@_named("reload_refused")
@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadRefused(Event):
    """An edit of the configuration was refused: the settings before it stay in force."""

    level = logging.ERROR
    message = ("configuration reload rejected: %s", "text")
    text: str


@_named("config_refused")
@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRefused(Event):
    """The configuration was refused at a start: the defaults are in force."""

    level = logging.ERROR
    message = ("using the default settings: %s", "text")
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEvent(Event):
    """A line of the ledger that this version cannot interpret; its fields are in `more`."""

    event: str

    @property
    def name(self) -> str:
        return self.event

    def fields(self) -> dict[str, Scalar]:
        return {}


def event_classes() -> list[type[Event]]:
    """All events that this version emits."""
    return list(_SCHEMAS)


def from_line(line: object) -> Event | None:
    """The event on a line of the ledger, given the line's JSON; None if no server can have written it.

    A line of another version whose fields are not those of its event is an `OtherEvent`.
    """
    if not isinstance(line, dict) or not _is_sound(line):
        return None
    line = {"v": 0, **line}
    name = line.pop("event")
    cls = _CLASSES.get(name)
    if cls is None or not _SCHEMAS[cls].required <= line.keys():
        return _other(name, line)
    types = _SCHEMAS[cls].types
    known, more = {}, {}
    for key, value in line.items():
        expected = types.get(key)
        if expected is None:
            more[key] = value
        elif type(value) in expected:
            known[key] = value
        else:
            return _other(name, line)
    if cls is SessionEnded:
        known.setdefault("reason", name)
    return cls(**known, more=more)


def _other(name: str, line: dict[str, Any]) -> OtherEvent:
    header = {key: line.pop(key) for key in ("at", "pid", "v") if key in line}
    return OtherEvent(event=name, **header, more=line)


def _is_sound(line: dict[str, Any]) -> bool:
    """Whether an object can be a line of ours: flat, with an event, a time, and numbers that are some.

    The file may be torn, edited or mixed up with another. A time of NaN, or of a thousand digits, would stop every
    command that reads it.
    """
    if type(line.get("event")) is not str or type(line.get("at")) not in (int, float):
        return False
    if type(line.get("pid", 0)) is not int or type(line.get("v", 0)) is not int:
        return False
    for value in line.values():
        kind = type(value)
        if kind is int or kind is float:
            if not -_LARGEST < value < _LARGEST:  # NaN is not either
                return False
        elif kind is not str and value is not None and kind is not bool:
            return False
    return True
