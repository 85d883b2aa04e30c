r"""The bytes of a crash journal: what writers and the flusher note, and what it says after a crash. Pure.

A journal has two halves, each with a region of records and one of marks. A record is a chunk, `id NUL text NUL`;
a mark is a note of the flusher's, `kind and id NUL numbers NUL`. What was never written holds 0xFF, a byte that no
UTF-8 text has, so a record that a kill tore has a hole in it or no end, and what follows is not looked at.

The order of a session's records is that of its unwritten text in memory, always. So the flusher needs to note only
which place in the records it has written up to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "BLANK",
    "Attempt",
    "CrashedSession",
    "claim_mark",
    "done_mark",
    "end_mark",
    "half_start",
    "live_mark",
    "marker_record",
    "parse",
    "record_of",
]

#: What a place holds that was not written to.
BLANK = b"\xff"
_NUL, _ESCAPED_NUL = b"\0", b"\xc0\x80"  # as Java writes it; UTF-8 has no such byte

#: A mark's kind. The first record of a half has no id, and the half's number as its text.
_CLAIM, _DONE, _END, _LIVE = b"C", b"D", b"E", b"L"

_MISSING = "[streaming_logger: text lost in a crash: the crash journal was full]"


def record_of(session_id: str, text: bytes) -> bytes:
    r"""One chunk, as UTF-8.

    >>> record_of("s", b"a\0b")
    b's\x00a\xc0\x80b\x00'
    """
    return b"%b\0%b\0" % (_escaped(session_id), text.replace(_NUL, _ESCAPED_NUL))


def marker_record(session_id: str) -> bytes:
    """What stands for chunks that found no place in the journal."""
    return record_of(session_id, _MISSING.encode())


def half_start(number: int) -> bytes:
    """The first record of a half. The half with the higher number is the newer one."""
    return b"\0%d\0" % number


def claim_mark(session_id: str, place: int, unwritten: int, size: int, file_size: int, inode: int) -> bytes:
    """The flusher is about to append `size` bytes to a file that is so long.

    At this `place` in the records, the last `unwritten` bytes of the session's text are not in the file.
    """
    return b"C%b\0%d %d %d %d %d\0" % (_escaped(session_id), place, unwritten, size, file_size, inode)


def done_mark() -> bytes:
    """All that was claimed before is in the files."""
    return b"D\0\0"


def end_mark(session_id: str) -> bytes:
    """The session is complete."""
    return b"E%b\0\0" % _escaped(session_id)


def live_mark(session_id: str) -> bytes:
    """The session is live, whether or not it gets text."""
    return b"L%b\0\0" % _escaped(session_id)


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
    active: bool = True
    """Whether it was when the process died."""


def parse(halves: list[tuple[bytes, bytes]]) -> list[CrashedSession]:
    r"""What the halves, (records, marks), say: the sessions with unwritten text first, else in order of appearance.

    >>> (session,) = parse([(half_start(1) + record_of("s", b"one ") + record_of("s", b"two") + b"s\0th\xff", b"")])
    >>> session.text, session.written
    (b'one two', 0)
    """
    sessions: dict[bytes, CrashedSession] = {}
    pieces: dict[bytes, list[bytes]] = {}
    lengths: dict[bytes, int] = {}
    for _, records, marks in sorted(filter(None, map(_numbered, halves))):
        claims = [_Claim.of(key, value) for key, value in marks if key[:1] == _CLAIM]
        # Where in the text each claim was made: its place in the records, as a place in the session's text.
        places = sorted({claim.place for claim in claims}, reverse=True)
        text_at: dict[tuple[bytes, int], int] = {}
        claimed_at: dict[int, list[bytes]] = {}
        for claim in claims:
            claimed_at.setdefault(claim.place, []).append(claim.key)
        position = 0
        for key, value in [*records, (b"", b"")]:
            while places and (places[-1] <= position or not (key or value)):
                for claimer in claimed_at[place := places.pop()]:
                    text_at[claimer, place] = lengths.get(claimer, 0)
            position += len(key) + len(value) + 2
            if key:
                text = value.replace(_ESCAPED_NUL, _NUL)
                pieces.setdefault(key, []).append(text)
                lengths[key] = lengths.get(key, 0) + len(text)
        _follow(marks, sessions, text_at)
    for key, parts in pieces.items():
        session = sessions.setdefault(key, CrashedSession(_id_of(key)))
        session.text = b"".join(parts)
    for session in sessions.values():
        session.written = min(session.written, len(session.text))
        session.active |= session.written < len(session.text)
    return sorted(sessions.values(), key=lambda session: session.written == len(session.text))


class _Claim(NamedTuple):
    key: bytes
    place: int
    unwritten: int
    size: int
    file_size: int
    inode: int

    @classmethod
    def of(cls, key: bytes, value: bytes) -> _Claim:
        return cls(key[1:], *map(int, value.split()))


def _follow(
    marks: list[tuple[bytes, bytes]],
    sessions: dict[bytes, CrashedSession],
    text_at: dict[tuple[bytes, int], int],
) -> None:
    """Takes in what the flusher noted, in its order."""
    open_claims: dict[bytes, tuple[CrashedSession, int]] = {}
    for kind, key, value in [(key[:1], key[1:], value) for key, value in marks]:
        if kind == _DONE:
            for session, written in open_claims.values():
                session.written, session.attempt = max(0, written), None
            open_claims.clear()
            continue
        session = sessions.setdefault(key, CrashedSession(_id_of(key)))
        session.active = kind != _END
        if kind == _CLAIM:
            claim = _Claim.of(kind + key, value)
            here = text_at[key, claim.place]
            start = here - claim.unwritten
            exact = start == session.written
            end = start + claim.size
            session.attempt = Attempt(session.written, end, claim.file_size, claim.inode, exact, claim.size)
            open_claims[key] = (session, end)


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


def _id_of(key: bytes) -> str:
    return key.replace(_ESCAPED_NUL, _NUL).decode("utf-8", "surrogatepass")
