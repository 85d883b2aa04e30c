"""Parallel tool calls, whose pieces come mixed, one after the other in the text."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["ToolCalls"]

#: Pieces of calls that wait for another one's end; above that they are let go as they are.
_MAX_WAITING = 64_000
_MARK = re.compile(r'["\\{}\[\]]')


class ToolCalls:
    """One call is logged as its pieces come; those of others wait until its arguments are a whole JSON document.

    >>> calls = ToolCalls()
    >>> calls.begin("f", 0) + calls.begin("g", 1) + calls.add('{"a":', 0) + calls.add('{"b":2}', 1) + calls.add("1}", 0)
    '\\nf {"a":1}\\ng {"b":2}'
    """

    def __init__(self) -> None:
        self._current: Any = None
        self._is_open = False
        self._waiting: dict[Any, list[str]] = {}
        self.held = 0
        self._seen: set[Any] = set()
        self._json = _Json()

    def knows(self, key: Any) -> bool:
        """Whether a call with this key has begun."""
        return key in self._seen

    def begin(self, name: str, key: Any, call_id: Any = None) -> str:
        """The text that this beginning lets go."""
        if isinstance(key, str) and self._is_open and key == self._current:
            return ""  # the name comes with each piece
        self._seen |= {one for one in (key, call_id) if isinstance(one, str)}
        if key is not None and self._is_open and key != self._current and not self._json.is_whole:
            return self._wait(key, f"\n{name} ")
        text = self.finish()
        self._open(key)
        return f"{text}\n{name} "

    def add(self, arguments: str, key: Any) -> str:
        """The text that this piece of a call's arguments lets go."""
        if key in self._waiting:
            return self._wait(key, arguments)
        self._json.feed(arguments)
        if not self._waiting or not self._json.is_whole:
            return arguments
        text = [arguments]
        while self._waiting and self._json.is_whole:
            text.append(self._next())
        return "".join(text)

    def finish(self) -> str:
        """All that waits, call by call."""
        text = "".join(self._next() for _ in range(len(self._waiting)))
        self._is_open = False
        return text

    def _open(self, key: Any) -> None:
        self._current, self._is_open = key, True
        self._json = _Json()

    def _wait(self, key: Any, text: str) -> str:
        self._waiting.setdefault(key, []).append(text)
        self.held += len(text)
        return self.finish() if self.held > _MAX_WAITING else ""

    def _next(self) -> str:
        key = next(iter(self._waiting))
        text = "".join(self._waiting.pop(key))
        self.held -= len(text)
        self._open(key)
        self._json.feed(text.partition(" ")[2])
        return text


class _Json:
    """Whether text that comes in pieces is a whole JSON object or list."""

    def __init__(self) -> None:
        self.is_whole = False
        self._depth = 0
        self._in_string = self._is_escaped = False

    def feed(self, text: str) -> None:
        position = 0
        if self._is_escaped and text:
            self._is_escaped, position = False, 1
        while (mark := _MARK.search(text, position)) is not None:
            position = mark.end()
            if mark[0] == "\\":
                if position == len(text):
                    self._is_escaped = True
                position += 1
            elif mark[0] == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += 1 if mark[0] in "{[" else -1
                self.is_whole = self._depth == 0
