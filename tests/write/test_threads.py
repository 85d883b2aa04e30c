"""Real threads and real files: several streams at once, races, finalizers, handlers that call back."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import logs
from streaming_logger import StreamingLogger

Make = Callable[..., StreamingLogger]


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Threads take turns a thousand times more often: races that need years come in seconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_life_of_a_session(live: Make) -> None:
    """Written, flushed by the worker, completed, kept, swept."""
    logger = live(flush_interval_seconds=0.05, cleanup_interval_seconds=0.05, file_retention_minutes=0.005)
    for word in ("The ", "answer ", "is ", "42."):
        logger.write("s", word)
    logger.flush()
    assert logs(logger.base_dir) == {"s": "The answer is 42."}
    logger.complete_session("s")
    assert logger.stats().sessions_active == 0
    swept = threading.Event()
    while not swept.wait(0.02):
        if logger.stats().deleted_files == {"retention": 1}:
            swept.set()
    assert logs(logger.base_dir) == {}


def test_concurrent_sessions_stay_apart_and_in_order(live: Make) -> None:
    """Sixteen threads, four sessions each, all at once."""
    logger = live(flush_interval_seconds=0.01)

    def stream(number: int) -> None:
        ids = [f"s{number}-{turn}" for turn in range(4)]
        for count in range(300):
            for id_ in ids:
                logger.write(id_, f"{id_}:{count} ")
        for id_ in ids:
            logger.complete_session(id_)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(stream, range(16)))
    found = logs(logger.base_dir)
    assert len(found) == 64
    assert all(text == "".join(f"{id_}:{count} " for count in range(300)) for id_, text in found.items())
    stats = logger.stats()
    assert (stats.sessions_completed, stats.sessions_active, stats.files_open) == (64, 0, 0)


@pytest.mark.usefixtures("fast_switching")
def test_write_against_complete_loses_and_reorders_nothing(live: Make) -> None:
    """One thread writes numbers to a session that two others complete all the time."""
    logger = live(flush_interval_seconds=0.01)
    count, done = 60_000, threading.Event()

    def completing() -> None:
        while not done.is_set():
            logger.complete_session("s", wait=False)

    threads = [threading.Thread(target=completing) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(count):
        logger.write("s", f"{number}\n")
    done.set()
    for thread in threads:
        thread.join()
    logger.complete_session("s")
    assert logs(logger.base_dir)["s"] == "".join(f"{number}\n" for number in range(count))
    assert logger.stats().dropped_characters == {}


@pytest.mark.usefixtures("fast_switching")
def test_many_writers_of_one_session_lose_nothing(live: Make) -> None:
    """Four threads write one session, one flushes, one completes: each writer's records all there, in its order."""
    logger = live(flush_interval_seconds=0.01)
    count, done = 15_000, threading.Event()

    def writing(writer: int) -> None:
        for number in range(count):
            logger.write("s", f"{writer}:{number}\n")

    def disturbing(disturb: Callable[[], object]) -> None:
        while not done.is_set():
            disturb()

    disturbers = [
        threading.Thread(target=disturbing, args=(logger.flush,)),
        threading.Thread(target=disturbing, args=(lambda: logger.complete_session("s"),)),
        threading.Thread(target=disturbing, args=(logger.cleanup_completed_files,)),
        threading.Thread(target=disturbing, args=(logger.stats,)),
    ]
    for thread in disturbers:
        thread.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(writing, range(4)))
    done.set()
    for thread in disturbers:
        thread.join()
    logger.complete_session("s")
    by_writer: dict[str, list[int]] = {}
    for line in logs(logger.base_dir)["s"].splitlines():
        writer, _, number = line.partition(":")
        by_writer.setdefault(writer, []).append(int(number))
    assert by_writer == {str(writer): list(range(count)) for writer in range(4)}


@pytest.mark.usefixtures("fast_switching")
def test_sweeps_against_new_turns_lose_nothing(live: Make) -> None:
    """Retention of almost nothing: each turn's text was in its file when complete returned, or is still."""
    logger = live(flush_interval_seconds=0.01, file_retention_minutes=1e-9)
    done = threading.Event()

    def sweeping() -> None:
        while not done.is_set():
            logger.cleanup_completed_files()

    sweeper = threading.Thread(target=sweeping)
    sweeper.start()
    for number in range(1500):
        logger.write("s", f"{number}\n")
        if number % 5 == 4:
            logger.complete_session("s")
    logger.write("s", "end")
    logger.flush()
    done.set()
    sweeper.join()
    stats = logger.stats()
    assert stats.bytes_written == sum(len(f"{number}\n") for number in range(1500)) + 3
    assert logs(logger.base_dir)["s"].endswith("end")
    assert stats.sweep_errors == stats.write_errors == stats.files_reopened == 0


def test_close_against_write_loses_nothing(live: Make) -> None:
    """Writers go on while the logger is closed: every chunk is in the file."""
    logger = live(flush_interval_seconds=0.01)
    ready = threading.Barrier(5)

    def writing(writer: int) -> None:
        ready.wait()
        for number in range(300):
            logger.write(f"s{writer}", f"{number} ")

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(writing, writer) for writer in range(4)]
        ready.wait()
        logger.close()
        for result in results:
            result.result()
    expected = "".join(f"{number} " for number in range(300))
    assert logs(logger.base_dir) == {f"s{writer}": expected for writer in range(4)}


class Generator:
    """A stream that completes its session when it is collected, as generators of servers do."""

    def __init__(self, logger: StreamingLogger, session_id: str) -> None:
        self.logger, self.session_id, self.circle = logger, session_id, self

    def __del__(self) -> None:
        self.logger.complete_session(self.session_id)


def test_finalizers_complete_sessions_at_any_moment(live: Make) -> None:
    """The collector runs inside whatever allocates: no deadlock, nothing leaked, nothing lost."""
    logger = live(flush_interval_seconds=0.01)
    before = gc.get_threshold()
    gc.set_threshold(5, 2, 2)
    try:
        for number in range(600):
            stream = Generator(logger, f"s{number}")
            for word in range(70):
                logger.write(f"s{number}", f"{word} ")
            del stream
    finally:
        gc.set_threshold(*before)
    gc.collect()
    logger.flush()
    expected = "".join(f"{word} " for word in range(70))
    found = logs(logger.base_dir)
    assert len(found) == 600
    assert set(found.values()) == {expected}
    assert logger.stats().sessions_completed == 600


def test_log_handler_may_use_the_logger_from_the_worker_itself(live: Make) -> None:
    """A handler that streams the library's own records back into it: no deadlock, every call returns."""

    class Back(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if getattr(record, "session", "") != "library":
                logger.write("library", record.getMessage() + "\n")
                logger.flush()
                logger.complete_session("library")

    log = logging.getLogger("streaming_logger")
    handler, level = Back(), log.level
    logger = live(flush_interval_seconds=0.01)
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        for number in range(20):
            logger.write(f"s{number}", "text")
            logger.complete_session(f"s{number}")
        logger.flush()
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    logger.close()
    assert logs(logger.base_dir)["library"].count("completed s") == 20
