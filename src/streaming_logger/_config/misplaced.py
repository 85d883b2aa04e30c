"""Settings of ours that stand where nothing reads them: outside of the section, or in one with nearly its name. Pure.

A configuration file is shared. Other libraries have sections and keys in it, some by the names of our settings:
a key that is one common word, as `enabled`, does not stop a server.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from streaming_logger._base.errors import Problem

__all__ = ["misplaced"]

#: `streaming_logger` and `stream_logs` are that similar to `streaming_logs`; `streaming` and `log_stream` are not.
_SIMILAR = 0.85
_SIMILAR_SETTING = 0.9


def misplaced(
    document: Mapping[Any, Any], section: str, settings: Collection[str]
) -> tuple[list[Problem], dict[str, Any]]:
    """What was probably meant for our section, in a document that has none: the problems, and the settings there.

    >>> problems, settings = misplaced({"version": 1, "stall_seconds": 9}, "streaming_logs", {"stall_seconds"})
    >>> print(*problems), settings
    stall_seconds: belongs in section streaming_logs, got 9
    (None, {'stall_seconds': 9})
    """
    problems, found = [], {}
    for key, value in document.items():
        if _is_section(str(key), value, section, settings):
            problems.append(Problem(str(key), "is not the name of the section", value, f"did you mean {section!r}?"))
            if isinstance(value, Mapping):
                found.update({str(inner): of for inner, of in value.items()})
    loose = _loose(document, settings)
    problems += [Problem(key, f"belongs in section {section}", value) for key, value in loose.items()]
    return problems, found | loose


def _is_section(name: str, value: object, section: str, settings: Iterable[str]) -> bool:
    """Whether a section's name was probably meant to be `section`."""
    letters = _letters(name)
    if _are_similar(letters, _letters(section), _SIMILAR):
        return True
    if not isinstance(value, Mapping) or "stream" not in letters:
        return False
    ours = set(filter(_is_distinctive, settings))
    return re.search("stream.*log", letters) is not None or not ours.isdisjoint(map(str, value))


def _loose(document: Mapping[Any, Any], settings: Collection[str]) -> dict[str, Any]:
    """The settings at the top level.

    A name with an underscore is evidence enough. A common word, or a name that is nearly a setting's, counts only
    beside such a name, or where the document has nothing else.
    """
    flat: dict[str, Any] = {}
    sections = {name.partition(".")[0] for name in settings if "." in name}
    for key, value in document.items():
        if key in sections and isinstance(value, Mapping):
            flat.update({f"{key}.{name}": of for name, of in value.items()})
        else:
            flat[str(key)] = value
    ours = {key: value for key, value in flat.items() if key.lower() in settings}
    similar = {}
    if len(flat) <= len(settings):  # a longer one is somebody else's, and would take long
        similar = {key: value for key, value in flat.items() if key not in ours and _is_similar(key, settings)}
    if any(map(_is_distinctive, ours)) or len(ours) + len(similar) == len(flat):
        return ours | similar
    return {}


def _is_distinctive(key: str) -> bool:
    """Whether hardly anybody else has a key by this name."""
    return "_" in key and not key.startswith("archive.")


def _is_similar(key: str, settings: Iterable[str]) -> bool:
    return any(_are_similar(key.lower(), name, _SIMILAR_SETTING) for name in filter(_is_distinctive, settings))


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _are_similar(one: str, other: str, least: float) -> bool:
    if 2 * min(len(one), len(other)) < least * (len(one) + len(other)):
        return False  # by their lengths alone
    from difflib import SequenceMatcher  # only for a configuration without the section

    return SequenceMatcher(None, one, other).ratio() >= least
