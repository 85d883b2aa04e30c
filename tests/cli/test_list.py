"""`ls`, `stats`, `history`: what is there, whose it is, and what became of the rest."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from tools import Server, age, listed, run, wait_until

from streaming_logger import Config, StreamingLogger
from streaming_logger._disk.directory import Directory
from streaming_logger._view import sessions as view
from streaming_logger._view.activity import Activity
from streaming_logger._view.sessions import Session
from streaming_logger._view.target import find_target
from streaming_logger.testing import ManualLogger


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "streams"


def test_ls_tells_active_completed_error_and_parked(directory: Path) -> None:
    """One look at a working server's directory, from another process."""
    with Server(directory, max_open_files=1) as server:
        server.stream("sess_parked", "Hello")
        server.stream("sess_active", "Hello")
        server.stream("sess_done", "Hello")
        server.complete_session("sess_done")
        server.stream("sess_bad", "Hello")
        server.complete_session("sess_bad", outcome="error")
        server.stream("sess_active", " again")
        states = {id_: session["state"] for id_, session in listed(directory).items()}
    assert states == {"sess_parked": "parked", "sess_active": "active", "sess_done": "completed", "sess_bad": "error"}


def test_completion_that_was_waited_for_is_in_the_ledger(directory: Path) -> None:
    """`complete_session` returns after that, so whoever looks next knows how the session ended."""
    ledger = directory / ".streaming_logger" / "ledger.jsonl"
    with StreamingLogger(Config(flush_interval_seconds=3600, min_free_disk_mb=None), directory=directory) as logger:
        for number in range(300):
            logger.write(f"sess_{number}", "x")
            logger.complete_session(f"sess_{number}", outcome="error")
            last = json.loads(ledger.read_text().splitlines()[-1])
            assert (last["session"], last["outcome"]) == (f"sess_{number}", "error")


def test_session_that_ends_while_the_command_looks_is_not_orphaned(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended after the ledger was read, and before its lock was probed."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")

        def probing_after_its_end(of: Directory) -> Activity:
            server.complete_session("sess_1")
            return Activity(of)

        monkeypatch.setattr(view, "Activity", probing_after_its_end)
        assert [session.state for session in view.scan(find_target(str(directory), None))] == ["completed"]


def test_ls_tells_orphaned_after_a_crash(directory: Path) -> None:
    """A killed server's open session is orphaned; what it had completed stays completed."""
    with Server(directory) as server:
        server.stream("sess_done", "Hello")
        server.complete_session("sess_done")
        server.stream("sess_open", "Hello")
        server.kill()
    states = {id_: session["state"] for id_, session in listed(directory).items()}
    assert states == {"sess_done": "completed", "sess_open": "orphaned"}


def test_ls_tells_abandoned(directory: Path) -> None:
    """A session that went silent is shown as what the server made of it."""
    with Server(directory, idle_timeout_minutes=0.001, flush_interval_seconds=0.05) as server:
        server.stream("sess_silent", "Hello")
        wait_until(lambda: listed(directory)["sess_silent"]["state"] == "abandoned", lambda: str(listed(directory)))


def test_new_turn_makes_a_session_active_again(directory: Path) -> None:
    """The ledger's completion of the turn before says nothing about this one."""
    with Server(directory) as server:
        server.stream("sess_1", "one")
        server.complete_session("sess_1")
        server.stream("sess_1", "two")
        assert listed(directory)["sess_1"]["state"] == "active"
        server.kill()
    age(directory / "sess_1.log", -10)  # written well after that completion
    assert listed(directory)["sess_1"]["state"] == "orphaned"


def test_outcome_is_read_from_the_file_when_the_ledger_is_gone(directory: Path) -> None:
    """The extended attribute tells it."""
    with Server(directory) as server:
        server.stream("sess_bad", "Hello")
        server.complete_session("sess_bad", outcome="cancelled")
    (directory / ".streaming_logger" / "ledger.jsonl").unlink()
    try:
        os.getxattr(directory / "sess_bad.log", "user.streaming_logger.outcome")
    except OSError:
        pytest.skip("this file system keeps no extended attributes")
    assert listed(directory)["sess_bad"]["state"] == "cancelled"


