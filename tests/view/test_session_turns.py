"""The turns of a session, by the ledger."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streaming_logger import StreamingLogger
from streaming_logger._events.ledger import events_in, events_of
from streaming_logger._view import turns as module
from streaming_logger._view.sessions import scan
from streaming_logger._view.target import find_target
from streaming_logger._view.turns import Turn, turns_of


def _turns(directory: Path, session_id: str = "sess_1") -> list[tuple[str, str]]:
    """(text, outcome) of each turn."""
    target = find_target(str(directory), None)
    (session,) = [found for found in scan(target) if found.id == session_id]
    text = (directory / session.file).read_bytes()
    turns = turns_of(events_of(target.directory, session.file), len(text), session.state)
    return [(text[turn.begin : turn.end].decode(), turn.outcome) for turn in turns]


def _end(at: float, outcome: str = "completed", **fields: Any) -> dict[str, Any]:
    name = "crashed" if outcome == "crashed" else "completed"
    return {**_OF, "at": at, "event": name, "outcome": outcome, "reason": name, **fields}


#: What each line of the ledger has, beside.
_OF = {"session": "s", "file": "s.log"}


def test_each_turn_is_where_its_line_says(tmp_path: Path) -> None:
    """Whatever their outcomes, from one process or several; the last one goes on."""
    settings = {"streaming_logs": {"min_free_disk_mb": None}}
    for text, outcome in (("Hello", "completed"), ("wörld", "error")):
        with StreamingLogger(settings, directory=tmp_path) as logger:
            logger.write("sess_1", text)
            logger.complete_session("sess_1", outcome=outcome)
    with StreamingLogger(settings, directory=tmp_path) as logger:
        logger.write("sess_1", "again")
        logger.flush()
        assert _turns(tmp_path) == [("Hello", "completed"), ("wörld", "error"), ("again", "active")]


def test_parked_session_knows_its_place(tmp_path: Path) -> None:
    """Its file is not open when it ends."""
    settings = {"streaming_logs": {"min_free_disk_mb": None, "max_open_files": 1}}
    with StreamingLogger(settings, directory=tmp_path) as logger:
        for session_id in ("sess_1", "sess_2", "sess_1", "sess_2"):
            logger.write(session_id, session_id)
            logger.flush()
        logger.complete_session("sess_1")
        logger.complete_session("sess_2")
        logger.write("sess_1", "again")
        logger.complete_session("sess_1")
    assert _turns(tmp_path) == [("sess_1sess_1", "completed"), ("again", "completed")]


def test_file_that_was_removed_begins_anew(tmp_path: Path) -> None:
    """Swept or removed by hand: the turns of the file before are not this one's."""
    settings = {"streaming_logs": {"min_free_disk_mb": None}}
    with StreamingLogger(settings, directory=tmp_path) as logger:
        for text in ("one", "two"):
            logger.write("sess_1", text)
            logger.complete_session("sess_1")
        logger.cleanup_old_sessions(0)
        logger.write("sess_1", "three")
        logger.complete_session("sess_1")
        assert _turns(tmp_path) == [("three", "completed")]
        (tmp_path / "sess_1.log").unlink()
        logger.write("sess_1", "four, longer")
        logger.complete_session("sess_1")
    assert _turns(tmp_path) == [("four, longer", "completed")]


def test_cut_moves_the_turns(tmp_path: Path) -> None:
    """A runaway turn loses its middle; the turn before keeps its place, and the one after follows."""
    settings = {"streaming_logs": {"min_free_disk_mb": None, "max_session_mb": 0.01}}
    with StreamingLogger(settings, directory=tmp_path) as logger:
        logger.write("sess_1", "Hello")
        logger.complete_session("sess_1")
        logger.write("sess_1", "x" * 50_000)
        logger.complete_session("sess_1")
        logger.write("sess_1", "again")
        logger.complete_session("sess_1")
    (first, _), (runaway, _), (last, _) = _turns(tmp_path)
    assert (first, last) == ("Hello", "again")
    assert "characters dropped: session cap]" in runaway
    assert set(runaway[:100] + runaway[-100:]) == {"x"}


def test_cut_through_earlier_turns() -> None:
    """Those that went are gone, one that stands on the edge keeps what is left, and the marker."""
    lines = [_end(number, begin=number * 100, end=number * 100 + 100, bytes=100) for number in range(5)]
    cut = {
        **_OF,
        "at": 6.0,
        "event": "dropped",
        "characters": 200,
        "reason": "session cap",
        "begin": 150,
        "end": 350,
        "marker": 20,
    }
    assert [(turn.begin, turn.end, turn.at) for turn in turns_of(events_in([*lines, cut]), 320, "completed")] == [
        (0, 100, 0),
        (100, 170, 1),
        (170, 220, 3),
        (220, 320, 4),
    ]


def test_crash_is_placed_between_its_neighbours() -> None:
    """The ledger learns of it when the turn after has begun, or not at all."""
    lines = [_end(1, begin=0, end=5, bytes=5), _end(2, "crashed", bytes=1), _end(3, "error", begin=9, end=12, bytes=3)]
    assert turns_of(events_in(lines), 20, "orphaned") == [
        Turn(0, 5, "completed", 1),
        Turn(5, 9, "crashed", 2),
        Turn(9, 12, "error", 3),
        Turn(12, 20, "orphaned", None),
    ]


def test_lines_of_an_earlier_version_are_placed_by_their_sizes() -> None:
    """They have the bytes of a turn, and not where it began."""
    assert turns_of(events_in([_end(1, bytes=5), _end(2, "error", bytes=3)]), 8, "error") == [
        Turn(0, 5, "completed", 1),
        Turn(5, 8, "error", 2),
    ]


_NUMBERS = st.one_of(st.integers(-5, 60), st.none(), st.text(max_size=2), st.booleans())
_LINES = st.fixed_dictionaries(
    {
        **{key: st.just(value) for key, value in _OF.items()},
        "at": st.floats(0, 10),
        "event": st.sampled_from(["completed", "crashed", "deleted", "dropped", "loop"]),
        "bytes": st.integers(-5, 60),
        "characters": st.integers(0, 60),
        "reason": st.sampled_from(["completed", "crashed", ""]),
    },
    optional={
        "outcome": st.sampled_from(["completed", "crashed", "", 7]),
        **dict.fromkeys(("begin", "end", "marker"), st.one_of(st.integers(-5, 60), _NUMBERS)),
    },
)


@given(st.lists(_LINES, max_size=8), st.integers(0, 60))
def test_turns_are_the_whole_text_whatever_the_ledger_says(lines: list[dict[str, Any]], size: int) -> None:
    """From its first byte to its last, none twice, none empty."""
    turns = turns_of(events_in(lines), size, "active")
    places = [0, *(turn.end for turn in turns)]
    assert [turn.begin for turn in turns] == places[:-1]
    assert places[-1] == size
    assert all(turn.begin < turn.end for turn in turns)


def test_example_of_turns_holds() -> None:
    """That of the docstring is run."""
    assert doctest.testmod(module).failed == 0
