"""What one session, file, journal or observer does to the others: nothing."""

from __future__ import annotations

import fcntl
import json
import logging
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

import streaming_logger
from conftest import logs, make_old
from streaming_logger import ArchiveConfig, RadarConfig, StreamingLogger
from streaming_logger._base.modules import loaded
from streaming_logger._disk.store import OpenFile, Store
from streaming_logger._events.model import Event
from streaming_logger._events.observers import Observer
from streaming_logger._runtime import process
from streaming_logger._sweep.files import Files
from streaming_logger._watch.loops import LoopDetector
from streaming_logger._write.cap import Cap
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]

#: What a step may raise, from the likely to the absurd.
RAISED = [ValueError("no"), MemoryError(), AssertionError(), KeyError("x"), OSError(5, "Input/output error")]


@pytest.mark.parametrize("number", ["", ",", ",,,", "9" * 50, "1,2"])
def test_text_that_looks_like_our_own_marker_stops_no_flush(manual: Make, number: str) -> None:
    """A model prints it at the quarter of the cap: every other session is written."""
    logger = manual(max_session_mb=0.01, radar=RadarConfig(enabled=False))
    for turn in range(3):
        logger.write("bad", f"{'x' * 2498}[streaming_logger: {number} characters dropped: session cap]{'y' * 20_000}")
        for number in range(200):
            logger.write(f"s{number}", f"turn {turn};")
        logger.advance(2)
    found = logs(logger.base_dir)
    assert all(found[f"s{number}"] == "turn 0;turn 1;turn 2;" for number in range(200))
    assert len(found["bad"]) <= 10_000
    assert logger.health().status == "ok"


@pytest.mark.parametrize("error", RAISED, ids=repr)
@pytest.mark.parametrize("step", ["open", "append", "cut", "close", "mark"])
def test_step_of_one_session_that_raises_is_its_own(
    manual: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str, error: Exception
) -> None:
    """Whatever it raises, at whatever step: the others are written and completed, the fault is counted and logged."""
    settings: dict[str, Any] = {"max_session_mb": 1} if step == "cut" else {}
    logger = manual(crash_journal=False, **settings)
    names = [f"s{number}" for number in range(300)]
    for name in names:
        logger.write(name, "before;")
    logger.advance(2)
    files = [session.file for session in logger._engine.sessions.live.values() if session.id == "s7"]
    bad = [file.fd for file in files if file is not None]
    assert bad

    def of_bad(file: object) -> bool:
        return isinstance(file, OpenFile) and file.fd in bad

    real_cut = Cap._apply
    with monkeypatch.context() as patch:
        if step == "open":
            logger.write("new", "new;")
            real = Store.open
            patch.setattr(Store, "open", lambda self, name: _raise(error) if name == "new.log" else real(self, name))
        elif step == "append":
            real_one = Store.append
            patch.setattr(
                Store,
                "append",
                lambda self, file, blocks: _raise(error) if of_bad(file) else real_one(self, file, blocks),
            )
        elif step == "cut":
            patch.setattr(
                Cap, "_apply", lambda self, session: _raise(error) if session.id == "s7" else real_cut(self, session)
            )
        elif step == "close":
            real_close = Store.close
            patch.setattr(Store, "close", lambda self, file: _raise(error) if of_bad(file) else real_close(self, file))
        else:
            real_mark = Store.mark
            patch.setattr(
                Store,
                "mark",
                lambda self, file, outcome: _raise(error) if of_bad(file) else real_mark(self, file, outcome),
            )
        for name in names:
            logger.write(name, "after;")
        logger.advance(2)
        found = logs(logger.base_dir)
        assert {name: found[name] for name in names if name != "s7"} == dict.fromkeys(
            set(names) - {"s7"}, "before;after;"
        )
        outcome = "error" if step == "mark" else "completed"
        for name in names:
            logger.complete_session(name, outcome=outcome, wait=False)
        logger.advance(2)
        assert logger.stats().sessions_completed >= 299
        assert logger.stats().write_errors > 0
        assert logger.health().status == "degraded"
        assert any(record.levelno == logging.ERROR for record in caplog.records)
    logger.advance(61)
    assert logs(logger.base_dir)["s7"] == "before;after;"
    assert logger.stats().sessions_active == (step == "open")
    if step == "close":  # the descriptor that the patch kept open
        logger._engine.directory.close_file(bad[0])


