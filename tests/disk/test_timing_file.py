"""The timing file: what is written is read back, and what is no line of it is counted."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_logger._disk.names import file_name_of, session_id_of
from streaming_logger._disk.timing import format_line, parse, timing_name_of

CHUNKS = st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 10**9)))


@given(CHUNKS)
def test_lines_are_read_back(chunks: list[tuple[float, int]]) -> None:
    """Delays to the microsecond, sizes exactly."""
    timing = parse(io.BytesIO(b"".join(format_line(*chunk) for chunk in chunks)))
    assert timing.sizes.tolist() == [size for _, size in chunks]
    assert all(math.isclose(got, delay, abs_tol=1e-6) for got, (delay, _) in zip(timing.delays, chunks, strict=True))
    assert timing.unreadable == 0


@given(CHUNKS, st.data())
def test_file_that_ends_anywhere_is_read_to_its_last_whole_line(
    chunks: list[tuple[float, int]], data: st.DataObject
) -> None:
    """A torn line is never taken for a shorter number."""
    written = b"".join(format_line(*chunk) for chunk in chunks)
    left = written[: data.draw(st.integers(0, len(written)))]
    timing = parse(io.BytesIO(left))
    assert timing.sizes.tolist() == [size for _, size in chunks][: left.count(b"\n")]
    assert timing.unreadable == (not left.endswith(b"\n") and left != b"")


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"0.1", b"0.1 ", b"-0.1 5", b"0.1 -5", b"nan 5", b"inf 5", b"1e3 5", b"0.1  5", b"0.1 5 ", b"0.1 5\r"),
        *(b"O 0.1 5", b"0.1 5_0", b"0.1 5.5", b"\xff 1", b"\x00" * 512, b"0.1 " + b"9" * 5000, b"9" * 5000 + b" 1"),
    ],
)
def test_line_that_is_no_chunk_is_counted_and_skipped(line: bytes) -> None:
    """Whatever a disk or an editor left there; the chunks around it stay."""
    timing = parse(io.BytesIO(b"0.100000 5\n" + line + b"\n0.200000 6\n"))
    assert (timing.delays.tolist(), timing.sizes.tolist(), timing.unreadable) == ([0.1, 0.2], [5, 6], 1)


@pytest.mark.parametrize("session", ["sess_1", "../x", "a.log", "日本語", "x" * 500])
def test_timing_file_is_no_sessions_file(session: str) -> None:
    """Its name is that of the session with another ending, which no session's file has."""
    name = timing_name_of(file_name_of(session))
    assert name == file_name_of(session)[: -len(".log")] + ".timing"
    assert session_id_of(name) is None
