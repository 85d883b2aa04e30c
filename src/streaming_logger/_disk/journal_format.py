r"""The bytes of a crash journal: what writers and the flusher note, and what it says after a crash. Pure.

A journal has two halves, each with a region of records and one of marks. A record is a chunk, `id NUL text NUL`;
a mark is a note of the flusher's, `kind and id NUL numbers NUL`. What was never written holds 0xFF, a byte that no
UTF-8 text has, so a record that a kill tore has a hole in it or no end, and what follows is not looked at.

The order of a session's records is that of its unwritten text in memory, always; and where one of its turns ends
there is a record of that. So the flusher needs to note only which place in the records it has written up to.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from streaming_logger._base.errors import StreamingLoggerError

__all__ = [
    "BLANK",
    "Attempt",
    "Claim",
    "CrashedSession",
    "JournalError",
    "about_of",
    "claim_mark",
    "done_mark",
    "end_mark",
    "half_start",
    "header_of",
    "live_mark",
    "marker_record",
    "parse",
    "record_of",
    "turn_end_record",
]

_MAGIC = b"streaming_logger journal"
_VERSION = 1
#: What a place holds that was not written to.
BLANK = b"\xff"
_NUL, _ESCAPED_NUL = b"\0", b"\xc0\x80"  # as Java writes it; UTF-8 has no such byte
_TURN_END = b"\xfe"  # nor this one

#: A mark's kind. The first record of a half has no id, and the half's number as its text.
_CLAIM, _DONE, _END, _LIVE = b"C", b"D", b"E", b"L"

_LONGEST_NUMBER = 20

_MISSING = "[streaming_logger: text lost in a crash: the crash journal was full]"


class JournalError(StreamingLoggerError):
    """A journal that cannot be made, or is not read; the text says why."""


def header_of(about: Mapping[str, object]) -> bytes:
    """The first bytes of a journal: whose it is, and its layout."""
    text = json.dumps({"version": _VERSION, **about}).encode()
    return b"%b\n%b\n%08x\n" % (_MAGIC, text, zlib.crc32(text))


def about_of(header: bytes) -> dict[str, Any]:
    """What a header says. Raises `JournalError` for one that was not made by `header_of`."""
    magic, text, checksum, *_ = header.split(b"\n", 3) + 2 * [b""]
    if magic != _MAGIC:
        raise JournalError("it is not a journal")
    if checksum != b"%08x" % zlib.crc32(text):
        raise JournalError("its header is damaged")
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise JournalError("its header is damaged")
    if type(about.get("version")) is not int or about["version"] != _VERSION:
        raise JournalError(f"it is of version {about.get('version')}")
    numbers = [about.get(name) for name in ("pid", "device", "inode", "namespace", "marks", "records")]
    is_sound = all(type(number) is int and 0 <= number < 1 << 64 for number in numbers)
    if not is_sound or type(about.get("path")) is not str or "\0" in about["path"]:
        raise JournalError("its header is damaged")
    return about


def record_of(session_id: str, text: bytes) -> bytes:
    r"""One chunk, as UTF-8.

    >>> record_of("s", b"a\0b")
    b's\x00a\xc0\x80b\x00'
    """
    return b"%b\0%b\0" % (_escaped(session_id), text.replace(_NUL, _ESCAPED_NUL))


def marker_record(session_id: str) -> bytes:
    """What stands for chunks that found no place in the journal."""
    return record_of(session_id, _MISSING.encode())


def turn_end_record(session_id: str, turn: int) -> bytes:
    """A turn of the session ends here; what follows is a later one's."""
    return b"%b\0%b%d\0" % (_escaped(session_id), _TURN_END, turn)


def half_start(number: int) -> bytes:
    """The first record of a half. The half with the higher number is the newer one."""
    return b"\0%d\0" % number


class Claim(NamedTuple):
    """The flusher is about to append `size` bytes of a turn to a file that is `file_size` bytes long.

    At this `place` in the records, the last `unwritten` bytes of the turn's text are not in the file.
    """

    session_id: str
    turn: int
    place: int
    unwritten: int
    size: int
    file_size: int
    inode: int


def claim_mark(claim: Claim) -> bytes:
    session_id, turn, place, unwritten, size, file_size, inode = claim
    numbers = (turn, place, unwritten, size, file_size, inode)
    return b"C%b\0%d %d %d %d %d %d\0" % (_escaped(session_id), *numbers)


def done_mark() -> bytes:
    """All that was claimed before is in the files."""
    return b"D\0\0"


def end_mark(session_id: str, turn: int) -> bytes:
    """The turn is complete."""
    return b"E%b\0%d\0" % (_escaped(session_id), turn)


def live_mark(session_id: str, turn: int) -> bytes:
    """The turn is live, whether or not it gets text."""
    return b"L%b\0%d\0" % (_escaped(session_id), turn)


def _escaped(session_id: str) -> bytes:
    return session_id.encode("utf-8", "surrogatepass").replace(_NUL, _ESCAPED_NUL)


class Attempt(NamedTuple):
    """An append of which it is not known how much was done: of the text from `start` to `end`, to a file that was
    `file_size` bytes long. Not `exact`: the journal does not hold all of that text, or more than that."""

    start: int
    end: int
    file_size: int
    inode: int
    exact: bool
    size: int
    """Bytes that were to be appended."""


