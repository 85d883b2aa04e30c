"""Files that belong to one process: owner files and temporary files. Their names and locks are made here.

A process locks such a file before it uses it and keeps the lock until it closes the file. So a free lock proves
that the process is dead. Its pid proves nothing: another container has pids of its own, and pids are reused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat

from streaming_logger._disk.directory import NO_LOCKS, PRIVATE, Directory
from streaming_logger._disk.names import SUFFIX, session_id_of

__all__ = [
    "PROCESS_NAME",
    "create",
    "is_temporary",
    "process_name",
    "remove_abandoned",
    "replace_file",
    "temporary_files",
]

#: A name that `process_name` makes.
PROCESS_NAME = r"[0-9]+-[0-9a-f]{8}"
_TEMPORARY_SUFFIX = ".tmp"
_TEMPORARY = re.compile(PROCESS_NAME + re.escape(_TEMPORARY_SUFFIX))
#: Temporary files of version 0.1.0, which did not lock them: only here the pid tells whose process is dead.
_UNLOCKED = re.compile(r"(?:settings\.json|(.+)\.timing)\.([1-9][0-9]{0,6})")


def process_name() -> str:
    """A name that no other process, and no other call in this one, makes.

    >>> bool(re.fullmatch(PROCESS_NAME, process_name()))
    True
    """
    return f"{os.getpid()}-{os.urandom(4).hex()}"


def create(directory: Directory, prefix: str, suffix: str = "") -> tuple[str, int]:
    """Makes a file of this process, locked until it is closed; its name and descriptor. Raises `OSError`."""
    while True:
        name = f"{prefix}{process_name()}{suffix}"
        fd = directory.open_file(name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        try:
            if _locked(directory, fd) and os.fstat(fd).st_nlink:
                return name, fd
        except BaseException:
            with contextlib.suppress(OSError):
                directory.unlink(name)
            directory.close_file(fd)
            raise
        directory.close_file(fd)  # a sweeper came between its creation and its lock, and removes it


def replace_file(directory: Directory, name: str, data: bytes) -> None:
    """Makes a small file, or puts it in the place of an older one, whole. Raises `OSError`."""
    # A directory that is not managed has no place of ours, and is not swept.
    temporary, fd = create(directory, f"{PRIVATE}/" if directory.managed else "", _TEMPORARY_SUFFIX)
    try:
        if os.write(fd, data) < len(data):
            raise OSError(errno.ENOSPC, "the disk did not take all of it", name)
        directory.rename(temporary, name)
    except BaseException:
        with contextlib.suppress(OSError):
            directory.unlink(temporary)  # a full disk must not keep half of it
        raise
    finally:
        directory.close_file(fd)


def is_temporary(name: str) -> bool:
    """Whether it is the name of a temporary file, in the log directory or in `.streaming_logger`.

    >>> is_temporary("4711-0a1b2c3d.tmp"), is_temporary("notes.tmp"), is_temporary("ledger.jsonl.1")
    (True, False, False)
    """
    if _TEMPORARY.fullmatch(name):
        return True
    found = _UNLOCKED.fullmatch(name)
    return found is not None and (found[1] is None or session_id_of(found[1] + SUFFIX) is not None)


def temporary_files(directory: Directory) -> list[str]:
    """The temporary files in `.streaming_logger`, whether their processes live or not. Raises `OSError`."""
    return [f"{PRIVATE}/{name}" for name in sorted(directory.names(PRIVATE)) if is_temporary(name)]


def remove_abandoned(directory: Directory, name: str) -> bool:
    """Removes a temporary file whose process is dead; whether it did. Raises `OSError`."""
    if not directory.can_lock:
        return False
    found = directory.stat(name)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_uid != os.geteuid():
        return False
    unlocked = _UNLOCKED.fullmatch(name.rpartition("/")[2])
    if unlocked is not None and _is_alive(int(unlocked[2])):
        return False
    fd = directory.open_file(name, os.O_RDWR)
    try:
        if not directory.lock(fd):
            return False
        directory.unlink(name)  # no name is used twice: it leads to this file, or nowhere
        return True
    finally:
        directory.close_file(fd)


def _locked(directory: Directory, fd: int) -> bool:
    try:
        return directory.lock(fd)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return True  # and nothing is swept there


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True
