"""Records: whatever a caller says comes back as it was said, and a torn or blank end is no record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_logger._disk.names import file_name_of
from streaming_logger._wal.record import (
    BLANK,
    SPECIAL,
    About,
    Claim,
    End,
    Kind,
    about_in,
    chunk_record,
    claims_in,
    claims_record,
    encode,
    end_in,
    end_record,
    id_of,
    ids_in,
    ids_record,
    key_of,
    kind_of,
    name_of,
    note_record,
    part_record,
    serial_and_key,
    whole_part,
)

#: Lone surrogates, NUL, separators of ours and of nobody, and ids that are longer than a file's name.
TEXT = st.text(st.characters() | st.sampled_from("\0\ud800\udcfe é€ \u00fd"), max_size=40)
IDS = TEXT.filter(bool) | st.text("ab\0 ", min_size=900, max_size=1200)
TIMES = st.none() | st.floats(0, 1e9)
NUMBERS = st.integers(0, 1 << 62)


def read(record: bytes, time: float | None) -> list[bytes]:
    """The fields of a record, which has to be one, with another one behind it."""
    fields = 2 if time is None else 3
    whole, found = whole_part(record + b"s\0next\0" + b"1.0\0" * (fields == 3) + BLANK * 10, fields)
    assert len(whole) == len(record) + len(b"s\0next\0") + 4 * (fields == 3)
    assert found[fields : fields + 2] == [b"s", b"next"]
    assert len(found) == 2 * fields
    if time is not None:
        assert float(found[2]) == time
    return found[:2]


@given(IDS, TEXT, TIMES)
def test_chunk_comes_back(session_id: str, text: str, time: float | None) -> None:
    """Trap "framing": an id or a text with NUL shifts no other record; lone surrogates have a form."""
    key, found = read(chunk_record(key_of(session_id), encode(text), time), time)
    assert found == encode(text)
    assert not key.startswith(SPECIAL)
    assert name_of(key) == file_name_of(session_id)
    if len(session_id) <= 1000:
        assert id_of(key) == session_id


@given(IDS, TEXT, TIMES, NUMBERS, st.booleans())
def test_part_of_a_long_chunk_comes_back(
    session_id: str, text: str, time: float | None, serial: int, is_last: bool
) -> None:
    """With its number, as a special record."""
    record = part_record(serial, key_of(session_id), encode(text), time, is_last=is_last)
    field, found = read(record, time)
    kind, field = kind_of(field)
    assert kind is (Kind.LAST_PART if is_last else Kind.PART)
    assert serial_and_key(field) == (serial, key_of(session_id))
    assert found == encode(text)


@given(IDS, TEXT, TEXT, TEXT, TIMES, NUMBERS)
def test_end_comes_back(session_id: str, outcome: str, cause: str, error: str, time: float | None, number: int) -> None:
    """Trap "framing": completions have a form; whatever an exception's text holds."""
    key, found = read(end_record(key_of(session_id), End(outcome, cause, number, error), time), time)
    assert kind_of(key) == (Kind.END, key_of(session_id))
    wanted = (encode(outcome).decode(), encode(cause).decode(), number, encode(error).decode())
    assert end_in(found) == wanted


@given(st.lists(st.tuples(IDS, *[st.integers(0, 10**19)] * 6), max_size=5), TIMES)
def test_claims_come_back(claims: list[tuple[str, int, int, int, int, int, int]], time: float | None) -> None:
    """Each with the key that its chunks have."""
    wanted = [Claim(key_of(session_id), *numbers) for session_id, *numbers in claims]
    key, found = read(claims_record(wanted, time), time)
    assert kind_of(key) == (Kind.CLAIMS, b"")
    assert claims_in(found) == wanted


@given(st.lists(IDS, max_size=5), TIMES, NUMBERS)
def test_lists_of_sessions_come_back(ids: list[str], time: float | None, place: int) -> None:
    """Each with the key that its chunks have."""
    wanted = list(map(key_of, ids))
    key, found = read(ids_record(Kind.LIVE, wanted, time, b"%d" % place), time)
    assert kind_of(key) == (Kind.LIVE, b"%d" % place)
    assert ids_in(found) == wanted


@given(IDS, NUMBERS, NUMBERS, TEXT, TIMES)
def test_note_of_a_turn_comes_back(session_id: str, turn: int, place: int, text: str, time: float | None) -> None:
    """Which turn it is about, and its text."""
    about = About(key_of(session_id), turn, place)
    key, found = read(note_record(Kind.AGAIN, about, encode(text), time), time)
    kind, key = kind_of(key)
    assert (kind, about_in(key), found) == (Kind.AGAIN, about, encode(text))


@given(st.lists(st.tuples(st.sampled_from("st"), TEXT)), st.integers(0, 400), TIMES)
def test_cut_anywhere_the_whole_records_are_left(chunks: list[tuple[str, str]], cut: int, time: float | None) -> None:
    """What a kill tore is no record; all before it is."""
    records = [chunk_record(key_of(key), encode(text), time) for key, text in chunks]
    data = b"".join(records)[:cut]
    fields = 2 if time is None else 3
    whole, found = whole_part(data + BLANK, fields)
    count = len(found) // fields
    assert len(found) % fields == 0
    assert whole == b"".join(records[:count])
    assert count == len(records) or len(whole + records[count]) > cut


@pytest.mark.parametrize("text", [b"a 1 2", b"a 1 2 3 4 5 x", b"a 1 2 3 4 5 " + b"9" * 5000, b"1 2 3 4 5 6", b" "])
def test_damaged_claim_is_refused(text: bytes) -> None:
    """As `ValueError`, whatever it is."""
    with pytest.raises(ValueError, match="is not a claim"):
        claims_in(text)
