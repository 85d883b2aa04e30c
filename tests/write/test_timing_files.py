"""`record_timing`: beside each log one line for each chunk, with the same life as the log."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_old
from faults.programs import run
from recordings import events_of
from streaming_logger import StreamingLogger
from streaming_logger._disk.directory import Directory
from streaming_logger._disk.store import OpenFile, Store
from streaming_logger._disk.timing import cut_out, format_line, parse
from streaming_logger._write.session import Session
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]


def timing_of(logger: StreamingLogger, session: str = "s") -> list[tuple[float, int]]:
    """The lines of a session's timing file; none is torn."""
    timing = parse((logger.base_dir / f"{session}.timing").read_bytes().splitlines(keepends=True))
    assert timing.unreadable == 0
    return list(zip(timing.delays, timing.sizes, strict=True))


def play(logger: ManualLogger, events: Iterable[tuple[float, str]], session: str = "s") -> None:
    """Writes chunks at their times."""
    begun = logger.clock.monotonic()
    for at, text in events:
        logger.clock.advance(begun + at - logger.clock.monotonic())
        logger.run_pending()
        logger.write(session, text)


def test_first_delay_in_a_session_block_is_the_time_since_it_began(manual: Make) -> None:
    """Also when flushes came, and other streams, before its first chunk."""
    logger = manual(record_timing=True)
    with logger.session("s", wait=False) as stream:
        logger.clock.advance(7)
        logger.run_pending()
        stream.write("Hello")
    logger.run_pending()
    assert timing_of(logger) == [(7.0, 5)]


def test_items_without_text_do_not_shorten_the_first_delay(manual: Make) -> None:
    """A model that thinks keeps its session alive; its first chunk is late all the same."""
    logger = manual(record_timing=True)
    stream = logger.wrap("s", iter([{}, {}, "Hello"]), text=lambda item: item or None)
    for _ in range(2):
        next(stream)
        logger.clock.advance(5)
        logger.run_pending()
    assert list(stream) == ["Hello"]
    logger.run_pending()
    assert timing_of(logger) == [(10.0, 5)]


@pytest.mark.parametrize("name", ["essay", "rhyme", "json"])
def test_recorded_stream_gives_its_own_times(manual: Make, name: str) -> None:
    """Each chunk with the delay it had and the bytes it has in the log, whatever flushes and seals came between."""
    logger = manual(record_timing=True)
    events = events_of(name)
    play(logger, events)
    logger.complete_session("s")
    expected, last = [], events[0][0]  # without `wrap` a session begins with its first chunk
    for at, text in events:
        expected.append((pytest.approx(at - last, abs=2e-6), len(text.encode())))
        last = at
    assert timing_of(logger) == expected
    assert logger.text["s"] == "".join(text for _, text in events)


def test_first_delay_of_a_wrapped_stream_is_the_time_to_its_first_chunk(manual: Make) -> None:
    """It begins when it is wrapped; and so does the next turn, in the same file."""
    logger = manual(record_timing=True)
    for _ in range(2):
        stream = logger.wrap("s", iter(["a", "b"]))
        for delay in (1.5, 0.25):
            logger.clock.advance(delay)
            next(stream)
        stream.close()
        logger.advance(2)
        logger.clock.advance(100)
    assert timing_of(logger) == [(1.5, 1), (0.25, 1)] * 2


def test_many_chunks_in_one_flush_are_sealed_with_their_times(manual: Make) -> None:
    """Blocks keep the times of the chunks in them."""
    logger = manual(record_timing=True, flush_interval_seconds=60)
    for number in range(3000):
        logger.write("s", f"{number};")
        logger.clock.advance(0.001)
    logger.advance(60)
    lines = timing_of(logger)
    assert [size for _, size in lines] == [len(f"{number};") for number in range(3000)]
    assert [delay for delay, _ in lines] == [0.0] + [pytest.approx(0.001, abs=2e-6)] * 2999


class ShortStore(Store):
    """A disk that takes a few bytes at a time, and sometimes none."""

    calls = 0

    def _some(self, file: OpenFile, data: bytes | memoryview) -> int:
        self.calls += 1
        if self.calls % 3 == 0:
            raise OSError(5, "Input/output error")
        return os.write(file.fd, data[:5])

    def append(self, file: OpenFile, blocks: Sequence[bytes | memoryview]) -> int:
        return self._some(file, blocks[0])


def test_times_stay_with_their_bytes_when_writes_are_short_and_fail(manual: Make) -> None:
    """A chunk written in pieces is several lines; the bytes of all lines are the log's, and so is the time."""
    logger = manual({"make_store": ShortStore}, record_timing=True, flush_interval_seconds=1)
    text = ""
    for number in range(60):
        logger.write("s", f"chunk {number} é;")
        text += f"chunk {number} é;"
        logger.advance(0.5)
    for _ in range(2000):
        if not logger.stats().bytes_buffered:
            break
        logger.advance(1)
    lines = timing_of(logger)
    assert logger.text["s"] == text
    assert sum(size for _, size in lines) == len(text.encode())
    assert sum(delay for delay, _ in lines) == pytest.approx(29.5, abs=1e-3)


