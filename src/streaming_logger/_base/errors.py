"""The exceptions this library raises to its caller, and what a caller's exception says of a stream.

Background faults never raise: see `_events`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from streaming_logger._base.escape import one_line
from streaming_logger._base.modules import loaded
from streaming_logger._base.outcomes import Outcome

__all__ = [
    "ConfigError",
    "DirectoryError",
    "Problem",
    "StreamingLoggerError",
    "outcome_of",
    "reason_of",
    "without_secrets",
]

#: Exceptions that end whoever reads a stream: trio's and gevent's. By name, so that none is imported.
_READER_LEFT = {"Cancelled", "GreenletExit"}


#: A URL with a user, a password, a port, a query or a fragment; `user:password@` without a URL.
_SECRET_VALUE = re.compile(r"://[^/\s]*[:%]|://\S*[@?#]|\w:\S+@")
_SECRET_NAME = re.compile(r"(?i)secret|passw|token|credential|signature|(?:access|api|account|private)[_-]?key")
_HIDDEN = "(not shown)"


def without_secrets(key: str, value: object) -> object:
    """The value of a setting as it may be shown and kept; another one for what may hold a secret.

    >>> without_secrets("archive.url", "s3://key:secret@bucket"), without_secrets("archive.url", "ftp://bucket/x")
    ('(not shown)', 'ftp://bucket/x')
    """
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # an int of thousands of digits, a list in lists in lists
        return value
    is_secret = _SECRET_VALUE.search(text) or _SECRET_NAME.search(key)
    if not is_secret and not isinstance(value, str):
        is_secret = _SECRET_NAME.search(text)  # the names in an object
    return _HIDDEN if is_secret else value


def outcome_of(kind: type[BaseException] | None) -> Outcome:
    """How a stream ended that an exception of this type left, or none.

    A reader that leaves, or is cancelled, has "closed" it; "cancelled" is a stream whose source was.

    >>> outcome_of(None), outcome_of(GeneratorExit), outcome_of(OSError)
    ('completed', 'closed', 'error')
    """
    if kind is None:
        return "completed"
    names = {base.__name__ for base in kind.__mro__}
    if issubclass(kind, GeneratorExit) or names & _READER_LEFT:
        return "closed"
    if "CancelledError" in names:  # asyncio's or that of concurrent.futures
        return "closed" if _is_task_cancelled() else "cancelled"
    return "error"


def _is_task_cancelled() -> bool:
    """Whether it is this very task that is being cancelled, and not what it waits for."""
    current_task = getattr(loaded("asyncio"), "current_task", None)
    try:
        return current_task is not None and (task := current_task()) is not None and task.cancelling() > 0
    except RuntimeError:  # no loop runs here
        return False


class StreamingLoggerError(Exception):
    """Base of every exception that this library raises.

    >>> issubclass(ConfigError, StreamingLoggerError)
    True
    """


def reason_of(error: Exception) -> str:
    """What a log line says of an exception: the text of one of ours or of the system's; else its type, too.

    >>> reason_of(ValueError("too long")), reason_of(FileNotFoundError(2, "No such file or directory"))
    ("ValueError('too long')", '[Errno 2] No such file or directory')
    """
    return str(error) if isinstance(error, (OSError, StreamingLoggerError)) and str(error) else repr(error)


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
        return one_line(f"{self.key}: {self.rule}, got {shown}" + (f" ({self.hint})" if self.hint else ""))


class ConfigError(StreamingLoggerError, ValueError):
    """A configuration was refused. `problems` holds all that is wrong with it, not just the first.

    >>> error = ConfigError([Problem("enabled", "must be true or false", "yes")], source="logging_config.json")
    >>> print(error)
    logging_config.json: enabled: must be true or false, got 'yes'
    >>> error.problems[0].key
    'enabled'
    """

    def __init__(self, problems: Sequence[Problem], *, source: str = "configuration") -> None:
        # Whatever is shown, logged or kept of them may be read by others than whoever may read the configuration.
        self.problems = tuple(
            problem._replace(value=without_secrets(problem.key, problem.value)) for problem in problems
        )
        self.source = source
        super().__init__(self.problems, source)

    def __str__(self) -> str:
        return one_line(f"{self.source}: ") + "; ".join(map(str, self.problems))


class DirectoryError(StreamingLoggerError, OSError):
    """The log directory is refused as unsafe; the text says why and what to do.

    >>> str(DirectoryError("logs/streaming is world-writable"))
    'logs/streaming is world-writable'
    """
