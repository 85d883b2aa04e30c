"""What the command prints can be given back to it, and fits the terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools import Server, age, run, terminal, wait_until

from streaming_logger._disk.names import file_name_of


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "streams"


def test_ids_are_accepted_as_they_are_printed(directory: Path) -> None:
    """Escaped, or as the name of a file; and so are the paths of a session's files, from anywhere."""
    id_ = "a b\x1b[31m/\u65e5"
    with Server(directory, record_timing=True) as server:
        server.stream(id_, "Hello")
        server.stream("a b", "other")
        printed = run("ls", "--dir", directory).stdout
        escaped = r"a b\x1b[31m/" + "\u65e5"
        assert escaped in printed
        file = file_name_of(id_)
        for given in (escaped, escaped[:8], file, file[:-4], file[:10]):
            assert run("show", given, "--dir", directory).stdout == "Hello"
        server.complete_session(id_)
        for path in (directory / file, (directory / file).with_suffix(".timing")):
            assert run("show", path).stdout == "Hello"
            assert run("follow", path, "--all").stdout == "Hello"
            assert "total" in run("timing", path).stdout
            run("pin", path)
        assert run("show", file, cwd=directory).stdout == "Hello"
        (shown,) = json.loads(run("ls", escaped, "--json", "--dir", directory).stdout)
        assert (shown["id"], shown["pinned"]) == (id_, True)
        run("unpin", directory / file)
        server.cleanup_old_sessions(0)
        for given in (escaped, file, directory / file):
            (*_, last) = json.loads(run("history", given, "--json", "--dir", directory).stdout)
            assert last["event"] == "deleted"


def test_history_shows_a_loop_and_does_not_pad(directory: Path) -> None:
    """Its kind, where it begins, its text; a row that is long stands alone with that."""
    with Server(directory) as server:
        server.stream("sess_1", "Hello")
        server.complete_session("sess_1")
    events = [
        {
            "at": time.time(),
            "event": "loop",
            "session": "sess_2",
            "kind": "periodic",
            "offset": 3410,
            "repeated": 150,
            "period": 5,
            "sample": "ha ha",
        },
        {"at": time.time(), "event": "no_text", "session": "x" * 150, "text": "an item " * 50},
    ]
    with (directory / ".streaming_logger" / "ledger.jsonl").open("a") as ledger:
        ledger.writelines(json.dumps(event) + "\n" for event in events)
    lines = run("history", "--dir", directory).stdout.splitlines()
    assert "periodic from character 3,410: ha ha" in lines[2]
    assert max(map(len, lines[:3])) < 100


def test_turns_are_separated_in_a_terminal_alone(directory: Path) -> None:
    """Time and outcome between two turns; a pipe gets the file's text, programs the offsets."""
    with Server(directory) as server:
        for text, outcome in (("one\n", "completed"), ("two", "error"), ("three\n", "completed")):
            server.write("sess_1", text)
            server.complete_session("sess_1", outcome=outcome)
        assert run("show", "sess_1", "--dir", directory).stdout == "one\ntwothree\n"
        turns = json.loads(run("show", "sess_1", "--json", "--dir", directory).stdout)["turns"]
        assert [(turn["begin"], turn["end"], turn["outcome"]) for turn in turns] == [
            (0, 4, "completed"),
            (4, 7, "error"),
            (7, 13, "completed"),
        ]
        assert "3 bytes from 4 to 7" in run("history", "sess_1", "--dir", directory).stdout
        with terminal(60) as shown:
            shown.enters("show", "sess_1", "--dir", directory)
            screen = shown.shows("three").splitlines()
            shown.types("clear; ")
            shown.enters("show", "sess_1", "--tail", "1", "--raw", "--dir", directory)
            shown.shows("twothree")
    at = screen.index("one")
    assert re.fullmatch(r"--- completed \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ---", screen[at + 1])
    assert screen[at + 2] == "two"
    assert re.fullmatch(r"--- error .* ---", screen[at + 3])
    assert screen[at + 4] == "three"


def test_verbs_agree_on_a_session_whose_end_nobody_waited_for(directory: Path) -> None:
    """Before the worker has it, all say that it is active; from then on all know how it ended."""
    with Server(directory) as server:
        server.stream("sess_1", "one ")
        server.write("sess_1", "two")
        server.complete_session("sess_1", outcome="error", wait=False)

        def state() -> str:
            return str(json.loads(run("ls", "--json", "--dir", directory).stdout)[0]["state"])

        wait_until(lambda: state() != "active", state)
        assert state() == "error"
        (event,) = json.loads(run("history", "sess_1", "--json", "--dir", directory).stdout)
        assert (event["outcome"], event["begin"], event["end"]) == ("error", 0, 7)
        shown = json.loads(run("show", "sess_1", "--json", "--dir", directory).stdout)
        assert (shown["session"]["state"], shown["text"]) == ("error", "one two")


def test_history_settings_and_errors_fit_60_columns(directory: Path) -> None:
    """Whatever the length of the ids; nothing is cut off but the meaning of a setting."""
    id_ = "0f8fad5b-d9cb-469f-a165-70867728950e"
    with Server(directory) as server:
        for session in (id_, "sess_1"):
            server.write(session, "Hello")
            server.complete_session(session)
        for words, last in (
            (("history",), id_),
            (("history", id_), "from 0 to 5"),
            (("check-config",), "there is no such file"),
            (("ls", "--state", "nothing"), "there is no state nothing"),
        ):
            with terminal(60, 50) as shown:
                shown.types("clear; ")  # away with the line that is typed
                shown.enters(*words, *([] if words[0] == "check-config" else ["--dir", directory]))
                shown.shows(last)
                shown.shows(lambda screen: screen.rstrip().endswith("\n$"))
                *lines, _ = shown.screen(joined=True).rstrip().split("\n")
            assert max(map(len, lines)) <= 60


def test_trouble_is_coloured_without_rich_and_the_table_fits_60_columns(directory: Path) -> None:
    """What fits no more is left out: AGE, CHAR/S. NO_COLOR is obeyed."""
    pty = pytest.importorskip("pty")
    program = "import sys; sys.modules['rich'] = None; from streaming_logger.cli._main import main; sys.exit(main())"

    def shown(**environment: str) -> list[str]:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-c", program, "ls", "--dir", directory]
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | environment
        subprocess.run(command, stdout=theirs, stderr=subprocess.DEVNULL, timeout=50, check=True, env=environment)
        text = os.read(ours, 65536).decode()
        os.close(ours)
        os.close(theirs)
        return text.split("\r\n")

    with Server(directory, stall_seconds=60, file_retention_minutes=1) as server:
        for id_ in ("sess_fine", "sess_stall", "sess_old"):
            server.stream(id_, "Hello")
        server.complete_session("sess_old", outcome="error")
        age(directory / "sess_old.log", 90)
        age(directory / "sess_stall.log", 80)
        headings, old, stalled, fine, _ = shown(COLUMNS="60")
        assert "CHAR/S" not in headings
        assert old.startswith("\x1b[1;31merror ")
        assert stalled.startswith("\x1b[1;31mactive STALLED ")
        assert "\x1b" not in fine
        plain = shown(COLUMNS="60", NO_COLOR="1")
        assert "\x1b" not in "".join(plain)
        assert max(map(len, plain)) <= 60
        assert "CHAR/S" in shown(COLUMNS="120")[0]
