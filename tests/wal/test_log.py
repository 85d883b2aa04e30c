"""The log: each record once, in the order of its thread, across rotation, overflow, interruption and fork."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import logs
from streaming_logger import StreamingLogger
from streaming_logger._wal.log import Log
from streaming_logger._wal.private import PrivateStorage
from streaming_logger._wal.record import NUL, chunk_record
from streaming_logger._wal.segment import SMALLEST_SIZE, Segment
from streaming_logger._wal.supply import FIRST_SIZE
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]
Live = Callable[..., StreamingLogger]


class Limited(PrivateStorage):
    """The process's own memory, so many bytes of it at most."""

    def __init__(self, limit: int = 3 * SMALLEST_SIZE) -> None:
        self.limit = limit
        self.used = 0
        self.made: list[int] = []

    def has_room(self, size: int) -> bool:
        return self.used + size <= self.limit

    def make(self, size: int) -> Segment | None:
        if not self.has_room(size):
            return None
        self.used += size
        self.made.append(size)
        return super().make(size)

    def remove(self, segment: Segment) -> None:
        self.used -= segment.size
        super().remove(segment)


class Reader:
    """What the worker does with a log: applies it, and lets go of what is applied."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.place = 0
        self.texts: list[bytes] = []

    def read(self, *, release: bool = True) -> None:
        self.log.keep_ready()
        while True:
            self.place, found = self.log.news(self.place)
            if not found:
                break
            self.texts += found[1::2]
        if release:
            self.log.release(self.place)


def log_of(storage: PrivateStorage, room: int = 1 << 30) -> Log:
    log = Log(lambda: storage, 2, lambda size: size <= room, lambda: None)
    log.begin()
    return log


def add(log: Log, text: bytes, key: bytes = b"s", *, force: bool = False) -> bool:
    """As a caller does it."""
    record = chunk_record(key, text, None)
    try:
        log.append(record)
    except ValueError:
        return log.add(record, force=force)
    return True


@pytest.fixture
def fast_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("fast_switching")
@pytest.mark.parametrize("limit", [3 * SMALLEST_SIZE, 64 << 20], ids=["overflow", "rotation"])
def test_each_thread_has_its_order(limit: int) -> None:
    """Trap "rotation": four threads that never pause, over many rotations, and with too few segments."""
    log = log_of(Limited(limit))
    reader = Reader(log)
    count = 20_000

    def writing(thread: int) -> None:
        for number in range(count):
            assert add(log, b"%d:%d:%s" % (thread, number, b"x" * 40))

    threads = [threading.Thread(target=writing, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        reader.read()
        time.sleep(0.002)
    for _ in range(2 * len(log._waiting) // 1000 + 10):
        reader.read()
    found: dict[bytes, list[int]] = {}
    for text in reader.texts:
        thread_name, number, _ = text.split(b":")
        found.setdefault(thread_name, []).append(int(number))
    assert found == {b"%d" % thread: list(range(count)) for thread in range(4)}
    assert reader.place > 4 * SMALLEST_SIZE
    if limit == 3 * SMALLEST_SIZE:
        assert log.unprotected > 0, "nothing had to wait: the test shows nothing"


def test_what_waits_goes_before_what_comes() -> None:
    """A shorter record that would fit is not let in before longer ones that wait."""
    log = log_of(Limited(SMALLEST_SIZE))
    reader = Reader(log)
    add(log, b"a" * (SMALLEST_SIZE - 200))
    add(log, b"b" * 1000)
    assert log.is_short
    add(log, b"c")
    assert [log.unprotected, len(log.waiting())] == [2, 2]
    reader.read()
    assert [text[:1] for text in reader.texts] == [b"a"]
    log.storage.limit *= 3  # type: ignore[attr-defined]
    reader.read()
    assert [text[:1] for text in reader.texts] == [b"a", b"b", b"c"]
    assert not log.is_short
    add(log, b"d")
    reader.read()
    assert reader.texts[-1] == b"d"


def test_queue_has_a_bound() -> None:
    """Beyond it a record is refused, unless it must be; what is in keeps its order."""
    log = log_of(Limited(SMALLEST_SIZE), room=5000)
    add(log, b"a" * (SMALLEST_SIZE - 200))
    taken = [add(log, b"%d" % number * 1000) for number in range(8)]
    assert taken == [True] * 4 + [False] * 4
    assert add(log, b"end", force=True)
    assert [record.split(NUL)[1][:1] for record in log.waiting()] == [b"0", b"1", b"2", b"3", b"e"]


def test_handler_may_add_while_a_caller_moves_on() -> None:
    """Trap "rotation that can be re-entered": at each line of the slow way, and no record is lost or doubled."""
    for at in range(1, 200):
        log = log_of(Limited(64 << 20))
        log.keep_ready()
        reader = Reader(log)
        add(log, b"before" + b"x" * (FIRST_SIZE - 100))
        lines = 0

        def trace(frame: object, event: str, argument: object, at: int = at, log: Log = log) -> object:
            nonlocal lines
            if "_wal" in frame.f_code.co_filename and event == "line":  # type: ignore[attr-defined]
                lines += 1
                if lines == at:
                    sys.settrace(None)
                    add(log, b"handler")
            return trace

        sys.settrace(trace)  # type: ignore[arg-type]
        add(log, b"caller" * 20)
        sys.settrace(None)
        add(log, b"after")
        for _ in range(3):
            reader.read()
        texts = [text[:6] for text in reader.texts]
        assert texts[0] == b"before"
        assert sorted(texts) == sorted([b"before", b"caller", b"after", *[b"handle"] * (lines >= at)]), f"line {at}"
        assert texts.index(b"caller") < texts.index(b"after")
        if lines < at:
            return
    raise AssertionError("it never ends")


def test_caller_that_is_suspended_with_the_lock_holds_up_nobody_for_long(live: Live) -> None:
    """Trap "the slow method's lock": the worker goes on, others queue in order; all is in the file in the end."""
    logger = live(flush_interval_seconds=0.05)
    logger.write("s", "0;")
    logger.flush()
    log = logger._engine.log
    held, go_on = threading.Event(), threading.Event()

    def suspended() -> None:
        log._lock.acquire()  # type: ignore[attr-defined]
        held.set()
        go_on.wait(30)
        log._lock.release()  # type: ignore[attr-defined]

    thread = threading.Thread(target=suspended)
    thread.start()
    held.wait(30)
    try:
        log.segments[-1].seal()  # what comes has to go the slow way
        for number in range(1, 4):
            begun = time.monotonic()
            logger.write("s", f"{number};")
            assert time.monotonic() - begun < 5
        begun = time.monotonic()
        logger.flush()
        assert time.monotonic() - begun < 5
    finally:
        go_on.set()
        thread.join()
    logger.complete_session("s")
    assert (logger.base_dir / "s.log").read_text() == "0;1;2;3;"


@pytest.mark.parametrize("size", [60_000, 70_000, 1_000_000, 5_000_000])
@pytest.mark.parametrize("filling", ["x", "\0", "é"], ids=["x", "NUL", "é"])
def test_long_chunk_comes_in_parts(manual: Make, tmp_path: Path, storage: Path, size: int, filling: str) -> None:
    """Trap "text that found no room": whatever its length, as one chunk, between others; and not unprotected."""
    logger = manual(crash_journal_directory=str(storage), crash_journal_mb=64, max_buffer_mb=100)
    logger.write("s", "before;")
    logger.write("s", filling * size)
    logger.write("s", ";after")
    logger.advance(2)
    assert logs(tmp_path / "logs") == {"s": f"before;{filling * size};after"}
    assert logger.stats().chunks_written == 3


def test_drops_are_counted_and_marked_in_their_place(manual: Make, tmp_path: Path) -> None:
    """Trap "text that found no room": the queue is full, each session's file says where text is missing."""
    logger = manual(max_buffer_mb=1, crash_journal=False)
    log = logger._engine.log
    logger.write("s", "first;")
    log._make_spare = lambda: None  # type: ignore[method-assign]  # no memory for segments
    log.segments[-1].seal()
    log._supply.empty()
    for _ in range(30):
        logger.write("s", "x" * 50_000)
    logger.write("t", "y" * 50_000)
    del log._make_spare
    logger.advance(2)
    logger.write("s", ";last")
    logger.advance(2)
    found = logs(tmp_path / "logs")
    kept = found["s"].count("x")
    dropped = 30 * 50_000 - kept
    assert kept
    assert found["s"] == f"first;{'x' * kept}[streaming_logger: {dropped:,} characters dropped: buffer full];last"
    assert found["t"] == "[streaming_logger: 50,000 characters dropped: buffer full]"
    assert sum(logger.stats().dropped_characters.values()) == dropped + 50_000


