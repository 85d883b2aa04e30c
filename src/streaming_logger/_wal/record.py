r"""The bytes of a log: what callers say and what the worker notes, one record after the other. Pure.

A record is a chunk, `id NUL text NUL`, or in a log with times `id NUL text NUL time NUL`. All other records begin
with a byte that UTF-8 never has and have the same number of fields. What was never written is `BLANK`, another such
byte; so a record that a kill tore has a hole in it or no end, and nothing behind it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from streaming_logger._disk.names import SUFFIX, file_name_of

__all__ = [
    "BLANK",
    "NUL",
    "SPECIAL",
    "About",
    "Claim",
    "End",
    "Kind",
    "about_in",
    "chunk_record",
    "claims_in",
    "claims_record",
    "encode",
    "end_in",
    "end_record",
    "end_text",
    "id_of",
    "ids_in",
    "ids_record",
    "key_of",
    "kind_of",
    "name_of",
    "note_record",
    "part_record",
    "serial_and_key",
    "special_record",
    "whole_part",
]

NUL = b"\0"
BLANK = b"\xff"
SPECIAL = b"\xfe"
_ESCAPED_NUL = b"\xc0\x80"  # as Java writes it; UTF-8 has no such byte
_NEXT = b"\xfd"  # between the values of one field
_NAME = b"\xfc"  # an id that is too long is the stem of its file's name
_LONGEST_ID = 1000


class Kind(Enum):
    """What a special record says. `C` is said by callers, `W` by the worker."""

    BEGIN = b"B"  # C: a turn begins, text or not; the monotonic time
    END = b"E"  # C: a turn ends; how
    PART = b"P"  # C: a part of a long chunk; others may come in between
    LAST_PART = b"Q"  # C: its last part
    DROPPED = b"D"  # C: characters that found no room
    CLAIMS = b"C"  # W: these texts are about to be appended
    DONE = b"K"  # W: all that was claimed is in the files
    CLOSED = b"F"  # W: ends with these numbers have been carried out
    LIVE = b"L"  # W: these sessions are active, whether or not they get text
    ENDED = b"G"  # W: the end of a turn that is not carried out, which the log is about to forget, once more
    AGAIN = b"R"  # W: the same for the unwritten text of a turn
    LOST = b"M"  # W: the unwritten text of a turn is not in the log: a crash loses it


class Claim(NamedTuple):
    """The worker is about to append text to a session's file.

    Of the turn's text up to `place` in the log the last `unwritten` bytes are not in the file, and the first `size`
    of these are appended now, to a file (inode) that is `file_size` bytes long.
    """

    key: bytes
    turn: int
    """The number of the turn's end; 0: it is active."""
    place: int
    unwritten: int
    size: int
    file_size: int
    inode: int


def encode(text: str) -> bytes:
    """The bytes of a file: UTF-8; a lone surrogate, which has none, as \\udc80 and the like."""
    return text.encode("utf-8", "backslashreplace")


def key_of(session_id: str) -> bytes:
    """The field that stands for a session. A very long id is cut and made unique as its file's name is."""
    if len(session_id) > _LONGEST_ID:
        return _NAME + file_name_of(session_id).removesuffix(SUFFIX).encode()
    return session_id.encode("utf-8", "surrogatepass").replace(NUL, _ESCAPED_NUL)


def id_of(key: bytes) -> str:
    """The session that a field stands for. Raises `ValueError` for one that `key_of` does not make."""
    return key.removeprefix(_NAME).replace(_ESCAPED_NUL, NUL).decode("utf-8", "surrogatepass")


def name_of(key: bytes) -> str:
    """The name of the session's file."""
    return key[1:].decode() + SUFFIX if key.startswith(_NAME) else file_name_of(id_of(key))


def chunk_record(key: bytes, text: bytes, time: float | None) -> bytes:
    r"""One chunk.

    >>> chunk_record(b"s", b"a\0b", None), chunk_record(b"s", b"ab", 1.5)
    (b's\x00a\xc0\x80b\x00', b's\x00ab\x001.5\x00')
    """
    return b"%b\0%b\0" % (key, text.replace(NUL, _ESCAPED_NUL)) + _time_field(time)


def special_record(kind: Kind, key: bytes, text: bytes, time: float | None) -> bytes:
    """A record of another kind."""
    return b"%b%b%b\0%b\0" % (SPECIAL, kind.value, key, text.replace(NUL, _ESCAPED_NUL)) + _time_field(time)


