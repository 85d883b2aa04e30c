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

#: A longer text is split: its record may be longer than a segment. Each NUL takes two bytes there.
_LONGEST = 1 << 16
_PART = 1 << 15
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
        self.known: set[str] = set()

    def write(self, session_id: str, chunk: str) -> None:
        """Any chunk, in any state of the log."""
        if GIL and not self._is_timed and "\0" not in session_id and len(session_id) < _PART:
            self.known.add(session_id)
            if self._is_closed:
                self.known.clear()
        key, text, time = key_of(session_id), encode(chunk), self._now() if self._is_timed else None
        if len(text) < _LONGEST:
            is_taken = self._add(chunk_record(key, text, time))
        else:
            is_taken = self._write_parts(key, text, time)
        if not is_taken:
            self._drop(key, len(chunk))

    def close(self) -> None:
        """Each chunk comes this way from now on."""
        self._is_closed = True
        self.known.clear()

    def begin(self, session_id: str, waited: float) -> None:
        """A session began so many seconds ago, whether or not text comes."""
        key, begun = key_of(session_id), b"%r" % (self._now() - waited)
        self._add(special_record(Kind.BEGIN, key, begun, 0.0 if self._is_timed else None))

    def add_again(self, records: list[bytes]) -> None:
        """Records of a log that was given up."""
        for record in records:
            for start in range(0, len(record), _LONGEST):
                self._log.begin()
                self._log.add(record[start : start + _LONGEST], force=True)

    def _add(self, record: bytes) -> bool:
        self._log.begin()
        try:
            self._log.append(record)
        except ValueError:
            return self._log.add(record)
        return True

    def _write_parts(self, key: bytes, text: bytes, time: float | None) -> bool:
        serial = next(self._serials)
        starts = range(0, len(text), _PART)
        is_taken = False
        try:
            for start in starts:
                part = text[start : start + _PART]
                is_taken = self._add(part_record(serial, key, part, time, is_last=start == starts[-1]))
                if not is_taken:
                    break
            return is_taken
        except BaseException:
            is_taken = False
            raise
        finally:
            if not is_taken:  # of the others nothing remains
                self._log.add(part_record(serial, key, b"", time, is_last=False), force=True)

    def _drop(self, key: bytes, characters: int) -> None:
        """There is no memory for a chunk: it is counted, and marked in its place."""
        sessions = self._sessions
        self._counters.dropped(FULL, characters)
        sessions.drops[key] = sessions.drops.get(key, 0) + characters
        if key not in sessions.flagged:
            sessions.flagged.add(key)
            record = special_record(Kind.DROPPED, key, b"", 0.0 if self._is_timed else None)
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
