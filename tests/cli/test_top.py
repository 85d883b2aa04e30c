"""`top` and `ls` in a real terminal: what the operator sees."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tools import Server, Terminal, age, run, terminal

from streaming_logger._disk.names import file_name_of


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "streams"


def order(screen: str) -> list[str]:
    """The sessions in a screen, from top to bottom."""
    return re.findall(r"(sess_\w+) *$", screen, re.MULTILINE)


def until(server: Server, shown: Terminal, holds: Callable[[str], bool]) -> str:
    """Streams until the screen is as it should be: a fast and a slow session grow."""

    def grown(screen: str) -> bool:
        server.write("sess_fast", os.urandom(500).hex())
        server.stream("sess_slow", os.urandom(5).hex())
        return holds(screen)

    return shown.shows(grown)


def test_top_with_three_sessions(directory: Path) -> None:
    """Rates, order, the stalled one marked; keys sort and quit; the terminal is as before."""
    with Server(directory) as server, terminal() as shown:
        for session in ("sess_fast", "sess_slow", "sess_\u202estill\x1b[2J"):
            server.stream(session, os.urandom(25).hex())
        age(directory / file_name_of("sess_\u202estill\x1b[2J"), 60)
        shown.enters("top", "--dir", directory, "-d", "0.3")
        screen = until(server, shown, lambda screen: order(screen)[:2] == ["sess_fast", "sess_slow"])
        assert "3 active, 1 STALLED" in screen
        assert re.search(r"STALLED +sess_\\u202estill\\x1b\[2J", screen)
        shown.presses("n")
        shown.shows("by name;")
        shown.presses("s")
        shown.shows("by size;")
        shown.presses("v")
        screen = shown.shows("by size reversed;")
        assert order(screen)[-1] == "sess_fast"
        server.complete_session("sess_slow")
        shown.shows("1 ended")
        shown.presses("q")
        screen = shown.shows(lambda screen: "STATE" not in screen)
        shown.types("echo alive")
        shown.presses("Enter")
        shown.shows("\nalive")


def test_top_with_three_thousand_sessions(directory: Path) -> None:
    """As many as fit, the fastest first, and how many more there are."""
    with Server(directory) as server, terminal(lines=20) as shown:
        for number in range(3000):
            server.write(f"sess_{number:04}", "x")
        server.flush()
        shown.enters("top", "--dir", directory, "-d", "0.3")
        screen = until(server, shown, lambda screen: order(screen)[:1] == ["sess_fast"])
        assert "active" in screen
        assert len(screen.rstrip("\n").splitlines()) == 20
        assert "+2,986 more" in screen
        shown.presses("q")
        shown.shows(lambda screen: "STATE" not in screen)


def test_top_with_nothing_to_show(directory: Path) -> None:
    """It says so, and goes on."""
    (directory / ".streaming_logger").mkdir(parents=True)
    with terminal() as shown:
        shown.enters("top", "--dir", directory)
        shown.shows("no session is active")
        shown.presses("C-c")
        shown.shows(lambda screen: "STATE" not in screen)


def test_top_gives_the_terminal_back_when_it_is_killed(directory: Path) -> None:
    """`kill` as Ctrl-C: the shell's screen, its cursor, its keys."""
    (directory / ".streaming_logger").mkdir(parents=True)
    with terminal() as shown:
        shown.enters("top", "--dir", directory)
        shown.shows("no session is active")
        assert shown.state() == "other screen, no cursor"
        os.kill(shown.child(), signal.SIGTERM)
        shown.shows(lambda screen: "STATE" not in screen)
        assert shown.state() == "own screen, cursor"
        shown.types("echo $?")
        shown.presses("Enter")
        shown.shows("\n143\n")


def test_top_can_be_paused(directory: Path) -> None:
    """Ctrl-Z gives the shell its screen, `fg` comes back."""
    (directory / ".streaming_logger").mkdir(parents=True)
    with terminal() as shown:
        shown.enters("top", "--dir", directory)
        shown.shows("no session is active")
        shown.presses("C-z")
        shown.shows("Stopped")
        assert shown.state() == "own screen, cursor"
        shown.types("fg")
        shown.presses("Enter")
        shown.shows("no session is active")
        shown.presses("q")
        shown.shows(lambda screen: "STATE" not in screen)
        assert shown.state() == "own screen, cursor"


