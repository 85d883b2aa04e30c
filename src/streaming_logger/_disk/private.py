"""What only this user may read and write: made so whatever the umask, mended where it is not, refused where it cannot.

The umask takes bits from the mode of what is made: 0777, 0377 and 0277 leave a file that its own maker cannot open
again. So modes are set afterwards, on the descriptor.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from streaming_logger._base.errors import DirectoryError
from streaming_logger._disk.paths import is_missing

__all__ = ["is_ours", "keep_private", "make_levels", "make_private", "mend", "refuse_unsafe", "subdirectory_hint"]

_FILE, _DIRECTORY = 0o600, 0o700
#: For what may not be opened for reading; only Linux has it.
_PATH_ONLY = getattr(os, "O_PATH", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_HAS_MODES = hasattr(os, "geteuid")


def is_ours(found: os.stat_result) -> bool:
    """Whether it belongs to this user; true on Windows, which has no such owner and mode bits."""
    return not _HAS_MODES or found.st_uid == os.geteuid()


def keep_private(fd: int, found: os.stat_result) -> None:
    """Gives an open file of ours its mode, whatever the umask or somebody made of it. A pin stays."""
    mode = stat.S_IMODE(found.st_mode)
    wanted = _FILE | (mode & stat.S_ISVTX)
    if _HAS_MODES and mode != wanted and stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and is_ours(found):
        with contextlib.suppress(OSError):  # a file system with modes of its own; whoever needs the bits will see
            os.fchmod(fd, wanted)


def mend(path: str | Path, dir_fd: int | None) -> bool:
    """Gives a file or directory of ours that may not be opened the bits that its owner needs; whether it did."""
    try:
        found = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        mode = stat.S_IMODE(found.st_mode)
        is_file = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        wanted = _FILE if is_file else _DIRECTORY
        if mode & wanted == wanted or not is_ours(found) or not (is_file or stat.S_ISDIR(found.st_mode)):
            return False
        _set_mode(path, wanted | (mode & stat.S_ISVTX), dir_fd)
    except OSError:
        return False
    return True


def make_private(path: str | Path, dir_fd: int | None = None) -> bool:
    """A directory that only its owner can enter, whatever the umask; one that exists stays as it is.

    Says whether it was made here.
    """
    try:
        os.mkdir(path, _DIRECTORY, dir_fd=dir_fd)
    except FileExistsError:
        return False
    _set_mode(path, _DIRECTORY, dir_fd)
    return True


def _set_mode(path: str | Path, mode: int, dir_fd: int | None) -> None:
    """By a descriptor, which leads to what was made even if a symlink stands there by now. Raises `OSError`."""
    if not hasattr(os, "O_PATH"):
        os.chmod(path, mode, dir_fd=dir_fd)
        return
    fd = os.open(path, _PATH_ONLY, dir_fd=dir_fd)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            return
        try:
            os.chmod(f"/proc/self/fd/{fd}", mode)
        except FileNotFoundError:  # no /proc is mounted
            os.chmod(path, mode, dir_fd=dir_fd)
    finally:
        os.close(fd)


def make_levels(path: Path) -> bool:
    """Makes each missing level, 0700; says whether the last one was made by us."""
    missing = []
    level = path
    while is_missing(level):
        missing.append(level)
        level = level.parent
    made = False
    for level in reversed(missing):
        made = make_private(level)  # asked, not assumed: another process may have made it just now
    return made


def subdirectory_hint(path: Path) -> str:
    """What to do about a directory that is refused where this user can make another one in it, as at the root of a
    volume that Kubernetes mounts; empty where not."""
    options = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    if not os.access(path, os.W_OK | os.X_OK, **options):
        return ""
    return f"set `directory` to a subdirectory of it, such as {path / 'streaming'}"


def refuse_unsafe(path: Path, found: os.stat_result, *, hint: str = "") -> None:
    """Raises `DirectoryError` for a directory in which others could replace files; `hint` is what else can be done."""
    if not is_ours(found):
        remedies = [hint] if hint and os.geteuid() else ["chown it", hint or "set another `directory`"]
        raise DirectoryError(
            f"{path} belongs to user {found.st_uid}, not to {os.geteuid()} who runs this process; "
            f"its owner could replace the files: {' or '.join(remedies)}"
        )
    if _HAS_MODES and stat.S_IMODE(found.st_mode) & stat.S_IWOTH:
        raise DirectoryError(
            f"{path} is world-writable: anyone could plant files in it; run: chmod o-w {path}"
            + (f"; or {hint}" if hint else "")
        )