def test_log_grows_and_shrinks() -> None:
    """A segment that filled too soon is followed by one of twice the size; quiet intervals make it small again."""
    storage = Limited(1 << 30)
    log = log_of(storage)
    reader = Reader(log)
    for _ in range(200):
        for _ in range(20):
            add(log, b"x" * 10_000)
        reader.read(release=False)
    assert max(storage.made) >= 4 * FIRST_SIZE
    log.rotate()
    reader.read()
    for _ in range(15):
        log.tend()
        reader.read()
        if log._supply._size == FIRST_SIZE:
            log.rotate()
            reader.read()
    assert log._supply._size == FIRST_SIZE
    assert storage.used <= 4 * FIRST_SIZE


def test_growth_ends_at_the_budget() -> None:
    """Then segments are as large as there is room for; what finds none waits."""
    storage = Limited(5 << 20)
    log = log_of(storage)
    reader = Reader(log)
    for _ in range(1000):
        add(log, b"x" * 10_000)
        reader.read(release=False)
    assert storage.used <= storage.limit
    assert log.is_short
    reader.read()
    for _ in range(20):
        reader.read()
    assert len(reader.texts) == 1000
    assert not log.is_short


def test_small_budget_has_small_segments() -> None:
    """One that is filled, one to follow it, one for the worker's notes: they fit the smallest setting."""
    storage = Limited(1_000_000)
    log = log_of(storage)
    add(log, b"x")
    log.keep_ready()
    assert storage.made == [SMALLEST_SIZE] * 3
    assert log._supply._reserve is not None


