"""The detector of runaway generations: what it finds, what it lets pass, and that cutting changes nothing."""

from __future__ import annotations

import inspect
import json
import os
import random
import string
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_logger._watch.findings import Finding, LoopSettings
from streaming_logger._watch.loops import LoopDetector, find_loops

RECORDED = Path(__file__).parents[2] / "examples" / "streams"
#: Where each recorded loop begins, read by eye: the first character of the part that repeats for ever.
ONSETS = {"poem_t0.0": 0, "rhyme_t0.0": 38, "sql_t0.0": 1250, "story_t0.0": 770, "table_t0.0": 67}
ORDINARY = ("essay_t0.8", "json_t0.0", "list_t0.8", "logfile_t0.0", "multiply_t0.8", "steps_t0.0", "code_t0.8")

PROSE = inspect.cleandoc(str(textwrap.__doc__)) + inspect.getsource(textwrap)


def recorded(name: str) -> list[str]:
    """The chunks of one recorded stream."""
    return [json.loads(line)[1] for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]


def fed(chunks: list[str]) -> list[Finding]:
    detector = LoopDetector()
    return [finding for chunk in chunks for finding in detector.feed(chunk)] + detector.end()


# -- recorded output -----------------------------------------------------------------


@pytest.mark.parametrize("name", ONSETS)
def test_recorded_loop_is_found_before_40_percent_of_it_has_passed(name: str) -> None:
    """Once, whether it is periodic, near or counting."""
    (finding,) = fed(recorded(name))
    length = sum(map(len, recorded(name)))
    onset = ONSETS[name]
    assert finding.offset + finding.repeated < onset + 0.4 * (length - onset)


@pytest.mark.parametrize("name", ORDINARY)
def test_recorded_ordinary_answer_raises_nothing(name: str) -> None:
    """A list, a table, JSON, an essay, numbered steps, code."""
    assert fed(recorded(name)) == []


# -- the three kinds -----------------------------------------------------------------


