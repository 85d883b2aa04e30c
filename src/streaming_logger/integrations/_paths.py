"""Path patterns of the middleware, matched in linear time: the path comes from a client.

A regular expression with several wildcards tries every way to share a path among them. Here each part of the pattern
is looked at once, from the last to the first, for all positions of the path together.
"""

from __future__ import annotations

import re

__all__ = ["PathPattern"]

_VALID = re.compile(r"\*|/(?:[^{}]|\{[A-Za-z_]\w*\})*")
_PARTS = re.compile(r"(\{\w+\}|\*)")
#: For `bytes.translate`: 0 for a slash, 1 for anything else.
_NO_SLASH = bytes(b"01"[byte != ord("/")] for byte in range(256))


class PathPattern:
    """`{name}` stands for one segment of a path or a part of one, never empty; `*` for anything, slashes too.

    Raises `TypeError` and `ValueError` for a bad pattern.

    >>> PathPattern("/chat/{session_id}").match("/chat/sess_1")
    {'session_id': 'sess_1'}
    >>> PathPattern("/v1/*").match("/v2/models")
    """

    def __init__(self, pattern: str) -> None:
        if not isinstance(pattern, str):
            raise TypeError(f"paths must hold str, not {type(pattern).__name__}")
        parts = [part for part in _PARTS.split(pattern) if part]
        names = [part[1:-1] for part in parts if part[0] == "{"]
        if not _VALID.fullmatch(pattern) or not all(map(str.isidentifier, names)):
            raise ValueError(f'paths must be "*", or begin with "/" and have {{name}} for one segment, got {pattern!r}')
        if len(set(names)) < len(names):
            raise ValueError(f"paths must have each {{name}} once, got {pattern!r}")
        self._prefix = "" if parts[0] == "*" else parts[0]
        self._parts = parts[1:] if self._prefix else parts

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters of a path; None for one that does not match. The first part takes as much as it can."""
        if not path.startswith(self._prefix):
            return None
        ends = _ends(path, self._parts)
        at = len(path) - len(self._prefix)  # counted from the path's end, as all bits are
        if not ends[0] >> at & 1:
            return None
        found = {}
        for part, rest in zip(self._parts, ends[1:], strict=True):
            if part == "*":
                at = _lowest(rest)
            elif part[0] == "{":
                begin = len(path) - at
                segment_end = path.find("/", begin)
                least = 0 if segment_end < 0 else len(path) - segment_end
                at = _lowest(rest >> least) + least
                found[part[1:-1]] = path[begin : len(path) - at]
            else:
                at -= len(part)
        return found


def _ends(path: str, parts: list[str]) -> list[int]:
    """For each part, and for the end: at which positions it and those behind it match all the rest of the path.

    Bit n of a number stands for the position n characters before the path's end.
    """
    everywhere = (2 << len(path)) - 1
    in_segment = int(path.encode("ascii", "replace").translate(_NO_SLASH) + b"0", 2)  # the character there is no slash
    ends = [1]
    for part in reversed(parts):
        rest = ends[-1]
        if part == "*":
            before = everywhere & -(rest & -rest)
        elif part[0] == "{":
            last = rest << 1 & in_segment  # the name's last character stands there
            # The sum carries each bit up to the segment's beginning, and changes all bits on its way.
            before = ((in_segment + last) ^ in_segment | last) & in_segment
        else:
            before = rest << len(part) & _occurrences(path, part)
        ends.append(before)
    return ends[::-1]


def _occurrences(path: str, text: str) -> int:
    marks = bytearray(b"0") * (len(path) + 1)
    at = path.find(text)
    while at >= 0:
        marks[at] = ord("1")
        at = path.find(text, at + 1)
    return int(marks, 2)


def _lowest(bits: int) -> int:
    """The number of the lowest bit that is set."""
    return (bits & -bits).bit_length() - 1
