"""What the operating system knows: file system, free space, locks, the processes behind owner files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from streaming_logger._disk.directory import PRIVATE, Directory
from streaming_logger._disk.locks import LockTable
from streaming_logger._disk.names import session_id_of
from streaming_logger._disk.turns import PATIENCE_SECONDS

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "REMOTE",
    "Owner",
    "descriptors",
    "file_system",
    "flock_refusal",
    "free_inodes",
    "has_ended",
    "owners",
    "stuck",
]

#: File systems whose locks another machine gives.
REMOTE = ("nfs", "cifs", "smb", "9p", "ceph", "lustre", "gfs", "fuse.sshfs", "fuse.gluster")


#: A claim takes microseconds: one that is still there after this is stuck.
_CLAIM_SECONDS = 0.3


class Owner(NamedTuple):
    """A server process, as its owner file shows it."""

    pid: int
    alive: bool


def owners(directory: Directory) -> list[Owner]:
    """The processes that have an owner file here, dead ones too. Changes nothing."""
    found = []
    with contextlib.suppress(OSError):
        for name in sorted(directory.names(f"{PRIVATE}/owners")):
            pid = name.partition("-")[0]
            with contextlib.suppress(OSError):
                fd = directory.open_file(f"{PRIVATE}/owners/{name}", os.O_RDONLY)
                try:
                    # Shared: its owner holds it exclusively, and nobody else is kept out.
                    found.append(Owner(int(pid) if pid.isdigit() else 0, not directory.lock(fd, shared=True)))
                finally:
                    directory.close_file(fd)
    return found


def stuck(directory: Directory) -> dict[int, list[str]]:
    """The processes that hold an exclusive lock here and make no progress, with the names of the files."""
    found: dict[int, list[str]] = {}
    if claims := _claims(directory):
        time.sleep(_CLAIM_SECONDS)
        for name, pid in sorted(claims & _claims(directory)):
            found.setdefault(pid, []).append(name)
    return found


def _claims(directory: Directory) -> set[tuple[str, int]]:
    """(name, process) for each session's file that is claimed now, and each turn that shows no progress."""
    locks, found = LockTable(), set()
    for name in _lockable(directory) if locks.has_claims else ():
        with contextlib.suppress(OSError):
            file = directory.stat(name)
            pid = locks.claimant((file.st_dev, file.st_ino))
            is_turn = name.startswith(f"{PRIVATE}/")
            if pid is not None and not (is_turn and time.time() - file.st_mtime < PATIENCE_SECONDS):
                found.add((name, pid))
    return found


def _lockable(directory: Directory) -> Iterator[str]:
    """Names of the files that are locked exclusively for a moment or a turn; owner files are for a life."""
    with contextlib.suppress(OSError), directory.scan() as entries:
        yield from (entry.name for entry in entries if session_id_of(entry.name) is not None)
    yield f"{PRIVATE}/sweep.lock"
    yield f"{PRIVATE}/ledger.lock"
    with contextlib.suppress(OSError):
        yield from (f"{PRIVATE}/uploads/{name}" for name in directory.names(f"{PRIVATE}/uploads"))


def has_ended(pid: int) -> bool:
    """Whether the process has ended; False if that is unknown."""
    if os.name != "posix" or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        pass
    return False


def descriptors(pid: int) -> tuple[int | None, int | None]:
    """(soft limit, in use) of a process, as far as this user may know."""
    limit = used = None
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
            if line.startswith("Max open files"):
                limit = int(line.split()[3])
    with contextlib.suppress(OSError):
        used = len(os.listdir(f"/proc/{pid}/fd"))
    return limit, used


def free_inodes(path: Path) -> int | None:
    """How many more files can be made; None where that is not limited or not known."""
    if not hasattr(os, "statvfs"):
        return None
    found = os.statvfs(path)
    return found.f_favail if found.f_files else None


def file_system(path: Path) -> str:
    """The kind of file system that a path is on, by Linux's list of mounts."""
    best, kind = "", "unknown"
    with contextlib.suppress(OSError):
        real = os.path.realpath(path)
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, at, fs, *_ = line.split(" ")
            at = at.encode().decode("unicode_escape")  # a space in it is \040
            if (real == at or real.startswith(at.rstrip("/") + "/")) and len(at) >= len(best):
                best, kind = at, fs
    return kind


def flock_refusal(directory: Directory) -> str:
    """Why locks do not work there; empty when they do."""
    if fcntl is None:
        return "this system has none"
    try:
        fd = directory.open_file(f"{PRIVATE}/settings.json", os.O_RDONLY)  # nobody else locks it
    except OSError:
        try:
            fd = directory.open_file(".", os.O_RDONLY)
        except OSError as error:
            return error.strerror or str(error)
    try:
        directory.lock(fd, shared=True)
    except OSError as error:
        return error.strerror or str(error)
    finally:
        directory.close_file(fd)
    return ""
