"""`show` and `follow`: the text of a session, escaped, live, to its end."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools import Server, Started, run, wait_until

HOSTILE = "\x1b]0;title\x07\x1b[2J red \x9b31m \u202eevil\u2066 \x00 日本語\u3000。\r\n\ttab"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "streams"


@pytest.fixture
def server(directory: Path) -> Iterator[Server]:
    with Server(directory) as made:
        yield made


# -- show ----------------------------------------------------------------------------


def test_show_escapes_every_code_point_that_could_act(directory: Path, server: Server) -> None:
    """C0, C1, bidi and NUL are visible; text, newlines and tabs stay."""
    server.stream("sess_1", HOSTILE)
    shown = run("show", "sess_1", "--dir", directory).stdout
    assert shown == ("\\x1b]0;title\\x07\\x1b[2J red \\x9b31m \\u202eevil\\u2066 \\x00 日本語\u3000。\\r\n\ttab")


def test_show_raw_is_the_file(directory: Path, server: Server) -> None:
    """Byte by byte."""
    server.stream("sess_1", HOSTILE)
    done = run("show", "--raw", "sess_1", "--dir", directory)
    assert done.stdout.encode() == (directory / "sess_1.log").read_bytes().replace(b"\r\n", b"\n")


def test_show_survives_bytes_that_are_no_utf8(directory: Path, server: Server) -> None:
    """They are shown as escapes too; also at the end of the file."""
    server.stream("sess_1", "x")
    (directory / "sess_1.log").write_bytes(b"a\xff\xc3b\xe6\x97")
    assert run("show", "sess_1", "--dir", directory).stdout == r"a\xff\xc3b\xe6\x97"


def test_show_works_in_an_ascii_locale(directory: Path, server: Server) -> None:
    """What the terminal cannot show is escaped, not an error."""
    server.stream("sess_1", "日本")
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert run("show", "sess_1", "--dir", directory, env=ascii_only).stdout == r"\u65e5\u672c"


@pytest.mark.parametrize(("lines", "text"), [(1, "three"), (2, "two\nthree"), (9, "one\ntwo\nthree"), (0, "")])
def test_show_tail_is_the_last_lines(directory: Path, server: Server, lines: int, text: str) -> None:
    """As tail has it; the last line needs no newline."""
    server.stream("sess_1", "one\ntwo\nthree")
    assert run("show", "sess_1", "--tail", str(lines), "--dir", directory).stdout == text


def test_show_tail_of_a_large_file(directory: Path, server: Server) -> None:
    """Lines longer than what is read at once."""
    server.stream("sess_1", "a" * 200_000 + "\n" + "b" * 200_000 + "\n")
    assert run("show", "sess_1", "-n", "1", "--dir", directory).stdout == "b" * 200_000 + "\n"


def test_prefix_of_an_id_is_enough_and_an_ambiguous_one_lists_the_candidates(directory: Path, server: Server) -> None:
    """An exact id wins over longer ones; an unknown one is a problem."""
    server.stream("sess", "short")
    server.stream("sess_a1", "one")
    server.stream("sess_a2", "two")
    assert run("show", "sess_a1", "--dir", directory).stdout == "one"
    assert run("show", "sess", "--dir", directory).stdout == "short"
    ambiguous = run("show", "sess_", "--dir", directory, check=2).stderr
    assert "sess_a1" in ambiguous
    assert "sess_a2" in ambiguous
    assert "no session other" in run("show", "other", "--dir", directory, check=1).stderr


def test_show_json_has_session_and_text(directory: Path, server: Server) -> None:
    """The text as it is, in ASCII."""
    server.stream("sess_1", HOSTILE)
    done = run("show", "sess_1", "--json", "--dir", directory)
    assert done.stdout.isascii()
    assert json.loads(done.stdout)["text"] == HOSTILE


# -- follow --------------------------------------------------------------------------


def test_follow_shows_chunks_as_they_come_and_says_how_it_ended(
    directory: Path, server: Server, tmp_path: Path
) -> None:
    """From the first byte to the completion; exit code 0."""
    server.stream("sess_1", "one ")
    with Started("follow", "sess_1", "--dir", directory, directory=tmp_path) as follow:
        follow.shows("one ")
        server.stream("sess_1", "two \x1b[31m")
        follow.shows(r"one two \x1b[31m")
        server.complete_session("sess_1")
        assert follow.ends() == 0
        assert "[completed; 13 bytes" in follow.output


def test_follow_says_trouble_and_exits_1(directory: Path, server: Server, tmp_path: Path) -> None:
    """An outcome other than completed."""
    server.stream("sess_1", "one ")
    with Started("follow", "sess_1", "--dir", directory, directory=tmp_path) as follow:
        follow.shows("one ")
        server.complete_session("sess_1", outcome="cancelled")
        assert follow.ends() == 1
        assert "[cancelled; " in follow.output


def test_follow_waits_for_a_session_that_is_not_there_yet(directory: Path, tmp_path: Path) -> None:
    """Not even its directory is; then all of its text is shown."""
    with Started("follow", "sess_1", "--dir", directory, directory=tmp_path) as follow:
        follow.shows("waiting for session sess_1")
        with Server(directory) as server:
            server.stream("sess_1", "".join(f"line {number}\n" for number in range(30)))
            server.complete_session("sess_1")
            assert follow.ends() == 0
    assert "line 0\n" in follow.output
    assert "line 29\n" in follow.output


def test_follow_says_orphaned_after_a_crash(directory: Path, server: Server, tmp_path: Path) -> None:
    """The lock is free and nobody wrote a completion down."""
    server.stream("sess_1", "one ")
    with Started("follow", "sess_1", "--dir", directory, directory=tmp_path) as follow:
        follow.shows("one ")
        server.kill()
        assert follow.ends() == 1
        assert "[orphaned: its process ended without completing it" in follow.output


def test_follow_goes_on_in_a_new_turn_with_keep(directory: Path, server: Server, tmp_path: Path) -> None:
    """`-F`: the end is reported, and the session followed on."""
    server.stream("sess_1", "one ")
    with Started("follow", "-F", "sess_1", "--dir", directory, directory=tmp_path) as follow:
        follow.shows("one ")
        server.complete_session("sess_1")
        follow.shows("[completed; ")
        server.stream("sess_1", "two ")
        follow.shows("two ")
        server.complete_session("sess_1", outcome="error")
        follow.shows("[error; ")
        follow.process.send_signal(signal.SIGINT)
        assert follow.ends() == 0


def test_follow_goes_on_after_a_removal(directory: Path, server: Server, tmp_path: Path) -> None:
    """After an `rm`: what stands under the name next is followed."""
    server.stream("sess_1", "one ")
    with Started("follow", "sess_1", "--dir", directory, directory=tmp_path) as follow:
        follow.shows("one ")
        (directory / "sess_1.log").unlink()
        follow.shows("the file was removed")
        server.stream("sess_1", "two ")
        follow.shows("two ")
        server.complete_session("sess_1")
        assert follow.ends() == 0


def test_follow_says_that_the_file_was_deleted_at_completion(directory: Path, tmp_path: Path) -> None:
    """Without a debugging window the last words and the outcome are shown all the same."""
    with Server(directory, time_based_cleanup=False) as server:
        server.stream("sess_1", "one ")
        with Started("follow", "sess_1", "--dir", directory, directory=tmp_path) as follow:
            follow.shows("one ")
            server.write("sess_1", "last words")
            server.complete_session("sess_1")
            assert follow.ends() == 0
            assert "last words" in follow.output
            assert "[completed; the file was deleted (immediate)]" in follow.output


def test_follow_starts_over_after_a_truncation(directory: Path, server: Server, tmp_path: Path) -> None:
    """logrotate's copytruncate."""
    server.stream("sess_1", "one and more ")
    with Started("follow", "sess_1", "--dir", directory, directory=tmp_path) as follow:
        follow.shows("one and more ")
        os.truncate(directory / "sess_1.log", 0)
        follow.shows("truncated")
        server.stream("sess_1", "two ")
        follow.shows("two ")


