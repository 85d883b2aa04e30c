"""The exceptions this library raises to its caller, and what a caller's exception says of a stream.

Background faults never raise: see `_events`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streaming_logger._base.stats import Outcome

__all__ = ["ConfigError", "DirectoryError", "Problem", "StreamingLoggerError", "outcome_of"]

#: Exceptions by which asyncio, concurrent.futures, trio and gevent cancel; by name, so that none is imported.
_CANCELLATIONS = {"CancelledError", "Cancelled", "GreenletExit"}


def outcome_of(kind: type[BaseException] | None) -> Outcome:
    """How a stream ended that an exception of this type left, or none.

    >>> outcome_of(None), outcome_of(GeneratorExit), outcome_of(OSError)
    ('completed', 'closed', 'error')
    """
    if kind is None:
        return "completed"
    if issubclass(kind, GeneratorExit) or _CANCELLATIONS & {base.__name__ for base in kind.__mro__}:
        return "closed"
    return "error"


class StreamingLoggerError(Exception):
    """Base of every exception that this library raises.

    >>> issubclass(ConfigError, StreamingLoggerError)
    True
    """


class Problem(NamedTuple):
    """One thing that is wrong with a configuration: where, which rule, and the value found.

    >>> print(Problem("flush_interval_seconds", "must be a number from 0.01 to 3600", -1))
    flush_interval_seconds: must be a number from 0.01 to 3600, got -1
    """

    key: str
    rule: str
    value: object
    hint: str = ""

    def __str__(self) -> str:
        try:
            shown = repr(self.value)
        except ValueError:  # an int of thousands of digits
            shown = f"a huge {type(self.value).__name__}"
        if len(shown) > 80:
            shown = shown[:77] + "..."
        return f"{self.key}: {self.rule}, got {shown}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(StreamingLoggerError, ValueError):
    """A configuration was refused. `problems` holds all that is wrong with it, not just the first.

    >>> error = ConfigError([Problem("enabled", "must be true or false", "yes")], source="logging_config.json")
    >>> print(error)
    logging_config.json: enabled: must be true or false, got 'yes'
    >>> error.problems[0].key
    'enabled'
    """

    def __init__(self, problems: Sequence[Problem], *, source: str = "configuration") -> None:
        self.problems = tuple(problems)
        self.source = source
        super().__init__(self.problems, source)

    def __str__(self) -> str:
        return f"{self.source}: " + "; ".join(map(str, self.problems))


class DirectoryError(StreamingLoggerError, OSError):
    """The log directory is refused as unsafe; the text says why and what to do.

    >>> str(DirectoryError("logs/streaming is world-writable"))
    'logs/streaming is world-writable'
    """
