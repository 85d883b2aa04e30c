"""Whether a session loops, judged by the end of its file: for servers without the radar, and for those of others."""

from __future__ import annotations

import time

from streaming_logger._disk.directory import Directory
from streaming_logger._disk.statx import Found
from streaming_logger._view.text import Text
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
        kind = self._examined(name)
        self._known[found.identity] = (found.size, kind)
        return kind

    def _examined(self, name: str) -> str:
        try:
            with Text(self._directory, name) as text:
                end = text.last(_TAIL).decode("utf-8", "replace")
        except OSError:
            return ""
        detector = LoopDetector()
        detector.feed(end)
        loop = detector.loop or next(iter(detector.end()), None)
        return loop.kind if loop else ""
