"""What a verb of the command is: its name, its one line of help, its arguments, and what it does."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from typing import Any, NamedTuple

__all__ = ["FOUND_TROUBLE", "OK", "USAGE", "Verb", "note", "print_json", "print_json_lines"]

#: Exit codes.
OK, FOUND_TROUBLE, USAGE = 0, 1, 2


class Verb(NamedTuple):
    """One verb. `run` returns the exit code."""

    name: str
    help: str
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
    usage: str = ""
    """Its arguments as the README's table shows them."""
    aliases: tuple[str, ...] = ()


def note(text: str) -> None:
    """Says something beside the output."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """One JSON document. It is ASCII, so that nothing in it can reach the terminal."""
    print(json.dumps(value, indent=2, default=_plain))


def print_json_lines(values: Iterable[object]) -> None:
    """A JSON array, one value a line."""
    lines = ",\n ".join(json.dumps(value, default=_plain) for value in values)
    sys.stdout.write(f"[{lines}]\n")


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)
