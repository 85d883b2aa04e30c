"""What the operating system knows: file system, free space, locks, the processes behind owner files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from streaming_logger._disk.directory import PRIVATE, Directory

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["REMOTE", "Owner", "descriptors", "file_system", "flock_refusal", "free_inodes", "has_ended", "owners"]

#: File systems whose locks another machine gives.
REMOTE = ("nfs", "cifs", "smb", "9p", "ceph", "lustre", "gfs", "fuse.sshfs", "fuse.gluster")


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


def has_ended(pid: int) -> bool:
    """Whether there is no such process; False where that is not known."""
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
        fd = directory.open_file(f"{PRIVATE}/sweep.lock", os.O_RDONLY)
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
