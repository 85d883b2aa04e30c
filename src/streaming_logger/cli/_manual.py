"""The manual's pages, and a page as text for a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from importlib.resources import files
from itertools import groupby

__all__ = ["about", "page", "rendered", "topics"]

_PAGES = files("streaming_logger") / "manual"
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
_ITEM = re.compile(r"(- |\d+\. )(.*)")
_INDENT = "    "


def topics() -> list[str]:
    """The names of all pages, sorted."""
    return sorted(path.name.removesuffix(".md") for path in _PAGES.iterdir() if path.name.endswith(".md"))


def page(topic: str) -> str:
    """A page as it is stored, in Markdown. Raises `FileNotFoundError`."""
    return (_PAGES / f"{topic}.md").read_text(encoding="utf-8")


def about(topic: str) -> str:
    """What a page answers: its first sentence.

    >>> about("settings")
    'Every setting, its default and its meaning.'
    """
    first = page(topic).split("\n\n")[1]
    return _inline(re.split(r"(?<=\.) ", first)[0])


def rendered(text: str, width: int) -> str:
    r"""A page for a terminal that is `width` characters wide.

    >>> print(rendered("# Disk\n\nSee [files](files.md).\n\n| a | b |\n|---|---|\n| `c` | do d |\n", 40), end="")
    DISK
    <BLANKLINE>
    See files (help files).
    <BLANKLINE>
    `c`
        do d
    """
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    blocks = (block for part in _parts(text) for block in part)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(_lines(blocks, width))).strip() + "\n"


def _parts(text: str) -> Iterator[list[tuple[str, list[str]]]]:
    """Prose and fenced code in turns, as blocks of (kind, lines)."""
    for number, part in enumerate(re.split(r"^```.*\n?", text, flags=re.MULTILINE)):
        if number % 2:
            yield [("code", part.rstrip("\n").split("\n"))]
        else:
            yield [(kind, list(lines)) for kind, lines in groupby(part.split("\n"), key=_kind)]


def _kind(line: str) -> str:
    if line.startswith("#"):
        return "heading"
    return "table" if line.startswith("|") else "prose"


def _lines(blocks: Iterator[tuple[str, list[str]]], width: int) -> Iterator[str]:
    for kind, lines in blocks:
        if kind == "code":
            yield from ("", *((_INDENT + line).rstrip() for line in lines), "")
        elif kind == "heading":
            yield from (_inline(line.lstrip("# ")).upper() for line in lines)
        elif kind == "table":
            yield from _table(lines, width)
        else:
            yield from _prose(lines, width)


def _prose(lines: list[str], width: int) -> Iterator[str]:
    for line in lines:
        item = _ITEM.match(line)
        mark, text = (item[1], item[2]) if item else ("", line)
        yield from _wrapped(_inline(text), width, mark, " " * len(mark)) or [""]


def _table(lines: list[str], width: int) -> Iterator[str]:
    """Each row as a paragraph: a table does not fit a terminal. Its main column needs no label."""
    heads, _, *rows = (_cells(line) for line in lines)
    main = max(range(1, len(heads)), key=lambda column: sum(len(row[column]) for row in rows))
    for first, *rest in rows:
        for line in first.split("\n"):
            yield from _wrapped(line, width, "", "  ")
        for column, cell in enumerate(rest, 1):
            label = "" if column == main or not heads[column] else f"{heads[column]}: "
            if cell:
                yield from _wrapped(label + cell, width, _INDENT, _INDENT)
        yield ""


def _wrapped(text: str, width: int, first: str, others: str) -> list[str]:
    """Lines of at most `width` characters, if no word is longer."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line.strip()[1:-1])
    return [_inline(cell.strip().replace("\\|", "|")).replace("<br>", "\n") for cell in cells]


def _inline(text: str) -> str:
    """Without Markdown's marks for links and emphasis; code keeps its backticks, which set it apart."""
    return _LINK.sub(_target, text).replace("**", "")


def _target(link: re.Match[str]) -> str:
    text, target = link.groups()
    if found := re.fullmatch(r"([\w-]+)\.md(#.*)?", target):
        return f"{text} (help {found[1]})"
    return f"{text} ({target})" if "://" in target else text
