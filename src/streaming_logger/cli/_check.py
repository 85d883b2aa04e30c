"""`check-config`: every problem at once, or the settings in force and where each comes from."""

from __future__ import annotations

import json
import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from streaming_logger._base.errors import ConfigError
from streaming_logger._config.schema import (
    MAX_FILE_BYTES,
    SECTION,
    WITHOUT_SECTION,
    Config,
    describe,
    flattened,
    load,
    value_of,
    variable_of,
)
from streaming_logger._disk.paths import exists
from streaming_logger._disk.regular import read_regular
from streaming_logger._sweep import rules
from streaming_logger._view.resolve import UsageError
from streaming_logger._view.target import DEFAULT_FILE
from streaming_logger.cli._text import Column, cut, one_line, print_table, wrapped
from streaming_logger.cli._verb import OK, USAGE, Verb, note, print_json

__all__ = ["VERBS", "remarks"]

#: In fewer columns a meaning says nothing.
_LEAST_MEANING = 12


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help=f"the configuration file (./{DEFAULT_FILE})")


def _check_config(args: Namespace) -> int:
    given = args.file or args.config
    path = Path(given or DEFAULT_FILE)
    if given is not None and not exists(path):
        raise UsageError(f"there is no configuration file {path}")
    try:
        config = load(path)
    except ConfigError as error:
        if not args.json:
            raise
        problems = [problem._asdict() | {"value": repr(problem.value)} for problem in error.problems]
        print_json({"file": str(path), "problems": problems})
        return USAGE
    settings = {
        key: {"value": value_of(config, key), "from": source, "meaning": meaning}
        for (key, _, meaning), source in zip(describe(), _sources(path, config), strict=True)
    }
    if args.json:
        print_json({"file": str(path), "problems": [], "settings": settings, "remarks": remarks(config)})
        return OK
    rows: list[tuple[str, ...]] = [
        (key, one_line(json.dumps(of["value"])), str(of["from"]), str(of["meaning"])) for key, of in settings.items()
    ]
    print_table(*_fitting(rows))
    for remark in remarks(config):
        note(wrapped(f"note: {remark}", 6))
    end = "no problems" if exists(path) else "there is no such file; this is what holds without one"
    note(f"{path}: {end}")
    return OK


def _fitting(rows: list[tuple[str, ...]]) -> tuple[tuple[Column, ...], list[tuple[str, ...]]]:
    """On a terminal as much of the prose as leaves each setting on its line: all are seen without scrolling."""
    columns = Column("SETTING"), Column("VALUE"), Column("FROM"), Column("MEANING")
    if not sys.stdout.isatty():
        return columns, rows
    *widths, _ = (max(map(len, cells)) + 2 for cells in zip(*rows, strict=True))
    left = shutil.get_terminal_size().columns - sum(widths) - 1
    if left < _LEAST_MEANING:
        return columns[:-1], [row[:-1] for row in rows]
    return columns, [(*row[:-1], cut(row[-1], left)) for row in rows]


def _sources(path: Path, config: Config) -> list[str]:
    """Where each setting comes from, in the order of `describe`. The configuration has been found good."""
    document = json.loads(read_regular(path, MAX_FILE_BYTES)) if exists(path) else {}
    section = document.get(SECTION)
    in_file = set() if section is None else set(flattened(section))
    variables = {key: variable_of(key) for key, _, _ in describe()}
    given = {label.upper(): label for label in os.environ}
    sources = []
    for key, variable in variables.items():
        if variable in given:
            sources.append(given[variable])
        elif key in in_file:
            sources.append("file")
        elif config is WITHOUT_SECTION and value_of(config, key) != value_of(Config(), key):
            sources.append("no section")
        else:
            sources.append("default")
    return sources


def remarks(config: Config) -> list[str]:
    """Settings that are allowed together, and hardly meant."""
    found = []
    if config is WITHOUT_SECTION:
        found.append(
            f"there is no section {SECTION}: each file is deleted when its session completes; "
            f'to keep files for 10 minutes, add "{SECTION}": {{}}'
        )
    else:
        found += rules.remarks(config)
    if config.idle_timeout_minutes is None:
        found.append("idle_timeout_minutes is null: a session that is never completed stays active forever")
    return found


VERBS = (
    Verb(
        "check-config",
        "every problem of a configuration at once; the settings, and where each comes from",
        _arguments,
        _check_config,
        "[FILE]",
    ),
)
