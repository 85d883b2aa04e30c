"""The command line: verbs, options, exit codes."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import streaming_logger
from streaming_logger._archive.bucket import ArchiveError
from streaming_logger._base.errors import ConfigError
from streaming_logger._base.escape import one_line
from streaming_logger._view.resolve import UsageError
from streaming_logger.cli import (
    _archive,
    _check,
    _doctor,
    _export,
    _follow,
    _help,
    _keep,
    _list,
    _read,
    _replay,
    _scan,
    _timing,
    _top,
)
from streaming_logger.cli._verb import OK, USAGE, Verb, note

__all__ = ["VERBS", "main", "parser"]

VERBS: tuple[Verb, ...] = (
    *_list.VERBS[:1],
    *_read.VERBS,
    *_follow.VERBS,
    *_top.VERBS,
    *_replay.VERBS,
    *_timing.VERBS,
    *_export.VERBS,
    *_keep.VERBS,
    *_archive.VERBS,
    *_list.VERBS[1:],
    *_scan.VERBS,
    *_check.VERBS,
    *_doctor.VERBS,
    *_help.VERBS,
)

_ABOUT = "Inspects a directory of session files, from another terminal, without the server."
_EXIT_CODES = "exit codes: 0 success, 1 problems found, 2 invalid usage or configuration"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    logging.basicConfig(format="streaming-logger: %(message)s")  # what a sweep has to say
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")  # closed by `>&-`
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # LANG=C shall show, not fail
    args = parser().parse_args(arguments)
    verb: Verb = args.verb
    if not verb.lasting:
        gc.disable()  # 100,000 rows are no garbage, and the collector would walk them again and again
    try:
        code = verb.run(args)
        sys.stdout.flush()
    except (ConfigError, UsageError, ArchiveError) as error:
        text = str(error)
        if isinstance(error, ConfigError):
            text = "\n  ".join([f"{error.source}:", *map(str, error.problems)])
        _complain(text)
        return USAGE
    except BrokenPipeError:
        # `| head` has seen enough. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return OK
    except OSError as error:
        _complain(str(error))
        return USAGE
    return code


def _complain(text: str) -> None:
    """With what came from arguments and files escaped."""
    note("\n".join(map(one_line, f"streaming-logger: {text}".split("\n"))))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    # Before the verb they have their defaults, after it they only speak when they are given.
    top = _Parser(prog="streaming-logger", description=_ABOUT, epilog=_EXIT_CODES)
    top.add_argument("--version", action="version", version=f"streaming-logger {streaming_logger.__version__}")
    _common(top, default=None)
    verbs = top.add_subparsers(metavar="VERB", required=True)
    for verb in VERBS:
        sub = verbs.add_parser(
            verb.name, help=verb.help, description=verb.help, epilog=_EXIT_CODES, aliases=list(verb.aliases)
        )
        verb.arguments(sub)
        _common(sub, default=argparse.SUPPRESS)
        sub.set_defaults(verb=verb)
    return top


def _common(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    parser.add_argument("--dir", metavar="DIR", default=default, help="the log directory (that of the configuration)")
    parser.add_argument("--config", metavar="FILE", default=default, help="the configuration (./logging_config.json)")
    parser.add_argument("--json", action="store_true", default=default or False, help="JSON instead of text")
