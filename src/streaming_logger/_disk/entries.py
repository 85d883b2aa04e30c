"""The files of the directory, as a scan sees them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import NamedTuple

from streaming_logger._disk.directory import Directory

__all__ = ["Entry", "Failed", "Named", "examined"]

#: Called with a name that cannot be examined, and why.
Failed = Callable[[str, Exception], None]


class Entry(NamedTuple):
    """A regular file in the directory, as a scan saw it."""

    name: str
    mtime: float
    size: int
    pinned: bool
    inode: int = 0


class Named(NamedTuple):
    """A name that may be looked at, as an `os.DirEntry` is."""

    name: str
    directory: Directory

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        return self.directory.stat(self.name)


def examined(
    names: Iterable[os.DirEntry[str] | Named], slice_size: int, failed: Failed
) -> Generator[list[Entry], None, None]:
    """The regular files among some names, in slices. `failed` is called for each that cannot be examined."""
    left = iter(names)
    while names_now := list(islice(left, slice_size)):
        part = []
        for entry in names_now:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except Exception as error:  # noqa: BLE001 - it is this file's: the others are examined
                failed(entry.name, error)
                continue
            mode = found.st_mode
            if stat.S_ISREG(mode) and found.st_nlink <= 1:
                part.append(Entry(entry.name, found.st_mtime, found.st_size, mode & stat.S_ISVTX != 0, found.st_ino))
        yield part
