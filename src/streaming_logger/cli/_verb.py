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
from streaming_logger._view.resolve import UsageError
from streaming_logger._view.target import Target, find_target, find_target_of, find_target_of_all
from streaming_logger.cli._text import wrapped

__all__ = [
    "FOUND_PROBLEMS",
    "OK",
    "USAGE",
    "Verb",
    "archive_argument",
    "as_json",
    "count",
    "id_argument",
    "no_such_session",
    "note",
    "print_json",
    "print_json_lines",
    "raw_argument",
    "refuse_unknown",
    "seconds",
    "target_and_id",
    "target_and_prefixes",
    "target_of",
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


def target_of(args: Namespace, *, must_exist: bool = True) -> Target:
    """The directory that is asked for; its remarks are noted."""
    return _noted(find_target(args.dir, args.config), must_exist=must_exist)


def target_and_id(args: Namespace, *, must_exist: bool = True) -> tuple[Target, str]:
    """The same for a verb with an `ID`, which may be a path; and what names the session in the directory."""
    target, wanted = find_target_of(args.id, args.dir, args.config)
    return _noted(target, must_exist=must_exist), wanted


def target_and_prefixes(args: Namespace) -> tuple[Target, tuple[str, ...]]:
    """The same for a verb with any number of `ID`s, which may be beginnings, paths, or a directory."""
    target, prefixes = find_target_of_all(args.prefix, args.dir, args.config)
    return _noted(target, must_exist=True), prefixes


def _noted(target: Target, *, must_exist: bool) -> Target:
    target = target.must_exist() if must_exist else target
    for remark in target.remarks:
        note(f"streaming-logger: {one_line(remark)}")
    return target


def no_such_session(target: Target, wanted: str) -> int:
    """Says so; the exit code."""
    shown = one_line(wanted)
    note(f"there is no session {shown} in {one_line(str(target.path))}; `history {shown}` may know of it")
    return FOUND_PROBLEMS


def count(text: str, most: int = 1_000_000_000) -> int:
    """A number of lines, scans or rows: for argparse."""
    if not text.isdecimal() or len(text) > len(str(most)) or int(text) > most:
        raise ArgumentTypeError(f"{text!r} is invalid: expected an integer from 0 to {most}")
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
    """Says something beside the output, a sentence a line."""
    sys.stdout.flush()
    lines = (wrapped(line, stream=sys.stderr) for line in text.split("\n"))
    print("\n".join(lines), file=sys.stderr, flush=True)


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
