"""What a verb of the command is: its name, its one line of help, its arguments, and what it does."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from typing import Any, NamedTuple

from streaming_logger._base.escape import one_line
from streaming_logger.cli._target import UsageError

__all__ = [
    "FOUND_PROBLEMS",
    "OK",
    "USAGE",
    "Verb",
    "archive_argument",
    "as_json",
    "count",
    "id_argument",
    "note",
    "print_json",
    "print_json_lines",
    "raw_argument",
    "refuse_unknown",
    "seconds",
]

#: Exit codes.
OK, FOUND_PROBLEMS, USAGE = 0, 1, 2

_LONE = re.compile("[\ud800-\udfff]")


class Verb(NamedTuple):
    """One verb. `run` returns the exit code."""

    name: str
    help: str
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
    usage: str = ""
    """Its arguments as the manual's table shows them."""
    aliases: tuple[str, ...] = ()
    lasting: bool = False
    """Whether it runs until it is stopped."""


def id_argument(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the session; a unique prefix suffices")


def archive_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--archive", nargs="?", const="", metavar="URL", help="from the archive; without URL: that of the configuration"
    )


def raw_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--raw", action="store_true", help="the file's bytes as they are, terminal escapes and all")


def count(text: str) -> int:
    """A number of lines, scans or rows: for argparse."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is invalid: expected a non-negative integer")
    return int(text)


def seconds(text: str) -> float:
    """A time span that a clock can take: for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 86400:
        raise ArgumentTypeError(f"{text!r} is invalid: expected seconds from 0 to 86400")
    return number


def refuse_unknown(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises `UsageError` for what does not exist, with the list of what does."""
    names = sorted(known)
    for name in given:
        if name not in names:
            raise UsageError(f"there is no {what} {one_line(name)}; there are {', '.join(map(one_line, names))}")


def note(text: str) -> None:
    """Says something beside the output."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """One JSON document."""
    print(as_json(value, indent=2))


def print_json_lines(values: Iterable[object]) -> None:
    """A JSON array, one value a line."""
    lines = ",\n ".join(map(as_json, values))
    sys.stdout.write(f"[{lines}]\n")


def as_json(value: object, *, indent: int | None = None) -> str:
    r"""JSON in ASCII, so that nothing in it can reach the terminal.

    >>> print(as_json("\x1b \ud800"))
    "\u001b \\ud800"
    """
    text = json.dumps(value, indent=indent, default=_plain)
    if "\\ud" in text:
        # A lone surrogate may stand in an id; jq refuses a whole document for one. It is shown as in text.
        shown = _LONE.sub(
            lambda found: f"\\\\u{ord(found[0]):04x}", json.dumps(value, default=_plain, ensure_ascii=False)
        )
        text = json.dumps(json.loads(shown), indent=indent)
    return text


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)