def test_marker_of_dropped_text_has_a_line(manual: Make) -> None:
    """So that what stands behind it is played at its place."""
    logger = manual(record_timing=True, max_buffer_mb=0.001, flush_interval_seconds=60)
    for number in range(2000):
        logger.write("s", f"{number:09d};")
    logger.advance(60)
    logger.write("s", "after")
    logger.advance(60)
    assert logger.stats().dropped_characters
    assert sum(size for _, size in timing_of(logger)) == (logger.base_dir / "s.log").stat().st_size


def test_cap_cuts_both_files_alike(manual: Make) -> None:
    """The timing's bytes are the log's after each cut, and its time is that of the stream."""
    logger = manual(record_timing=True, max_session_mb=0.005, flush_interval_seconds=1)
    for number in range(3000):
        logger.write("s", f"{number:07d};")
        logger.clock.advance(0.01)
        if number % 100 == 99:
            logger.flush()
            lines = timing_of(logger)
            assert sum(size for _, size in lines) == (logger.base_dir / "s.log").stat().st_size
    logger.advance(1)
    assert sum(delay for delay, _ in timing_of(logger)) == pytest.approx(29.99, abs=1e-3)
    assert (logger.base_dir / "s.timing").stat().st_size < 20_000


def test_timing_goes_with_its_log(manual: Make) -> None:
    """At the sweep, and at completion where that is the rule; never before."""
    logger = manual(record_timing=True)
    for session in ("old", "active"):
        logger.write(session, "x")
    logger.advance(2)
    logger.complete_session("old")
    for name in ("old.log", "old.timing", "active.log", "active.timing"):
        make_old(logger.base_dir / name, 3600)
    logger.cleanup_completed_files()
    assert {path.name for path in logger.base_dir.glob("*.*")} == {"active.log", "active.timing", ".streaming_logger"}
    immediate = manual(record_timing=True, time_based_cleanup=False)
    immediate.write("now", "x")
    immediate.advance(2)
    assert (immediate.base_dir / "now.timing").exists()
    immediate.complete_session("now")
    assert list(immediate.base_dir.glob("now.*")) == []


def test_sweep_of_sessions_with_timing_has_no_errors(manual: Make) -> None:
    """Timing files that the sweep lists, and that go with their logs in the same sweep, are no fault: the report has
    none, health stays ok, and the next sweep follows the plan of this one."""
    logger = manual(record_timing=True)
    for number in range(100):
        logger.write(f"s{number}", "x")
    logger.flush()
    for number in range(100):
        logger.complete_session(f"s{number}")
    for path in logger.base_dir.glob("s*.*"):
        make_old(path, 3600)
    report = logger._engine.sweeper.sweep_at_once(planned=True)
    assert (report.deleted, report.errors) == (100, 0)
    assert list(logger.base_dir.glob("s*.*")) == []
    assert logger.health().status == "ok"
    logger.write("young", "x")
    logger.flush()
    assert logger._engine.sweeper.sweep_at_once(planned=True).scanned == 0


def test_timing_whose_log_is_gone_is_swept_when_it_is_old(manual: Make) -> None:
    """Somebody removed the log by hand, or another version deleted it alone. What is no session's stays."""
    logger = manual()
    logger.write("s", "x")
    logger.advance(2)
    for name in ("gone.timing", "young.timing", "s.timing", ".hidden.timing"):
        (logger.base_dir / name).write_text("0.1 1\n")
    for name in ("gone.timing", "s.timing", ".hidden.timing"):
        make_old(logger.base_dir / name, 3600)
    logger.cleanup_completed_files()
    assert {path.name for path in logger.base_dir.glob("*.timing")} == {"young.timing", "s.timing", ".hidden.timing"}


def test_torn_line_of_a_crash_is_repaired(manual: Make) -> None:
    """A new process begins on a new line."""
    logger = manual(record_timing=True)
    logger.base_dir.joinpath("s.timing").write_bytes(b"0.100000 3\n0.2")
    logger.write("s", "text")
    logger.advance(2)
    assert (logger.base_dir / "s.timing").read_bytes() == b"0.100000 3\n0.2\n0.000000 4\n"


