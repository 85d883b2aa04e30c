"""`replay`: the text of a session in the time in which it was generated."""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from streaming_logger.cli._read import JsonPrinter, Printer
from streaming_logger.cli._recording import Recording, with_recording
from streaming_logger.cli._verb import OK, Verb, archive_argument, id_argument, raw_argument, seconds

__all__ = ["VERBS"]

#: More than that is not caught up: the program was stopped by Ctrl-Z, or the terminal's output was.
_LATE_SECONDS = 0.25
#: No clock sleeps for the delays that a damaged line can have.
_SLEEP_SECONDS = 3600.0


def _arguments(parser: ArgumentParser) -> None:
    id_argument(parser)
    archive_argument(parser)
    parser.add_argument("--speed", type=_factor, default=1.0, metavar="X", help="so many times as fast (1)")
    parser.add_argument("--max-pause", type=seconds, metavar="S", help="no pause is longer than S seconds")
    raw_argument(parser)


def _factor(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.001 <= number <= 1e6:
        raise ArgumentTypeError(f"{text!r} is invalid: expected a factor from 0.001 to 1000000")
    return number


def _replay(args: Namespace) -> int:
    return with_recording(args, lambda recording: _play(recording, args))


def _play(recording: Recording, args: Namespace) -> int:
    printer = JsonPrinter() if args.json else Printer(raw=args.raw)
    longest = float("inf") if args.max_pause is None else args.max_pause
    due = time.monotonic()
    try:
        for delay, data in recording.chunks():
            due = max(due, time.monotonic() - _LATE_SECONDS) + min(delay / args.speed, longest)
            _sleep_until(due)
            printer.write(data)
        for data in recording.rest():
            printer.write(data)
        printer.end()
        for remark in recording.remarks():
            printer.say(remark)
    except KeyboardInterrupt:
        printer.end()
    return OK


def _sleep_until(due: float) -> None:
    while (left := due - time.monotonic()) > 0:
        time.sleep(min(left, _SLEEP_SECONDS))


VERBS = (
    Verb(
        "replay",
        "plays a session as it was generated, pauses and all; needs `record_timing`",
        _arguments,
        _replay,
        "ID [--speed X] [--max-pause S] [--raw]",
        lasting=True,
    ),
)