def _raise(error: Exception) -> Any:
    raise error


def test_busy_file_at_its_end_stops_no_other_completion(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parked session's file is locked when its outcome is to be noted: the others are complete."""
    logger = manual(max_open_files=1)
    for number in range(5):
        logger.write(f"s{number}", "text")
    logger.advance(2)
    with (logger.base_dir / "s0.log").open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for number in range(5):
            logger.complete_session(f"s{number}", outcome="error", wait=False)
        logger.advance(2)
        assert logger.stats().sessions_completed >= 4


class Broken(Observer):
    """Raises in every hook."""

    name = "broken"
    wants_sessions = True

    @property
    def wants_text(self) -> bool:
        raise ValueError("wants_text")

    def on_event(self, event: Event) -> None:
        raise ValueError("on_event")

    def on_sessions(self, sessions: object) -> None:
        raise ValueError("on_sessions")

    def on_batch(self) -> None:
        raise ValueError("on_batch")


def test_observer_that_raises_stops_nothing(manual: Make) -> None:
    """In each of its hooks, `wants_text` too: text is written, sessions end, the fault is named in health."""
    logger = manual()
    logger._engine.events.observers.add(Broken())
    logger.write("s", "text")
    logger.advance(2)
    logger.complete_session("s", wait=False)
    logger.advance(2)
    assert logs(logger.base_dir) == {"s": "text"}
    assert logger.stats().sessions_completed == 1
    assert any("broken failed: ValueError" in reason for reason in logger.health().reasons)


def test_stream_that_the_radar_cannot_read_hides_no_other(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop in another stream is found in the same pass."""
    logger = manual()
    feed = LoopDetector.feed
    monkeypatch.setattr(
        LoopDetector, "feed", lambda self, text: _raise(ValueError("no")) if "bad" in text else feed(self, text)
    )
    for _ in range(100):
        logger.write("a", "bad text, ")
        logger.write("b", "the same again, ")
    logger.advance(2)
    logger.advance(2)
    assert logger.stats().loops_found == 1


@pytest.mark.parametrize("error", RAISED, ids=repr)
def test_file_that_cannot_be_swept_keeps_no_other(
    manual: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever its step raises: counted, reported, the others are deleted; a caller that sweeps does not see it."""
    logger = manual(file_retention_minutes=1)
    for number in range(10):
        path = logger.base_dir / f"s{number}.log"
        path.write_text("text")
        path.chmod(0o600)
        make_old(path, 1000)
    facts = Files.facts
    monkeypatch.setattr(
        Files, "facts", lambda self, claim: _raise(error) if claim.name == "s3.log" else facts(self, claim)
    )
    report = logger.cleanup_completed_files()
    assert (report.deleted, report.errors) == (9, 1)
    assert set(logs(logger.base_dir)) == {"s3"}


@pytest.mark.parametrize("content", [b"[" * 4000, b"{}", b'{"inode": [], "size": {}, "mtime_ns": null}', b"\xff", b""])
def test_damaged_mark_of_the_archive_stops_no_sweep(manual: Make, content: bytes) -> None:
    """Its file counts as not archived."""
    logger = manual(file_retention_minutes=1, archive=ArchiveConfig(url="file:///nowhere"))
    folder = logger.base_dir / ".streaming_logger/archived"
    folder.mkdir(mode=0o700)
    for name in ("a.log", "b.log"):
        (logger.base_dir / name).write_text("text")
        (logger.base_dir / name).chmod(0o600)
        make_old(logger.base_dir / name, 1000)
    found = (logger.base_dir / "b.log").stat()
    (folder / "a.log").write_bytes(content)
    (folder / "b.log").write_text(json.dumps({"inode": found.st_ino, "size": 4, "mtime_ns": found.st_mtime_ns}))
    report = logger.cleanup_completed_files()
    assert (report.deleted, report.errors) == (1, 0)
    assert set(logs(logger.base_dir)) == {"a"}


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"{" * 100, b"\xff\xfe", b'{"streaming_logs": 5}', b"x" * 3_000_000]
)
def test_damaged_copy_of_the_settings_stops_no_constructor(
    tmp_path: Path, live: Callable[..., StreamingLogger], content: bytes
) -> None:
    """A second logger of a directory whose copy of the settings cannot be read."""
    first = live()
    first.write("s", "text")
    first.flush()
    (tmp_path / "logs/.streaming_logger/settings.json").write_bytes(content)
    second = live()
    second.write("t", "text")
    second.complete_session("t")
    assert logs(tmp_path / "logs")["t"] == "text"


