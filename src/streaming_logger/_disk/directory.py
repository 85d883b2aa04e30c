"""The log directory itself: made safely, opened once, and known to be ours or not.

Everything in it is reached through one directory descriptor, so that a directory
renamed or replaced underneath us is noticed and can never lead a write elsewhere; and
every descriptor opened through it is known, so that a forked child can drop them all.
`.streaming_logger/` inside it holds what is not a session; its presence marks the
directory as ours, and only what is ours is ever swept.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from streaming_logger._base.errors import DirectoryError
from streaming_logger._disk.locks import UNSEEN, holder_of
from streaming_logger._disk.names import SUFFIX
from streaming_logger._disk.paths import is_directory, is_symlink
from streaming_logger._disk.private import (
    keep_private,
    make_levels,
    make_private,
    mend,
    refuse_unsafe,
    subdirectory_hint,
)

try:
    import fcntl
except ImportError:  # Windows: an open file cannot be deleted there, which does what the lock does here
    fcntl = None  # type: ignore[assignment]

__all__ = ["DEFAULT", "NO_LOCKS", "PRIVATE", "Directory"]

DEFAULT = Path("logs/streaming")
PRIVATE = ".streaming_logger"
_INSIDE_PRIVATE = f"{PRIVATE}/"
#: flock's answers on a file system that has no locks at all (not "none left": ENOLCK heals).
NO_LOCKS = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

#: Windows can neither open a directory nor work relative to one: there names are joined.
_RELATIVE = os.open in os.supports_dir_fd and os.scandir in os.supports_fd

#: For every file: not across exec, not through a symlink, never waiting for a pipe's other end.
_COMMON = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_COMMON |= getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


class _Opened(NamedTuple):
    """What opening found out, published as one value: no reader sees a part of it."""

    fd: int | None
    private: int | None
    """The descriptor of `.streaming_logger`: a member of the directory's group may rename that away
    and plant a symlink, which must not lead what we write in there elsewhere."""
    identities: tuple[tuple[int, int], tuple[int, int]]
    managed: bool
    group_writable: bool

    def close(self) -> None:
        for fd in (self.fd, self.private):
            if fd is not None:
                os.close(fd)


class Directory:
    """One log directory. `open()` makes it if need be, and again after it was lost."""

    can_lock = fcntl is not None

    def __init__(self, path: Path, *, adopt: bool = False) -> None:
        self.path = path.absolute()  # the server may change its working directory later
        self.managed = False
        self.generation = 0
        """Grows with each directory opened: files of an older one are reopened."""
        self._default = path == DEFAULT
        self._adopt = adopt
        # Set and taken out by single steps (see `_table`), without a lock: the worker opens it, a caller
        # that sweeps does, and a signal handler that interrupts that caller may wait for the worker.
        self._opened: _Opened | None = None
        self._retired: _Opened | None = None
        # Descriptors of files, entered before they are locked. Atomic set operations, no lock.
        self._files: set[int] = set()
        # Above 0 while a descriptor is open that is not in `_files` (yet, or any more).
        self._unregistered = 0

    @property
    def group_writable(self) -> bool:
        """Whether members of the directory's group can rename and replace what is in it."""
        return self._opened is not None and self._opened.group_writable

    def open(self) -> None:
        """Makes it safe to use, or raises: `DirectoryError` for a refusal, else `OSError`."""
        if self._opened is not None:
            return
        new = self._examine()
        if self._opened is None:
            self._opened = new
            self.managed = new.managed
            self.generation += 1
        else:  # another thread, or a handler that interrupted this one, was first
            new.close()

    def _examine(self) -> _Opened:
        made = make_levels(self.path)
        if not is_directory(self.path):
            raise DirectoryError(f"{self.path} is not a directory; move it away or set another `directory`")
        fd = self._descriptor()
        private = None
        try:
            found = os.stat(self.path if fd is None else fd)
            refuse_unsafe(self.path, found, hint=subdirectory_hint(self.path))
            managed = made or self._is_managed(fd)
            identity = (0, 0)
            if managed:
                self._make_private_subdirectory(PRIVATE, fd)
                if fd is not None:
                    private = os.open(PRIVATE, os.O_RDONLY | os.O_DIRECTORY | _COMMON, dir_fd=fd)
                    inside = os.stat(private)
                    refuse_unsafe(self.path / PRIVATE, inside)
                    identity = (inside.st_dev, inside.st_ino)
        except BaseException:
            for descriptor in (fd, private):
                if descriptor is not None:
                    os.close(descriptor)
            raise
        writable = hasattr(os, "geteuid") and bool(found.st_mode & stat.S_IWGRP)
        return _Opened(fd, private, ((found.st_dev, found.st_ino), identity), managed, writable)

    @contextlib.contextmanager
    def opened_readonly(self) -> Iterator[None]:
        """For reading from outside: nothing is created, marked or rejected; all names are those of one directory."""
        fd, private = self._descriptor(), None
        if fd is not None:
            with contextlib.suppress(OSError):  # it was never a logger's, or is not ours to read
                private = os.open(PRIVATE, os.O_RDONLY | os.O_DIRECTORY | _COMMON, dir_fd=fd)
        self._opened = _Opened(fd, private, ((0, 0), (0, 0)), False, False)
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of the directory, not of its files; the next `open()` starts anew."""
        self.invalidate()
        retired, self._retired = self._retired, None
        if retired is not None:
            retired.close()

    def invalidate(self) -> None:
        """The path leads elsewhere: the next `open()` starts anew. The descriptor stays open
        for one more generation, so that a sweep that uses it cannot reach another descriptor."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        retired, self._retired = self._retired, opened
        if retired is not None:
            retired.close()

    def forget_in_child(self) -> None:
        """After a fork, in the child: closes what was inherited, and unlocks nothing, which
        would drop the parent's locks."""
        inherited = set(self._files)
        if self._unregistered:  # 31 of 150 forks under load came between an open and its registration
            inherited |= self._found_in_descriptor_table()
        for fd in inherited:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._files.clear()
        self.close()

    def _found_in_descriptor_table(self) -> set[int]:
        """Descriptors of files in here that were opened by this class: its flags are an application's never."""
        found: set[int] = set()
        inside = os.path.realpath(self.path) + os.sep
        ours = os.O_NOFOLLOW | os.O_NONBLOCK
        with contextlib.suppress(OSError):
            for name in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):
                    if not os.readlink(f"/proc/self/fd/{name}").startswith(inside):
                        continue
                    flags = fcntl.fcntl(int(name), fcntl.F_GETFL)
                    if flags & ours == ours and not flags & os.O_DIRECTORY:
                        found.add(int(name))
        return found

    def is_stale(self) -> bool:
        """Whether the path, or `.streaming_logger` in it, leads elsewhere now (removed, renamed,
        replaced), or was never open."""
        opened = self._opened
        if opened is None:
            return True
        try:
            found = os.stat(self.path)
            if opened.private is None:
                return (found.st_dev, found.st_ino) != opened.identities[0]
            inside = os.stat(PRIVATE, dir_fd=opened.fd, follow_symlinks=False)
        except OSError:
            return True
        return ((found.st_dev, found.st_ino), (inside.st_dev, inside.st_ino)) != opened.identities

    def changed_at(self) -> int:
        """The directory's own mtime in ns: when it differs, names came or went."""
        fd = self._fd
        return os.stat(self.path if fd is None else fd).st_mtime_ns

    def sync(self) -> None:
        """Returns when its names are on the medium."""
        fd = self._fd
        if fd is not None:
            os.fsync(fd)

    def free_bytes(self) -> int | None:
        """Free disk space for this user; None where the system does not tell."""
        if not hasattr(os, "statvfs"):
            return None
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def volume_bytes(self) -> int | None:
        """The size of the volume it is on; None where the system does not tell."""
        if not hasattr(os, "statvfs"):
            return None
        found = os.statvfs(self.path)
        return found.f_blocks * found.f_frsize or None

    # -- names in it -----------------------------------------------------------------

    def open_file(self, name: str, flags: int) -> int:
        """A descriptor, to be closed with `close_file`. A file that is made, or that is ours, has mode 0600."""
        path, dir_fd = self._at(name)
        private = name.startswith(_INSIDE_PRIVATE)
        writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if private and flags & os.O_CREAT and _RELATIVE and (self._opened is None or self._opened.private is None):
            raise FileNotFoundError(errno.ENOENT, f"{PRIVATE} is not open", name)
        try:
            fd = self._registered(path, flags, dir_fd)
        except PermissionError:
            # Whoever only looks, with `opened_readonly`, changes nothing.
            if not self.generation or not mend(path, dir_fd):
                raise
            fd = self._registered(path, flags, dir_fd)
        if flags & os.O_CREAT or (private and writing):
            try:
                found = os.fstat(fd)
                if private and (not stat.S_ISREG(found.st_mode) or found.st_nlink > 1):
                    raise OSError(errno.EPERM, "not a regular file, or one with hard links", name)
                keep_private(fd, found)
            except OSError:
                self.close_file(fd)
                raise
        return fd

    def _registered(self, path: str, flags: int, dir_fd: int | None) -> int:
        """Opens a file and enters its descriptor."""
        self._unregistered += 1
        try:
            fd = os.open(path, flags | _COMMON, 0o600, dir_fd=dir_fd)
            self._files.add(fd)
        finally:
            self._unregistered -= 1
        return fd

    def close_file(self, fd: int) -> None:
        """Unlocks and closes; nothing for one that is closed already."""
        if fd not in self._files:
            return
        self._unregistered += 1
        self._files.discard(fd)
        if fcntl is not None:
            # Explicitly: a child forked in this very moment may keep the description open, lock and all.
            try:  # noqa: SIM105 - suppress() takes longer than the unlocking
                fcntl.flock(fd, fcntl.LOCK_UN)
            except OSError:
                pass
        os.close(fd)
        self._unregistered -= 1

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        """Takes the lock at once or not at all; whether it did. Raises `OSError` where locking fails."""
        if fcntl is None:
            return True
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def holder(self, name: str) -> str:
        """Who holds the exclusive lock on a file, for a message."""
        try:
            return holder_of(self.stat(name))
        except OSError:
            return UNSEEN

    def stat(self, name: str) -> os.stat_result:
        path, dir_fd = self._at(name)
        return os.stat(path, dir_fd=dir_fd, follow_symlinks=False)

    def unlink(self, name: str) -> None:
        path, dir_fd = self._at(name)
        os.unlink(path, dir_fd=dir_fd)

    def rename(self, old: str, new: str) -> None:
        (source, source_fd), (target, target_fd) = self._at(old), self._at(new)
        os.replace(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)

    def touch(self, name: str) -> None:
        """Sets the mtime to now."""
        path, dir_fd = self._at(name)
        os.utime(path, dir_fd=dir_fd, follow_symlinks=os.utime not in os.supports_follow_symlinks)

    def make_subdir(self, name: str) -> None:
        """A directory inside, 0700; one that exists stays as it is. Raises `DirectoryError`."""
        path, dir_fd = self._at(name)
        self._make_private_subdirectory(path, dir_fd)

    def _make_private_subdirectory(self, path: str, dir_fd: int | None) -> None:
        """Raises `DirectoryError` for anything else under that name: a planted symlink would lead
        what we write and delete in there elsewhere (faults.md: planted)."""
        if dir_fd is None:
            path = os.path.join(self.path, path)
        if make_private(path, dir_fd):
            return
        mend(path, dir_fd)
        found = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise DirectoryError(f"{self.path / path} is not a directory of this logger's; move it away")
        refuse_unsafe(self.path / path, found)

    def names(self, subdirectory: str) -> set[str]:
        """The names inside a directory inside."""
        path, dir_fd = self._at(subdirectory)
        if dir_fd is None:
            return set(os.listdir(path))
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _COMMON, dir_fd=dir_fd)
        try:
            return set(os.listdir(fd))
        finally:
            os.close(fd)

    def scan(self) -> os._ScandirIterator[str]:
        """All entries; the caller closes the iterator."""
        fd = self._fd
        return os.scandir(self.path if fd is None else fd)

    @property
    def _fd(self) -> int | None:
        opened = self._opened
        return None if opened is None else opened.fd

    def _descriptor(self) -> int | None:
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if _RELATIVE else None

    def _at(self, name: str) -> tuple[str, int | None]:
        """(path, dir_fd) of a name in here, for the calls of `os`."""
        opened = self._opened
        if opened is None or opened.fd is None:
            return os.path.join(self.path, name), None
        if opened.private is not None and name.startswith(_INSIDE_PRIVATE):
            return name.removeprefix(_INSIDE_PRIVATE), opened.private
        return name, opened.fd

    def _is_managed(self, fd: int | None) -> bool:
        """Whether it may be swept: it has our mark, or no other *.log files, or `adopt` is set."""
        if self._adopt or (self._default and not is_symlink(self.path)):
            return True
        with os.scandir(self.path if fd is None else fd) as entries:
            names = {entry.name for entry in entries}
        return PRIVATE in names or not any(name.endswith(SUFFIX) for name in names)
