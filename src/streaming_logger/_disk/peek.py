"""A completed file for who only looks: no lock is taken, so that no writer ever waits for a reader that is stopped."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from streaming_logger._disk.locks import is_announced
from streaming_logger._disk.owner import Owners
from streaming_logger._disk.store import BusyError, Claim, ForeignFileError, Store

__all__ = ["peek"]


@contextlib.contextmanager
def peek(store: Store, name: str, owners: Owners) -> Iterator[Claim]:
    """Shows a file as `Store.claim` does, and raises the same errors. What it shows may change at any time."""
    fd = store.directory.open_file(name, os.O_RDONLY)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise ForeignFileError(f"{name} is not a session's file")
        if is_announced(fd) is not False or owners.parked(name):  # what the system cannot tell counts as in use
            raise BusyError(name)
        yield Claim(name, fd, found)
    finally:
        store.directory.close_file(fd)