@dataclass(slots=True)
class CrashedSession:
    """What a journal says of one session."""

    id: str
    text: bytes = b""
    """All that the journal holds of it, written or not."""
    written: int = 0
    """So many bytes of the text are in the file, at least."""
    attempt: Attempt | None = None
    active: bool = False
    """Whether it was when the process died."""


def parse(halves: list[tuple[bytes, bytes]]) -> list[CrashedSession]:
    r"""What the halves, (records, marks), say: the sessions with unwritten text first, else in order of appearance.

    Raises `ValueError` or `LookupError` for what cannot have been noted.

    >>> (session,) = parse([(half_start(1) + record_of("s", b"one ") + record_of("s", b"two") + b"s\0th\xff", b"")])
    >>> session.text, session.written
    (b'one two', 0)
    """
    sessions: defaultdict[bytes, _Session] = defaultdict(_Session)
    for _, records, marks in sorted(filter(None, map(_numbered, halves))):
        claims = [(key[1:], _claim_of(key, value)) for key, value in marks if key[:1] == _CLAIM]
        claims.sort(key=lambda claim: claim[1].place, reverse=True)
        # Where in a session's text each claim was made.
        text_at: dict[tuple[bytes, int], int] = {}
        position = 0
        for key, value in [*records, (b"", b"")]:
            while claims and (claims[-1][1].place <= position or not value):
                claimer, claim = claims.pop()
                text_at[claimer, claim.place] = sessions[claimer].length
            position += len(key) + len(value) + 2
            if key:
                sessions[key].take(value)
        _follow(marks, sessions, text_at)
    found = [session.result(key) for key, session in sessions.items()]
    return sorted(found, key=lambda session: session.written == len(session.text))


class _Session:
    """One session, while a journal is read."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.length = 0
        self.written = 0
        self.attempt: Attempt | None = None
        self.turns: set[int] = set()
        self.ends: dict[int, int] = {}
        """Where in the text turns end."""

    def take(self, value: bytes) -> None:
        """The next record."""
        if value[:1] == _TURN_END:
            self.ends[_number(value[1:])] = self.length
            return
        text = value.replace(_ESCAPED_NUL, _NUL)
        self.pieces.append(text)
        self.length += len(text)

    def claim(self, claim: Claim, here: int) -> int:
        """An append of its text is tried; to where it is written if that is done."""
        start = min(here, self.ends.get(claim.turn, here)) - claim.unwritten
        end = start + claim.size
        exact = start == self.written
        self.attempt = Attempt(self.written, end, claim.file_size, claim.inode, exact, claim.size)
        return max(0, end)

    def result(self, key: bytes) -> CrashedSession:
        text = b"".join(self.pieces)
        written = min(self.written, len(text))
        return CrashedSession(_id_of(key), text, written, self.attempt, bool(self.turns) or written < len(text))


def _follow(
    marks: list[tuple[bytes, bytes]], sessions: defaultdict[bytes, _Session], text_at: dict[tuple[bytes, int], int]
) -> None:
    """Takes in what the flusher noted, in its order."""
    claimed: dict[bytes, int] = {}
    for kind, key, value in [(key[:1], key[1:], value) for key, value in marks]:
        if kind == _DONE:
            for claimer, written in claimed.items():
                sessions[claimer].written, sessions[claimer].attempt = written, None
            claimed.clear()
            continue
        session = sessions[key]
        if kind == _CLAIM:
            claim = _claim_of(kind + key, value)
            session.turns.add(claim.turn)
            claimed[key] = session.claim(claim, text_at[key, claim.place])
        elif kind == _LIVE:
            session.turns.add(_number(value))
        elif kind == _END:
            session.turns.discard(_number(value))
        else:
            raise ValueError(f"{kind!r} is not a mark")


def _numbered(half: tuple[bytes, bytes]) -> tuple[int, list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]] | None:
    """(number, records, marks) of a half; None for one that holds nothing."""
    records, marks = map(_pairs, half)
    if not records or records[0][0] or not records[0][1].isdigit():
        return None
    return int(records[0][1]), records, marks


def _pairs(region: bytes) -> list[tuple[bytes, bytes]]:
    """The whole records or marks of a region."""
    end = region.find(BLANK)
    fields = (region if end < 0 else region[:end]).split(_NUL)
    del fields[-1:]  # behind the last NUL: nothing, or a part of a field
    return list(zip(fields[::2], fields[1::2]))  # noqa: B905 - the last may be half a record


def _claim_of(key: bytes, value: bytes) -> Claim:
    turn, place, unwritten, size, file_size, inode = map(_number, value.split(b" "))
    return Claim(_id_of(key[1:]), turn, place, unwritten, size, file_size, inode)


def _number(digits: bytes) -> int:
    """Raises `ValueError` for what the flusher cannot have noted."""
    if not digits.isdigit() or len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"{digits[:_LONGEST_NUMBER]!r} is not a number")
    return int(digits)


def _id_of(key: bytes) -> str:
    return key.replace(_ESCAPED_NUL, _NUL).decode("utf-8", "surrogatepass")
