"""An exception, and a call back, at every point at which CPython may run a signal handler or a finalizer.

The k-th point, for every k until a life runs through. A point is where the interpreter looks
at its eval breaker: after a call, after a jump back, at the start of a function. Finalizers
run where a container is made, too; they may call back, but cannot raise.

Up to CPython 3.11 `sys.settrace` tells of each instruction; from 3.12 on it skips most, and `sys.monitoring` does.
"""

from __future__ import annotations

import dis
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

import streaming_logger
from conftest import logs
from streaming_logger import Config, StreamingLogger, _default, get_streaming_logger
from streaming_logger._disk.timing import parse
from test_invariant import is_explained

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc"),
    # What a handler raises while a finalizer runs the interpreter prints and discards.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function StreamLog.__del__"),
]

PACKAGE = str(Path(streaming_logger.__file__).parent)
AFTER = ("CALL", "RESUME", "JUMP_BACKWARD", "POP_JUMP_BACKWARD")
NO_CALLS = ("CALL_INTRINSIC",)
MAKES = ("BUILD_", "LIST_EXTEND", "MAKE_FUNCTION", "LIST_TO_TUPLE")
#: No life has more points than this; one that never runs through is an error.
MANY = 3000


class Interruption(BaseException):
    """What a signal handler raises."""


@cache
def operations(code: CodeType) -> dict[int, str]:
    return {instruction.offset: instruction.opname for instruction in dis.get_instructions(code)}


class Injector:
    """Does something at the k-th point of this library's code on this thread."""

    def __init__(self, k: int, action: Callable[[], None], raises: bool) -> None:
        self.left, self.action, self.raises = k, action, raises
        self.where = ""
        self._before: dict[FrameType, str] = {}
        self._observer = Tracing(self) if sys.version_info < (3, 12) else Monitoring(self)

    def __enter__(self) -> None:
        gc.disable()  # else the finalizer of an earlier life's logger may be what is interrupted
        self._observer.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
        gc.enable()

    def stop(self) -> None:
        self._observer.stop()
        self._before.clear()

    def begins(self, frame: FrameType) -> None:
        """A function begins."""
        self._before[frame] = "RESUME"

    def ends(self, frame: FrameType) -> None:
        """A function ends."""
        self._before.pop(frame, None)

    def instruction(self, frame: FrameType, offset: int) -> None:
        """An instruction is about to run: the point is between it and the one before."""
        operation = operations(frame.f_code).get(offset, "")
        before, self._before[frame] = self._before.get(frame, ""), operation
        is_point = before.startswith(AFTER) and not before.startswith(NO_CALLS)
        if is_point or (not self.raises and operation.startswith(MAKES)):
            self.left -= 1
            if self.left <= 0:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
                self.stop()
                self.action()


class Tracing:
    """Tells an injector of each instruction, by `sys.settrace`."""

    def __init__(self, injector: Injector) -> None:
        self._injector = injector

    def start(self) -> None:
        sys.settrace(self._trace)

    def stop(self) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if self._injector.where or not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            self._injector.begins(frame)
        elif event == "opcode":
            self._injector.instruction(frame, frame.f_lasti)
        elif event == "return":
            self._injector.ends(frame)
        return self._trace


class Monitoring:
    """The same by `sys.monitoring`, which other threads meet, too."""

    TOOL = 3

    def __init__(self, injector: Injector) -> None:
        self._injector = injector
        self._thread = threading.get_ident()

    def start(self) -> None:
        monitoring = sys.monitoring
        if monitoring.get_tool(self.TOOL) is None:
            monitoring.use_tool_id(self.TOOL, "interruptions")
        events = monitoring.events
        for code in codes():
            monitoring.set_local_events(self.TOOL, code, events.INSTRUCTION | events.PY_RETURN)
        monitoring.register_callback(self.TOOL, events.INSTRUCTION, self._instruction)
        monitoring.register_callback(self.TOOL, events.PY_RETURN, self._return)

    def stop(self) -> None:
        for event in (sys.monitoring.events.INSTRUCTION, sys.monitoring.events.PY_RETURN):
            sys.monitoring.register_callback(self.TOOL, event, None)

    def _instruction(self, code: CodeType, offset: int) -> None:
        if threading.get_ident() == self._thread and not self._injector.where:
            self._injector.instruction(sys._getframe(1), offset)

    def _return(self, code: CodeType, offset: int, value: object) -> None:
        if threading.get_ident() == self._thread:
            self._injector.ends(sys._getframe(1))


def codes() -> Iterator[CodeType]:
    """The code of all functions of this library."""
    waiting = [each.__code__ for each in gc.get_objects() if type(each) is FunctionType]
    while waiting:
        code = waiting.pop()
        if code.co_filename.startswith(PACKAGE):
            yield code
            waiting += [each for each in code.co_consts if type(each) is CodeType]


