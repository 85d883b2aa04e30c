"""How the tables of shapes say where an item's texts are: each function makes a reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from streaming_logger._text.parts import (
    ANSWER,
    ERROR,
    FINAL,
    ITEM,
    REASONING,
    TOOL_CALL,
    TOOL_NAME,
    Part,
    at,
    failure,
    get,
    shown,
    words,
)
from streaming_logger._text.search import search

__all__ = ["Reader", "answer", "both", "call", "error", "final", "inner", "nothing", "piece", "reasoning"]

#: A str is an answer, and nothing else is in the item.
Reader = Callable[[Any], Iterable[Part] | str]


def piece(kind: str, *paths: str, key: str = "") -> Reader:
    """The first of these paths that leads to a string."""

    def read(item: Any) -> Iterable[Part]:
        text = next((found for path in paths if isinstance(found := at(item, path), str)), "")
        return (Part(kind, text, at(item, key) if key else None),)

    return read


def answer(*paths: str) -> Reader:
    return piece(ANSWER, *paths)


def reasoning(*paths: str) -> Reader:
    return piece(REASONING, *paths)


def final(path: str, kind: str = ANSWER) -> Reader:
    return lambda item: (Part(FINAL, words(at(item, path)), kind),)


def call(name: str, arguments: str, key: str) -> Reader:
    """A tool call's beginning, or a piece of its arguments, or both."""

    def read(item: Any) -> Iterator[Part]:
        which = at(item, key)
        if name and (called := at(item, name)):
            yield Part(TOOL_NAME, shown(called), which)
        if arguments and (given := at(item, arguments)):
            yield Part(TOOL_CALL, shown(given), which)

    return read


def error(*paths: str) -> Reader:
    def read(item: Any) -> Iterable[Part]:
        found = next((found for path in paths if (found := at(item, path))), None)
        return (Part(ERROR, failure(item if found is None else found)),)

    return read


def inner(name: str) -> Reader:
    """An item around another one."""
    return lambda item: search(item) if (found := get(item, name)) is None else (Part(ITEM, "", found),)


def both(*readers: Reader) -> Reader:
    def read(item: Any) -> Iterator[Part]:
        for reader in readers:
            found = reader(item)
            yield from (Part(ANSWER, found),) if isinstance(found, str) else found

    return read


def nothing(item: Any) -> Iterable[Part]:
    return ()