def test_files_older_than_a_rotated_ledger_count_as_completed(directory: Path) -> None:
    """What the ledger cannot know any more it does not call orphaned."""
    with Server(directory) as server:
        server.stream("sess_old", "Hello")
        server.complete_session("sess_old")
    ledger = directory / ".streaming_logger" / "ledger.jsonl"
    line = {"at": time.time(), "event": "completed", "pid": 1, "file": "x.log", "outcome": "completed", "bytes": 1}
    ledger.with_name("ledger.jsonl.1").write_text(json.dumps(line) + "\n")
    ledger.write_text("")
    age(directory / "sess_old.log", 100)
    assert listed(directory)["sess_old"]["state"] == "completed"


def test_torn_and_foreign_lines_of_the_ledger_are_skipped(directory: Path) -> None:
    """Half a line of a crash, another program's JSON, wrong types: the rest is read."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        server.complete_session("sess_1")
    ledger = directory / ".streaming_logger" / "ledger.jsonl"
    junk = b'{"at": 1, "event"\n[]\n"x"\n{"event": 3}\n{"event": "completed", "at": "x", "file": 7}\n\xff\xfe\n'
    ledger.write_bytes(junk + ledger.read_bytes() + b'{"at": 17')
    assert listed(directory)["sess_1"]["state"] == "completed"
    assert [event["session"] for event in json.loads(run("history", "--json", "--dir", directory).stdout)] == ["sess_1"]
    assert json.loads(run("stats", "--json", "--dir", directory).stdout)["ledger"]["ended"] == {"completed": 1}


def test_ls_says_when_each_is_swept_and_by_which_rule(directory: Path) -> None:
    """By the server's own policy: failed ones later than the others, pinned and active never."""
    with Server(directory, failed_retention_minutes=60) as server:
        for session, outcome in (("good", "completed"), ("bad", "error"), ("pinned", "completed")):
            server.stream(session, "Hello")
            server.complete_session(session, outcome=outcome)
        server.stream("live", "Hello")
        run("pin", "pinned", "--dir", directory)
        found = listed(directory)
    assert found["good"]["swept_in"] == pytest.approx(600, abs=30)
    assert found["bad"]["swept_in"] == pytest.approx(3600, abs=30)
    assert (found["pinned"]["swept_in"], found["pinned"]["swept_by"]) == (None, "pinned")
    assert (found["live"]["swept_in"], found["live"]["swept_by"]) == (None, "active")


def test_rate_is_in_characters_not_bytes(directory: Path) -> None:
    """Three bytes of Japanese are one character."""
    with Server(directory) as server:
        server.stream("sess_1", "日" * 1000)
        time.sleep(1)  # a rate needs a time span
        server.stream("sess_1", "日" * 1000)
        session = listed(directory)["sess_1"]
    if session["age"] is None:
        pytest.skip("this file system does not keep the time of birth")
    assert session["size"] == 6000
    assert 500 < session["rate"] < 2100


def test_ls_filters_sorts_and_limits(directory: Path) -> None:
    """By the beginning of the id, by state, by size; the last N."""
    with Server(directory) as server:
        for number in range(5):
            server.stream(f"a_{number}", "x" * (10 - number))
            server.complete_session(f"a_{number}")
        server.stream("b_1", "x")
        ids = [json.loads(run("ls", "--json", "--dir", directory, *more).stdout) for more in _FILTERS]
    assert [[session["id"] for session in sessions] for sessions in ids] == [
        ["a_0", "a_1", "a_2", "a_3", "a_4"],
        ["b_1"],
        ["a_1", "a_0"],
    ]


_FILTERS = (["a_"], ["--state", "active"], ["--sort", "size", "-n", "2"])


