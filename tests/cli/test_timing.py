"""`timing`: its numbers are those of the chunks, its chart fits its place, its pictures show the rate."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tools import Server, age, run, terminal

from recordings import events_of, write_pair
from streaming_logger.cli._chart import rates

BLOCKS = "▁▂▃▄▅▆▇█"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "streams"


def told(directory: Path, *arguments: str) -> str:
    return run("timing", "sess_1", "--dir", directory, *arguments).stdout


# -- the numbers ---------------------------------------------------------------------


def test_numbers_of_a_session_with_a_stall(directory: Path) -> None:
    """Counted by hand: 101 chunks of two characters and six bytes, 10 ms apart, one of them 3 s late."""
    events = [(0.5 + 0.01 * number + (3 if number > 60 else 0), "語。") for number in range(101)]
    write_pair(directory, "sess_1", events)
    found = json.loads(told(directory, "--json"))
    points, step = found.pop("rate"), found.pop("rate_seconds")
    assert found == {
        "session": "sess_1",
        "chunks": 101,
        "characters": 202,
        "total_seconds": 4.5,
        "first_chunk_seconds": 0.5,
        "chunks_per_second": pytest.approx(25),
        "characters_per_second": pytest.approx(50),
        "gap_seconds_p50": 0.01,
        "gap_seconds_p99": 0.01,
        "stall_seconds": 3.01,
        "stall_at_seconds": pytest.approx(1.1),
        "stall_at_byte": 61 * 6,
        "remarks": [],
    }
    assert sum(points) * step == pytest.approx(202, rel=1e-3)
    assert points[round(0.8 / step)] == pytest.approx(200, rel=1e-3)
    assert points[round(2.5 / step)] < 1


def test_numbers_of_a_real_recording_are_those_of_its_events(directory: Path) -> None:
    """The chunks of examples/streams."""
    events = events_of("sql")
    write_pair(directory, "sess_1", events)
    found = json.loads(told(directory, "--json"))
    times = [at for at, _ in events]
    gaps = sorted(after - before for before, after in pairwise(times))
    assert found["chunks"] == len(events)
    assert found["characters"] == sum(len(text) for _, text in events)
    assert found["total_seconds"] == pytest.approx(times[-1])
    assert found["stall_seconds"] == pytest.approx(gaps[-1])
    assert found["gap_seconds_p99"] == pytest.approx(gaps[int(len(gaps) * 0.99)], abs=1e-3)


def test_text_has_the_same_numbers(directory: Path) -> None:
    """In units that are read at a glance."""
    write_pair(directory, "sess_1", [(0.25, "one "), (0.5, "two "), (3.5, "three"), (4.0, "\n")])
    lines = dict(line.split("  ", 1) for line in told(directory, "--width", "0").splitlines())
    assert {name: value.strip() for name, value in lines.items()} == {
        "time to first chunk": "250 ms",
        "chunks": "4, 0.8 a second",
        "characters": "14, 2.7 a second",
        "gaps": "p50 500 ms, p99 3.00 s",
        "longest stall": "3.00 s, at 500 ms, after byte 8",
        "total": "4.00 s",
    }


@pytest.mark.parametrize("events", [[], [(0.0, "a")], [(0.7, "a")], [(0.0, "a"), (0.0, "b")]])
def test_session_with_too_few_chunks_for_a_number_has_dashes(events: list[tuple[float, str]], directory: Path) -> None:
    """No division by nothing, in text and JSON."""
    write_pair(directory, "sess_1", events)
    assert f"\nchunks               {len(events)}, -\n" in told(directory)
    assert json.loads(told(directory, "--json"))["chunks_per_second"] is None


def test_what_has_no_timing_is_not_counted_and_remarked(directory: Path) -> None:
    """The numbers are those of the chunks whose time is known."""
    log = write_pair(directory, "sess_1", [(0.1, "a"), (0.2, "b")])
    (directory / "sess_1.log").write_bytes(log + b"rest")
    done = run("timing", "sess_1", "--dir", directory, "--json")
    assert json.loads(done.stdout)["characters"] == 2
    assert json.loads(done.stdout)["remarks"] == ["the last 4 of 6 bytes have no timing"]
    assert "have no timing" in run("timing", "sess_1", "--dir", directory).stderr


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 1000)), min_size=1), st.integers(1, 100))
@example([(5e-324, 5)], 2)
def test_rates_times_time_are_the_counts(chunks: list[tuple[float, int]], points: int) -> None:
    """However the intervals lie to the gaps."""
    at, times = 0.0, []
    for delay, _ in chunks:
        at += delay
        times.append(at)
    counts = [count for _, count in chunks]
    found = rates(times, counts, points)
    assert len(found) == points
    assert min(found) >= -1e-6 * max(found)
    if at >= 1e-6:  # a timing file has no shorter times
        assert sum(found) * (at / points) == pytest.approx(sum(counts))


# -- the chart -----------------------------------------------------------------------


def test_chart_has_the_width_that_is_asked_for(directory: Path) -> None:
    """High where it was fast, empty where nothing came; the scale stands at its left, the time below."""
    write_pair(directory, "sess_1", [(0.1 * number + (10 if number > 50 else 0), "x" * 10) for number in range(1, 101)])
    chart = told(directory, "--width", "46").partition("characters a second\n")[2].splitlines()
    assert {len(line) for line in chart} == {46}
    assert chart[0].startswith("  100 ")
    assert chart[-2].startswith("    0 ")
    assert chart[-1] == "      0" + "20.00 s".rjust(39)
    cells = [line[6:] for line in chart[:-1]]
    assert all(set(line[:9] + line[-9:]) <= set("▇█") for line in cells)
    assert all(set(line[12:28]) <= {" "} for line in cells[:-1])


def test_chart_is_ascii_where_the_output_is(directory: Path) -> None:
    """A C locale without Python's UTF-8 mode."""
    write_pair(directory, "sess_1", events_of("code"))
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    shown = run("timing", "sess_1", "--dir", directory, env=plain).stdout
    assert shown.isascii()
    assert "####" in shown
    assert "\\u" not in shown
    unicode = run("timing", "sess_1", "--dir", directory, env={**os.environ, "PYTHONIOENCODING": "utf-8"}).stdout
    assert set(BLOCKS) <= set(unicode)


