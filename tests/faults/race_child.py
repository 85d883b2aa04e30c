"""One process of the race suite: writers and sweepers in tight loops over ids that all processes share.

What a sweeper deletes it copies to an archive first, under its lock, so that afterwards
every record can be accounted for. The broken variants show that the suite would notice.

python race_child.py DIRECTORY ARCHIVE NUMBER SECONDS VARIANT
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from streaming_logger import Config, StreamingLogger
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.owner import Owners
from streaming_logger._disk.store import BusyError, Claim, OpenFile, Store
from streaming_logger._runtime.engine import Engine

SESSIONS = 6
WRITERS = 2
ARCHIVE = Path(sys.argv[2])


class ArchivingDirectory(Directory):
    """Copies a session's file aside before it is unlinked: by whom, and in which order, is in the name."""

    def unlink(self, name: str) -> None:
        if name.endswith(".log"):
            content = (self.path / name).read_bytes()
            (ARCHIVE / f"{name}.{time.monotonic_ns():020}.{os.getpid()}.{threading.get_ident()}").write_bytes(content)
        super().unlink(name)


class WithoutLock(ArchivingDirectory):
    """Broken: everybody believes to have the lock."""

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        return True


class WithoutRecheck(Store):
    """Broken: a writer does not look again whether the name still leads to what it locked."""

    def open(self, name: str) -> OpenFile:
        self.directory.open()
        fd = self.directory.open_file(name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        while not self._lock_shared(fd):
            pass
        return OpenFile(fd, os.fstat(fd).st_ino, self.directory.generation)

    def still_there(self, name: str, file: OpenFile) -> bool:
        return True


class WithoutIdentity(Store):
    """Broken: a sweeper does not look again whether the name still leads to what it locked.

    It dawdles before the lock, as on a busy machine: without that, four races in ten caught it.
    """

    @contextlib.contextmanager
    def claim(self, name: str, owners: Owners | None = None, *, fd: int | None = None) -> Iterator[Claim]:
        if fd is None:
            fd = self.directory.open_file(name, os.O_RDWR)
        time.sleep(0.003)
        try:
            if not self.directory.lock(fd) or (owners is not None and owners.parked(name)):
                raise BusyError(name)
            yield Claim(name, fd, os.fstat(fd))
        finally:
            self.directory.close_file(fd)


VARIANTS = {
    "whole": (ArchivingDirectory, Store),
    "no lock": (WithoutLock, Store),
    "no recheck after the lock": (ArchivingDirectory, WithoutRecheck),
    "no identity check before unlink": (ArchivingDirectory, WithoutIdentity),
}


def main(directory: Path, number: int, seconds: float, variant: str) -> None:
    directory_class, store_class = VARIANTS[variant]
    sys.setswitchinterval(1e-5)
    config = Config(
        file_retention_minutes=0.000001,  # as good as 0, but the sweeper's business, not the flusher's
        flush_interval_seconds=0.01,
        cleanup_interval_seconds=0.01,
        max_open_files=3,  # so that sessions are parked, too
        min_free_disk_mb=None,
    )
    written: Counter[str] = Counter()
    end = time.monotonic() + seconds
    context = Context.make(
        Settings(config), directory, make_store=lambda found: store_class(directory_class(found.path))
    )
    with StreamingLogger._of(Engine(context)) as logger:

        def write(thread: int) -> None:
            dice = random.Random(number * 100 + thread)
            while time.monotonic() < end:
                for _ in range(30):
                    session = f"s{dice.randrange(SESSIONS)}"
                    writer = f"{session}/{number}.{thread}"
                    logger.write(session, f"{number}.{thread}.{written[writer]};")
                    written[writer] += 1
                if dice.random() < 0.4:
                    logger.complete_session(f"s{dice.randrange(SESSIONS)}", wait=dice.random() < 0.3)
                threading.Event().wait(0.0005)

        def sweep() -> None:
            while time.monotonic() < end:
                logger.cleanup_completed_files()

        threads = [threading.Thread(target=write, args=(thread,)) for thread in range(WRITERS)]
        threads.append(threading.Thread(target=sweep))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (ARCHIVE / f"written.{number}.json").write_text(json.dumps(written))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