def test_looking_makes_and_changes_nothing(tmp_path: Path) -> None:
    """A directory that is nobody's is not marked as ours, nor its files touched; a missing one is not made."""
    strange = tmp_path / "strange"
    strange.mkdir(0o755)
    (strange / "app.log").write_text("mine")
    before = (strange / "app.log").stat()
    for verb in ("ls", "stats", "history", "top"):
        run(verb, "--dir", strange)
    assert os.listdir(strange) == ["app.log"]
    assert (strange / "app.log").stat().st_ctime_ns == before.st_ctime_ns
    assert "there is no directory" in run("ls", "--dir", tmp_path / "none", check=2).stderr
    assert not (tmp_path / "none").exists()


def test_ids_are_shown_escaped(directory: Path) -> None:
    """No id moves a cursor or turns the line around."""
    with Server(directory) as server:
        server.stream("a\x1b[31m\u202eb\n", "x")
        shown = run("ls", "--dir", directory).stdout
    assert r"a\x1b[31m\u202eb\n" in shown
    assert len(shown.splitlines()) == 2


def test_history_knows_a_session_after_its_file_is_gone(directory: Path) -> None:
    """Completion and deletion, with rule and age."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        server.complete_session("sess_1", outcome="error")
        server.cleanup_old_sessions(0)
    assert not (directory / "sess_1.log").exists()
    lines = run("history", "sess_", "--dir", directory).stdout.splitlines()
    assert "as error" in lines[1]
    assert "by max_age" in lines[2]
    assert run("history", "unknown", "--dir", directory, check=1).stdout == ""


def test_stats_adds_up_directory_and_ledger(directory: Path) -> None:
    """Sessions and bytes by state; ended, deleted and how much."""
    with Server(directory) as server:
        for session in ("a", "b", "c"):
            server.stream(session, "12345")
        server.complete_session("a")
        server.cleanup_old_sessions(0)
        server.complete_session("b", outcome="error")
        numbers = json.loads(run("stats", "--json", "--dir", directory).stdout)
        text = run("stats", "--dir", directory).stdout
    assert numbers["states"] == {"active": {"sessions": 1, "bytes": 5}, "error": {"sessions": 1, "bytes": 5}}
    assert numbers["ledger"]["ended"] == {"completed": 1, "error": 1}
    assert numbers["ledger"]["deleted"] == {"max_age": {"files": 1, "bytes": 5}}
    assert re.search(r"2 sessions, 10 bytes, 0 pinned, the oldest silent for \ds:", text)


def test_looking_never_keeps_a_writer_from_its_file(directory: Path) -> None:
    """Turns that begin while the command probes lose no byte and count no error."""
    with Server(directory) as server:
        for turn in range(20):
            server.stream("sess_1", f"{turn:02}")
            if turn % 5 == 0:
                listed(directory)
            server.complete_session("sess_1")
    assert (directory / "sess_1.log").read_text() == "".join(f"{turn:02}" for turn in range(20))


def test_every_field_of_a_session_is_in_the_json(directory: Path) -> None:
    """What the command knows, scripts know."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
    assert set(listed(directory)["sess_1"]) == {*Session._fields} - {"verdict"} | {"due", "swept_in", "swept_by"}


#: Lines that no server writes, each of which stopped a verb once.
_GARBAGE = rb"""{"event": "deleted", "at": NaN, "file": "sess_1.log", "session": "sess_1"}
{"event": "deleted", "at": 1e999, "file": "sess_1.log", "session": "sess_1", "age": 1e999}
{"event": "completed", "at": 1%s, "file": "sess_1.log", "outcome": "x", "bytes": 1}
{"event": "dropped", "at": %d, "characters": "many", "reason": "x"}
{"event": "deleted", "at": %d, "session": "sess_1", "age": NaN, "bytes": true, "reason": "x"}
{"event": {"deleted": 1}, "at": %d, "session": "sess_1"}
"""


