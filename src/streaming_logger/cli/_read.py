"""`show`: the text of a session, escaped for the terminal unless it is wanted raw."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator

from streaming_logger._disk.directory import Directory
from streaming_logger.cli._archive import downloaded
from streaming_logger.cli._target import Target, find_target_of
from streaming_logger.cli._text import escape, one_line, utf8_decoder
from streaming_logger.cli._verb import (
    FOUND_PROBLEMS,
    OK,
    Verb,
    archive_argument,
    as_json,
    count,
    id_argument,
    note,
    print_json,
    raw_argument,
)
from streaming_logger.cli._view import Session, find, scan

__all__ = [
    "VERBS",
    "JsonPrinter",
    "Printer",
    "no_such_session",
    "tail_start",
    "with_session",
]

_CHUNK = 1 << 16


def _show_arguments(parser: ArgumentParser) -> None:
    id_argument(parser)
    archive_argument(parser)
    parser.add_argument("-n", "--tail", type=count, metavar="N", help="only the last N lines")
    raw_argument(parser)


def _show(args: Namespace) -> int:
    return with_session(args, lambda session, fd, _: _print_session(session, fd, args))


def _print_session(session: Session, fd: int, args: Namespace) -> int:
    start = 0 if args.tail is None else tail_start(fd, args.tail)
    os.lseek(fd, start, os.SEEK_SET)
    if args.json:
        text = b"".join(_parts(fd)).decode("utf-8", "backslashreplace")
        print_json({"session": session._asdict(), "text": text})
    else:
        printer = Printer(raw=args.raw)
        for part in _parts(fd):
            printer.write(part)
        printer.end()
    return OK


def with_session(args: Namespace, use: Callable[[Session, int, Directory], int]) -> int:
    """Opens the file of session `args.id` for `use`, and returns its exit code; says so where there is none."""
    if args.archive is None:
        target, wanted = find_target_of(args.id, args.dir, args.config)
        session = find(scan(target.must_exist()), wanted)
        return no_such_session(target, args.id) if session is None else _with_file(target, session, use)
    with downloaded(args) as found:
        if found is None:
            return FOUND_PROBLEMS
        session = scan(found.target)[0]._replace(state=found.record.outcome, loop=found.record.loop or "")
        return _with_file(found.target, session, use) or found.code


def _with_file(target: Target, session: Session, use: Callable[[Session, int, Directory], int]) -> int:
    directory = target.directory
    try:
        fd = directory.open_file(session.file, os.O_RDONLY)
    except OSError as error:
        note(f"{one_line(session.id)}: {error.strerror}")
        return FOUND_PROBLEMS
    try:
        return use(session, fd, directory)
    finally:
        directory.close_file(fd)


def no_such_session(target: Target, wanted: str) -> int:
    note(f"there is no session {one_line(wanted)} in {target.path}; `history {one_line(wanted)}` may know of it")
    return FOUND_PROBLEMS


def tail_start(fd: int, lines: int) -> int:
    """Where the last so many lines of a file begin."""
    end = position = os.fstat(fd).st_size
    if lines <= 0:
        return end
    while position > 0:
        start = max(0, position - _CHUNK)
        part = os.pread(fd, position - start, start)
        index = len(part)
        while (index := part.rfind(b"\n", 0, index)) >= 0:
            if start + index == end - 1:
                continue  # it ends the last line
            lines -= 1
            if not lines:
                return start + index + 1
        position = start
    return 0


def _parts(fd: int) -> Iterator[bytes]:
    while part := os.read(fd, _CHUNK):
        yield part


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
