"""The text of a session, from any offset: the one place that reads it.

Offsets are in bytes, as the ledger and the timing file have them. What a server has not written yet is read from its
log, and comes behind the file's end: text is seen as soon as it is logged.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path

from streaming_logger._disk.directory import Directory
from streaming_logger._wal.reader import Tail, tails

__all__ = ["PART", "Text", "utf8_decoder"]

#: Bytes that are read at once.
PART = 1 << 16


def utf8_decoder() -> codecs.IncrementalDecoder:
    """For bytes that come in parts, whatever character a part may end in; what is no UTF-8 becomes visible escapes."""
    return codecs.getincrementaldecoder("utf-8")("backslashreplace")


class Text:
    """The text of one session. It stays readable when its file is deleted, until it is closed."""

    def __init__(self, directory: Directory, name: str, logs: Path | None = None) -> None:
        """`name` is that of its file; `logs`, where the logs of live processes are read. Raises `OSError`."""
        self._directory = directory
        self._name = name
        self._logs = logs
        self._fd = directory.open_file(name, os.O_RDONLY)
        found = os.fstat(self._fd)
        self.identity = (found.st_dev, found.st_ino)

    def __enter__(self) -> Text:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._directory.close_file(self._fd)

    @property
    def size(self) -> int:
        """Bytes that can be read now. It grows while the session is active."""
        written, tail = self.written, self._tail()
        return written if tail is None else max(written, tail.at + len(tail.text))

    @property
    def written(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, limit: int = PART) -> bytes:
        """The text from an offset, `limit` bytes at the most; empty where there is no more yet."""
        part = os.pread(self._fd, limit, offset)
        if part or (tail := self._tail()) is None:
            return part
        if offset < tail.at:  # it was written meanwhile
            return os.pread(self._fd, limit, offset)
        return tail.text[offset - tail.at :][:limit]

    def _tail(self) -> Tail | None:
        return None if self._logs is None else tails(self._logs, self._directory, [self._name]).get(self._name)

    def parts(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The same in parts, up to an offset or as far as there is text."""
        while (limit := PART if end is None else min(PART, end - start)) > 0 and (part := self.read(start, limit)):
            yield part
            start += len(part)

    def last(self, limit: int) -> bytes:
        """The last bytes of it; they may begin within a character."""
        return self.read(max(0, self.size - limit), limit)

    def tail_start(self, lines: int) -> int:
        """The offset at which the last `lines` lines begin."""
        end = position = self.size
        if lines <= 0:
            return end
        while position > 0:
            start = max(0, position - PART)
            part = self.read(start, position - start)
            index = len(part)
            while (index := part.rfind(b"\n", 0, index)) >= 0:
                if start + index == end - 1:
                    continue  # it ends the last line
                lines -= 1
                if not lines:
                    return start + index + 1
            position = start
        return 0

    def character_start(self, offset: int) -> int:
        """The first character that begins at an offset or after it."""
        for byte in self.read(offset, 3):
            if byte & 0xC0 != 0x80:
                break
            offset += 1
        return offset
