"""The content of one file, as it is uploaded: compressed, and not whole in memory when it is large."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Mapping

from streaming_logger._archive.bucket import Bucket

__all__ = ["Digest", "put_file"]

#: A larger file goes up in parts.
_WHOLE = 8_000_000
_PART = 1_000_000
#: Bytes that continue a UTF-8 character.
_CONTINUATIONS = bytes(range(0x80, 0xC0))
_GZIP = 16 + zlib.MAX_WBITS


class Digest:
    """The checksum and the number of characters of a file's first `size` bytes."""

    def __init__(self, fd: int, size: int) -> None:
        checksum = hashlib.sha256()
        self.characters = 0
        for part in _parts(fd, size):
            checksum.update(part)
            self.characters += len(part.translate(None, _CONTINUATIONS))
        self.sha256 = checksum.hexdigest()


def put_file(
    bucket: Bucket,
    key: str,
    fd: int,
    size: int,
    compress: str,
    attributes: Mapping[str, str] | None = None,
    *,
    progress: Callable[[], None] = lambda: None,
) -> int:
    """Uploads a file's first `size` bytes; the size of the object. Raises `ArchiveError`, or the file's `OSError`.

    `progress` is called after each part.
    """
    if size > _WHOLE:
        parts = _followed(_parts(fd, size), progress)
        return bucket.put_parts(key, _compressed(parts) if compress == "gzip" else parts, attributes)
    data = b"".join(_parts(fd, size))
    if compress == "gzip":
        data = gzip.compress(data, mtime=0)  # the same text is the same object
    bucket.put(key, data, attributes)
    progress()
    return len(data)


def _parts(fd: int, size: int) -> Iterator[bytes]:
    start = 0
    while start < size and (part := os.pread(fd, min(_PART, size - start), start)):
        start += len(part)
        yield part
    if start < size:
        raise OSError(f"the file has only {start} of {size} bytes")  # its middle was cut out: it is tried again


def _followed(parts: Iterator[bytes], progress: Callable[[], None]) -> Iterator[bytes]:
    for part in parts:
        yield part
        progress()


def _compressed(parts: Iterator[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(wbits=_GZIP)
    for part in parts:
        if data := compressor.compress(part):
            yield data
    yield compressor.flush()
