"""What a path leads to; a fault of the disk is an `OSError`.

`Path.exists`, `is_dir` and their like report any `OSError` as False from Python 3.14 on, as `os.path` does in every
version: EIO then means that nothing is there.
"""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["exists", "is_directory", "is_missing", "is_regular", "is_symlink"]


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether it leads to anything, links followed. Raises `OSError` if that cannot be told; so do the others."""
    return _mode(path) != 0


def is_directory(path: str | os.PathLike[str]) -> bool:
    """Whether it leads to a directory, links followed."""
    return stat.S_ISDIR(_mode(path))


def is_regular(path: str | os.PathLike[str]) -> bool:
    """Whether it leads to a regular file, links followed."""
    return stat.S_ISREG(_mode(path))


def is_symlink(path: str | os.PathLike[str]) -> bool:
    """Whether it is a link."""
    return stat.S_ISLNK(_mode(path, follow=False))


def is_missing(path: str | os.PathLike[str]) -> bool:
    """Whether it could be made in its parent, or after its parent was: a file in the place of a level is an error.

    `os.path.lexists` reports EIO as "missing": that once made us sweep an unrelated directory, and
    where each level up to the root had it, the search never ended.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    return False


def _mode(path: str | os.PathLike[str], *, follow: bool = True) -> int:
    """0 where nothing is: a missing level, a file in the place of one, a link that leads to itself."""
    try:
        return os.stat(path, follow_symlinks=follow).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        if error.errno == errno.ELOOP:
            return 0
        raise
