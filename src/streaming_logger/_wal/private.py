"""Segments in the process's own memory, where there is none that outlives it, or where it is switched off."""

from __future__ import annotations

import mmap

from streaming_logger._wal.segment import Segment

__all__ = ["PrivateStorage"]


class PrivateStorage:
    """The process's own memory: what is not in the files when the process dies is lost."""

    is_shared = False

    def has_room(self, size: int) -> bool:
        """As far as anybody knows."""
        return True

    def make(self, size: int) -> Segment | None:
        """A new segment; None where there is no memory for it."""
        try:
            return Segment(mmap.mmap(-1, size), "")
        except (OSError, MemoryError):
            return None

    def remove(self, segment: Segment) -> None:
        """Gives its memory back."""
        segment.close()

    def is_whole(self) -> bool:
        """Nobody can take anything away."""
        return True

    def note_waiting(self, *, waiting: bool) -> None:
        """Nothing outlives the process here, whether it waits or not."""

    def give_up(self) -> None:
        """There is nothing to recover."""

    def close(self, segments: list[Segment], *, keep: bool) -> None:
        """Gives all of it back."""
        for segment in segments:
            segment.close()

    forget_in_child = close
