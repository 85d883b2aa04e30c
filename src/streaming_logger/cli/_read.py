"""`show`: the text of a session, escaped for the terminal unless it is wanted raw."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from streaming_logger._events.ledger import events_in
from streaming_logger._view.sessions import Opened, Session, find, scan
from streaming_logger._view.target import Target
from streaming_logger._view.text import Text, utf8_decoder
from streaming_logger._view.turns import Turn
from streaming_logger.cli._archive import downloaded
from streaming_logger.cli._text import escape, moment, one_line
from streaming_logger.cli._verb import (
    FOUND_PROBLEMS,
    OK,
    Verb,
    archive_argument,
    as_json,
    count,
    id_argument,
    no_such_session,
    note,
    print_json,
    raw_argument,
    target_and_id,
)

__all__ = ["VERBS", "JsonPrinter", "Printer", "with_session"]


def _show_arguments(parser: ArgumentParser) -> None:
    id_argument(parser)
    archive_argument(parser)
    parser.add_argument("-n", "--tail", type=count, metavar="N", help="only the last N lines")
    raw_argument(parser)


def _show(args: Namespace) -> int:
    return with_session(args, lambda opened: _print_session(opened, args))


def _print_session(opened: Opened, args: Namespace) -> int:
    text = opened.text
    start = 0 if args.tail is None else text.tail_start(args.tail)
    if args.json:
        shown = b"".join(text.parts(start)).decode("utf-8", "backslashreplace")
        turns = [turn._asdict() for turn in opened.turns()]
        print_json({"session": opened.session.shown(), "text": shown, "turns": turns})
        return OK
    printer = Printer(raw=args.raw)
    if sys.stdout.isatty() and not args.raw:
        for turn in opened.turns()[:-1]:
            if turn.end > start:
                _print_part(text, printer, start, turn.end)
                printer.separate(turn)
                start = turn.end
    _print_part(text, printer, start)
    printer.end()
    return OK


def _print_part(text: Text, printer: Printer, start: int, end: int | None = None) -> None:
    for part in text.parts(start, end):
        printer.write(part)


def with_session(args: Namespace, use: Callable[[Opened], int]) -> int:
    """Opens session `args.id` for `use`, and returns its exit code; says so where there is none."""
    if args.archive is None:
        target, wanted = target_and_id(args)
        session = find(scan(target), wanted)
        return no_such_session(target, args.id) if session is None else _with_text(target, session, use)
    with downloaded(args) as found:
        if found is None:
            return FOUND_PROBLEMS
        record = found.record
        session = scan(found.target)[0]._replace(state=record.outcome, loop=record.loop or "")
        return (
            _with_text(found.target, session, lambda opened: use(opened._replace(events=events_in(record.events))))
            or found.code
        )


def _with_text(target: Target, session: Session, use: Callable[[Opened], int]) -> int:
    directory = target.directory
    try:
        text = Text(directory, session.file, target.logs)
    except OSError as error:
        note(f"{one_line(session.id)}: {error.strerror}")
        return FOUND_PROBLEMS
    with text:
        return use(Opened(session, text, directory))


class Printer:
    """Prints bytes of a stream as they come, whatever character a read may have cut in two."""

    def __init__(self, *, raw: bool = False) -> None:
        self._raw = raw
        self._decoder = utf8_decoder()
        self._at_line_start = True

    def write(self, data: bytes) -> None:
        if self._raw:
            sys.stdout.buffer.write(data)
        else:
            self._print(self._decoder.decode(data))
        sys.stdout.flush()

    def end(self) -> None:
        """The stream ends here: so does its line, on a terminal."""
        self._print(self._decoder.decode(b"", final=True))
        if not self._at_line_start and sys.stdout.isatty():
            print()
        self._at_line_start = True
        sys.stdout.flush()

    def separate(self, turn: Turn) -> None:
        """The turn ends here, and another begins: how and when, on a line of its own."""
        self.end()
        when = "" if turn.at is None else f" {moment(turn.at)}"
        line = f"--- {one_line(turn.outcome) or 'end unknown'}{when} ---"
        print(line if "NO_COLOR" in os.environ else f"\x1b[2m{line}\x1b[0m")

    def say(self, text: str, **fields: str) -> None:
        """A remark about the stream, beside it and on its own line; the fields are for JSON."""
        self.end()
        note(f"[{text}]")

    def _print(self, text: str) -> None:
        if text:
            sys.stdout.write(escape(text))
            self._at_line_start = text.endswith("\n")


class JsonPrinter(Printer):
    """The same as JSON, one object a line: {"text": ...} or {"note": ...}."""

    def say(self, text: str, **fields: str) -> None:
        self.end()
        print(as_json({"note": text, **fields}), flush=True)

    def end(self) -> None:
        self._print(self._decoder.decode(b"", final=True))

    def _print(self, text: str) -> None:
        if text:
            print(as_json({"text": text}), flush=True)


VERBS = (Verb("show", "the text of a session", _show_arguments, _show, "ID [--tail N] [--raw] [--archive URL]"),)