@given(st.text(min_size=1, max_size=600), st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_any_text_repeated_often_enough_is_found(unit: str, before: int) -> None:
    """Whatever it is, from 1 to 600 characters, whatever stands before it."""
    prefix = PROSE[:before]
    text = prefix + unit * (2500 // len(unit) + 1)
    found = find_loops(text)
    assert len(found) == 1
    assert found[0].offset >= before - len(unit) - 40


@pytest.mark.parametrize("length", [2, 3, 13, 80, 250, 600])
def test_exact_loop_is_found_with_its_offset_and_period(length: int) -> None:
    """The offset is that of the first copy, to the character."""
    unit = "".join(random.Random(length).choices(string.ascii_letters + "    ", k=length - 1)) + "\n"
    (finding,) = find_loops("## Here is the answer:" + unit * (3000 // length))
    assert (finding.kind, finding.offset, finding.period) == ("periodic", 22, length)
    assert unit.startswith(finding.sample) or finding.sample in unit * 3


@pytest.mark.parametrize(
    "item",
    ["Step {n}: repeat the previous step.\n", "def foo{n}(x):\n    return foo{m}(x)\n\n", "| {n} | Moon | {n} |\n"],
)
def test_counting_loop_is_found(item: str) -> None:
    """Numbers that grow, of any width, several times in an item."""
    text = PROSE[:333] + "".join(item.format(n=n, m=n - 1) for n in range(5, 150))
    (finding,) = find_loops(text)
    assert finding.kind == "counting"
    assert abs(finding.offset - 333) < 2 * len(item)


def test_counting_by_letters_is_found() -> None:
    """Option A, Option B."""
    text = "".join(f"Option {letter}: it depends on the situation and on you.\n" for letter in string.ascii_uppercase)
    assert [finding.kind for finding in find_loops(text)] == ["counting"]


def test_numbered_list_that_repeats_its_items_is_found() -> None:
    """In any order."""
    dice = random.Random(1)
    text = "".join(f"# {n}. {dice.choice(['Bird', 'Fish', 'Dog', 'Cat'])}\n" for n in range(1, 200))
    assert [finding.kind for finding in find_loops(text)] == ["counting"]


def test_near_loop_is_found() -> None:
    """The same sentences in varying order, a word changed here and there."""
    dice = random.Random(2)
    sentences = ["She had to find a way to rescue him.", "He was lost in the depths of the ocean."]
    words = []
    for _ in range(60):
        words += dice.choice(sentences).replace("way", dice.choice(["way", "way", "path"])).split()
    assert [finding.kind for finding in find_loops(PROSE[:500] + " ".join(words))] == ["near"]


def test_table_that_repeats_its_rows_is_found() -> None:
    """In any order, with numbers that stay the same."""
    dice = random.Random(4)
    rows = ["| China | 1.4 | 1.4 |", "| India | 1.4 | 1.4 |", "| Brazil | 1.4 | 1.4 |"]
    text = "\n".join(dice.choice(rows) for _ in range(80))
    assert [finding.kind for finding in find_loops(PROSE[:500] + text)] == ["near"]


@pytest.mark.parametrize("unit", ["* \n", "0, ", "RoboA:\n\n"])
def test_short_unit_is_found_within_300_characters(unit: str) -> None:
    """With letters or without: a token limit cuts such answers at some 900 characters."""
    assert [finding.kind for finding in find_loops((unit * 300)[:300])] == ["periodic"]


@pytest.mark.parametrize("padding", ["A" * 560, ("A" * 76 + "\n") * 7, "0" * 400])
def test_padding_of_some_hundred_characters_is_none(padding: str) -> None:
    """As in base64 and hex dumps, bare or in lines."""
    assert find_loops(PROSE[:500] + padding + PROSE[500:1000]) == []


@pytest.mark.parametrize("unit", ["彼は道を探した。", "она искала дорогу. ", "كانت تبحث عن الطريق. ", "🧫\n\n"])
def test_any_script_is_found(unit: str) -> None:
    """Words need no spaces between them, and an emoji is as good as a letter."""
    (finding,) = find_loops(unit * 250)
    assert (finding.kind, finding.period) == ("periodic", len(unit))


def test_it_speaks_once_for_each_onset() -> None:
    """It stays silent until the text has left the loop for a good while, then speaks again."""
    loop = "and so on and on, " * 100
    assert len(find_loops(loop * 20)) == 1
    assert len(find_loops(loop + PROSE[:200] + loop)) == 1
    first, second = find_loops(loop + PROSE[:3000] + loop)
    assert first.offset == 0
    assert second.offset == len(loop) + 3000


# -- long blocks, varying fields, floods ---------------------------------------------


def words(count: int, seed: int) -> str:
    """Text that repeats nothing by itself."""
    dice = random.Random(seed)
    return " ".join("".join(dice.choices(string.ascii_lowercase, k=dice.randint(2, 9))) for _ in range(count))


@pytest.mark.parametrize("period", [650, 1256, 3000, 5000])
def test_long_block_is_found_in_its_third_copy(period: int) -> None:
    """A paragraph, a function: up to 5,000 characters. The offset is that of the first copy."""
    block = words(period, seed=period)[: period - 1] + "\n"
    text = PROSE[:777] + block * 3
    (finding,) = find_loops(text)
    assert (finding.kind, finding.period) == ("periodic", period)
    assert abs(finding.offset - 777) < 64


def test_long_block_may_change_here_and_there() -> None:
    """A word in each copy is another one."""
    block = words(260, seed=1)
    copies = [block.replace(block.split()[n * 20], "another") for n in range(8)]
    (finding,) = find_loops("\n".join(copies))
    assert finding.kind == "near"
    assert finding.period is not None
    assert abs(finding.period - len(block)) < 20


FIELDS = {
    "tool call": '<tool_call>{{"id": "call_{hex}", "name": "read_file", "path": "src/main.py"}}</tool_call>\n',
    "uuid and time": '{{"id": "{uuid}", "ts": "2025-08-2{digit}T11:{two}:{two}Z", "tool": "git", "args": "status"}}\n',
    "time": "[08:{two}:{two}] run_tests filter=auth -> ok\n",
    "address": '10.{two}.{digit}.{two} - - "GET /health HTTP/1.1" 200 2\n',
    "sentence": "Call us at +1 555 {two}{digit} {two}{two} today.\n",
}


def varied(line: str, count: int) -> str:
    dice = random.Random(7)
    return "".join(
        line.format(
            hex=f"{dice.getrandbits(96):024x}",
            uuid=uuid.UUID(int=dice.getrandbits(128)),
            two=dice.randint(10, 59),
            digit=dice.randint(0, 9),
        )
        for _ in range(count)
    )


@pytest.mark.parametrize("name", FIELDS)
def test_loop_in_which_only_ids_times_or_numbers_vary_is_of_low_severity(name: str) -> None:
    """They may be what was asked for."""
    (finding,) = find_loops(PROSE[:500] + varied(FIELDS[name], 60))
    assert (finding.kind, finding.severity) == ("varying", "low")
    assert abs(finding.offset - 500) < 2 * finding.repeated / 20


@pytest.mark.parametrize("step", [10, 50, -1])
def test_counting_by_any_step_is_found(step: int) -> None:
    """Also with sixteen digits."""
    text = "".join(f"Transaction {8812345678901200 + n * step} was confirmed.\n" for n in range(60))
    assert [(finding.kind, finding.severity) for finding in find_loops(text)] == [("counting", "high")]


@pytest.mark.parametrize("row", ["    KEY_{n} = {n}\n", '=IF(A{n}="","",VLOOKUP(A{n},Sheet2!$A$2:$D$500,3,FALSE))\n'])
def test_rows_of_data_count_as_a_loop_above_120(row: str) -> None:
    """People ask for a hundred."""
    rows = [row.format(n=n) for n in range(1, 200)]
    assert find_loops("".join(rows[:110])) == []
    assert [(finding.kind, finding.severity) for finding in find_loops("".join(rows))] == [("counting", "low")]


def test_white_space_without_order_is_found() -> None:
    """As in JSON mode: line breaks, tabs and blanks."""
    dice = random.Random(1)
    text = '{"next": "step",' + "".join(dice.choices("\n\t ", k=2500))
    assert len(find_loops(text)) == 1


@pytest.mark.parametrize("alphabet", ["😀🎉🔥❤", "小洗开始"])
def test_flood_of_few_characters_is_found(alphabet: str) -> None:
    """Emojis, or syllables, in any order."""
    assert len(find_loops(PROSE[:300] + "".join(random.Random(1).choices(alphabet, k=2500)))) == 1


def test_words_repeated_in_place_are_found() -> None:
    """Each of them two or three times."""
    dice = random.Random(1)
    text = " ".join(f"{word} " * dice.randint(2, 3) for word in words(300, seed=2).split())
    assert [finding.kind for finding in find_loops(text)] == ["near"]


def test_short_sentences_in_any_order_are_found() -> None:
    """A model that cannot stop: the sentences are few, their order is never the same."""
    dice = random.Random(1)
    said = ["Done.", "Okay.", "Goodbye.", "I can just output it.", "Let me write the answer now.", "Stop."]
    text = "\n".join(dice.choice(said) for _ in range(300))
    assert [finding.kind for finding in find_loops(PROSE[:500] + text)] == ["near"]


@pytest.mark.parametrize(
    "rows", ["| | | | | |\n" * 60, "|      |      |      |\n" * 60, "Name: ____________\n"[6:] * 60, "-" * 500 + "\n"]
)
def test_empty_rows_of_a_template_are_none(rows: str) -> None:
    """They are padding."""
    assert find_loops(PROSE[:500] + rows + PROSE[500:1000]) == []


def test_end_of_the_stream_is_looked_at() -> None:
    """A loop that only the last characters make long enough is found, though they fill no block."""
    text = words(100, seed=3)[:511] + "\n" + "and so on, " * 22
    assert LoopDetector().feed(text) == []
    assert [finding.kind for finding in find_loops(text)] == ["periodic"]


def test_loop_is_followed_until_it_ends() -> None:
    """`loop` has its length so far; it is None when a thousand characters were in none."""
    detector = LoopDetector()
    detector.feed("and so on and on, " * 300)
    assert detector.loop is not None
    assert 4000 < detector.loop.repeated <= 5400
    detector.feed(words(800, seed=4))
    assert detector.loop is None


# -- ordinary text -------------------------------------------------------------------


@given(st.text(max_size=5000), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_random_text_is_none(text: str, seed: int) -> None:
    """Of two ASCII letters or more, and whatever else; a few other letters or emojis alone are a flood."""
    dice = random.Random(seed)
    alphabet = [*sorted(set(text)), *string.ascii_letters[: 2 + len(set(text))]]
    assert find_loops("".join(dice.choices(alphabet, k=5000))) == []


@pytest.mark.parametrize(
    "name", ["argparse", "textwrap", "typing", "html/entities", "mimetypes", "turtle", "ipaddress"]
)
def test_source_of_the_standard_library_is_none(name: str) -> None:
    """Cut into answers of 8,192 characters."""
    source = Path(os.__file__).parent.joinpath(f"{name}.py").read_text(encoding="utf-8")[:80000]
    answers = [source[start : start + 8192] for start in range(0, len(source), 8192)]
    assert [find_loops(answer) for answer in answers] == [[]] * len(answers)


DICE = random.Random(3)
TABLES = {
    "multiplication": "".join(f"{a} x {b} = {a * b}\n" for a in range(1, 13) for b in range(1, 13)),
    "one multiplication": "".join(f"7 x {n} = {7 * n}\n" for n in range(1, 200)),
    "csv": "".join(f"{n},{DICE.random():.3f},{DICE.choice('abc')},{DICE.randrange(99)}\n" for n in range(300)),
    "log": "".join(
        f"2024-05-01 12:{n // 60:02}:{n % 60:02} INFO GET /items/{DICE.randrange(999)} {DICE.choice([200, 404])}\n"
        for n in range(300)
    ),
    "to do": "".join(f"- [ ] {n}. TODO\n" for n in range(1, 21)),
    "markdown": "| n | square |\n|---|---|\n" + "".join(f"| {n} | {n * n} |\n" for n in range(1, 41)),
    "ruler": "".join("=" * 120 + "\n" + PROSE[n : n + 60] + "\n" + "-" * 120 + "\n" for n in range(0, 3000, 60)),
    "numbers": ", ".join(map(str, range(1, 201))),
    "matrix": "".join(f"{DICE.randrange(2)} " for _ in range(2000)),
}


@pytest.mark.parametrize("name", TABLES)
def test_ordinary_table_is_none(name: str) -> None:
    """Rows that differ in more than a counter, and a numbered list of twenty equal rows."""
    assert find_loops(TABLES[name]) == []


# -- what it promises to its caller --------------------------------------------------


@given(st.lists(st.integers(0, 700), max_size=40), st.sampled_from([*ONSETS, "steps_t0.0"]))
@settings(max_examples=60, deadline=None)
def test_cutting_the_stream_into_other_chunks_changes_nothing(cuts: list[int], name: str) -> None:
    """The findings are the same ones, to the character."""
    text = "".join(recorded(name)) + TABLES["csv"][:3000] + "so on, " * 200
    chunks, start = [], 0
    for cut in cuts:
        chunks.append(text[start : start + cut])
        start += cut
    assert fed([*chunks, text[start:]]) == find_loops(text) == fed(list(text))


def test_state_of_a_stream_is_small() -> None:
    """Ten thousand streams of any text take less than 8 kB each."""
    for text in (PROSE[:8000], TABLES["csv"], TABLES["numbers"] * 8, "彼は道を" * 2000):
        detector = LoopDetector()
        detector.feed(text)
        assert size(detector) < 8192


def size(thing: object) -> int:
    """The bytes of an object and of all it holds."""
    parts: list[object] = []
    if isinstance(thing, dict):
        parts = [*thing.keys(), *thing.values()]
    elif isinstance(thing, tuple):
        parts = [*thing]
    elif hasattr(thing, "__slots__") and not isinstance(thing, LoopSettings):
        parts = [getattr(thing, name) for name in thing.__slots__]
    return sys.getsizeof(thing) + sum(map(size, parts))


def test_cost_of_a_character_is_bounded() -> None:
    """Two microseconds on a slow machine, on the worst of these; some tenths of one are usual."""
    for text in (PROSE, TABLES["csv"] * 3, "so on, " * 4000, "a" * 20000, "".join(recorded("story_t0.0")) * 6):
        start = time.process_time()
        find_loops(text)
        assert (time.process_time() - start) / len(text) < 2e-6
