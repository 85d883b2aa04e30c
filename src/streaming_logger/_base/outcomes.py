"""How a session ended: as its caller says, or as the library finds; and which ends are failures."""

from __future__ import annotations

from typing import Final, Literal, get_args

__all__ = ["CRASHED", "MEANINGS", "ORPHANED", "Cause", "Ending", "Outcome", "checked_outcome", "has_failed"]

#: How a caller says that a session ended. "closed": its reader left before the end; "cancelled": its source was.
Outcome = Literal["completed", "error", "cancelled", "closed"]

#: How a session ended: its caller's outcome, or what the library found. `MEANINGS` explains each.
Ending = Literal[
    "completed", "error", "cancelled", "closed", "abandoned", "released", "disabled", "crashed", "orphaned"
]

#: For the manual.
MEANINGS: Final[dict[str, str]] = {
    "completed": "the stream came to its end",
    "error": "an exception, or an error that the stream itself reported",
    "cancelled": "the source of the stream was cancelled",
    "closed": "the reader left before the end, or was cancelled",
    "abandoned": "no text for `idle_timeout_minutes`, or a wrapped stream that nobody read to its end",
    "released": "its logger was closed first",
    "disabled": "logging was switched off first",
    "crashed": "its process died, and its text was recovered from the crash journal",
    "orphaned": "its process died, and there was nothing to recover",
}

#: What ended a session: "completed" is its caller, whatever the outcome; "abandoned" is the idle timeout.
Cause = Literal["completed", "abandoned", "released", "disabled", "crashed"]

CRASHED: Final = "crashed"
ORPHANED: Final = "orphaned"

_OUTCOMES = get_args(Outcome)
#: Of the other endings each tells of something that went wrong with the session, those of other versions included.
_WELL = frozenset({"completed", "released", "disabled"})


def has_failed(ending: str) -> bool:
    """Whether a session that ended so failed. The one definition, for retention, statistics, commands and archive.

    >>> has_failed("error"), has_failed("released"), has_failed("completed")
    (True, False, False)
    """
    return ending not in _WELL


def checked_outcome(value: object) -> Outcome:
    """The outcome that a caller gave. Raises `TypeError` for anything but a string, `ValueError` for any other string.

    >>> checked_outcome("closed")
    'closed'
    >>> checked_outcome("banana")
    Traceback (most recent call last):
    ValueError: outcome: must be one of 'completed', 'error', 'cancelled', 'closed', got 'banana'
    """
    if not isinstance(value, str):
        raise TypeError(f"outcome must be str, not {type(value).__name__}")
    for outcome in _OUTCOMES:
        if value == outcome:
            return outcome  # type: ignore[no-any-return]
    shown = repr(value) if len(value) <= 80 else repr(value[:77] + "...")
    raise ValueError(f"outcome: must be one of {', '.join(map(repr, _OUTCOMES))}, got {shown}")