class Life:
    """One logger, and what was written to it."""

    def __init__(self, place: Path, **settings: Any) -> None:
        self.directory = place / "logs"
        self.config = Config(flush_interval_seconds=60, min_free_disk_mb=None, **settings)
        self.number = 0
        self.sure: list[int] = []
        self.logger: StreamingLogger | None = None
        self.back = 0
        self.must_have_ended = False
        self.held = threading.Event()
        self.held.set()

    def open(self) -> None:
        self.logger = StreamingLogger(self.config, directory=self.directory)

    def write(self, count: int = 1) -> None:
        """Numbered chunks; `sure` holds those whose write() returned."""
        assert self.logger is not None
        for _ in range(count):
            self.number += 1
            number = self.number
            self.logger.write("s", f"{number:04d};")
            self.sure.append(number)

    def hold_worker(self) -> None:
        """The worker does nothing until the life is interrupted, or over."""
        assert self.logger is not None
        self.held.clear()
        reached = threading.Event()

        def job() -> None:
            reached.set()
            self.held.wait()

        self.logger._engine.worker.submit(job)
        reached.wait()

    def fill(self, *, segments: int) -> None:
        """Leaves no room for a chunk in this segment of the log, and in the spare one."""
        assert self.logger is not None
        log = self.logger._engine.log
        for number in range(segments):
            if number:
                self.logger.write("f", "x")
            room = log.segments[-1].size - log.segments[-1].tell()
            self.logger.write("f", "x" * (room - 8))

    def call_back(self, name: str) -> None:
        """What a handler may do on the thread that it interrupts."""
        self.held.set()
        if name == "raise":
            raise Interruption
        if name == "get":
            get_streaming_logger()
        if self.logger is None:
            return
        if name == "write":
            if self.config.max_buffer_mb >= 1:  # else it may be in the gap
                self.back += 1
                self.logger.write("s", "<back>")
            self.logger.write("other", "<back>")
        elif name == "complete":
            self.logger.complete_session("s")
        elif name in ("flush", "close", "stats"):
            getattr(self.logger, name)()

    def check(self) -> None:
        """Afterwards everything works, and each chunk whose write() returned is in the file once or counted."""
        if self.logger is None:
            self.open()
        if self.must_have_ended:
            assert "s" not in self.logger.session_files, "its stream is gone, and it is still active"
        begun = time.monotonic()
        self.write()
        self.logger.flush()
        self.logger.complete_session("s")
        self.logger.close()
        assert time.monotonic() - begun < 4, "something waited for a lock"
        text = logs(self.directory)["s"]
        if self.config.record_timing:
            timing = parse((self.directory / "s.timing").read_bytes().splitlines(keepends=True))
            assert sum(timing.sizes) == len(text.encode())
        assert text.count("<back>") == self.back
        text = text.replace("<back>", "")
        unsure = set(range(1, self.number + 1)) - set(self.sure)
        # A chunk whose write() was interrupted is there once or not at all.
        kept = [number for number in range(1, self.number + 1) if number not in unsure or f"{number:04d};" in text]
        # It may also be in a gap, counted.
        every = range(1, self.number + 1)
        assert any(is_explained(text, "".join(f"{n:04d};" for n in numbers)) for numbers in (kept, every)), text[-300:]
        stats = self.logger.stats()
        assert stats.bytes_buffered == 0, stats
        assert stats.completions_overdue == 0, stats
        assert stats.worker_restarts == 0, stats


def first_write(life: Life) -> Iterator[None]:
    life.open()
    yield
    life.write(2)


def no_room(life: Life) -> Iterator[None]:
    life.open()
    life.write(5)
    life.logger.flush()  # from here on there is a spare segment
    life.hold_worker()
    life.fill(segments=1)
    yield
    life.write(3)


def no_room_with_times(life: Life) -> Iterator[None]:
    return no_room(life)


def queue(life: Life) -> Iterator[None]:
    life.open()
    life.write(5)
    life.logger.flush()
    life.hold_worker()
    life.fill(segments=2)
    yield
    life.write(3)


def queue_with_times(life: Life) -> Iterator[None]:
    return queue(life)


def drop(life: Life) -> Iterator[None]:
    life.open()
    life.write(5)
    life.logger.flush()
    life.hold_worker()
    life.fill(segments=1)
    yield
    life.write(3)


def long_chunk(life: Life) -> Iterator[None]:
    life.open()
    life.write(1)
    life.logger.flush()
    yield
    for number in range(2):
        life.logger.write("long", f"{number}" * 40_000)
    life.write(1)


def rotation_by_worker(life: Life) -> Iterator[None]:
    life.open()
    life.write(5)
    life.logger.flush()
    life.fill(segments=1)
    yield
    life.write(1)
    life.logger.flush()
    life.write(1)


def complete_and_wait(life: Life) -> Iterator[None]:
    life.open()
    life.write(5)
    yield
    life.logger.complete_session("s")


