"""`export`: a session with its times in a format that other programs read."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

from streaming_logger.cli._recording import Recording, with_recording
from streaming_logger.cli._text import counted, escape, one_line
from streaming_logger.cli._verb import OK, Verb, archive_argument, as_json, id_argument, note, print_json, raw_argument

__all__ = ["VERBS"]

_DIGITS = 6
#: The terminal for which an asciicast says that it was made; its players wrap longer lines.
_WIDTH, _HEIGHT = 80, 24


def _arguments(parser: ArgumentParser) -> None:
    id_argument(parser)
    archive_argument(parser)
    parser.add_argument(
        "--format",
        choices=list(_FORMATS),
        default="asciicast",
        help="asciicast: version 2, for asciinema and its web player; jsonl: [seconds, text] a line, the text exact",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write to FILE, not to standard output")
    raw_argument(parser)


def _export(args: Namespace) -> int:
    return with_recording(args, lambda recording: _write(recording, args))


def _write(recording: Recording, args: Namespace) -> int:
    lines = 0
    with nullcontext(sys.stdout) if args.output is None else open(args.output, "w", encoding="ascii") as out:
        for line in _FORMATS[args.format](recording, raw=args.raw):
            out.write(f"{as_json(line)}\n")
            lines += 1
    if args.output is not None and args.json:
        print_json({"session": recording.session.id, "file": args.output, "format": args.format, "lines": lines})
    elif args.output is not None:
        print(f"{counted(lines, 'line')} to {one_line(args.output)}")
    for remark in recording.remarks():
        note(f"[{remark}]")
    return OK


def _asciicast(recording: Recording, *, raw: bool) -> Iterator[Any]:
    """The terminal needs a carriage return for each new line. Escaped as `show` does: playing it is showing it."""
    yield {"version": 2, "width": _WIDTH, "height": _HEIGHT, "title": recording.session.id}
    for at, text in _events(recording):
        yield [at, "o", (text if raw else escape(text)).replace("\n", "\r\n")]


def _jsonl(recording: Recording, *, raw: bool) -> Iterator[Any]:
    return ([at, text] for at, text in _events(recording))


def _events(recording: Recording) -> Iterator[tuple[float, str]]:
    """A chunk that ends within a character has its end in the next one, and may itself be empty."""
    return ((round(at, _DIGITS), text) for at, text in recording.texts() if text)


_FORMATS: dict[str, Callable[..., Iterator[Any]]] = {"asciicast": _asciicast, "jsonl": _jsonl}

VERBS = (
    Verb(
        "export",
        "a session with its times: asciicast for asciinema, or jsonl for programs; needs `record_timing`",
        _arguments,
        _export,
        "ID [--format FORMAT] [-o FILE] [--raw]",
    ),
)