def part_record(serial: int, key: bytes, text: bytes, time: float | None, *, is_last: bool) -> bytes:
    """A part of a long chunk with this serial number. One without text: the others found no room."""
    kind = Kind.LAST_PART if is_last else Kind.PART
    return special_record(kind, b"%d%b%b" % (serial, _NEXT, key), text, time)


def serial_and_key(field: bytes) -> tuple[int, bytes]:
    """The serial number and the session's key of a part. Raises `ValueError` for damage."""
    serial, _, key = field.partition(_NEXT)
    return int(serial), key


class About(NamedTuple):
    """Which turn a note of the worker's is about: of this session, the one that was active at a place in the log, or
    the one whose end has this number."""

    key: bytes
    turn: int
    place: int


def note_record(kind: Kind, about: About, text: bytes, time: float | None) -> bytes:
    """A note about one turn, as of a place in the log: what came behind it the worker had not applied."""
    return special_record(kind, b"%d%b%d%b%b" % (about.turn, _NEXT, about.place, _NEXT, about.key), text, time)


def about_in(field: bytes) -> About:
    """What `note_record` is about. Raises `ValueError` for damage."""
    turn, place, key = field.split(_NEXT, 2)
    return About(key, int(turn), int(place))


class End(NamedTuple):
    """How a turn ends. `number` is that of this end among all of this log."""

    outcome: str
    cause: str
    number: int
    error: str


def end_record(key: bytes, end: End, time: float | None) -> bytes:
    """The end of a turn."""
    return special_record(Kind.END, key, end_text(end), time)


def end_text(end: End) -> bytes:
    """An end, as a field."""
    return _NEXT.join((encode(end.outcome), encode(end.cause), b"%d" % end.number, encode(end.error)))


def end_in(text: bytes) -> End:
    """What `end_text` made. Raises `ValueError` for damage."""
    outcome, cause, number, error = text.split(_NEXT)
    return End(outcome.decode(), cause.decode(), int(number), error.decode())


def _time_field(time: float | None) -> bytes:
    """A log without times has no such field."""
    return b"" if time is None else b"%r\0" % time


def kind_of(key: bytes) -> tuple[Kind, bytes]:
    """The kind and key of a special record. Raises `ValueError` for an unknown kind."""
    return Kind(key[1:2]), key[2:]


def whole_part(data: bytes, fields: int) -> tuple[bytes, list[bytes]]:
    r"""The whole records at the beginning of some data, and their fields; the rest is torn, or not written yet.

    >>> whole_part(b"s\0one\0s\0tw", 2)
    (b's\x00one\x00', [b's', b'one'])
    """
    blank = data.find(BLANK)
    end = data.rfind(NUL, 0, blank if blank >= 0 else len(data)) + 1
    found = data[:end].split(NUL)
    found.pop()  # behind the last NUL
    if torn := len(found) % fields:
        end -= sum(map(len, found[-torn:])) + torn
        del found[-torn:]
    data = data[:end]
    if _ESCAPED_NUL in data:
        found[1::fields] = [text.replace(_ESCAPED_NUL, NUL) for text in found[1::fields]]
    return data, found


def claims_record(claims: Iterable[Claim], time: float | None) -> bytes:
    """What is noted before some files are appended to."""
    fields = [b"%b %d %d %d %d %d %d" % (claim.key.replace(b" ", b"\xc0\xa0"), *claim[1:]) for claim in claims]
    return b"%b%b\0%b\0" % (SPECIAL, Kind.CLAIMS.value, _NEXT.join(fields)) + _time_field(time)


def claims_in(text: bytes) -> list[Claim]:
    """What `claims_record` noted. Raises `ValueError` for damage."""
    claims = []
    for field in ids_in(text):
        key, *numbers = field.split(b" ")
        if len(numbers) != 6 or not all(number.isdigit() and len(number) <= 20 for number in numbers):
            raise ValueError(f"{field[:80]!r} is not a claim")
        claims.append(Claim(key.replace(b"\xc0\xa0", b" "), *map(int, numbers)))
    return claims


def ids_record(kind: Kind, keys: Iterable[bytes], time: float | None, key: bytes = b"") -> bytes:
    """A record of `kind` that lists sessions, or numbers."""
    return b"%b%b%b\0%b\0" % (SPECIAL, kind.value, key, _NEXT.join(keys)) + _time_field(time)


def ids_in(text: bytes) -> list[bytes]:
    """What `ids_record` listed. A key is escaped, as it stands in other records."""
    return text.replace(NUL, _ESCAPED_NUL).split(_NEXT) if text else []