PAUSED_WHILE_IT_DRAWS = """
import io, os, signal, sys
from streaming_logger.cli._screen import Screen

class Paused(io.FileIO):
    def write(self, data):
        os.kill(os.getpid(), signal.SIGTSTP)  # nobody's job: the kernel does not stop it
        return super().write(data)

sys.stdout = io.TextIOWrapper(io.BufferedWriter(Paused(1, "wb", closefd=False)))
with Screen() as screen:
    screen.draw(["text"])
"""


def test_pause_may_come_while_the_screen_is_drawn() -> None:
    """The handler writes beside the output that it interrupts, which goes on after it."""
    ran = subprocess.run(
        [sys.executable, "-c", PAUSED_WHILE_IT_DRAWS],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        start_new_session=True,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    enter, leave = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
    assert re.fullmatch(rf"{re.escape(enter + leave + enter)}[^?]*text[^?]*{re.escape(leave)}", ran.stdout)


def test_top_fits_a_window_that_changes(directory: Path) -> None:
    """At once, not at the next look; every key is named in 80 columns."""
    with Server(directory) as server, terminal(80, 24) as shown:
        for number in range(1000):
            server.write(f"sess_{number:03}", "x")
        server.flush()
        shown.enters("top", "--dir", directory, "-d", "3600", "--sort", "name")
        shown.shows("by name;")
        shown.presses("v")
        screen = shown.shows("+980 more  by name reversed;")
        assert screen.rstrip("\n").endswith("q quit, v reverse, sort: Rate Size Idle Age Name")
        shown.resizes(60, 12)
        screen = shown.shows("+992 more")
        assert len(screen.rstrip("\n").splitlines()) == 12
        assert "1,000 active" in screen.splitlines()[0]


def test_top_outlives_its_directory(directory: Path) -> None:
    """Gone while it runs, it says so; made anew, it goes on."""
    with Server(directory) as server, terminal() as shown:
        server.stream("sess_1", "x")
        shown.enters("top", "--dir", directory, "-d", "0.2")
        shown.shows("sess_1")
        directory.rename(directory.with_name("moved"))
        shown.shows("the directory is gone")
        server.stream("sess_2", "x")
        shown.shows("sess_2")


def test_top_for_a_pipe_is_plain_and_ends(directory: Path) -> None:
    """One look, without an escape sequence; JSON has the same."""
    with Server(directory, flush_interval_seconds=0.1) as server:
        server.stream("sess_1", "x")
        plain = run("top", "--dir", directory, "-d", "0.1").stdout
        looks = run("top", "--json", "--dir", directory, "-d", "0.1", "-c", "2").stdout.splitlines()
    assert "\x1b" not in plain
    assert "sess_1" in plain
    assert [json.loads(look)["sessions"][0]["id"] for look in looks] == ["sess_1", "sess_1"]


def test_top_shows_the_sessions_of_all_processes(directory: Path) -> None:
    """Parked ones too; a killed process's are gone."""
    often = {"flush_interval_seconds": 0.1}  # top waits for one before it tells a rate
    with Server(directory, max_open_files=1, **often) as one, Server(directory, **often) as two:
        one.stream("sess_a", "x")
        one.stream("sess_b", "x")
        two.stream("sess_c", "x")
        assert _states(directory) == {"sess_a": "parked", "sess_b": "active", "sess_c": "active"}
        two.kill()
        assert _states(directory) == {"sess_a": "parked", "sess_b": "active"}


def _states(directory: Path) -> dict[str, str]:
    look = json.loads(run("top", "--json", "--dir", directory, "-d", "0.1").stdout)
    return {session["id"]: session["state"] for session in look["sessions"]}


def test_ls_in_a_terminal_has_colours_and_a_summary(directory: Path) -> None:
    """By rich, when it is installed; the ids arrive escaped."""
    pytest.importorskip("rich")
    with Server(directory) as server, terminal() as shown:
        server.stream("sess_1", "x")
        server.stream("sess_\x1b[31m[bold]", "x")
        server.complete_session("sess_1", outcome="error")
        shown.enters("ls", "--dir", directory)
        screen = shown.shows("2 sessions: ")
        assert r"sess_\x1b[31m[bold]" in screen
        assert "\x1b[32mactive" in shown.screen(colours=True)


def test_follow_in_a_terminal_ends_on_its_own_line(directory: Path) -> None:
    """The text, then how it ended, then the prompt."""
    with Server(directory) as server, terminal() as shown:
        server.stream("sess_1", "Hello \x1b[2J wor")
        shown.enters("follow", "--latest", "--dir", directory)
        shown.shows(r"Hello \x1b[2J wor")
        server.write("sess_1", "ld")
        server.complete_session("sess_1")
        screen = shown.shows("[completed; ")
    lines = screen.splitlines()
    at = lines.index(r"Hello \x1b[2J world")
    assert lines[at + 1].startswith("[completed; 16 bytes, followed for ")


def test_narrow_terminal_hides_no_session_and_no_unit(directory: Path) -> None:
    """A line is broken, where rich would leave out the ids and make 118 of 118k."""
    with Server(directory) as server, terminal(45) as shown:
        server.stream("sess_1", "x" * 118_000)
        server.complete_session("sess_1")
        shown.enters("ls", "--dir", directory)
        assert "118k" in shown.shows("1 session: ")
        assert "sess_1" in shown.screen()


def test_sentences_are_not_broken_within_a_word(directory: Path) -> None:
    """doctor in 80 columns; check-config has one line for each setting."""
    (directory / ".streaming_logger").mkdir(parents=True)
    with terminal(80, 40) as shown:
        shown.enters("doctor", "--dir", directory)
        screen = shown.shows("no problems found")
        assert "without one are\n           assumed" in screen
        shown.types("clear")
        shown.presses("Enter")
        shown.enters("check-config")
        screen = shown.shows("there is no such file")
        assert re.search(r"^enabled +true .*…$", screen, re.MULTILINE)
        assert re.search(r"^adopt +false .*…$", screen, re.MULTILINE)


def test_session_that_loops_is_marked(directory: Path) -> None:
    """By `top` and `ls` alike, from the file's end alone: this server has no radar."""
    with Server(directory, radar={"enabled": False}) as server, terminal() as shown:
        server.stream("sess_loop", "All work and no play makes Jack a dull boy.\n" * 40)
        server.stream("sess_good", os.urandom(800).hex())
        shown.enters("top", "--dir", directory, "-d", "0.3")
        screen = shown.shows("2 active, 1 LOOP")
        assert re.search(r"LOOP +sess_loop", screen)
        assert re.search(r"active +sess_good", screen)
        shown.presses("q")
        (loop,) = [line for line in run("ls", "--dir", directory).stdout.splitlines() if "sess_loop" in line]
        assert loop.startswith("active LOOP ")
        rows = json.loads(run("ls", "--json", "--dir", directory).stdout)
        assert {row["id"]: row["loop"] for row in rows} == {"sess_loop": "periodic", "sess_good": ""}


def test_ended_session_that_looped_is_marked_from_the_ledger(directory: Path) -> None:
    """What the server's radar found in a file stays known; a new turn is marked only for its own loop."""
    with Server(directory) as server:
        for session in ("sess_loop", "sess_again"):
            server.stream(session, "All work and no play makes Jack a dull boy.\n" * 40)
            server.complete_session(session)
        server.stream("sess_again", os.urandom(3000).hex())
        ledger, deadline = directory / ".streaming_logger" / "ledger.jsonl", time.monotonic() + 10
        while ledger.read_text().count('"event": "loop"') < 2:
            assert time.monotonic() < deadline, "the loops are not in the ledger"
            time.sleep(0.02)
        rows = json.loads(run("ls", "--json", "--dir", directory).stdout)
    assert {row["id"]: row["loop"] for row in rows} == {"sess_loop": "periodic", "sess_again": ""}