@pytest.mark.parametrize("verb", ["ls", "show sess_1", "follow sess_1", "stats", "history", "doctor"])
def test_no_garbage_in_the_ledger_stops_a_verb(directory: Path, verb: str) -> None:
    """Numbers that are none, times beyond all clocks, words for counts: such lines count as torn."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        server.complete_session("sess_1")
    ledger = directory / ".streaming_logger" / "ledger.jsonl"
    now = int(time.time())
    ledger.write_bytes(ledger.read_bytes() + _GARBAGE % (b"0" * 400, now, now, now))
    for more in ((), ("--json",)):
        done = run(*verb.split(), *more, "--dir", directory, check=None)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0
        assert "NaN" not in done.stdout
        assert "Infinity" not in done.stdout


def test_history_is_in_the_order_of_time(directory: Path) -> None:
    """Two threads of a server may append their lines the other way round."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
    line = '{"at": %d, "event": "%s", "session": "sess_1"}\n'
    (directory / ".streaming_logger" / "ledger.jsonl").write_text(line % (1002, "deleted") + line % (1001, "completed"))
    events = json.loads(run("history", "--json", "--dir", directory).stdout)
    assert [event["event"] for event in events] == ["completed", "deleted"]


def test_json_of_an_id_with_half_a_character_can_be_read_by_anybody(directory: Path) -> None:
    """jq refuses a document with a lone surrogate; it is shown as in the text output. Whole pairs stay."""
    with Server(directory) as server:
        server.stream("half \ud800", "x")
        server.stream("whole \U0001f600", "x")
    document = json.loads(run("ls", "--json", "--dir", directory).stdout)
    assert {session["id"] for session in document} == {r"half \ud800", "whole \U0001f600"}


def test_stalls_and_loops_are_marked_and_can_be_selected(directory: Path) -> None:
    """By the `stall_seconds` of the settings, as `top` marks them."""
    with Server(directory, stall_seconds=60, radar={"enabled": False}) as server:
        server.stream("sess_slow", "Hello")
        server.stream("sess_loop", "all work and no play makes a dull boy, " * 40)
        server.stream("sess_stall", "Hello")
        age(directory / "sess_slow.log", 40)
        age(directory / "sess_stall.log", 90)
        for state, id_ in (("stalled", "sess_stall"), ("looping", "sess_loop")):
            (shown,) = json.loads(run("ls", "--state", state, "--json", "--dir", directory).stdout)
            assert shown["id"] == id_
        assert "active STALLED" in run("ls", "--dir", directory).stdout
        assert "1 LOOP, 1 STALLED" in run("top", "-d", "0", "--dir", directory).stdout


def test_what_a_loop_cost_after_it_was_found_is_shown(directory: Path) -> None:
    """In the table and in the history, as the ledger has it."""
    with ManualLogger(directory=directory) as logger:
        for _ in range(200):
            logger.write("sess_loop", "all work and no play makes a dull boy, ")
            logger.advance(2)
        logger.complete_session("sess_loop")
        for _ in range(3):
            logger.advance(2)
        cost = logger.stats().runaway_characters
    assert cost > 6000
    (row,) = json.loads(run("ls", "--json", "--dir", directory).stdout)
    assert (row["loop"], row["ran_on"]) == ("periodic", cost)
    assert f"completed LOOP +{cost:,}" in run("ls", "--dir", directory).stdout
    assert f"{cost:,} after it was found, the stream ended" in run("history", "--dir", directory).stdout


def test_state_that_does_not_exist_is_refused(directory: Path) -> None:
    """With those that do; what a session has is one, whatever it is called."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        done = run("ls", "--state", "actve", "--dir", directory, check=2)
    assert "there is no state actve; there are abandoned, active, " in done.stderr


def test_rate_counts_a_silence_that_lasts(directory: Path) -> None:
    """A session that wrote much and stands still is not fast."""
    with Server(directory) as server:
        server.stream("sess_1", "x" * 10_000)
        time.sleep(1)  # a rate needs a time span
        server.stream("sess_1", "x" * 10_000)
        before = listed(directory)["sess_1"]["rate"]
        if before is None:
            pytest.skip("this file system does not keep the time of birth")
        wait_until(lambda: listed(directory)["sess_1"]["idle"] > 3.1, lambda: str(listed(directory)))
        assert listed(directory)["sess_1"]["rate"] < before / 2
