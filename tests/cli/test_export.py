"""`export`: jsonl is the recording again, and the real asciinema plays the asciicast."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tools import run, terminal

from recordings import events_of, write_pair

HOSTILE = "\x1b]0;title\x07 \u202eevil \ud800 \\ud800 日本語\r\n\ttab\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "streams"


@pytest.fixture
def asciinema() -> str:
    """The program, of the interpreter's environment or of the system."""
    found = shutil.which("asciinema", path=f"{Path(sys.executable).parent}") or shutil.which("asciinema")
    if found is None:
        pytest.skip("asciinema is missing, which plays the casts")
    return found


def exported(directory: Path, *arguments: str) -> list[list[object]]:
    done = run("export", "sess_1", "--dir", directory, *arguments)
    return [json.loads(line) for line in done.stdout.splitlines()]


# -- jsonl ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["code", "json", "table"])
def test_jsonl_is_the_recording_from_which_the_session_was_made(name: str, directory: Path) -> None:
    """Each chunk with its time, in the format of examples/streams."""
    events = events_of(name)
    write_pair(directory, "sess_1", events)
    assert exported(directory, "--format", "jsonl") == [list(event) for event in events]


def test_jsonl_has_the_text_as_it_is(directory: Path) -> None:
    """Controls too, as JSON's own escapes; the file is ASCII, so nothing in it reaches a terminal."""
    write_pair(directory, "sess_1", [(0.5, HOSTILE)])
    output = run("export", "sess_1", "--format", "jsonl", "--dir", directory).stdout
    assert output.isascii()
    assert "\x1b" not in output
    assert json.loads(output) == [0.5, HOSTILE.replace("\ud800", "\\ud800")]


# -- asciicast -----------------------------------------------------------------------


def test_asciicast_is_escaped_as_show_does_unless_raw(directory: Path) -> None:
    """A player shows it on a terminal; a new line is a carriage return as well there."""
    log = write_pair(directory, "sess_1", [(0.5, HOSTILE)])
    header, event = exported(directory)
    assert header == {"version": 2, "width": 80, "height": 24, "title": "sess_1"}
    shown = run("show", "sess_1", "--dir", directory).stdout
    assert event == [0.5, "o", shown.replace("\n", "\r\n")]
    _, event = exported(directory, "--raw")
    assert event == [0.5, "o", log.decode().replace("\n", "\r\n")]


def test_asciinema_reads_every_character(directory: Path, asciinema: str, tmp_path: Path) -> None:
    """`asciinema cat` prints the text of the session."""
    log = write_pair(directory, "sess_1", events_of("table"))
    run("export", "sess_1", "--dir", directory, "-o", tmp_path / "sess_1.cast")
    done = subprocess.run([asciinema, "cat", tmp_path / "sess_1.cast"], capture_output=True, timeout=50, check=True)
    assert done.stdout == log.replace(b"\n", b"\r\n")


def test_asciinema_plays_it_in_a_terminal(directory: Path, asciinema: str, tmp_path: Path) -> None:
    """`asciinema play`: the lines stand below each other, each from the first column on."""
    events = [(0.01 * number, f"line {number} 日本語\n") for number in range(200)]
    write_pair(directory, "sess_1", events)
    run("export", "sess_1", "--dir", directory, "-o", tmp_path / "sess_1.cast")
    with terminal() as shown:
        shown.types(f"{asciinema} play --speed 20 {tmp_path / 'sess_1.cast'}; echo code $?")
        shown.presses("Enter")
        screen = shown.shows("code 0")
    lines = screen.splitlines()
    end = lines.index("code 0")
    assert lines[end - 20 : end] == [f"line {number} 日本語" for number in range(180, 200)]


# -- both ----------------------------------------------------------------------------


def test_output_file_is_what_would_be_printed(directory: Path, tmp_path: Path) -> None:
    """And what was written is said, in JSON where that is wanted."""
    write_pair(directory, "sess_1", [(0.1, "a"), (0.2, "b")])
    file = tmp_path / "sess_1.jsonl"
    arguments = ["export", "sess_1", "--format", "jsonl", "--dir", directory]
    assert run(*arguments, "-o", file).stdout == f"2 lines to {file}\n"
    assert file.read_text() == run(*arguments).stdout == '[0.1, "a"]\n[0.2, "b"]\n'
    told = json.loads(run(*arguments, "-o", file, "--json").stdout)
    assert told == {"session": "sess_1", "file": str(file), "format": "jsonl", "lines": 2}


def test_what_has_no_timing_comes_with_the_last_chunk(directory: Path) -> None:
    """And a remark beside it; characters that chunks share are whole, no chunk is empty."""
    log = write_pair(directory, "sess_1", [(0.5, "日本語")])
    (directory / "sess_1.timing").write_text("0.500000 1\n0.100000 1\n0.100000 2\n")
    done = run("export", "sess_1", "--format", "jsonl", "--dir", directory)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events == [[0.7, "日"], [0.7, "本語"]]
    assert done.stderr == f"[the last 5 of {len(log)} bytes have no timing]\n"


def test_file_that_cannot_be_written_is_2(directory: Path) -> None:
    """With the system's reason; an unknown format likewise."""
    write_pair(directory, "sess_1", [(0.5, "a")])
    assert "No such file" in run("export", "sess_1", "--dir", directory, "-o", "no/such", check=2).stderr
    assert "asciicast" in run("export", "sess_1", "--dir", directory, "--format", "gif", check=2).stderr
