"""What callers say on its way into the log: all but the everyday chunk, which `StreamingLogger.write` adds itself."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from itertools import count

from streaming_logger._base.stats import FULL, Counters
from streaming_logger._base.sync import GIL
from streaming_logger._wal.log import Log
from streaming_logger._wal.record import Kind, chunk_record, encode, key_of, part_record, special_record
from streaming_logger._write.sessions import Sessions

__all__ = ["Intake", "make_fork_flag"]

#: A chunk of more characters is split: it may be longer than a segment.
_PART = 1 << 14
#: From linux/mman.h; module mmap does not have it.
_MADV_WIPEONFORK = 18


class Intake:
    """Makes records of what callers say. Any thread, any handler, any finalizer.

    `known` are the sessions whose first chunk came through here: the next ones may take the short way.
    """

    def __init__(self, log: Log, sessions: Sessions, counters: Counters, now: Callable[[], float]) -> None:
        self._log = log
        self._sessions = sessions
        self._counters = counters
        self._now = now
        self._serials = count(1)
        self._is_timed = log.fields == 3
        self._is_closed = False
        self.known = sessions.known

    def write(self, session_id: str, chunk: str) -> None:
        """Any chunk, in any state of the log."""
        key, gaps = key_of(session_id), self._sessions.gaps
        time = self._now() if self._is_timed else None
        try:
            is_taken = self._write(key, chunk, time)
        except MemoryError:
            is_taken = False
        if not is_taken:
            self.known.discard(session_id)  # its next chunk comes this way
            self._drop(key, len(chunk))
            return
        if gaps:
            gaps.close(key)
        if GIL and not self._is_timed and key == session_id.encode(errors="replace"):
            self.known.add(session_id)
            if self._is_closed:
                self.known.clear()

    def _write(self, key: bytes, chunk: str, time: float | None) -> bool:
        if len(chunk) <= _PART:
            return self._add(chunk_record(key, encode(chunk), time))
        serial = next(self._serials)
        is_taken = False
        try:
            for start in range(0, len(chunk), _PART):
                part, is_last = encode(chunk[start : start + _PART]), start + _PART >= len(chunk)
                if not self._add(part_record(serial, key, part, time, is_last=is_last)):
                    break
            else:
                is_taken = True
        finally:
            if not is_taken:  # the others are of no use
                self._log.add(part_record(serial, key, b"", time, is_last=False), force=True)
        return is_taken

    def close(self) -> None:
        """Each chunk comes this way from now on."""
        self._is_closed = True
        self.known.clear()

    def begin(self, session_id: str, waited: float) -> None:
        """A session began so many seconds ago, whether or not text comes."""
        key, begun = key_of(session_id), b"%r" % (self._now() - waited)
        self._add(special_record(Kind.BEGIN, key, begun, 0.0 if self._is_timed else None))

    def _add(self, record: bytes) -> bool:
        self._log.begin()
        try:
            self._log.append(record)
        except ValueError:
            return self._log.add(record)
        return True

    def _drop(self, key: bytes, characters: int) -> None:
        """There is no memory for a chunk: it is counted, and marked in its place."""
        self._counters.dropped(FULL, characters)
        number = self._sessions.gaps.add(key, characters)
        if number is not None:
            record = special_record(Kind.DROPPED, key, number, 0.0 if self._is_timed else None)
            self._log.add(record, force=True)


def make_fork_flag() -> mmap.mmap | bytearray:
    """Memory whose first byte is 1 in this process and 0 in a forked child, also after a fork without hooks.

    Where the kernel cannot do that it is 1 there, too.
    """
    try:
        flag = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        flag.madvise(_MADV_WIPEONFORK)
    except (OSError, AttributeError, TypeError):
        return bytearray(b"\1")
    flag[0] = 1
    return flag
