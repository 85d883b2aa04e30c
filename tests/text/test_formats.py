"""Streams of strings: plain text stays as it is, protocols are told by whole events, and the cost is linear."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from streaming_logger._text.extractor import TextExtractor

#: What texts are made of that are nearly of a protocol.
MARKS = ["data", "data: ", "event", "id", "retry", "error: ", ":", " ", "\n", "\n\n", "\r\n", "{", "}", "[", "]", '"']
WORDS = ["a", "é", "1", ",", "\\", ":-)", "\ufeff", '{"text": "x"}', '{"type": "refund"}', '0:"x"', "[DONE]"]
PIECES = st.sampled_from([*MARKS, *WORDS])
FIELD = re.compile(r"(?:data|event|id|retry)?:.*|message:|", re.DOTALL)


def is_event_stream(text: str) -> bool:
    """Whether every line is of the grammar of server-sent events, and an event has data."""
    lines = re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff"))
    return all(FIELD.fullmatch(line) for line in lines) and any(line.startswith("data:") for line in lines)


def is_json_lines(text: str) -> bool:
    """Whether it begins with lines of JSON objects, or is nothing else; or has lines of the Vercel AI SDK's."""
    if re.search(r"^[0-9a-k]:", text, re.MULTILINE):
        return True
    decoder, position, documents = json.JSONDecoder(), 0, 0
    while position < len(text):
        if text[position] in "\ufeff \t\r\n,[]":
            position += 1
            continue
        try:
            found, position = decoder.raw_decode(text, position)
        except ValueError:
            return documents > 1  # two lines of a stream are believed; what follows them is text
        if not isinstance(found, dict):
            return documents > 1
        documents += 1
    return True


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces, cut at these places."""
    ends = sorted({0, *(place % (len(text) + 1) for place in places), len(text)})
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def logged(items: list[Any], **options: Any) -> str:
    extract = TextExtractor(**options)
    return "".join(map(extract, items)) + extract.finish()


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=12).map("".join), st.lists(st.integers(0, 200), max_size=6))
@example("event: Birthday\n", [5, 6])
@example("data:\n", [])
@example("id: 42\n", [])
def test_text_that_is_not_of_a_protocol_is_logged_as_it_is(text: str, places: list[int]) -> None:
    """However it is cut. A lone surrogate apart, each character once and in order."""
    assume(not is_event_stream(text) and not is_json_lines(text))
    assert logged(cut(text, places)) == text
    assert logged([piece.encode() for piece in cut(text, places)]) == text


@given(st.text(), st.lists(st.integers(0, 200), max_size=6), st.sampled_from(["auto", "text"]))
def test_any_text_is_logged_as_it_is(text: str, places: list[int], how: str) -> None:
    """With `format="text"` whatever it looks like."""
    assume(how == "text" or not (is_event_stream(text) or is_json_lines(text)))
    assert logged(cut(text, places), format=how) == text


@given(st.lists(PIECES, max_size=12).map("".join), st.lists(st.integers(0, 200), max_size=6))
def test_text_format_never_guesses(text: str, places: list[int]) -> None:
    """What the caller calls text is text."""
    assert logged(cut(text, places), format="text") == text


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "refund"}',
        '{"type": "refund", "amount": 12}\n',
        '{"message":"ok","code":3}\n',
        '{"text": "a translation", "language": "en"}',
        '{"error": "the user asked for it"}',
        '[{"name": "Ada"}, {"name": "Bob"}]',
        "data:\n  password: c2VjcmV0\n",
        ":-)\nHello",
        "data: [1, 2]\nname: x",
        'data: {"a": 1}\nb: 2\n',
        "0: none\n1: some\n",
        "\n\n\nHello",
        "error: no such file\n",
    ],
)
def test_model_answers_that_look_like_a_protocol(text: str) -> None:
    """Cut anywhere: the answer is in the log as the model gave it."""
    for size in range(1, len(text) + 1):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert logged(pieces) == text, f"in pieces of {size}"


CHAT = '{"choices": [{"index": 0, "delta": {"content": "%s"}}]}'


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff", ": OPENROUTER PROCESSING\n\n", "\n", "retry: 3000\n\n", "message:\n"])
def test_events_are_told_however_they_are_cut(start: str, end: str) -> None:
    """With each of the line ends that the standard knows, and what may stand before the first event."""
    text = (start + f"data: {CHAT % 'Hel'}\n\nevent: x\nid: 1\ndata: {CHAT % 'lo'}\n\n").replace("\n", end)
    for size in (1, 2, 3, 5, 7, 50, 1000):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert logged(pieces) == "Hello", f"in pieces of {size}"
        assert logged([piece.encode() for piece in pieces], format="sse") == "Hello"


GEMINI = '{"candidates": [{"content": {"parts": [{"text": "%s"}]}}]}'


@pytest.mark.parametrize(
    "items",
    [
        ["data: Hel\n\n", "data: lo\n\n"],
        ["data: Hel", "data: lo"],
        ["data: Hel", "", "data: lo", ""],
        ["data: Hel\n", "\n", "data: lo\n", "\n"],
        ["event: token\ndata: Hel\n\n", "event: token\ndata: lo\n\n"],
        ['data: "Hel"\n\n', 'data: "lo"\n\n'],
        ['{"text": "Hel"}\n', '{"text": "lo"}\n'],
        ['{"response": "Hel", "model": "m", "done": false}', '{"response": "lo", "model": "m", "done": true}'],
        [f"[{GEMINI % 'Hel'}\n", f",\r\n{GEMINI % 'lo'}]"],
        ['0:"Hel"\n', '0:"lo"\n', 'd:{"finishReason":"stop"}\n'],
        ['{"response": "Hel"}\n{"resp', 'onse": "lo"}\n'],
        ['f:{"messageId":"m"}\n0:"H', 'el"\n0:"lo"\n'],
    ],
)
def test_items_that_are_whole_lines_or_events(items: list[str]) -> None:
    """Plain words count as events where every item is exactly one line or event."""
    assert logged(items) == "Hello"


@pytest.mark.parametrize(
    ("text", "how"),
    [("data: Hel\n\ndata: lo\n\n", "sse"), ('{"text": "Hel"}\n{"text": "lo"}', "jsonl"), ('"Hel"\n"lo"\n', "jsonl")],
)
def test_named_format_needs_no_guess(text: str, how: str) -> None:
    """Cut anywhere, also where it would be taken for text."""
    for size in range(1, len(text) + 1):
        assert logged([text[at : at + size] for at in range(0, len(text), size)], format=how) == "Hello"


def test_stream_that_breaks_its_grammar_is_text_from_there_on() -> None:
    """What was taken for events and then is none stays whole."""
    event = f"data: {CHAT % 'Hello. '}\n\n"
    assert (
        logged([event, "This is how an event ", "looks.\ndata: x\n\n"])
        == "Hello. This is how an event looks.\ndata: x\n\n"
    )


def test_named_format_passes_over_what_is_not_of_it() -> None:
    """A line that is not of the grammar is logged as it stands, and the events after it are read."""
    assert logged(["oops\n", f"data: {CHAT % 'Hello'}\n\n"], format="sse") == "oops\nHello"
    assert logged(["oops\n", '{"text": "Hello"}\n'], format="jsonl") == "oops\nHello"


def test_one_event_that_cannot_be_read_costs_that_event() -> None:
    """Its neighbours in the same read are logged, and the error is told."""
    errors: list[Exception] = []
    for how, text in [
        ("sse", f'data: {CHAT % "Hel"}\n\ndata: {{"choices": [\n\ndata: {CHAT % "lo"}\n\n'),
        ("jsonl", f'{CHAT % "Hel"}\n{{"choices": [\n{CHAT % "lo"}\n'),
        ("jsonl", f'{CHAT % "Hel"}\n{{"text": "cut\n{CHAT % "lo"}\n'),
    ]:
        extract = TextExtractor(format=how, on_error=errors.append)
        assert extract(text) + extract.finish() == "Hello"
    assert len(errors) == 3


def test_held_text_is_bounded_and_let_go() -> None:
    """4 kB at most while it is not known what a stream is; no more than a frame after that."""
    for piece in ("\n", "d", " ", "data: x\n", "[", '{"a": ', ": ping\n\n"):
        extract = TextExtractor()
        text = "".join(extract(piece) for _ in range(50_000))
        assert extract.held <= 4096 + len(piece), piece
        assert len(text) >= 50_000 * len(piece) - 4096 - len(piece) or piece == "data: x\n"


def test_names_of_events_in_items_of_their_own_are_not_kept() -> None:
    """A server that yields an event line by line: nothing is held once the event is read, however many come."""
    extract = TextExtractor(format="sse")
    for _ in range(100):
        assert extract("event: message\n") == ""
        assert extract(f"data: {CHAT % 'x'}\n\n") == "x"
        assert extract.held == 0


def test_held_text_is_released_unchanged_when_asked_for() -> None:
    """Where nothing more comes; and events that begin after it are told all the same."""
    extract = TextExtractor()
    assert (extract("da"), extract.held, extract.release(), extract.held) == ("", 2, "da", 0)
    assert extract("ta: x") == "ta: x"
    extract = TextExtractor()
    assert extract(": PROCESSING\n\n") + extract.release() == ": PROCESSING\n\n"
    assert extract(f"data: {CHAT % 'Hello'}\n\n") == "Hello"


def test_character_that_json_cuts_in_two_is_whole() -> None:
    """Escaped surrogates in two events, or in two strings of an application."""
    events = [json.dumps({"choices": [{"delta": {"content": part}}]}) for part in ("hi \ud83d", "\ude00!")]
    assert logged([f"data: {event}\n\n" for event in events]) == "hi \N{GRINNING FACE}!"
    assert logged(["hi \ud83d", "\ude00!"], format="text") == "hi \N{GRINNING FACE}!"
    assert logged(["hi \ud83d"]) == "hi \ud83d"
