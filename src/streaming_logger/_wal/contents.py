r"""What a log says: the turns of its sessions, their text, and how much of it is in the files. Pure.

Used after a crash, and to show what a live process has not written yet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from streaming_logger._wal.record import (
    SPECIAL,
    About,
    Claim,
    End,
    Kind,
    about_in,
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
    begun_at: int
    """The place in the log of its first record."""
    is_known: bool = False
    """Whether there was such a turn: the log may hold no more than the end of one, or of none."""
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
        """All that was unwritten at a place in the log is this."""
        known = bisect_right(self.places, place)
        later = [*zip(self.pieces[known:], self.places[known:], self.times[known:], strict=True)]
        for each in (self.pieces, self.times, self.places, self.lengths):
            each.clear()
        self.written, self.attempt = 0, None
        self.add(text, place)
        for each_later in later:
            self.add(*each_later)

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
        self._of_session: defaultdict[bytes, list[Turn]] = defaultdict(list)
        self._active: dict[bytes, Turn] = {}
        self._ended: dict[int, Turn] = {}
        self._parts: dict[int, list[bytes]] = {}
        self._claimed: list[tuple[Turn, int]] = []

    def _begin(self, key: bytes, place: int) -> Turn:
        turn = Turn(key, place)
        self.turns.append(turn)
        self._of_session[key].append(turn)
        return turn

    def _at_end(self, key: bytes, place: int) -> Turn:
        """The turn that is active here."""
        turn = self._active.get(key)
        if turn is None:
            turn = self._active[key] = self._begin(key, place)
        turn.is_known = True
        return turn

    def _about(self, about: About) -> Turn:
        """The turn that a note is about. A turn may have ended since the place of which the note speaks."""
        if about.turn in self._ended:
            return self._ended[about.turn]
        for turn in reversed(self._of_session[about.key]):
            if turn.begun_at <= about.place:
                turn.is_known = True
                return turn
        turns = self._of_session[about.key]
        if turns and not turns[0].is_known:
            turns[0].is_known = True
            return turns[0]
        return self._at_end(about.key, about.place)

    def take(self, key: bytes, text: bytes, place: int, time: float) -> None:
        """One record, which ends at this place. Raises `ValueError` for what cannot have been noted."""
        if not key.startswith(SPECIAL):
            self._at_end(key, place).add(text, place, time)
            return
        kind, key = kind_of(key)
        if kind is Kind.BEGIN:
            self._at_end(key, place)
        elif kind is Kind.END:
            ended = self._active.pop(key, None) or self._begin(key, place)
            ended.end = end_in(text)
            self._ended[ended.end.number] = ended
        elif kind in (Kind.PART, Kind.LAST_PART):
            self._take_part(kind, key, text, place, time)
        elif kind is Kind.DROPPED:
            self._at_end(key, place).add(LOST, place)
        elif kind in (Kind.AGAIN, Kind.LOST, Kind.ENDED):
            self._take_note(kind, about_in(key), text)
        else:
            self._follow(kind, key, text)

    def _take_part(self, kind: Kind, field: bytes, text: bytes, place: int, time: float) -> None:
        serial, key = serial_and_key(field)
        if not text:
            self._parts.pop(serial, None)
            return
        self._parts.setdefault(serial, []).append(text)
        if kind is Kind.LAST_PART:
            self._at_end(key, place).add(b"".join(self._parts.pop(serial)), place, time)

    def _take_note(self, kind: Kind, about: About, text: bytes) -> None:
        """What the log was about to forget."""
        if kind is not Kind.ENDED:
            self._about(about).replace(text if kind is Kind.AGAIN else LOST, about.place)
        elif about.turn not in self._ended:
            turn = self._ended[about.turn] = self._begin(about.key, about.place)
            turn.end, turn.is_known = end_in(text), True

    def _follow(self, kind: Kind, key: bytes, text: bytes) -> None:
        """What the worker noted of many turns."""
        if kind is Kind.CLAIMS:
            for claim in claims_in(text):
                turn = self._about(About(claim.key, claim.turn, claim.place))
                self._claimed.append((turn, turn.claim(claim)))
        elif kind is Kind.DONE:
            for turn, written in self._claimed:
                turn.written, turn.attempt = written, None
            self._claimed.clear()
        elif kind is Kind.CLOSED:
            for number in ids_in(text):
                if (over := self._ended.get(int(number))) is not None:
                    over.is_over = True
        else:
            for name in ids_in(text):
                self._about(About(name, 0, int(key)))


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
    return [turn for turn in reader.turns if turn.is_known]


def _size(value: bytes) -> int:
    """Of a field in the log, with its NUL; in a text each NUL takes two bytes there."""
    return len(value) + 1 + value.count(b"\0")