def test_follow_never_shows_half_a_character(directory: Path, server: Server, tmp_path: Path) -> None:
    """A read that ends within a character waits for its rest."""
    server.stream("sess_1", "x")
    server.complete_session("sess_1")
    with (directory / "sess_1.log").open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # a writer, byte by byte
        with Started("follow", "sess_1", "--dir", directory, directory=tmp_path) as follow:
            follow.shows("x")
            file.write("日".encode()[:2])
            file.write(b"")
            with pytest.raises(AssertionError):
                wait_until(lambda: follow.output != "x", lambda: "nothing yet", seconds=1)
            file.write("日".encode()[2:] + "本".encode())
            follow.shows("x日本")


def test_follow_latest_takes_the_active_session_that_was_written_last(
    directory: Path, server: Server, tmp_path: Path
) -> None:
    """And names it."""
    server.stream("sess_1", "one")
    server.stream("sess_2", "two")
    server.stream("sess_3", "three")
    server.complete_session("sess_3")
    with Started("follow", "--latest", "--dir", directory, directory=tmp_path) as follow:
        follow.shows("following sess_2")
        follow.shows("two")


def test_follow_of_a_runaway_stream_begins_near_its_end(directory: Path, server: Server, tmp_path: Path) -> None:
    """One line of a megabyte does not flood the terminal; `--all` shows it."""
    server.stream("sess_1", "日" * 400_000 + "end")
    server.complete_session("sess_1")
    short = run("follow", "sess_1", "--dir", directory).stdout
    assert short.endswith("日日end")
    assert len(short) < 2000
    assert "\\x" not in short
    assert len(run("tail", "-f", "--all", "sess_1", "--dir", directory).stdout) == 400_003


def test_follow_does_not_burn_the_processor(directory: Path, server: Server, tmp_path: Path) -> None:
    """Two quiet seconds cost a few hundredths of one."""
    server.stream("sess_1", "x")
    with Started("follow", "sess_1", "--dir", directory, directory=tmp_path) as follow:
        follow.shows("x")
        clock = Path(f"/proc/{follow.process.pid}/stat")
        if not clock.exists():
            pytest.skip("no /proc to read a process's time from")
        before, ticks = _ticks(clock), os.sysconf("SC_CLK_TCK")
        with pytest.raises(AssertionError):
            wait_until(lambda: follow.output != "x", lambda: "quiet", seconds=2)
        assert (_ticks(clock) - before) / ticks < 0.3


def _ticks(clock: Path) -> int:
    words = clock.read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def test_follow_json_is_one_object_a_line(directory: Path, server: Server) -> None:
    """Texts and notes."""
    server.stream("sess_1", "one\x1b")
    server.complete_session("sess_1")
    lines = [json.loads(line) for line in run("follow", "sess_1", "--json", "--dir", directory).stdout.splitlines()]
    assert lines[0] == {"text": "one\x1b"}
    assert lines[-1]["note"].startswith("completed; 4 bytes")
    assert lines[-1]["outcome"] == "completed"


def test_show_needs_little_memory_for_a_large_file(directory: Path, server: Server) -> None:
    """200 MB through a process that may have 150 more than it needs to start."""
    server.stream("sess_1", "x")
    with (directory / "sess_1.log").open("r+b") as file:
        file.truncate(200_000_000)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (150_000_000, 150_000_000))

    run("show", "sess_1", "-n", "1", "--raw", "--dir", directory, preexec_fn=limited)
