"""The configuration in force: one reference, swapped when its file is edited.

Everything else reads `settings.config` anew each time, so an edit takes effect as a
whole and at once. Only the worker calls `refresh`, once a flush interval.

A copy lies in the directory itself, for the operator's command: it may be run where the
server's file and environment are not, and must not sweep by other rules than the server.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from streaming_logger._base.errors import ConfigError
from streaming_logger._base.stats import Counters
from streaming_logger._config.schema import (
    MAX_FILE_BYTES,
    SECTION,
    WITHOUT_SECTION,
    Config,
    describe,
    load,
    parse,
    value_of,
)
from streaming_logger._disk.directory import PRIVATE, Directory
from streaming_logger._disk.process_files import replace_file
from streaming_logger._disk.regular import read_whole
from streaming_logger._events.event_log import EventLog
from streaming_logger._events.model import ConfigRefused, ConfigReloaded, ReloadRefused

__all__ = ["COPY", "Settings", "write_copy"]

COPY = f"{PRIVATE}/settings.json"
#: The settings that stay as they were at the start.
_FIXED = ("directory", "record_timing", "crash_journal", "crash_journal_mb")


class Settings:
    """The configuration in force, and the file it is watched in (None: not watched)."""

    def __init__(self, config: Config, path: Path | None = None, refusal: str = "") -> None:
        """`refusal` says why the file was refused at the start, where it was: `config` are the defaults then."""
        self._use(config)
        self.refusal = refusal
        """Why the configuration in the file is not the one in force; empty where it is. A forked child has it, too."""
        self._path = None if path is None else path.absolute()  # the server may change its directory
        self._seen = self._signature()

    def refresh(self, events: EventLog, counters: Counters) -> bool:
        """Picks up an edit of the file; whether it did. A bad edit changes nothing and is logged once."""
        signature = self._signature()
        if signature == self._seen or self._path is None:
            return False
        self._seen = signature
        try:
            if signature is None:
                raise FileNotFoundError(f"{self._path} is gone")
            new = load(self._path)
        except (ConfigError, FileNotFoundError, MemoryError) as error:
            counters.add(reloads_refused=1)
            self.refusal = text = str(error) or repr(error)
            events.emit(ReloadRefused(text=text))
            return False
        mended, self.refusal = bool(self.refusal), ""
        is_bare = new is WITHOUT_SECTION
        old = self.config
        for name in _FIXED:
            if getattr(new, name) != getattr(old, name):
                events.log(logging.WARNING, "%s %r takes effect at the next start", name, getattr(new, name))
                new = replace(new, **{name: getattr(old, name)})
        changed = [key for key, *_ in describe() if value_of(new, key) != value_of(old, key)]
        if changed:
            self._use(new)
            counters.add(reloads=1)
            if is_bare:
                self._warn(events)
        if changed or mended:
            text = ", ".join(f"{key} {value_of(old, key)} -> {value_of(new, key)}" for key in changed)
            text = text or "as before"
            events.emit(ConfigReloaded(text=text))
        return bool(changed) or mended

    def opened(self, events: EventLog) -> None:
        """The logger begins with these settings: says what an operator should know about them."""
        if self.refusal:
            events.emit(ConfigRefused(text=self.refusal))
        if self.config is WITHOUT_SECTION:
            self._warn(events)

    def _warn(self, events: EventLog) -> None:
        """There is no section of ours."""
        events.log(
            logging.WARNING,
            "no time-based cleanup is configured in section streaming_logs: each file is deleted when its session "
            'completes; to keep files for 10 minutes, add "streaming_logs": {} to %s',
            self._path or "the configuration",
        )

    def _use(self, config: Config) -> None:
        self.config = config
        self.buffer_bytes = int(config.max_buffer_mb * 1_000_000)
        """`max_buffer_mb` in bytes: the write path asks for it."""

    def _signature(self) -> tuple[int, ...] | None:
        """What changes when the file does; None without a file."""
        if self._path is None:
            return None
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def differences(config: Config, directory: Directory, names: Iterable[str]) -> str:
    """Which of these settings differ in the copy in a directory; empty where none does. Raises `OSError`."""
    fd = directory.open_file(COPY, os.O_RDONLY)
    try:
        other = parse(json.loads(read_whole(fd, MAX_FILE_BYTES)), environ={})
    except (ValueError, RecursionError):  # not JSON, or refused: some other version's
        return ""
    finally:
        directory.close_file(fd)
    return ", ".join(
        f"{key} {getattr(other, key)} there and {getattr(config, key)} here"
        for key in names
        if getattr(other, key) != getattr(config, key)
    )


def write_copy(config: Config, directory: Directory) -> None:
    """Leaves the settings in force in a directory that is ours. Never raises `OSError`: nothing depends on it."""
    if not directory.managed:
        return
    with contextlib.suppress(OSError):
        replace_file(directory, COPY, json.dumps({SECTION: asdict(config)}, indent=2).encode())