def complete(life: Life) -> Iterator[None]:
    life.open()
    life.write(5)
    yield
    life.logger.complete_session("s", wait=False)
    life.write(1)
    life.logger.complete_session("s", wait=False)


def flush(life: Life) -> Iterator[None]:
    life.open()
    life.write(5)
    yield
    life.logger.flush()


def close(life: Life) -> Iterator[None]:
    life.open()
    life.write(5)
    yield
    life.logger.close()


def session(life: Life) -> Iterator[None]:
    life.open()
    yield
    with life.logger.session("s"):
        life.write(2)


def wrapped(life: Life) -> Iterator[None]:
    def items() -> Iterator[str]:
        for _ in range(3):
            life.number += 1
            yield f"{life.number:04d};"

    life.open()
    stream = life.logger.wrap("s", items())
    yield
    for item in stream:
        life.sure.append(int(item[:4]))


def construct(life: Life) -> Iterator[None]:
    yield
    life.open()
    life.write(2)


def first_use(life: Life) -> Iterator[None]:
    _default._published.clear()
    life.directory = Path("logs/streaming").absolute()
    yield
    life.logger = get_streaming_logger()
    life.write(2)


LIVES = [
    first_write,
    no_room,
    no_room_with_times,
    queue,
    queue_with_times,
    drop,
    long_chunk,
    rotation_by_worker,
    complete_and_wait,
    complete,
    flush,
    close,
    session,
    wrapped,
]
LIVES += [construct, first_use]
ACTIONS = ["raise", "write", "complete", "flush", "close", "stats", "get"]
CASES = [(life, action) for life in LIVES for action in ACTIONS]
SETTINGS: dict[Any, dict[str, Any]] = {
    no_room_with_times: {"record_timing": True},
    queue_with_times: {"record_timing": True},
    drop: {"max_buffer_mb": 0.003},
}


def close_directories(place: Path) -> None:
    """An exception right after the system call that opened the directory leaves its descriptor to nobody:
    Python has nothing against that. No file of a session is ever left so."""
    gc.collect()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith(f"{place}/logs") and not target.endswith(".log"):
                os.close(int(name))


def one_run(place: Path, scenario: Callable[[Life], Iterator[None]], action: str, k: int, journal: bool) -> str:
    """One life with one interruption at the k-th point; where that was, or "" when there are fewer."""
    place.mkdir()
    os.chdir(place)
    common = {"crash_journal": journal, "crash_journal_mb": 4}  # quick to make
    section = {"flush_interval_seconds": 60, **common}
    Path("logging_config.json").write_text(json.dumps({"streaming_logs": section}))
    threads = len(os.listdir("/proc/self/task"))
    life = Life(place, **common, **SETTINGS.get(scenario, {}))
    steps = scenario(life)
    next(steps)
    injector = Injector(k, lambda: life.call_back(action), action == "raise")
    try:
        with injector:
            next(steps, None)
    except Interruption:
        pass
    finally:
        injector.stop()
        life.held.set()
        steps.close()
    del steps
    life.must_have_ended = scenario is wrapped and action == "raise"
    try:
        life.check()
        for logger in _default._published.values():
            logger.close()
        _default._published.clear()
        for _ in range(200):
            if len(os.listdir("/proc/self/task")) <= threads:
                break
            threading.Event().wait(0.005)
        assert len(os.listdir("/proc/self/task")) <= threads, "a thread too many"
        if action == "raise" and scenario in (construct, first_use):
            close_directories(place)
    except BaseException as failure:
        failure.add_note(f"{scenario.__name__}, {action} at point {k}: {injector.where}")
        raise
    return injector.where


def every_kth(
    place: Path, scenario: Callable[[Life], Iterator[None]], action: str, step: int, journals: Sequence[bool]
) -> int:
    """Runs for each `step`-th k until a life runs through; how many were interrupted. `journals` take turns."""
    for tried, k in enumerate(range(1 + ACTIONS.index(action) % step, MANY, step)):
        if not one_run(place / f"{k}", scenario, action, k, journals[tried % len(journals)]):
            return tried
    raise AssertionError(f"{scenario.__name__} has more than {MANY} points")


@pytest.mark.parametrize(("scenario", "action"), CASES)
def test_interruption_at_sampled_points(
    tmp_path: Path, scenario: Callable[[Life], Iterator[None]], action: str
) -> None:
    """Nothing lost, nothing doubled, no lock held, one worker; with the crash journal and without."""
    assert every_kth(tmp_path, scenario, action, 11, (False, True))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("journal", [False, True], ids=["without", "with the crash journal"])
@pytest.mark.parametrize(("scenario", "action"), CASES)
def test_interruption_at_every_point(
    tmp_path: Path, scenario: Callable[[Life], Iterator[None]], action: str, journal: bool
) -> None:
    """The same, at each one."""
    tried = every_kth(tmp_path, scenario, action, 1, (journal,))
    print(f"figures {scenario.__name__}, {action}{', crash journal' if journal else ''}: {tried} points, 0 lost")
    assert tried
