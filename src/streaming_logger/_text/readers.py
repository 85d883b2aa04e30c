"""How the tables of shapes say where an item's texts are: each function makes a reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from streaming_logger._text.parts import (
    ANSWER,
    ERROR,
    ITEM,
    REASONING,
    TOOL_CALL,
    TOOL_NAME,
    Part,
    at,
    failure,
    get,
    shown,
)
from streaming_logger._text.search import search

__all__ = ["Reader", "answer", "both", "call", "error", "inner", "nothing", "reasoning"]

#: Gets an item and returns its parts.
Reader = Callable[[Any], Iterable[Part]]


def _text(kind: str, paths: tuple[str, ...]) -> Reader:
    """The first of these paths that leads to a string."""

    def read(item: Any) -> Iterable[Part]:
        text = next((found for path in paths if isinstance(found := at(item, path), str)), "")
        return (Part(kind, text),)

    return read


def answer(*paths: str) -> Reader:
    return _text(ANSWER, paths)


def reasoning(*paths: str) -> Reader:
    return _text(REASONING, paths)


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
            yield from reader(item)

    return read


def nothing(item: Any) -> Iterable[Part]:
    return ()
