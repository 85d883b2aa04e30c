"""Whether a session loops, judged by the end of its file: for servers without the radar, and for those of others."""

from __future__ import annotations

import os
import time

from streaming_logger._disk.directory import Directory
from streaming_logger._disk.statx import Found
from streaming_logger._watch.loops import LoopDetector

__all__ = ["Loops"]

#: So much of a file's end is examined: two copies of a long block, in about a millisecond.
_TAIL = 1 << 14
#: One scan examines files for so long; the rest follows in the next ones.
_SCAN_SECONDS = 0.3


class Loops:
    """Answers for the files of one directory, and remembers each until it has grown."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._known: dict[tuple[int, int], tuple[int, str]] = {}
        self._until = 0.0
        self.begin_scan()

    def begin_scan(self) -> None:
        self._until = time.monotonic() + _SCAN_SECONDS

    def of(self, name: str, found: Found) -> str:
        """The kind of loop at the file's end, or an empty string."""
        size, kind = self._known.get(found.identity, (-1, ""))
        if size == found.size or time.monotonic() > self._until:
            return kind
        kind = self._examined(name, found.size)
        self._known[found.identity] = (found.size, kind)
        return kind

    def _examined(self, name: str, size: int) -> str:
        try:
            fd = self._directory.open_file(name, os.O_RDONLY)
        except OSError:
            return ""
        try:
            text = os.pread(fd, _TAIL, max(0, size - _TAIL)).decode("utf-8", "replace")
        except OSError:
            return ""
        finally:
            self._directory.close_file(fd)
        detector = LoopDetector()
        detector.feed(text)
        loop = detector.loop or next(iter(detector.end()), None)
        return loop.kind if loop else ""
