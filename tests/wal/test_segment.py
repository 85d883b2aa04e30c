"""Segments: filled, sealed, read while they are filled, emptied, used again."""

from __future__ import annotations

import mmap
import threading

import pytest

from streaming_logger._wal.record import BLANK, chunk_record
from streaming_logger._wal.segment import HEADER_SIZE, Segment, start_in

SIZE = 1 << 17


@pytest.fixture
def segment() -> Segment:
    return Segment(mmap.mmap(-1, SIZE), "")


def record(number: int, size: int = 10) -> bytes:
    return chunk_record(b"s", b"%0*d" % (size, number), None)


def test_nothing_fits_before_it_is_open(segment: Segment) -> None:
    """Nor after it is sealed; sealing twice is harmless."""
    with pytest.raises(ValueError, match="out of range"):
        segment.write(b"x")
    segment.open(0, 2)
    segment.write(record(1))
    segment.seal()
    segment.seal()
    with pytest.raises(ValueError, match="out of range"):
        segment.write(b"x")
    assert segment.read(HEADER_SIZE, 2) == (len(record(1)), [b"s", b"%010d" % 1])


def test_record_that_does_not_fit_changes_nothing(segment: Segment) -> None:
    """It is added wholly or not at all."""
    segment.open(0, 2)
    segment.write(record(1, SIZE - HEADER_SIZE - 100))
    before = segment.tell()
    with pytest.raises(ValueError, match="out of range"):
        segment.write(record(2, 200))
    assert segment.tell() == before
    segment.write(record(2, SIZE - before - 3))
    assert segment.tell() == SIZE


def test_everything_is_read_once_in_slices(segment: Segment) -> None:
    """Whatever the sizes, also of a record that is longer than a slice."""
    segment.open(1000, 2)
    sizes = [10, 70_000, 1, 500, 30_000]
    for number, size in enumerate(sizes):
        segment.write(record(number, size))
    offset, found = HEADER_SIZE, []
    while (news := segment.read(offset, 2))[1]:
        offset += news[0]
        found += news[1][1::2]
    assert found == [b"%0*d" % (size, number) for number, size in enumerate(sizes)]
    assert offset == segment.tell()


def test_reader_beside_a_writer_sees_whole_records_in_order(segment: Segment) -> None:
    """What it has not seen yet it sees the next time."""
    segment.open(0, 2)

    def writing() -> None:
        for number in range(5000):
            segment.write(record(number))

    thread = threading.Thread(target=writing)
    thread.start()
    offset, found = HEADER_SIZE, []
    while thread.is_alive() or segment.tell() > offset:
        size, news = segment.read(offset, 2)
        offset += size
        found += news[1::2]
    thread.join()
    assert found == [b"%010d" % number for number in range(5000)]


def test_used_again_it_has_a_new_place_and_nothing_of_before(segment: Segment) -> None:
    """Trap "segments need a number of their own": the older text is gone before the new header stands."""
    segment.open(0, 2)
    for number in range(3000):
        segment.write(record(number))
    content = segment._map
    segment.clear()
    assert start_in(content[:HEADER_SIZE]) is None
    assert content[:] == BLANK * SIZE
    segment.open(7 * SIZE, 3)
    assert start_in(content[:HEADER_SIZE]) == (7 * SIZE, 3)
    assert segment.end == 8 * SIZE
    assert segment.read(HEADER_SIZE, 3) == (0, [])


@pytest.mark.parametrize("step", range(4))
def test_clearing_that_is_cut_short_leaves_an_empty_segment(segment: Segment, step: int) -> None:
    """Its first byte goes first: a process killed meanwhile leaves nothing that is recovered twice."""
    segment.open(0, 2)
    for number in range(6000):
        segment.write(record(number))
    blank, count = Segment._blank, 0

    def dying(self: Segment, at: int) -> None:
        nonlocal count
        count += 1
        if count > step:
            raise MemoryError
        blank(self, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segment, "_blank", dying)
        try:
            segment.clear()
        except MemoryError:
            assert start_in(segment._map[:HEADER_SIZE]) is None


@pytest.mark.parametrize(
    "header", [b"#" + b"0" * 19 + b" 2", b"#" + b"0" * 20 + b" 4", b"#" + b"x" * 20 + b" 2", b"somebody's", b"\x01"]
)
def test_what_is_no_segment_is_refused(header: bytes) -> None:
    """It is not taken for an empty one: that would be removed."""
    with pytest.raises(ValueError, match="is not the beginning of a segment"):
        start_in(header.ljust(HEADER_SIZE))


@pytest.mark.parametrize("header", [b"", bytes(HEADER_SIZE), BLANK * HEADER_SIZE])
def test_what_was_never_opened_is_empty(header: bytes) -> None:
    """Made, and not filled yet."""
    assert start_in(header) is None