# -- modules that another thread imports -----------------------------------------------

IMPORTS = """
import sys, threading, time
from streaming_logger import Config, StreamingLogger
assert not any(name.startswith(("multiprocessing", "asyncio")) for name in sys.modules)
logger = StreamingLogger(Config(min_free_disk_mb=None), directory=sys.argv[1])
failures, ends = [], threading.Event()

def begin(what):
    number = 0
    while not ends.is_set():
        number += 1
        try:
            if what == "write":
                logger.write(f"{what}{number}", "text")
                logger.complete_session(f"{what}{number}", wait=False)
            elif what == "session":
                with logger.session(f"{what}{number}", wait=False) as stream:
                    stream.write("text")
            else:
                list(logger.wrap(f"{what}{number}", iter(["text"])))
        except Exception as error:
            failures.append(f"{what}: {error!r}")
            return

threads = [threading.Thread(target=begin, args=(what,)) for what in ("write", "session", "wrap")]
for thread in threads:
    thread.start()
time.sleep(0.05)
if sys.argv[2] == "asyncio":
    import asyncio
else:
    import multiprocessing.util, multiprocessing.pool
ends.set()
for thread in threads:
    thread.join()
assert not failures, failures
logger.close()
"""


@pytest.mark.parametrize("module", ["multiprocessing", "asyncio"])
def test_sessions_begin_while_another_thread_imports(tmp_path: Path, module: str) -> None:
    """`write`, `session` and `wrap` raise nothing while multiprocessing or asyncio are imported."""
    for turn in range(5):
        program = [sys.executable, "-c", IMPORTS, tmp_path / str(turn), module]
        done = subprocess.run(program, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["multiprocessing.util", "asyncio.events"])
@pytest.mark.parametrize("is_initializing", [True, False])
def test_half_loaded_module_is_as_good_as_none(
    manual: Make, monkeypatch: pytest.MonkeyPatch, name: str, is_initializing: bool
) -> None:
    """One that has none of its names yet, as `sys.modules` has it while its first line runs."""
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.__spec__._initializing = is_initializing  # type: ignore[attr-defined]
    monkeypatch.setattr(process, "_finalized_in", 0)
    monkeypatch.setitem(sys.modules, name, module)
    assert (loaded(name) is None) == is_initializing
    logger = manual()
    logger.write("w", "text")
    with logger.session("s") as stream:
        stream.write("text")
    assert list(logger.wrap("i", iter(["text"]))) == ["text"]
    logger.advance(2)
    assert logs(logger.base_dir) == dict.fromkeys("wsi", "text")


def test_sys_modules_is_looked_into_in_one_place() -> None:
    """Whoever asks for a module that may be there calls `loaded`."""
    package = Path(streaming_logger.__file__).parent
    assert {path.name for path in package.rglob("*.py") if "sys.modules" in path.read_text()} == {"modules.py"}