def test_note_finds_room_in_the_reserve() -> None:
    """Trap "the area for marks fills up": where callers find none, the worker does."""
    log = log_of(Limited(3 * SMALLEST_SIZE))
    add(log, b"x")
    log.keep_ready()
    while not log.is_short:
        add(log, b"x" * 1000)
    assert log.add_note(b"note\0\0")
    assert not log.add_note(b"n" * SMALLEST_SIZE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_touches_nothing_of_its_parent(live: Live, storage: Path) -> None:
    """Trap "C-level fork": it has a log of its own, the parent keeps its files; `faults/test_fork.py` does one."""
    logger = live(crash_journal_directory=str(storage), flush_interval_seconds=60)
    logger.write("parent", "parent;")
    mine = {path.name for path in storage.iterdir()}
    before = logger._engine.log.segments[-1].tell()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            logger.write("child", "child;" * 100)
            logger.flush()
            status = 0 if {path.name for path in storage.iterdir()} > mine else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert logger._engine.log.segments[-1].tell() == before
    assert mine <= {path.name for path in storage.iterdir()}
    logger.flush()
    assert logs(logger.base_dir) == {"parent": "parent;", "child": "child;" * 100}


def test_signal_handler_that_raises_loses_and_doubles_nothing() -> None:
    """Of each record that was reported as added, at random moments of 100,000."""
    log = log_of(Limited(8 << 20))
    reader = Reader(log)

    armed = False

    def handler(number: int, frame: object) -> None:
        if armed:
            raise InterruptedError

    before = signal.signal(signal.SIGALRM, handler)
    acknowledged = 0
    interrupted = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0007)
        while acknowledged < 100_000:
            if acknowledged % 1000 == 0:
                log.keep_ready()
            try:
                armed = True
                add(log, b"%d" % acknowledged)
                armed = False
                acknowledged += 1
            except InterruptedError:
                armed = False
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    reader.read()
    numbers = list(map(int, reader.texts))
    assert interrupted
    assert numbers == sorted(numbers)
    assert set(numbers) >= set(range(acknowledged))
    assert len(numbers) - len(set(numbers)) <= interrupted  # the one that was being added may be there, too