KILLED_BETWEEN_ITS_APPENDS = """
from streaming_logger._disk.store import Store
logger = open_logger(record_timing=True)
logger.write("s", "before;")
logger.flush()
Store.append_timing = lambda *args, **more: os.kill(os.getpid(), signal.SIGKILL)
logger.write("s", "without a time;")
logger.flush()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_times_after_a_kill_stand_at_their_own_bytes(tmp_path: Path, manual: Make) -> None:
    """A process is killed after it has written to the log and before it has written to the timing file. What the next
    one writes has its time where it stands in the log."""
    status, _, _ = run(KILLED_BETWEEN_ITS_APPENDS, tmp_path / "logs")
    assert status == -signal.SIGKILL
    logger = manual(record_timing=True)
    play(logger, [(0, "after "), (2.5, "the kill")])
    logger.complete_session("s")
    text = (logger.base_dir / "s.log").read_text()
    assert text == "before;without a time;after the kill"
    position, places = 0, {}
    for delay, size in timing_of(logger):
        places[text[position : position + size]] = delay
        position += size
    assert position == len(text)
    assert places["the kill"] == 2.5


@pytest.mark.parametrize("plant", ["symlink", "directory", "hard link"])
def test_planted_timing_file_is_not_written(
    manual: Make, tmp_path: Path, plant: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log is written all the same, and one line says why the timing is not."""
    logger = manual(record_timing=True)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    planted = logger.base_dir / "s.timing"
    if plant == "symlink":
        planted.symlink_to(victim)
    elif plant == "directory":
        planted.mkdir()
    else:
        planted.hardlink_to(victim)
    logger.write("s", "text")
    logger.advance(2)
    logger.complete_session("s")
    assert victim.read_text() == "precious"
    assert logger.text == {"s": "text"}
    assert "cannot write the timing of s.log" in caplog.text


def test_off_there_is_no_file(manual: Make) -> None:
    """The default. An edit while running takes effect at the next start."""
    logger = manual()
    logger.write("s", "x")
    logger.advance(2)
    assert list(logger.base_dir.glob("*.timing")) == []


def test_scriptreplay_plays_what_a_logger_recorded(live: Callable[..., StreamingLogger]) -> None:
    """The real program of util-linux prints the log, in the recorded pieces."""
    logger = live(record_timing=True, flush_interval_seconds=0.05)
    events = events_of("logfile")
    for _, text in events:
        logger.write("s", text)
    logger.complete_session("s")
    # scriptreplay skips the first line of every log, which `script` writes itself.
    command = "scriptreplay --timing=s.timing --divisor=1000 <(echo; cat s.log)"
    done = subprocess.run(["bash", "-c", command], cwd=logger.base_dir, capture_output=True, check=True)
    # It prints a newline of its own at the end.
    assert done.stdout.decode().rstrip("\n") == "".join(text for _, text in events).rstrip("\n")


def test_directory_is_read_by_the_real_verbs(live: Callable[..., StreamingLogger]) -> None:
    """`timing` counts the chunks that the server wrote."""
    logger = live(record_timing=True, flush_interval_seconds=0.05)
    for number in range(7):
        logger.write("s", f"{number}é")
    logger.complete_session("s")
    command = [sys.executable, "-m", "streaming_logger", "timing", "s", "--json", "--dir", str(logger.base_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"chunks": 7' in done.stdout
    assert '"characters": 14' in done.stdout


@given(st.lists(st.tuples(st.floats(0, 10), st.text("aé€", min_size=1, max_size=5)), min_size=1), st.data())
def test_marks_of_any_part_of_a_block(chunks: list[tuple[float, str]], data: st.DataObject) -> None:
    """However a block is written in parts, the parts' marks add up to the block's."""
    session = Session(b"s", 0.0, 0, timed=True)
    for at, text in chunks:
        session.add_timed(text.encode(), at)
    found, whole = [], len(b"".join(session.fresh))
    while session:
        offered = session.unwritten()
        size = data.draw(st.integers(1, sum(map(len, offered))))
        found += session.wrote(size, offered)
    assert sum(size for _, size in found) == whole
    assert [at for at, _ in itertools.groupby(at for at, _ in found)] == [
        at for at, _ in itertools.groupby(at for at, _ in chunks)
    ]


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 9)), min_size=1), st.data())
def test_cut_keeps_time_and_bytes(lines: list[tuple[float, int]], data: st.DataObject) -> None:
    """What is cut out of the log is cut out of the timing, and no time is lost."""
    total = sum(size for _, size in lines)
    start = data.draw(st.integers(0, total))
    end = data.draw(st.integers(start, total))
    cut = parse(cut_out(b"".join(format_line(*line) for line in lines), start, end, 7).splitlines(keepends=True))
    assert sum(cut.sizes) == total - (end - start) + 7
    assert sum(cut.delays) == pytest.approx(sum(delay for delay, _ in lines), abs=1e-4)


def test_store_of_another_directory_has_no_timing(tmp_path: Path) -> None:
    """A deletion costs no second system call where no timing file was ever seen."""
    assert not Store(Directory(tmp_path)).has_timing
