"""Marks of archived files: up to which state a session's file is done with, as far as the archive is concerned."""

from __future__ import annotations

import contextlib
import json
import os
from typing import NamedTuple

from streaming_logger._disk.directory import PRIVATE, Directory
from streaming_logger._disk.process_files import replace_file

__all__ = ["Mark", "Marks"]

_FOLDER = f"{PRIVATE}/archived"


class Mark(NamedTuple):
    """A file in this state is archived, or not wanted there (`date` is empty then)."""

    inode: int
    size: int
    mtime_ns: int
    date: str = ""
    """The day and host under which it is in the archive: a later turn goes to the same place."""
    host: str = ""
    url: str = ""
    """Of the archive; empty in marks of version 0.1.0."""

    @classmethod
    def of(cls, found: os.stat_result, date: str = "", host: str = "", url: str = "") -> Mark:
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, date, host, url)

    def covers(self, found: os.stat_result) -> bool:
        """Whether the file is still in that state."""
        return self[:3] == Mark.of(found)[:3]


_TYPES = [int, int, int, str, str, str]


class Marks:
    """The marks of one directory, by the names of session files."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._in_use = False

    def read(self, name: str) -> Mark | None:
        """Raises `OSError`."""
        self._in_use = True
        try:
            fd = self._directory.open_file(f"{_FOLDER}/{name}", os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            mark = Mark(**json.loads(os.read(fd, 4096)))
        except (ValueError, TypeError, RecursionError):  # damaged, or a later version's: the file is archived anew
            return None
        finally:
            self._directory.close_file(fd)
        return mark if list(map(type, mark)) == _TYPES else None

    def write(self, name: str, mark: Mark) -> None:
        """Raises `OSError`."""
        self._in_use = True
        data = json.dumps(mark._asdict()).encode()
        try:
            replace_file(self._directory, f"{_FOLDER}/{name}", data)
        except FileNotFoundError:
            self._directory.make_subdir(_FOLDER)
            replace_file(self._directory, f"{_FOLDER}/{name}", data)

    def remove(self, name: str) -> None:
        """The file is gone; nothing where this process has seen no marks."""
        if self._in_use:
            with contextlib.suppress(OSError):
                self._directory.unlink(f"{_FOLDER}/{name}")

    def elsewhere(self, url: str) -> list[str]:
        """The files that are marked as archived under another URL. Raises `OSError`."""
        marks = ((name, self.read(name)) for name in sorted(self.names()))
        return [name for name, mark in marks if mark is not None and mark.url not in ("", url)]

    def names(self) -> set[str]:
        """Of all marks. Raises `OSError`."""
        self._in_use = True
        try:
            return self._directory.names(_FOLDER)
        except FileNotFoundError:
            return set()
