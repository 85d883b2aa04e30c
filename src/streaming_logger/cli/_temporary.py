"""Temporary directories of the command: private, and removed even if the command that made one was killed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streaming_logger._disk.process_files import PROCESS_NAME, process_name

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["temporary_directory"]

_PREFIX = "streaming-logger."
_NAME = re.compile(re.escape(_PREFIX) + PROCESS_NAME)
#: A directory that is older was locked, unless its process died at once.
_UNLOCKED_SECONDS = 60.0


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A new directory, removed at the end. First removes those of processes that died. Raises `OSError`."""
    if fcntl is None:
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as directory:
            yield Path(directory)
        return
    place = Path(tempfile.gettempdir())
    for path in place.iterdir():
        if _NAME.fullmatch(path.name):
            _remove_abandoned(path)
    path = place / f"{_PREFIX}{process_name()}"
    path.mkdir(0o700)
    fd = None
    try:
        fd = _locked(path)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if fd is not None:
            os.close(fd)


def _remove_abandoned(path: Path) -> None:
    with suppress(OSError):  # it is a live process's, no directory, or gone
        found = os.lstat(path)
        if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _UNLOCKED_SECONDS:
            return
        fd = _locked(path)
        try:
            shutil.rmtree(path)
        finally:
            os.close(fd)


def _locked(path: Path) -> int:
    """Its descriptor, with the lock. Raises `OSError` while another process has it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return fd
