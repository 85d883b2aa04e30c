"""What the log says when a logger begins: of its directory, and of where its text is until it is in the files."""

from __future__ import annotations

import logging
from pathlib import Path

from streaming_logger._config.schema import Config
from streaming_logger._config.watch import differences
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.owner import Owners
from streaming_logger._events.event_log import EventLog
from streaming_logger._sweep.rules import SETTINGS
from streaming_logger._wal.private import PrivateStorage
from streaming_logger._wal.storage import SharedStorage, StorageError
from streaming_logger._wal.supply import Storage

__all__ = ["make_storage", "warn"]


def warn(directory: Directory, config: Config, events: EventLog) -> None:
    """Logs what an operator should know about the directory."""
    path = directory.path
    if directory.managed and (text := _other_settings(directory, config)):
        events.log(
            logging.WARNING,
            "another process uses %s with other settings: %s; the shortest window wins for all files",
            path,
            text,
        )
    if not directory.can_lock:
        events.log(
            logging.WARNING,
            "this system has no flock: a file counts as in use while the system refuses to delete it (Windows), "
            "and no promise is tested here",
        )
    if directory.group_writable:
        events.log(
            logging.WARNING,
            "%s is writable by its group, whose members can replace the files in it; run: chmod g-w %s",
            path,
            path,
        )
    if not directory.managed:
        events.log(
            logging.WARNING,
            "%s already holds other *.log files: it is written to, but not swept; adopt: true sweeps it too",
            path,
        )


def _other_settings(directory: Directory, config: Config) -> str:
    """How the settings of a live process differ: each sweeps by its own."""
    others = Owners(directory)
    try:
        return differences(config, directory, SETTINGS) if others.any_alive() else ""
    except OSError:
        return ""  # there is no copy, or it cannot be read: nothing depends on it
    finally:
        others.close()


def make_storage(directory: Directory, config: Config, events: EventLog, *, is_again: bool) -> Storage:
    """Where the log is. Reported, once, where a crash may lose what it holds; `is_again`: that is said already."""
    if not config.crash_journal:
        return PrivateStorage()
    try:
        limit = int(config.crash_journal_mb * 1_000_000)
        return SharedStorage(Path(config.crash_journal_directory), directory, limit)
    except StorageError as error:
        text = "a crash may lose the last flush interval: %s"
        if not is_again and config.crash_journal == "auto":
            events.log(logging.INFO, text, error)
        elif not is_again:
            events.report("crash journal", text, error, subject="journal", level=logging.WARNING)
        return PrivateStorage()
