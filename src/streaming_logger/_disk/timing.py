"""The timing file beside a session's log: its name and its lines. Pure: no file is touched here.

One line for each chunk, `delay bytes`, in the classic format of util-linux `script --timing`: the seconds
since the chunk before (for the first: since the session's start) and the chunk's length in the log.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from typing import NamedTuple

from streaming_logger._disk.names import SUFFIX

__all__ = ["TIMING_SUFFIX", "Timing", "format_line", "parse", "timing_name_of"]

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
