"""The timing file beside a session's log: its name and its lines. Pure: no file is touched here.

One line for each chunk, `delay bytes`, in the classic format of util-linux `script --timing`: the seconds
since the chunk before (for the first: since the session's start) and the chunk's length in the log.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from typing import NamedTuple

from streaming_logger._disk.names import SUFFIX, session_id_of

__all__ = [
    "TIMING_SUFFIX",
    "Timing",
    "completed",
    "cut_out",
    "format_line",
    "is_timing_name",
    "log_name_of",
    "merged",
    "parse",
    "recorded_size",
    "timing_name_of",
]

TIMING_SUFFIX = ".timing"

# The newline belongs to it: without one the last line is torn, and its number may be.
_LINE = re.compile(rb"(\d{1,9}(?:\.\d{1,9})?) (\d{1,15})\n")


class Timing(NamedTuple):
    """The chunks of a session in order; two arrays, since a runaway session has millions."""

    delays: array[float]
    sizes: array[int]
    unreadable: int
    """Lines that were skipped: torn by a crash, or not `delay bytes`."""


def timing_name_of(file_name: str) -> str:
    """The name of the timing file of a session's file.

    >>> timing_name_of("sess_abc123.log")
    'sess_abc123.timing'
    """
    return file_name.removesuffix(SUFFIX) + TIMING_SUFFIX


def log_name_of(timing_name: str) -> str:
    """The name of the session's file that a timing file belongs to.

    >>> log_name_of("sess_abc123.timing")
    'sess_abc123.log'
    """
    return timing_name.removesuffix(TIMING_SUFFIX) + SUFFIX


def is_timing_name(name: str) -> bool:
    """Whether it is the name of a session's timing file.

    >>> is_timing_name("sess_abc123.timing"), is_timing_name("a b.timing"), is_timing_name("x.log")
    (True, False, False)
    """
    return name.endswith(TIMING_SUFFIX) and session_id_of(log_name_of(name)) is not None


def format_line(delay: float, size: int) -> bytes:
    r"""One chunk's line. The size is above 0: scriptreplay aborts on an empty chunk.

    >>> format_line(0.25, 12)
    b'0.250000 12\n'
    """
    return b"%.6f %d\n" % (delay, size)


def parse(lines: Iterable[bytes]) -> Timing:
    r"""The chunks of a timing file, given its lines with their ends.

    >>> timing = parse([b"0.250000 12\n", b"what?\n", b"0.031000 7\n", b"0.02"])
    >>> timing.delays.tolist(), timing.sizes.tolist(), timing.unreadable
    ([0.25, 0.031], [12, 7], 2)
    """
    delays, sizes, unreadable = array("d"), array("q"), 0
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            unreadable += 1
        else:
            delays.append(float(found[1]))
            sizes.append(int(found[2]))
    return Timing(delays, sizes, unreadable)


def merged(lines: bytes) -> bytes:
    r"""Some lines as one, with the same sums. What is torn at their ends stays as it is.

    >>> merged(b"0.250000 12\n0.031000 7\n0.02")
    b'0.281000 19\n0.02'
    """
    whole, end, rest = lines.rpartition(b"\n")
    timing = parse(line + end for line in whole.split(b"\n"))
    return format_line(sum(timing.delays), sum(timing.sizes)) + rest if timing.sizes else lines


def recorded_size(lines: bytes) -> int:
    """Bytes of the log of which the lines tell."""
    return sum(parse(lines.splitlines(keepends=True)).sizes)


def completed(lines: bytes, size: int) -> bytes:
    r"""The lines of a log that is so long, with one for what they lack: text of which no time is known.

    >>> completed(b"0.250000 12\n0.03", 20)
    b'0.250000 12\n0.03\n0.000000 8\n'
    """
    missing = size - recorded_size(lines)
    return lines if missing <= 0 else lines + b"\n" * (lines[-1:] not in (b"", b"\n")) + format_line(0.0, missing)


def cut_out(lines: bytes, start: int, end: int, marker: int) -> bytes:
    r"""The lines of a log from which the bytes from `start` to `end` were cut, and that got a marker there.

    >>> cut_out(b"0.100000 10\n0.200000 10\n0.300000 10\n", 5, 25, 3)
    b'0.100000 5\n0.500000 3\n0.000000 5\n'
    """
    timing = parse(line + b"\n" for line in lines.split(b"\n") if line)
    before, after, pause, position = [], [], 0.0, 0
    for delay, size in zip(timing.delays, timing.sizes, strict=True):
        head = min(size, max(0, start - position))
        tail = min(size, max(0, position + size - end))
        if head:
            before.append(format_line(delay, head))
        if tail:
            after.append(format_line(delay if position >= end else 0.0, tail))
        if not head and position < end:
            pause += delay
        position += size
    return b"".join((*before, format_line(pause, marker), *after))
