"""What all events have in common: how one becomes a log record and a line of the ledger, and is read back.

The events themselves are in `model`, which is where others import all of this from: without it none is known here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Self, TypeVar, get_args, get_type_hints

__all__ = ["VERSION", "Event", "LogText", "OtherEvent", "event_classes", "from_line", "named"]

#: Of the ledger's lines. A line stays a flat JSON object; new fields and new events need no new version.
VERSION = 1
#: No time, size or age of ours is beyond it, and every float and date takes part of it.
_LARGEST = 1e15

Scalar = str | int | float | bool | None
E = TypeVar("E", bound="type[Event]")
A = TypeVar("A", bound="Event")


class LogText(NamedTuple):
    """The log record of an event."""

    level: int
    text: str
    """A format string."""
    args: tuple[object, ...]
    fault: str = ""
    """The kind of background error that it is, whose repeats are counted instead of logged; or empty."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What every event has. A subclass declares its own fields, and its log record."""

    names: ClassVar[tuple[str, ...]] = ()
    """What the ledger calls it."""
    name_field: ClassVar[str] = ""
    """Of an event with several names: the field that tells which it has."""
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

    def stamped(self, at: float, pid: int) -> Self:
        """The same, as it happened at this time in this process."""
        return _made(type(self), {**vars(self), "at": round(at, 3), "pid": pid})

    def fields(self) -> dict[str, Scalar]:
        """What it says beside when, where and what: its own fields, without those that have their default."""
        defaults = _SCHEMAS[type(self)].defaults
        return {key: value for key, default in defaults.items() if (value := getattr(self, key)) != default}

    def to_line(self) -> dict[str, Scalar]:
        """The object that the ledger's line is the JSON of."""
        line: dict[str, Scalar] = {"v": self.v} if self.v else {}
        line.update(at=self.at, event=self.name, pid=self.pid)
        line.update(self.fields())
        line.update(self.more)
        return line

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


_SCALARS = frozenset({str, int, float, bool, type(None)})
_NUMBERS = frozenset({int, float})
#: What each line may have, whatever its event.
_HEADER = {"event": frozenset({str}), "at": _NUMBERS, "pid": frozenset({int}), "v": frozenset({int})}
_SCHEMAS: dict[type[Event], _Schema] = {}
_CLASSES: dict[str, type[Event]] = {}


def named(*names: str) -> Callable[[E], E]:
    """Registers a class under the names by which the ledger has it."""

    def register(cls: E) -> E:
        cls.names = names
        hints = get_type_hints(cls)
        own = {found.name: found.default for found in fields(cls) if found.name not in (*_HEADER, "more")}
        types = _HEADER | {key: _types(hints[key]) for key in own}
        _SCHEMAS[cls] = _Schema(types, own, frozenset(key for key, default in own.items() if default is MISSING))
        _CLASSES.update(dict.fromkeys(names, cls))
        return cls

    return register


def _types(hint: Any) -> frozenset[type]:
    found = frozenset(get_args(hint) or (hint,))
    return found | {int} if float in found else found


@named()
@dataclass(frozen=True, kw_only=True)
class OtherEvent(Event):
    """A line of the ledger that this version cannot interpret; its fields are in `more`."""

    event: str

    @property
    def name(self) -> str:
        return self.event


def event_classes() -> list[type[Event]]:
    """All events that this version emits."""
    return list(dict.fromkeys(_CLASSES.values()))


def from_line(line: object) -> Event | None:
    """The event on a line of the ledger, given the line's JSON; None if no server can have written it.

    The file may be torn, edited or mixed up with another: a line is a flat object with an event, a time, and numbers
    that are some. One whose fields are not those of its event is of another version: an `OtherEvent`.
    """
    if not isinstance(line, dict) or "at" not in line or type(name := line.get("event")) is not str:
        return None
    cls = _CLASSES.get(name, OtherEvent)
    types, _, required = _SCHEMAS[cls]
    known: dict[str, Any] = {"v": 0}
    more: dict[str, Scalar] = {}
    fits = True
    for key, value in line.items():
        kind = type(value)
        if kind is not str and (
            kind not in _SCALARS or (kind in _NUMBERS and not -_LARGEST < value < _LARGEST)  # NaN is not either
        ):
            return None
        if key not in types:
            more[key] = value
        elif kind in types[key]:
            known[key] = value
        elif key in _HEADER:
            return None
        else:
            fits = False
    if not fits or not required <= known.keys():
        cls, more = OtherEvent, {key: value for key, value in line.items() if key not in _HEADER}
        known = {key: value for key, value in known.items() if key in _HEADER}
    if cls is not OtherEvent:
        del known["event"]
    if cls.name_field:
        known.setdefault(cls.name_field, name)
    known["more"] = more
    return _made(cls, known)


def _made(cls: type[A], values: dict[str, Any]) -> A:
    """An event with these fields: not by its `__init__`, which takes as long as all the rest of reading a line."""
    event = object.__new__(cls)
    vars(event).update(values)
    return event
