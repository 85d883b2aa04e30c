"""What a log says after a crash, whatever happened before it, and whatever became of its bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_logger._wal.contents import LOST, Turn, turns_in
from streaming_logger._wal.record import (
    BLANK,
    About,
    Claim,
    End,
    Kind,
    chunk_record,
    claims_record,
    end_record,
    end_text,
    ids_record,
    note_record,
    part_record,
    special_record,
)
from streaming_logger._wal.segment import HEADER_SIZE

DONE = special_record(Kind.DONE, b"", b"", None)


def segment(*records: bytes, start: int = 0, size: int = 0, fields: int = 2) -> bytes:
    """A segment with some records."""
    header = (b"#%020d %d" % (start, fields)).ljust(HEADER_SIZE)
    data = header + b"".join(records)
    return data + BLANK * (size - len(data))


def place_behind(*records: bytes, start: int = 0) -> int:
    return start + HEADER_SIZE + sum(map(len, records))


def claim(key: bytes, place: int, unwritten: int, size: int | None = None, *, turn: int = 0, at: int = 0) -> bytes:
    size = unwritten if size is None else size
    return claims_record([Claim(key, turn, place, unwritten, size, at, 77)], None)


def chunk(text: bytes, key: bytes = b"s") -> bytes:
    return chunk_record(key, text, None)


def end(number: int, key: bytes = b"s", outcome: str = "completed") -> bytes:
    return end_record(key, End(outcome, "completed", number, ""), None)


def told(turns: list[Turn]) -> list[tuple[bytes, int, str]]:
    """Text, how much of it is written, and how it ended."""
    return [(turn.text, turn.written, "" if turn.end is None else turn.end.outcome) for turn in turns]


def test_turn_that_ended_meanwhile_has_what_was_noted_of_it() -> None:
    """A claim speaks of a place in the log: the turn that was active there is meant, whatever came since."""
    before = [chunk(b"one")]
    since = [chunk(b"two"), end(1), chunk(b"three")]
    noted = claim(b"s", place_behind(*before), 3)
    assert told(turns_in([segment(*before, *since, noted, DONE)])) == [(b"onetwo", 3, "completed"), (b"three", 0, "")]


def test_end_that_is_carried_out_is_over() -> None:
    """By its number, among several of one session."""
    turns = turns_in([segment(chunk(b"a"), end(1), chunk(b"b"), end(2), ids_record(Kind.CLOSED, [b"1"], None))])
    assert [turn.is_over for turn in turns] == [True, False]


def test_claim_without_done_is_an_attempt() -> None:
    """Of which it is not known how much was appended; a second claim says what was left after a part of it."""
    text = chunk(b"0123456789")
    place = place_behind(text)
    (turn,) = turns_in([segment(text, claim(b"s", place, 10, at=5))])
    assert turn.attempt is not None
    assert (turn.written, turn.attempt[:5]) == (0, (0, 10, 5, 77, True))
    (turn,) = turns_in([segment(text, claim(b"s", place, 10), claim(b"s", place, 4, 0), DONE)])
    assert (turn.written, turn.attempt) == (6, None)


def test_segments_are_read_in_their_order() -> None:
    """Trap "segments need a number of their own": files are used again, in any order of names."""
    first, second = segment(chunk(b"one;"), start=100, size=200), segment(chunk(b"two;"), start=300)
    assert told(turns_in([second, first, b"", BLANK * 50])) == [(b"one;two;", 0, "")]


def test_parts_become_one_chunk() -> None:
    """Others may come in between; a chunk whose last part is missing was not accepted."""
    one = [part_record(1, b"s", b"a", None, is_last=False), part_record(1, b"s", b"c", None, is_last=True)]
    two = [part_record(2, b"s", b"x", None, is_last=False), part_record(2, b"s", b"", None, is_last=False)]
    lost = part_record(3, b"s", b"y", None, is_last=False)
    assert told(turns_in([segment(one[0], chunk(b"b"), *two, lost, one[1])])) == [(b"bac", 0, "")]


def test_what_the_log_forgot_is_there_once_more() -> None:
    """Trap "one stuck session pins every segment": its text is noted again, before the text that came since."""
    place = 1000
    again = note_record(Kind.AGAIN, About(b"s", 0, place), b"old;", None)
    since = chunk(b"new;")
    assert told(turns_in([segment(since, again, start=place)])) == [(b"old;new;", 0, "")]
    ended = note_record(Kind.ENDED, About(b"s", 9, place), end_text(End("error", "completed", 9, "")), None)
    again = note_record(Kind.AGAIN, About(b"s", 9, place), b"old;", None)
    assert told(turns_in([segment(ended, again, since, start=place)])) == [(b"old;", 0, "error"), (b"new;", 0, "")]


def test_lost_text_has_a_marker() -> None:
    """Text that is not in the log any more is marked at its place."""
    place = 1000
    lost = note_record(Kind.LOST, About(b"s", 0, place), b"", None)
    assert told(turns_in([segment(chunk(b"new"), lost, start=place)])) == [(LOST + b"new", 0, "")]
    dropped = special_record(Kind.DROPPED, b"s", b"", None)
    assert told(turns_in([segment(chunk(b"a"), dropped, chunk(b"b"))])) == [(b"a" + LOST + b"b", 0, "")]


def test_sessions_without_text_are_known() -> None:
    """By their beginning, or as active ones of which the log has nothing else; an end alone is no turn."""
    live = ids_record(Kind.LIVE, [b"quiet"], None, b"40")
    begun = special_record(Kind.BEGIN, b"begun", b"1.0", None)
    assert [turn.key for turn in turns_in([segment(begun, live, end(1, b"nobody"))])] == [b"begun", b"quiet"]


KEYS = st.sampled_from([b"s", b"t", b"\xc0\x80 x", b"\xfclong"])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[bytes], dict[bytes, list[list[bytes]]]]:
    """The records of some lives, and by key what each turn should say: (text, written, ended)."""
    records: list[bytes] = []
    texts: dict[bytes, bytes] = {}
    written: dict[bytes, int] = {}
    wanted: dict[bytes, list[list[bytes]]] = {}
    for number in range(1, draw(st.integers(1, 25))):
        key, what = draw(KEYS), draw(st.sampled_from(["text", "text", "claim", "done", "end"]))
        if what == "text":
            text = draw(st.binary(max_size=9).map(lambda text: text.replace(b"\xff", b"")))
            text = text.decode("latin-1").encode()
            records.append(chunk(text, key))
            texts[key] = texts.get(key, b"") + text
        elif what in ("claim", "done") and key in texts:
            unwritten = len(texts[key]) - written.get(key, 0)
            size = draw(st.integers(0, unwritten))
            place = place_behind(*records)
            records.append(claim(key, place, unwritten, size))
            if what == "done":
                records.append(DONE)
                written[key] = written.get(key, 0) + size
            else:
                records += [claim(key, place, unwritten, 0), DONE]
        elif what == "end" and key in texts:
            records.append(end(number, key))
            wanted.setdefault(key, []).append([texts.pop(key), b"%d" % written.pop(key, 0), b"ended"])
    for key, text in texts.items():
        wanted.setdefault(key, []).append([text, b"%d" % written.get(key, 0), b""])
    return records, wanted


@given(histories())
def test_any_history_is_told(history: tuple[list[bytes], dict[bytes, list[list[bytes]]]]) -> None:
    """Turns, text, and how much of it is written, whatever the ids; in one segment or in many."""
    records, wanted = history
    found: dict[bytes, list[list[bytes]]] = {}
    for turn in turns_in([segment(*records)]):
        ended = b"" if turn.end is None else b"ended"
        found.setdefault(turn.key, []).append([turn.text, b"%d" % turn.written, ended])
    assert found == wanted


@settings(max_examples=400)
@given(histories(), st.data())
def test_any_byte_may_be_any_other(
    history: tuple[list[bytes], dict[bytes, list[list[bytes]]]], data: st.DataObject
) -> None:
    """No exception but those for damage, no place outside the text; records before the damage are as they were."""
    extra = [
        note_record(Kind.AGAIN, About(b"s", 0, 40), b"old", None),
        note_record(Kind.ENDED, About(b"t", 70, 40), end_text(End("error", "completed", 70, "")), None),
        note_record(Kind.LOST, About(b"t", 70, 40), b"", None),
        ids_record(Kind.LIVE, [b"s", b"u"], None, b"40"),
        ids_record(Kind.CLOSED, [b"1", b"70"], None),
        part_record(1, b"s", b"a", None, is_last=False),
        part_record(1, b"s", b"b", None, is_last=True),
    ]
    content = bytearray(segment(*history[0], *data.draw(st.permutations(extra))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.sampled_from(b"\0\t -09CDEGKLMR\x80\xc0\xfc\xfd\xfe\xff") | st.integers(0, 255))
    try:
        turns = turns_in([bytes(content)])
    except (ValueError, LookupError):
        return
    for turn in turns:
        assert 0 <= turn.written <= turn.length == len(turn.text)
        if turn.attempt is not None:
            assert 0 <= turn.attempt.start <= turn.length
