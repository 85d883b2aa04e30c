"""The text of a session, from any offset: the one place that reads it.

Offsets are in bytes, as the ledger and the timing file have them. What a server holds in memory belongs behind the
file's end; whoever reads by offset, up to an empty part, gets it without a change.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator

from streaming_logger._disk.directory import Directory

__all__ = ["PART", "Text", "utf8_decoder"]

#: Bytes that are read at once.
PART = 1 << 16


def utf8_decoder() -> codecs.IncrementalDecoder:
    """Decodes bytes that arrive in parts, which may end within a character. Invalid UTF-8 becomes visible escapes."""
    return codecs.getincrementaldecoder("utf-8")("backslashreplace")


class Text:
    """The text of one session. It stays readable when its file is deleted, until it is closed."""

    def __init__(self, directory: Directory, name: str) -> None:
        """`name` is that of its file. Raises `OSError`."""
        self._directory = directory
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
        return os.fstat(self._fd).st_size

    def read(self, offset: int, limit: int = PART) -> bytes:
        """At most `limit` bytes of text from an offset; empty if there is no more yet."""
        return os.pread(self._fd, limit, offset)

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
