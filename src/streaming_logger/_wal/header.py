"""The header of a log in shared memory: whose it is, and for which directory. Pure, but for the namespace."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

from streaming_logger._base.errors import StreamingLoggerError

__all__ = [
    "FINISHED",
    "GIVEN_UP",
    "HEADER_SIZE",
    "STATE_AT",
    "TERM_AT",
    "WAITING",
    "WHOLE",
    "LogError",
    "about_of",
    "header_of",
    "namespace",
]

#: Room for the header. Behind it stand notes of a recovery.
HEADER_SIZE = 1 << 15
#: The header's last byte says whether the log holds all that it should.
STATE_AT = HEADER_SIZE - 1
#: It does; records wait elsewhere, for room; the worker found no room for what it has to note; all is recovered.
WHOLE, WAITING, GIVEN_UP, FINISHED = b"\0", b"\1", b"\2", b"\3"
#: Before it the number of the process that may work on it: 0 its owner, 1 who recovers it, 2 who takes over from that.
#: It holds the lock on the byte of that number.
TERM_AT = STATE_AT - 8
_MAGIC = b"streaming_logger log"
_VERSION = 2


class LogError(StreamingLoggerError):
    """A dead process's log that cannot be read; the text says why."""


def header_of(about: Mapping[str, object]) -> bytes:
    """The first bytes of a header file."""
    text = json.dumps({"version": _VERSION, **about}).encode()
    return b"%b\n%b\n%08x\n" % (_MAGIC, text, zlib.crc32(text))


def about_of(header: bytes) -> dict[str, Any]:
    """What a header says. Raises `LogError` for one that was not made by `header_of`."""
    magic, text, checksum, *_ = header.split(b"\n", 3) + 3 * [b""]
    if magic != _MAGIC:
        raise LogError("it is no log of this library")
    if checksum != b"%08x" % zlib.crc32(text):
        raise LogError("its header is damaged")
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise LogError("its header is damaged")
    if type(about.get("version")) is not int or about["version"] != _VERSION:
        raise LogError(f"it is of version {about.get('version')}")
    numbers = [about.get(name) for name in ("pid", "device", "inode", "namespace")]
    is_sound = all(type(number) is int and 0 <= number < 1 << 64 for number in numbers)
    if not is_sound or type(about.get("path")) is not str or "\0" in about["path"]:
        raise LogError("its header is damaged")
    return about


def namespace() -> int:
    """Of this process's mounts; 0 where the system does not tell."""
    try:
        return os.stat("/proc/self/ns/mnt").st_ino
    except OSError:
        return 0
