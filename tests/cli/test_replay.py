"""`replay`: the chunks of a session at their times, in a terminal too; and the same files in the real scriptreplay."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tools import COMMAND, Started, run, terminal

from recordings import events_of, write_pair

HOSTILE = "\x1b]0;title\x07 \u202eevil \x00 日本語。\r\n\ttab"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "streams"


def replay(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("replay", "sess_1", "--dir", directory, *arguments)


def test_chunks_come_at_their_times(directory: Path) -> None:
    """None before its time, and none much later; the first one too waits for its own."""
    events = [(0.2 * number, f"chunk {number}\n") for number in range(1, 5)]
    write_pair(directory, "sess_1", [(at * 4, text) for at, text in events])
    arguments = [*COMMAND, "replay", "sess_1", "--dir", str(directory), "--speed", "4"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [(time.monotonic(), line) for line in process.stdout]
    assert [line for _, line in seen] == [text for _, text in events]
    gaps = [seen[index + 1][0] - seen[index][0] for index in range(3)]
    assert sum(gaps) == pytest.approx(0.6, abs=0.15)


def test_recording_is_played_whole(directory: Path) -> None:
    """A real one, faster; its text is that of `show`."""
    write_pair(directory, "sess_1", events_of("table"))
    begun = time.monotonic()
    done = replay(directory, "--speed", "40")
    assert time.monotonic() - begun >= events_of("table")[-1][0] / 40
    assert done.stdout == run("show", "sess_1", "--dir", directory).stdout
    assert done.stderr == ""


def test_no_pause_is_longer_than_max_pause(directory: Path) -> None:
    """An hour's stall in a second; the bound is on what is waited, whatever the speed."""
    write_pair(directory, "sess_1", [(3600, "a"), (7200, "b"), (7200.1, "c")])
    begun = time.monotonic()
    assert replay(directory, "--max-pause", "0.4", "--speed", "0.5").stdout == "abc"
    assert 1.0 <= time.monotonic() - begun < 10


def test_escapes_are_shown_as_show_does(directory: Path) -> None:
    """Chunk by chunk, and raw byte by byte; a character that two chunks share is whole."""
    log = write_pair(directory, "sess_1", [(0.0, HOSTILE)])
    middle = log.index("日".encode()) + 1
    (directory / "sess_1.timing").write_text(f"0.000000 {middle}\n0.010000 {len(log) - middle}\n")
    assert replay(directory).stdout == run("show", "sess_1", "--dir", directory).stdout
    raw = subprocess.run(
        [*COMMAND, "replay", "sess_1", "--raw", "--dir", str(directory)], capture_output=True, timeout=50, check=True
    )
    assert raw.stdout == log


def test_json_is_an_object_a_chunk(directory: Path) -> None:
    """Remarks are objects as well."""
    log = write_pair(directory, "sess_1", [(0.01, "a"), (0.02, "b")])
    (directory / "sess_1.log").write_bytes(log + b"rest")
    shown = [json.loads(line) for line in replay(directory, "--json").stdout.splitlines()]
    assert shown == [
        {"text": "a"},
        {"text": "b"},
        {"text": "rest"},
        {"note": "the last 4 of 6 bytes have no timing"},
    ]


# -- ends and interruptions ----------------------------------------------------------


def test_interrupt_ends_it_cleanly(directory: Path) -> None:
    """SIGINT in a long pause: exit code 0, nothing said."""
    write_pair(directory, "sess_1", [(0.0, "begun"), (1000.0, "late")])
    with Started("replay", "sess_1", "--dir", directory, directory=directory) as player:
        player.shows("begun")
        player.process.send_signal(signal.SIGINT)
        assert player.ends() == 0
        assert player.output == "begun"


def test_time_in_which_it_was_stopped_is_not_caught_up(directory: Path) -> None:
    """After SIGSTOP (Ctrl-Z) and SIGCONT it goes on at its pace."""
    write_pair(directory, "sess_1", [(0.4 * number, f"chunk {number}\n") for number in range(4)])
    with Started("replay", "sess_1", "--dir", directory, directory=directory) as player:
        player.shows("chunk 0")
        player.process.send_signal(signal.SIGSTOP)
        time.sleep(1.2)  # in which all of it would have been played
        player.process.send_signal(signal.SIGCONT)
        begun = time.monotonic()
        assert player.ends() == 0
        assert time.monotonic() - begun > 0.4


def test_terminal_shows_the_text_live_and_is_given_back(directory: Path) -> None:
    """The first line stands there while the second is due; Ctrl-C leads to the prompt, on a line of its own."""
    write_pair(directory, "sess_1", [(0.0, "first \x1b[31mline\nsecond"), (1000.0, "third")])
    with terminal() as shown:
        shown.enters("replay", "sess_1", "--dir", directory)
        shown.shows("first \\x1b[31mline\nsecond")
        shown.presses("C-c")
        shown.shows("second^C\n$")
        shown.types("echo code $?")
        shown.presses("Enter")
        assert "third" not in shown.shows("code 0")


# -- files that do not agree ---------------------------------------------------------


