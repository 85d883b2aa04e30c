"""`help`: the manual, page by page."""

from __future__ import annotations

import pydoc
import shutil
import sys
from argparse import ArgumentParser, Namespace

from streaming_logger._base.escape import one_line
from streaming_logger._config.rules import did_you_mean
from streaming_logger._view.resolve import UsageError
from streaming_logger.cli import _manual
from streaming_logger.cli._verb import OK, Verb, print_json

__all__ = ["VERBS"]

#: Lines longer than this are hard to read.
_MAX_WIDTH = 100


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="a page, or the beginning of its name")


def _help(args: Namespace) -> int:
    if args.topic is None:
        return _list(as_json=args.json)
    topic = _resolve(args.topic)
    text = _manual.page(topic)
    if args.json:
        print_json({"topic": topic, "markdown": text})
    else:
        shown = _manual.rendered(text, min(shutil.get_terminal_size().columns, _MAX_WIDTH))
        if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
            pydoc.pager(shown)
        else:
            print(shown, end="")
    return OK


def _list(*, as_json: bool) -> int:
    pages = {topic: _manual.about(topic) for topic in _manual.topics()}
    if as_json:
        print_json([{"topic": topic, "about": about} for topic, about in pages.items()])
        return OK
    width = max(map(len, pages))
    print("The manual. streaming-logger help TOPIC shows a page:\n")
    for topic, about in pages.items():
        print(f"  {topic:{width}}  {about}")
    return OK


def _resolve(given: str) -> str:
    """The page that is meant: its name, or a unique beginning of it. Raises `UsageError` for others."""
    topics = _manual.topics()
    if given in topics:
        return given
    found = [topic for topic in topics if topic.startswith(given)] if given else []
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{one_line(given)} is the beginning of {len(found)} pages: {', '.join(found)}")
    hint = did_you_mean(given, topics) or "streaming-logger help lists all pages"
    raise UsageError(f"the manual has no page {one_line(given)}: {hint}")


VERBS = (Verb("help", "a page of the manual; without TOPIC a list of all pages", _arguments, _help, usage="[TOPIC]"),)
