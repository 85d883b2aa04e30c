"""The radar in a running logger: each loop is reported once, wherever text is cut, at no cost to the stream."""

from __future__ import annotations

import gc
import json
import random
import string
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from recordings import events_of
from streaming_logger import RadarConfig, Runaway, StreamingLogger
from streaming_logger._watch import radar
from streaming_logger._watch.loops import find_loops
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]
Live = Callable[..., StreamingLogger]

DICE = random.Random(5)
WORDS = ["".join(DICE.choices(string.ascii_lowercase, k=DICE.randint(2, 9))) for _ in range(300)]
LOOP = "All work and no play makes Jack a dull boy. "


def stream(logger: ManualLogger, session: str, chunks: list[str], chunks_a_flush: int = 40) -> None:
    """Writes chunks with a flush now and then, as a stream at its pace."""
    for number, chunk in enumerate(chunks):
        logger.write(session, chunk)
        if number % chunks_a_flush == 0:
            logger.advance(2)
    logger.advance(2)


def loop_lines(logger: ManualLogger, event: str = "loop") -> list[dict[str, object]]:
    ledger = (logger.base_dir / ".streaming_logger" / "ledger.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, ledger) if line["event"] == event]


@pytest.mark.parametrize("name", ["rhyme", "sql", "poem", "story", "table"])
def test_recorded_runaway_is_reported_once(manual: Make, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """One warning with fields, one ledger line, one count; while it runs, long before its end."""
    logger = manual()
    chunks = [text for _, text in events_of(name)]
    found: list[Runaway] = []
    logger.on_runaway = found.append
    stream(logger, "s", chunks)
    (expected,) = find_loops("".join(chunks))[:1]
    deadline = time.monotonic() + 10
    while expected.repeated not in [runaway.repeated for runaway in found] and time.monotonic() < deadline:
        time.sleep(0.01)  # each call has a thread of its own
    first = min(found, key=lambda runaway: runaway.repeated)
    assert replace(first, share=1.0) == Runaway(session_id="s", **expected._asdict())
    assert 0 < first.share < 1
    assert logger.stats().loops_found == 1 == len(loop_lines(logger))
    line = loop_lines(logger)[0]
    assert (line["session"], line["kind"], line["offset"]) == ("s", expected.kind, expected.offset)
    record = next(record for record in caplog.records if "loops since character" in record.getMessage())
    assert (record.levelname, record.session, record.repeated) == (  # type: ignore[attr-defined]
        "WARNING",
        "s",
        expected.repeated,
    )


@pytest.mark.parametrize("name", ["list", "multiply", "json", "essay", "steps", "logfile"])
def test_ordinary_answers_raise_nothing(manual: Make, name: str) -> None:
    """Repetitive in form, and they end."""
    logger = manual()
    stream(logger, "s", [text for _, text in events_of(name)])
    logger.complete_session("s")
    logger.advance(2)
    assert logger.stats().loops_found == 0


def test_cut_of_chunks_and_flushes_changes_nothing(manual: Make) -> None:
    """Characters of several bytes, cut into other chunks and other flushes: the same findings."""
    text = "".join(text for _, text in events_of("essay"))[:900] + "Ünïcödé loops für immer; " * 60
    expected = [finding.offset for finding in find_loops(text)]
    assert expected
    for size, chunks_a_flush in ((1, 100), (7, 13), (50, 3), (5000, 1)):
        logger = manual()
        chunks = [text[start : start + size] for start in range(0, len(text), size)]
        session = f"s{size}"
        stream(logger, session, chunks, chunks_a_flush)
        logger.complete_session(session)
        logger.advance(2)
        assert [line["offset"] for line in loop_lines(logger) if line["session"] == session] == expected


def test_session_that_loops_and_ends_within_a_flush_is_found(manual: Make) -> None:
    """What was written last is examined when the session is complete, too."""
    logger = manual()
    logger.write("s", LOOP * 30)
    logger.complete_session("s")
    logger.advance(2)
    assert [line["kind"] for line in loop_lines(logger)] == ["periodic"]
    assert logger._engine.radar._streams == {}


def test_end_of_a_loop_is_told_with_its_whole_length(manual: Make) -> None:
    """When the text leaves it, or the stream ends; with what it cost after it was found."""
    logger = manual()
    other = [" ".join(DICE.choices(WORDS, k=8)) + " " for _ in range(100)]
    stream(logger, "leaves", [LOOP] * 200 + other)
    stream(logger, "ends", [LOOP] * 200)
    logger.complete_session("ends")
    logger.advance(2)
    logger.advance(2)
    lines = {line["session"]: line for line in loop_lines(logger, "loop_ended")}
    reasons = {session: line["reason"] for session, line in lines.items()}
    assert reasons == {"leaves": "the text left it", "ends": "the stream ended"}
    for line in lines.values():
        assert line["offset"] == 0
        assert abs(int(str(line["repeated"])) - 200 * len(LOOP)) <= 1024
    assert logger.stats().runaway_characters == sum(int(str(line["after"])) for line in lines.values())


def test_callback_is_called_again_as_the_loop_grows(manual: Make) -> None:
    """At two, four and eight times its length, each with what it is by then."""
    logger = manual()
    seen: list[Runaway] = []
    logger.on_runaway = seen.append
    stream(logger, "s", [LOOP] * 300, chunks_a_flush=5)
    deadline = time.monotonic() + 10
    while len(seen) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    lengths = sorted(runaway.repeated for runaway in seen)
    assert len(lengths) == 4
    assert all(length >= times * lengths[0] for length, times in zip(lengths, (1, 2, 4, 8), strict=True))
    assert max(runaway.copies or 0 for runaway in seen) > 8
    assert logger.stats().loops_found == 1


def test_callback_may_be_spared_loops_of_low_severity(manual: Make) -> None:
    """The ledger has them all the same."""
    logger = manual(radar=RadarConfig(on_runaway_minimum="high"))
    seen: list[Runaway] = []
    logger.on_runaway = seen.append
    stream(logger, "s", [f"    KEY_{n} = {n}\n" for n in range(400)])
    assert [line["severity"] for line in loop_lines(logger)] == ["low"]
    assert seen == []


def test_sessions_can_be_left_alone(manual: Make) -> None:
    """One turn of one session, or all whose ids match a pattern."""
    logger = manual(radar=RadarConfig(except_sessions="eval-*, batch"))
    with logger.session("s", radar=False) as handle:
        for _ in range(50):
            handle.write(LOOP)
        logger.advance(2)
    for session in ("eval-7", "batch", "s2"):
        stream(logger, session, [LOOP] * 50)
    logger.advance(2)
    assert [line["session"] for line in loop_lines(logger)] == ["s2"]
    with logger.session("s") as handle:
        for _ in range(50):
            handle.write(LOOP)
    logger.advance(2)
    logger.advance(2)
    assert [line["session"] for line in loop_lines(logger)] == ["s2", "s"]


@pytest.mark.parametrize(("sensitivity", "found"), [("low", 0), ("normal", 1), ("high", 1)])
def test_sensitivity_scales_all_lengths(manual: Make, sensitivity: str, found: int) -> None:
    """Low: twice as long."""
    logger = manual(radar=RadarConfig(sensitivity=sensitivity))
    stream(logger, "s", [LOOP] * 9)
    logger.complete_session("s")
    logger.advance(2)
    logger.advance(2)
    assert logger.stats().loops_found == found


def test_radar_can_be_switched_off(manual: Make) -> None:
    """And its thresholds set."""
    logger = manual(radar=RadarConfig(enabled=False))
    stream(logger, "s", [LOOP] * 50)
    assert logger.stats().loops_found == 0
    logger = manual(radar=RadarConfig(periodic_characters=1500))
    stream(logger, "s", [LOOP] * 25)
    assert logger.stats().loops_found == 0
    stream(logger, "s", [LOOP] * 25)
    logger.advance(2)
    assert logger.stats().loops_found == 1


def test_stream_that_outruns_the_radar_is_sampled(manual: Make) -> None:
    """Memory stays bounded, and a loop that goes on is found all the same."""
    logger = manual()
    for _ in range(20):
        logger.write("s", LOOP * 50_000)
        logger.flush()
        assert logger._engine.radar._waiting <= 1 << 16
    logger.advance(2)
    assert logger.stats().loops_found == 1


def test_callback_that_raises_or_hangs_holds_up_nothing(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    """Both are reported; flushes go on, and so does the radar."""
    logger = live(flush_interval_seconds=0.02)
    let_go, calls = threading.Event(), []

    def on_runaway(runaway: Runaway) -> None:
        calls.append(runaway.session_id)
        if runaway.session_id == "raises":
            raise ZeroDivisionError
        let_go.wait(30)

    logger.on_runaway = on_runaway
    sessions = ["raises", *(f"hangs{number}" for number in range(20))]
    deadline = time.monotonic() + 10
    for session in sessions:
        logger.write(session, LOOP * 12)
        while "on_runaway failed" not in caplog.text and time.monotonic() < deadline:
            logger.flush()  # the one that raises has left its place to the others
    while logger.stats().loops_found < len(sessions) and time.monotonic() < deadline:
        logger.flush()
    assert logger.stats().loops_found == len(sessions)
    while len(calls) < 17 and time.monotonic() < deadline:  # each begins on a thread of its own
        let_go.wait(0.01)
    begun = time.monotonic()
    logger.write("other", "text")
    logger.complete_session("other")
    assert time.monotonic() - begun < 4
    let_go.set()
    assert "on_runaway failed: ZeroDivisionError()" in caplog.text
    assert "on_runaway hangs: 16 calls have not returned" in caplog.text
    assert len(calls) == 17


def test_callback_may_use_the_logger(live: Live) -> None:
    """It runs outside every lock: a server completes the session that it stops."""
    logger = live(flush_interval_seconds=0.02)
    done = threading.Event()

    def stop(runaway: Runaway) -> None:
        logger.complete_session(runaway.session_id, outcome="cancelled")
        logger.flush()
        done.set()

    logger.on_runaway = stop
    logger.write("s", LOOP * 30)
    assert done.wait(10)
    assert logger.stats().sessions_completed == 1


def test_on_runaway_must_be_callable(manual: Make) -> None:
    """The mistake is named at once; None switches it off."""
    logger = manual()
    with pytest.raises(TypeError, match="on_runaway must be callable or None, not str"):
        logger.on_runaway = "stop"  # type: ignore[assignment]
    logger.on_runaway = None
    assert logger.on_runaway is None


def test_budget_leaves_the_rest_for_the_next_flush(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much waits, one run of the radar ends, and nothing is lost."""
    logger = manual(flush_interval_seconds=0.01)
    radar = logger._engine.radar
    for number in range(300):
        logger.write(f"s{number}", LOOP * 100)
    logger.flush()
    waiting, runs = len(radar._ready), 0
    assert waiting == 300
    while radar._ready:
        slices: Iterator[float] = radar.work()
        for pause in slices:
            assert pause > 0
        runs += 1
        assert len(radar._ready) < waiting or not waiting
        waiting = len(radar._ready)
    assert runs > 1
    assert logger.stats().loops_found == 300


def test_streams_that_wait_are_bounded(manual: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions end faster than the radar examines them: only so many wait, the later ones; a loop is found still."""
    with monkeypatch.context() as patch:
        patch.setattr(radar, "_MAX_READY", 50)
        patch.setattr(radar, "_SHARE", 0.0)
        logger = manual()
        watching = logger._engine.radar
        for number in range(400):
            logger.write(f"s{number}", "a short answer")
            logger.complete_session(f"s{number}", wait=False)
            if number % 100 == 99:
                logger.advance(2)
                assert len(watching._ready) <= 50
                assert watching._waiting == sum(stream.size for stream in watching._ready)
    logger.write("loop", 100 * LOOP)
    for _ in range(3):
        logger.advance(2)
    assert logger.stats().loops_found == 1


TEXTS = {
    "loop": ["All day the rain fell on the old town, and nobody came. "] * 80,
    "english": [" ".join(DICE.choices(WORDS, k=9)) + " " for _ in range(80)],
    "chinese": [
        "".join(DICE.choices("雨下了一整天没有人来到这座古老的小镇他们都在家里等着看书", k=40)) for _ in range(80)
    ],
    "numbers": [f"a) {n}, b) {n * n}; x = 0.{n}5\n({n}) total: {DICE.random()} / n-{n} #7\n" for n in range(80)],
    "emoji": [" ".join(DICE.choices([*WORDS, "🌧"], k=9)) + " " for _ in range(80)],
}


@pytest.mark.parametrize("kind", TEXTS)
def test_memory_of_a_stream_is_as_documented(manual: Make, kind: str) -> None:
    """What the manual's page on sizing says: at most 8 kB for each stream whose text the radar has read."""
    logger = manual(crash_journal=False)
    names = [f"s{number}" for number in range(40)]
    for name in names:
        logger.write(name, "begin")
    logger.advance(2)
    logger.advance(2)
    tracemalloc.start()
    try:
        for number in range(80):
            for name in names:
                logger.write(name, TEXTS[kind][number])
            if number % 10 == 9:
                logger.advance(2)
        for _ in range(10):
            logger.advance(2)
        gc.collect()
        ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/streaming_logger/*")])
        assert sum(trace.size for trace in ours.traces) / len(names) < 8192
    finally:
        tracemalloc.stop()
