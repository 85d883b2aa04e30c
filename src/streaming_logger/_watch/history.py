"""The end of a stream, as the detector keeps it: one byte for each character."""

from __future__ import annotations

from streaming_logger._watch.fields import raw_length, without_fields

__all__ = ["History", "one_byte"]

#: Long enough to compare a block with its copy 5,000 characters before.
_MAX_BARE = 5280
#: Enough to see how fields vary, and to compress the latest text by what stands before it.
_MAX_RAW = 1536
_NOT_ASCII = bytes(0x80 if byte else 0 for byte in range(256))


def one_byte(text: str) -> bytes:
    """The text with one byte for each character: those outside ASCII become 0x80 to 0xFF, and may collide."""
    if text.isascii():
        return text.encode()
    code_points = text.encode("utf-32-le", "surrogatepass")
    low = int.from_bytes(code_points[::4], "little")
    mask = int.from_bytes(code_points[1::4].translate(_NOT_ASCII), "little")
    return (low | mask).to_bytes(len(text), "little")


class History:
    """What was added last, twice: as it is, and without numbers and ids.

    Judgements read `text`: the one without fields, unless the latest block has hardly anything but fields.

    >>> history = History()
    >>> history.add("Try number 7 of 10. ")
    >>> history.raw, history.text
    (b'Try number 7 of 10. ', b'Try number  of . ')
    """

    __slots__ = ("bare", "is_bare", "new", "new_raw", "raw")

    def __init__(self) -> None:
        self.raw = b""
        self.bare = b""
        self.is_bare = True
        """Whether `text` is the one without fields."""
        self.new = 0
        """How many characters of `text` the last `add` brought,"""
        self.new_raw = 0
        """and how many of the stream."""

    @property
    def text(self) -> bytes:
        return self.bare if self.is_bare else self.raw

    def add(self, block: str) -> None:
        data = one_byte(block)
        bare = without_fields(data)
        self.raw = (self.raw + data)[-_MAX_RAW:]
        self.bare = (self.bare + bare)[-_MAX_BARE:]
        self.is_bare = 3 * len(bare) >= len(data)
        self.new, self.new_raw = len(bare) if self.is_bare else len(data), len(data)

    def lacks_fields(self, length: int) -> bool:
        """Whether the last `length` characters of `text` stand in the stream like this."""
        return not self.is_bare or self.bare.endswith(self.raw[-length:])

    def raw_length(self, length: int) -> int:
        """How many characters of the stream the last `length` of `text` are; estimated beyond what `raw` has."""
        return length if self.lacks_fields(length) else raw_length(self.raw, length)

    @property
    def share_of_fields(self) -> float:
        """How much of the latest characters is numbers and ids."""
        return (1 - len(without_fields(self.raw)) / len(self.raw)) if self.is_bare and self.raw else 0.0
