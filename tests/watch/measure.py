"""Prints what the detector of loops finds, what it alarms on for nothing, and what it costs.

    python tests/watch/measure.py

The cases are in `cases.jsonl.xz`: runaways built in the shapes of public reports, each with its onset, and ordinary
answers that look repetitive. No threshold is chosen on them alone: ordinary text of this machine, such as its manuals
and sources, may be given as further arguments, and is examined in answers of 16,384 characters.
"""

from __future__ import annotations

import json
import lzma
import random
import statistics
import string
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

from streaming_logger._watch.findings import Finding
from streaming_logger._watch.loops import LoopDetector, find_loops

#: The pieces in which a stream comes. A finding is known only when its piece was fed.
PIECE = 6
ANSWER = 16_384
ROUNDS = 7
#: Of each kind of text, so many characters are timed, in pieces as the radar feeds them.
TIMED = 60_000
TIMED_PIECE = 300


class Case(NamedTuple):
    group: str
    kind: str
    text: str
    onset: int | None
    """Where the runaway begins; None for an ordinary answer."""


def cases() -> list[Case]:
    with lzma.open(Path(__file__).with_name("cases.jsonl.xz"), "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return [Case(case.get("group", "ordinary"), case["kind"], case["text"], case.get("onset")) for case in found]


def found_in(text: str) -> Iterator[tuple[int, Finding]]:
    """The findings in a text, each with how many characters were fed by then."""
    detector = LoopDetector()
    for start in range(0, len(text), PIECE):
        for finding in detector.feed(text[start : start + PIECE]):
            yield min(start + PIECE, len(text)), finding
    for finding in detector.end():
        yield len(text), finding


class Result(NamedTuple):
    delays: dict[str, list[int]]
    """By group: how many characters after its onset each runaway was found."""
    missed: list[str]
    early: list[str]
    """Alarms before an onset."""
    false: list[str]
    """Ordinary answers with an alarm."""


def examined(cases: Iterable[Case]) -> Result:
    result = Result(defaultdict(list), [], [], [])
    for case in cases:
        seen = [position for position, _ in found_in(case.text)]
        if case.onset is None:
            result.false.extend([case.kind] * bool(seen))
            continue
        result.early.extend(case.kind for position in seen if position <= case.onset)
        after = [position - case.onset for position in seen if position > case.onset]
        if after:
            result.delays[case.group].append(after[0])
        else:
            result.missed.append(f"{case.group} {case.kind}")
    return result


def noisy(case: Case, share: float) -> Case:
    """The case with so many of its characters, behind the onset, replaced by random letters."""
    dice = random.Random(case.text)
    text = list(case.text)
    for at in range(case.onset or 0, len(text)):
        if dice.random() < share:
            text[at] = dice.choice(string.ascii_lowercase)
    return case._replace(text="".join(text))


def texts() -> dict[str, str]:
    """One text of each kind whose cost is stated."""
    dice = random.Random(3)
    prose = "\n\n".join(
        " ".join(paragraph.split())
        for topic in topics.values()
        for paragraph in topic.split("\n\n")
        if len(paragraph) > 200 and not paragraph.startswith((" ", "*", ">", "|")) and "   " not in paragraph
    )
    words = sorted({word for word in prose.split() if word.isalpha() and len(word) > 3})
    word = lambda: dice.choice(words)  # noqa: E731
    number = lambda: f"{dice.uniform(0, 400):.1f}"  # noqa: E731
    said = ["I will now try it again. ", "Let me check the result. ", "That did not work. ", "So we need another way. "]
    manual = Path(__file__).parents[2] / "src" / "streaming_logger" / "manual"
    rows = range(2000)
    return {
        "prose": prose,
        "code": "".join(Path(module.__file__ or "").read_text() for module in (statistics, random, json.decoder)),
        "markdown": "".join(page.read_text(encoding="utf-8") for page in sorted(manual.glob("*.md"))),
        "csv": "".join(f"{n},{word()},{word()},{number()},2025-{dice.randint(1, 12):02}-11\n" for n in rows),
        "json": json.dumps(
            [{"id": n, "name": word(), "age": dice.randint(18, 80), "at": word()} for n in rows], indent=2
        ),
        "svg": "".join(
            f'<path d="M {number()} {number()} ' + " ".join(f"L {number()} {number()}" for _ in range(12)) + '"/>\n'
            for _ in rows
        ),
        "hex": "".join(f"{n:08x}: " + " ".join(f"{dice.randrange(65536):04x}" for _ in range(8)) + "\n" for n in rows),
        "four phrases": "".join(dice.choices(said, k=4000)),
        "a loop": "And so it goes, on and on. " * 3000,
    }


def nanoseconds_a_character(text: str) -> float:
    pieces = [text[start : start + TIMED_PIECE] for start in range(0, min(len(text), TIMED), TIMED_PIECE)]
    rounds = []
    for _ in range(ROUNDS):
        detector = LoopDetector()
        begun = time.thread_time()
        for piece in pieces:
            detector.feed(piece)
        rounds.append((time.thread_time() - begun) / min(len(text), TIMED) * 1e9)
    return statistics.median(rounds)


def main(files: list[str]) -> None:
    all_cases = cases()
    runaways = sum(case.onset is not None for case in all_cases)
    for share in (0, 0.01, 0.02, 0.05):
        result = examined(noisy(case, share) for case in all_cases) if share else examined(all_cases)
        print(
            f"noise {share:.0%}: {runaways - len(result.missed)} of {runaways} runaways found, "
            f"{len(result.early)} alarms before an onset, "
            f"{len(result.false)} of {len(all_cases) - runaways} ordinary answers with an alarm"
        )
        if not share:
            print("  missed:", ", ".join(result.missed))
            print("  false:", ", ".join(f"{kind} {times}" for kind, times in Counter(result.false).items()))
            for group, delays in result.delays.items():
                print(f"  {group}: found {statistics.median(delays):,.0f} characters after the onset, median")
    for kind, text in texts().items():
        print(f"{kind}: {nanoseconds_a_character(text):.0f} ns a character")
    examined_characters = alarms = 0
    for name in files:
        text = Path(name).read_text(encoding="utf-8", errors="replace")
        examined_characters += len(text)
        for start in range(0, len(text), ANSWER):
            for finding in find_loops(text[start : start + ANSWER]):
                alarms += 1
                print(f"{name}: {finding}")
    if examined_characters:
        print(f"{alarms} alarms in {examined_characters:,} characters of files")


if __name__ == "__main__":
    main(sys.argv[1:])
