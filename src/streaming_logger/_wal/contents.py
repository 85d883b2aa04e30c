r"""What a log says: the turns of its sessions, their text, and how much of it is in the files. Pure.

Used after a crash, and to show what a live process has not written yet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from streaming_logger._wal.record import (
    SPECIAL,
    Claim,
    End,
    Kind,
    claims_in,
    end_in,
    id_of,
    ids_in,
    kind_of,
    name_of,
    serial_and_key,
    whole_part,
)
from streaming_logger._wal.segment import HEADER_SIZE, start_in

__all__ = ["LOST", "Attempt", "Turn", "turns_in"]

#: Stands for text that a crash has lost.
LOST = b"[streaming_logger: text lost in a crash: the crash journal was full]"
_NO_TIME = -1.0


class Attempt(NamedTuple):
    """An append of which it is not known how much was done: of the text from `start` to `end`, to a file that was
    `file_size` bytes long. Not `exact`: the log does not hold all of that text, or more than that."""

    start: int
    end: int
    file_size: int
    inode: int
    exact: bool
    size: int
    """Bytes that were to be appended."""


@dataclass(slots=True)
class Turn:
    """One turn of a session, as far as the log knows it."""

    key: bytes
    end: End | None = None
    """None: it was active."""
    is_over: bool = False
    """Whether its end was carried out."""
    written: int = 0
    """So many bytes of its text are in the file, at least."""
    attempt: Attempt | None = None
    pieces: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """Of each piece, in a log with times."""
    places: list[int] = field(default_factory=list)
    """Where in the log each piece ends, ..."""
    lengths: list[int] = field(default_factory=list)
    """... and how long the text is up to there."""

    @property
    def session_id(self) -> str:
        return id_of(self.key)

    @property
    def file_name(self) -> str:
        return name_of(self.key)

    @property
    def text(self) -> bytes:
        """All of it that the log holds, written or not."""
        return b"".join(self.pieces)

    @property
    def is_timed(self) -> bool:
        """Whether the time of a piece is known."""
        return any(time >= 0 for time in self.times)

    @property
    def length(self) -> int:
        """Bytes of the text."""
        return self.lengths[-1] if self.lengths else 0

    def add(self, piece: bytes, place: int, time: float = _NO_TIME) -> None:
        """The next piece of its text."""
        self.pieces.append(piece)
        self.times.append(time)
        self.places.append(place)
        self.lengths.append(self.length + len(piece))

    def replace(self, text: bytes, place: int) -> None:
        """All that is unwritten is this."""
        for each in (self.pieces, self.times, self.places, self.lengths):
            each.clear()
        self.written, self.attempt = 0, None
        self.add(text, place)

    def claim(self, claim: Claim) -> int:
        """An append of its text was tried; up to where it is written if that is done."""
        known = bisect_right(self.places, claim.place)
        start = (self.lengths[known - 1] if known else 0) - claim.unwritten
        end = start + claim.size
        self.attempt = Attempt(self.written, end, claim.file_size, claim.inode, start == self.written, claim.size)
        return max(0, end)


class _Reader:
    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self._active: dict[bytes, Turn] = {}
        self._ended: dict[int, Turn] = {}
        self._parts: dict[int, list[bytes]] = {}
        self._claimed: list[tuple[Turn, int]] = []

    def active(self, key: bytes) -> Turn:
        """The turn that is active at this place of the log."""
        turn = self._active.get(key)
        if turn is None:
            turn = self._active[key] = Turn(key)
            self.turns.append(turn)
        return turn

    def _of(self, number: int, key: bytes) -> Turn:
        return self._ended.get(number) or self.active(key)

    def take(self, key: bytes, text: bytes, place: int, time: float) -> None:
        """One record, which ends at this place. Raises `ValueError` for what cannot have been noted."""
        if not key.startswith(SPECIAL):
            self.active(key).add(text, place, time)
            return
        kind, key = kind_of(key)
        if kind is Kind.BEGIN:
            self.active(key)
        elif kind is Kind.END:
            ended = self._active.pop(key, None)
            if ended is not None:
                ended.end = end_in(text)
                self._ended[ended.end.number] = ended
        elif kind is Kind.ENDED:
            self._meet_ended(key, end_in(text))
        elif kind in (Kind.PART, Kind.LAST_PART):
            serial, key = serial_and_key(key)
            if not text:
                self._parts.pop(serial, None)
                return
            self._parts.setdefault(serial, []).append(text)
            if kind is Kind.LAST_PART:
                self.active(key).add(b"".join(self._parts.pop(serial)), place, time)
        elif kind is Kind.DROPPED:
            self.active(key).add(LOST, place)
        else:
            self._follow(kind, key, text, place)

    def _meet_ended(self, key: bytes, end: End) -> None:
        if end.number not in self._ended:
            turn = self._ended[end.number] = Turn(key, end)
            self.turns.append(turn)

    def _follow(self, kind: Kind, key: bytes, text: bytes, place: int) -> None:
        """What the worker noted."""
        if kind is Kind.CLAIMS:
            for claim in claims_in(text):
                turn = self._of(claim.turn, claim.key)
                self._claimed.append((turn, turn.claim(claim)))
        elif kind is Kind.DONE:
            for turn, written in self._claimed:
                turn.written, turn.attempt = written, None
            self._claimed.clear()
        elif kind is Kind.CLOSED:
            for number in ids_in(text):
                if (over := self._ended.get(int(number))) is not None:
                    over.is_over = True
        elif kind is Kind.LIVE:
            for name in ids_in(text):
                self.active(name)
        elif kind in (Kind.AGAIN, Kind.LOST):
            turn_number, key = serial_and_key(key)
            self._of(turn_number, key).replace(text if kind is Kind.AGAIN else LOST, place)


def turns_in(segments: Iterable[bytes]) -> list[Turn]:
    r"""The turns of which the contents of some segments tell, in the order in which they began.

    Raises `ValueError` or `LookupError` for what cannot have been noted.

    >>> header = b"#%020d %d" % (0, 2)
    >>> (turn,) = turns_in([header.ljust(HEADER_SIZE) + b"s\0one \0s\0two\0s\0th\xff"])
    >>> turn.text, turn.written, turn.end
    (b'one two', 0, None)
    """
    reader = _Reader()
    found = [(*known, content) for content in segments if (known := start_in(content)) is not None]
    for start, fields, content in sorted(found):
        values = whole_part(content[HEADER_SIZE:], fields)[1]
        place = start + HEADER_SIZE
        for at in range(0, len(values), fields):
            record = values[at : at + fields]
            place += sum(map(_size, record))
            time = float(record[2]) if fields == 3 else _NO_TIME
            reader.take(record[0], record[1], place, time)
    return reader.turns


def _size(value: bytes) -> int:
    """Of a field in the log, with its NUL; in a text each NUL takes two bytes there."""
    return len(value) + 1 + value.count(b"\0")
