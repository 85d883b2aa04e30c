"""Frames: what a text stream that is cut anywhere consists of, by one grammar or another.

A framer takes pieces of text and returns the frames that they complete. It looks at each
character once. What it holds, `held` characters, is a frame whose end has not come. Where a
guess is wrong, and the grammar broken, it is `broken`: from there on everything is raw text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

__all__ = ["MAX_FRAME", "Frame", "Framer", "parsed", "raw"]

#: A frame that does not end within this number of characters is raw text.
MAX_FRAME = 16_000_000


class Frame(NamedTuple):
    """One event, document or line; `document` is its JSON, None where it is not a JSON object or list."""

    name: str
    """The event's name, or a line's prefix."""
    data: str
    document: Any = None
    is_raw: bool = False
    """It is not of the grammar: logged as it stands."""


class Framer(Protocol):
    broken: bool

    @property
    def held(self) -> int: ...

    def feed(self, text: str) -> Iterator[Frame]: ...

    def finish(self) -> Iterator[Frame]: ...


def parsed(text: str) -> Any:
    """A JSON object or list; None for whatever else."""
    if text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    return None


def raw(text: str) -> Iterator[Frame]:
    """Text that is logged as it stands, if there is any."""
    if text:
        yield Frame("", text, None, True)
