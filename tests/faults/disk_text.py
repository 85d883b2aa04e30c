"""Numbered text, and what of it a file lacks."""

from __future__ import annotations

import re

__all__ = ["dropped_from", "numbers"]


def numbers(begin: int, end: int) -> str:
    return "".join(f"{number:06d};" for number in range(begin, end))


def dropped_from(text: str, whole: str) -> int:
    """How many characters of `whole` are missing in `text`, each gap marked at its very place."""
    at = missing = 0
    for index, part in enumerate(re.split(r"\[streaming_logger: ([\d,]+) characters dropped: buffer full\]", text)):
        if index % 2:
            missing += int(part.replace(",", ""))
            at += int(part.replace(",", ""))
        else:
            assert whole.startswith(part, at), "a gap that is not marked, or a wrong order"
            at += len(part)
    assert at == len(whole)
    return missing
