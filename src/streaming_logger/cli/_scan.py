"""`scan`: the loops in any text files, as the detector of runaway generations finds them."""

from __future__ import annotations

import codecs
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import BinaryIO

from streaming_logger._watch.loops import Finding, LoopDetector
from streaming_logger.cli._text import one_line
from streaming_logger.cli._verb import FOUND_PROBLEMS, OK, USAGE, Verb, note, print_json_lines

__all__ = ["VERBS"]

_CHUNK = 1 << 16


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="a text file; - is the standard input")


def _scan(args: Namespace) -> int:
    found: list[tuple[str, Finding]] = []
    failed = False
    for name in args.files:
        try:
            found += [(name, finding) for finding in _findings(name)]
        except OSError as error:
            note(f"streaming-logger: {one_line(name)}: {error.strerror}")
            failed = True
    if args.json:
        print_json_lines({"file": name, **finding._asdict()} for name, finding in found)
    else:
        for name, finding in found:
            print(_line(name, finding))
    return FOUND_PROBLEMS if found else USAGE if failed else OK


def _findings(name: str) -> Iterator[Finding]:
    if name == "-":
        yield from _of_stream(sys.stdin.buffer)
    else:
        with open(name, "rb") as stream:
            yield from _of_stream(stream)


def _of_stream(stream: BinaryIO) -> Iterator[Finding]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    detector = LoopDetector()
    while data := stream.read(_CHUNK):
        yield from detector.feed(decoder.decode(data))
    yield from detector.end()


def _line(name: str, finding: Finding) -> str:
    period = f", period {finding.period}" if finding.period else ""
    return (
        f"{one_line(name)}: {finding.kind} loop at character {finding.offset:,}, "
        f"found after {finding.repeated:,}{period}: {one_line(finding.sample)}"
    )


VERBS = (Verb("scan", "the loops in text files: where a generation ran away", _arguments, _scan, "FILE..."),)