def test_chart_fits_the_terminal(directory: Path) -> None:
    """No line of it is broken; the last column is used."""
    write_pair(directory, "sess_1", events_of("essay"))
    with terminal(columns=60, lines=40) as shown:
        shown.enters("timing", "sess_1", "--dir", directory)
        screen = shown.shows(lambda screen: screen.rstrip().endswith("$"))
    chart = screen.partition("characters a second\n")[2].splitlines()
    assert len(chart[5]) == 60
    assert set(chart[5][6:]) <= set(BLOCKS)
    assert chart[6].endswith(" s")
    assert chart[7].startswith("$")


# -- pictures ------------------------------------------------------------------------


def test_pictures_show_the_rate(directory: Path, tmp_path: Path) -> None:
    """A PNG with something drawn in it, an SVG with the session's id, whatever its characters mean elsewhere."""
    image = pytest.importorskip("matplotlib.image")
    id_ = "sess $x^2$ <&>"
    write_pair(directory, id_, events_of("poem"))
    run("timing", id_, "--dir", directory, "--png", tmp_path / "a.png", "--svg", tmp_path / "a.svg")
    pixels = image.imread(tmp_path / "a.png")
    height, width, _ = pixels.shape
    blue = (pixels[:, :, 2] > pixels[:, :, 0] + 0.3).mean()
    assert (height, width) == (320, 900)
    assert 0.3 < blue < 0.9
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own
    assert "sess $x^2$" in (tmp_path / "a.svg").read_text()


def test_picture_of_a_session_without_chunks_is_empty(directory: Path, tmp_path: Path) -> None:
    """It is drawn all the same, without a warning."""
    pytest.importorskip("matplotlib")
    write_pair(directory, "sess_1", [])
    assert run("timing", "sess_1", "--dir", directory, "--svg", tmp_path / "a.svg").stderr == ""
    assert (tmp_path / "a.svg").exists()


def test_picture_without_matplotlib_names_the_extra(directory: Path, tmp_path: Path) -> None:
    """An interpreter that does not find it; no file is made, and the numbers need none."""
    write_pair(directory, "sess_1", events_of("poem"))
    program = (
        "import sys; sys.modules['matplotlib'] = None; from streaming_logger.cli._main import main; sys.exit(main())"
    )
    (tmp_path / "without.py").write_text(program)
    command = ["timing", "sess_1", "--dir", str(directory)]
    done = run_program(tmp_path / "without.py", *command, "--png", str(tmp_path / "a.png"), code=2)
    assert "--png needs matplotlib; install the extra `plot`" in done
    assert not (tmp_path / "a.png").exists()
    run_program(tmp_path / "without.py", *command, code=0)


def run_program(program: Path, *arguments: str, code: int) -> str:
    done = subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, timeout=50)
    assert done.returncode == code, done.stderr
    return done.stderr


def test_silence_that_lasts_is_the_longest_stall(directory: Path) -> None:
    """Of an active session; and the time to its first chunk is not known, for it began with that."""
    with Server(directory, record_timing=True) as server:
        server.stream("sess_1", "Hello")
        age(directory / "sess_1.log", 90)
        rows = run("timing", "sess_1", "--dir", directory).stdout
        numbers = json.loads(run("timing", "sess_1", "--json", "--dir", directory).stdout)
    assert re.search(r"longest stall +9\d\.\d\d s, at 0 ms, after byte 5, until now", rows)
    assert re.search(r"time to first chunk +-\n", rows)
    assert numbers["first_chunk_seconds"] is None
    assert 89 < numbers["total_seconds"] < 150
