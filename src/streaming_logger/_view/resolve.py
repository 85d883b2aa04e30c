r"""Which session is meant: by its id, as it is or as it is printed, by the name of its file, or by how these begin.

An id is printed with what no terminal should get escaped, so `a\x1b` may mean the id with these six characters, or the
one with an escape character. The first goes before the second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

from streaming_logger._base.escape import one_line
from streaming_logger._disk.names import SUFFIX, file_name_of, session_id_of

__all__ = ["UsageError", "begins", "ids_meant", "resolve", "stems_meant"]

T = TypeVar("T")

#: So many sessions are named when several are meant.
_SHOWN = 20
#: What `one_line` makes of a character.
_TORN = re.compile(r"\\(?:x[0-9a-f]?|u[0-9a-f]{0,3}|U[0-9a-f]{0,7})?\Z")
_ESCAPED = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt])")


class UsageError(Exception):
    """What was asked for cannot be done; the text says what can."""


def resolve(candidates: Sequence[tuple[tuple[str, ...], T]], wanted: str) -> T | None:
    """The candidate one of whose names is `wanted`, or whose first name, its id, alone begins with it.

    Raises `UsageError` when several match.
    """
    if not wanted:  # an unset variable of a script, and every id begins with it
        raise UsageError("the ID is empty")
    found = (
        [(names, value) for names, value in candidates if wanted in names]
        or [(names, value) for names, value in candidates if wanted in _printed(names[0])]
        or [(names, value) for names, value in candidates if names[0].startswith(wanted)]
        or [(names, value) for names, value in candidates if begins(names[0], (wanted,))]
    )
    if len(found) > 1:
        shown = [one_line(names[0]) for names, _ in found[-_SHOWN:]]
        more = f"\n  ... and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UsageError(f"{one_line(wanted)} begins the ids of {len(found)} sessions:\n  " + "\n  ".join(shown) + more)
    return found[0][1] if found else None


def begins(id_: str, prefixes: tuple[str, ...]) -> bool:
    """Whether an id begins so, as it is or as it is printed."""
    return id_.startswith(prefixes) or any(name.startswith(prefixes) for name in _printed(id_))


def ids_meant(wanted: str) -> list[str]:
    r"""The ids that an argument may mean where they cannot be listed: the likeliest first.

    >>> ids_meant(r"a\x1bb"), ids_meant("a%20b.log"), ids_meant("a.log")
    (['a\\x1bb', 'a\x1bb'], ['a b', 'a%20b.log'], ['a.log', 'a'])
    """
    stem = wanted.removesuffix(SUFFIX)
    by_name = session_id_of(stem + SUFFIX)  # the name of its file, as another listing may have it
    names = [] if by_name is None else [by_name]
    ids = [*names, wanted] if by_name not in (None, stem) else [wanted, *names]
    with suppress(UnicodeDecodeError):  # beyond the last code point
        ids.append(_ESCAPED.sub(lambda found: found[0].encode().decode("unicode_escape"), wanted))
    return list(dict.fromkeys(ids))


def stems_meant(wanted: str) -> list[str]:
    r"""How the names of files may begin whose ids begin so, where they can be listed by that.

    `con` is the name of a device, so its file has another name; that of `conversation` begins as it does.

    >>> stems_meant("con"), stems_meant(r"a\x1")
    (['%63on', 'con'], ['a%5Cx1', 'a'])
    """
    stems = []
    for id_ in filter(None, (*ids_meant(wanted), *ids_meant(_TORN.sub("", wanted)))):
        stems += [file_name_of(id_), file_name_of(id_ + "_").removesuffix("_" + SUFFIX)]
    return list(dict.fromkeys(stem.removesuffix(SUFFIX) for stem in stems))


def _printed(id_: str) -> tuple[str, str, str]:
    r"""An id as it is printed, and as the name of its file.

    >>> print(*_printed("a b\n"))
    a b\n a%20b%0A a%20b%0A.log
    """
    name = file_name_of(id_)
    return one_line(id_), name.removesuffix(SUFFIX), name