def test_session_without_timing_file_names_the_setting(directory: Path) -> None:
    """Each verb that needs it says so; its text can still be shown."""
    write_pair(directory, "sess_1", [(0.0, "text")])
    (directory / "sess_1.timing").unlink()
    for verb in ("replay", "timing", "export"):
        assert "record_timing: true" in run(verb, "sess_1", "--dir", directory, check=1).stderr
        assert "there is no session sess_2" in run(verb, "sess_2", "--dir", directory, check=1).stderr
        assert "empty" in run(verb, "", "--dir", directory, check=2).stderr


def test_log_longer_than_the_timing_is_played_to_its_end(directory: Path) -> None:
    """The rest at once, and a remark beside it."""
    log = write_pair(directory, "sess_1", [(0.0, "timed")])
    (directory / "sess_1.log").write_bytes(log + "\n日本語".encode() * 20_000)
    done = replay(directory)
    assert done.stdout == "timed" + "\n日本語" * 20_000
    assert done.stderr == "[the last 200,000 of 200,005 bytes have no timing]\n"


def test_log_shorter_than_the_timing_is_played_to_its_end(directory: Path) -> None:
    """What the timing has beyond it is not waited for."""
    write_pair(directory, "sess_1", [(0.0, "one "), (0.01, "two"), (1000.0, "three")])
    (directory / "sess_1.log").write_bytes(b"one tw")
    done = replay(directory)
    assert done.stdout == "one tw"
    assert done.stderr == "[sess_1.timing has 6 bytes more than the log]\n"


def test_unreadable_lines_are_skipped_and_counted(directory: Path) -> None:
    """And a line that claims more bytes than there are takes those that there are."""
    write_pair(directory, "sess_1", [(0.0, "one two")])
    (directory / "sess_1.timing").write_bytes(b"0.000000 4\n\x00\x00\n0.010000 999999999999\n0.5")
    done = replay(directory)
    assert done.stdout == "one two"
    assert "unreadable lines of sess_1.timing, skipped: 2" in done.stderr


def test_empty_timing_file_leaves_the_text(directory: Path) -> None:
    """A session that crashed before its first flush of it."""
    write_pair(directory, "sess_1", [(0.0, "text")])
    (directory / "sess_1.timing").write_bytes(b"")
    assert replay(directory).stdout == "text"


@pytest.mark.parametrize("wrong", ["--speed 0", "--speed -1", "--speed nan", "--speed x", "--max-pause -1"])
def test_number_that_is_none_is_wrong_usage(wrong: str, directory: Path) -> None:
    """And no traceback."""
    assert "is invalid: expected" in run("replay", "x", *wrong.split(), "--dir", directory, check=2).stderr


# -- scriptreplay --------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("scriptreplay") is None, reason="scriptreplay of util-linux is missing")
@pytest.mark.parametrize("name", ["steps", "json"])
def test_scriptreplay_plays_every_byte(name: str, directory: Path) -> None:
    """It skips a typescript's first line, `Script started ...`; a log has none, so an empty one goes before it."""
    log = write_pair(directory, "sess_1", events_of(name))
    command = "scriptreplay --divisor 1000 --timing=sess_1.timing <(echo; cat sess_1.log)"
    done = subprocess.run(["bash", "-c", command], cwd=directory, capture_output=True, timeout=50, check=True)
    assert done.stdout == log + b"\n"
    assert done.stderr == b""


@pytest.mark.skipif(shutil.which("script") is None, reason="script of util-linux is missing")
def test_timing_of_the_real_script_is_read(directory: Path) -> None:
    """Its classic format, written by the program that defined it."""
    directory.mkdir()
    command = ["script", "--quiet", "--timing=sess_1.timing", "--command", "echo one; sleep 0.3; echo two", "all"]
    subprocess.run(command, cwd=directory, check=True, timeout=50, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    typescript = (directory / "all").read_bytes()
    (directory / "sess_1.log").write_bytes(typescript.partition(b"\n")[2].partition(b"\nScript done")[0])
    begun = time.monotonic()
    assert replay(directory).stdout == "one\\r\ntwo\\r\n"
    assert time.monotonic() - begun > 0.3


def test_output_that_is_closed_ends_it(directory: Path) -> None:
    """`| head -1` of a session that lasts for hours."""
    write_pair(directory, "sess_1", [(0.01 * number, f"line {number}\n") for number in range(1000)])
    pipe = f"{' '.join(COMMAND)} replay sess_1 --dir {directory} | head -n 1"
    begun = time.monotonic()
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, timeout=50, check=True)
    assert (done.stdout, done.stderr) == ("line 0\n", "")
    assert time.monotonic() - begun < 9


def test_timing_file_that_is_a_symlink_is_not_followed(directory: Path, tmp_path: Path) -> None:
    """As with every file of the directory."""
    write_pair(directory, "sess_1", [(0.0, "text")])
    os.replace(directory / "sess_1.timing", tmp_path / "elsewhere")
    (directory / "sess_1.timing").symlink_to(tmp_path / "elsewhere")
    assert "sess_1.timing" in run("replay", "sess_1", "--dir", directory, check=None).stderr
