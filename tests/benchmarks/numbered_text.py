"""What is streamed, and whether it arrived: numbered chunks, so that a lost, doubled or moved one shows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

__all__ = ["answers", "ids", "numbered", "verify"]


def numbered(count: int, size: int = 6) -> list[str]:
    """So many chunks of so many bytes, 6 like the tokens of a model; no two alike within 100,000."""
    return [f"{number % 100_000:05d} ".ljust(size, "x") for number in range(count)]


def answers(count: int) -> list[str]:
    """So many chunks of ordinary answers, as a model streamed them."""
    streams = Path(__file__).parents[2] / "examples" / "streams"
    lines = [line for name in ("essay", "steps", "multiply") for line in _lines_of(streams, name)]
    words = [word for line in lines if (word := json.loads(line)[1])]
    return [words[number % len(words)] for number in range(count)]


def _lines_of(streams: Path, name: str) -> list[str]:
    (file,) = streams.glob(f"{name}_*.jsonl")
    return file.read_text(encoding="utf-8").splitlines()


def ids(count: int, group: int = 0) -> list[str]:
    """The names of so many sessions."""
    return [f"sess_{group}_{number:06d}" for number in range(count)]


def verify(path: Path, session: str, chunks: Iterable[str], end: str = "") -> None:
    """Raises `AssertionError` unless the file holds exactly the session's name and these chunks, in order."""
    expected = "".join(chunk + end for chunk in (session, *chunks))
    assert path.read_text(encoding="utf-8") == expected, f"{path.name} is not what was written"
