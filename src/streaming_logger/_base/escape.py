"""Untrusted text as it is shown to a person: in log lines, in messages of exceptions, by the command.

Session ids come from clients, text from models. Nothing of theirs may break a line, move a terminal's cursor,
colour it, or turn its text around.
"""

from __future__ import annotations

import re

__all__ = ["escape", "is_visible", "one_line"]

_UNUSUAL = re.compile(r"[^\n\t -~]+")
_UNUSUAL_IN_LINE = re.compile(r"[^ -~]+")
#: Letters and marks by their class, and nothing to see: fillers, joiners, selectors that can carry hidden text.
#: Not those two that choose between the text and the picture of an emoji.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")
#: Of all scripts (Unicode's class Zs): not printable for Python, and as visible as a space is.
_SPACES = frozenset(" \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000")


def escape(text: str) -> str:
    r"""Text with every code point visible: C0, C1, bidi, zero-width and lone ones as `\x1b` or `\u202e`.

    Newlines and tabs stay, and the spaces of other scripts.

    >>> print(escape("\x1b[31mred\x9b \u202e 日本語\u3000。"))
    \x1b[31mred\x9b \u202e 日本語　。
    """
    return _UNUSUAL.sub(_shown, text)


def one_line(text: str) -> str:
    r"""The same, and newlines and tabs too. It is how a session's id is shown, everywhere.

    >>> print(one_line("a\nb"))
    a\nb
    """
    return text if is_visible(text) else _UNUSUAL_IN_LINE.sub(_shown, text)


def is_visible(text: str) -> bool:
    """Whether nothing in it has to be escaped, in a line of its own."""
    return text.isprintable() and (text.isascii() or _INVISIBLE.search(text) is None)


def _shown(found: re.Match[str]) -> str:
    run = found[0]
    return run if is_visible(run) else "".join(map(_shown_character, run))


def _shown_character(character: str) -> str:
    if is_visible(character) or character in _SPACES:
        return character
    return character.encode("unicode_escape").decode()
