"""Settings of ours that stand where nothing reads them: outside of the section, or in one with nearly its name. Pure.

A configuration file is shared. Other libraries have sections and keys in it, some by the names of our settings:
a key that is one common word, as `enabled`, does not stop a server.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

__all__ = ["loose_settings", "similar_sections"]

#: `streaming_logger` and `stream_logs` are that similar to `streaming_logs`; `streaming` and `log_stream` are not.
_SIMILAR = 0.85
_SIMILAR_SETTING = 0.9


def loose_settings(document: Mapping[Any, Any], settings: Collection[str]) -> dict[Any, Any]:
    """The settings at the top level of a document that has no section of ours; the keys are those of `settings`.

    A name with an underscore is evidence enough. A common word, or a name that is nearly a setting's, counts only
    beside such a name, or where the document has nothing else.

    >>> known = ("enabled", "file_retention_minutes")
    >>> loose_settings({"version": 1, "file_retention_minutes": 30}, known)
    {'file_retention_minutes': 30}
    >>> loose_settings({"version": 1, "enabled": False}, known), loose_settings({"enabled": False}, known)
    ({}, {'enabled': False})
    """
    ours = {key: value for key, value in document.items() if str(key).lower() in settings}
    similar = {}
    if len(document) <= len(settings):  # a longer one is somebody else's, and would take long
        similar = {key: value for key, value in document.items() if key not in ours and _is_similar(str(key), settings)}
    if any(map(_is_distinctive, map(str, ours))) or len(ours) + len(similar) == len(document):
        return ours | similar
    return {}


def similar_sections(document: Mapping[Any, Any], section: str, settings: Iterable[str]) -> dict[Any, Any]:
    """The sections that were probably meant to be ours, in a document that has none by its name.

    >>> found = similar_sections({"streaming_log": {}, "streaming": {}, "log_stream": "stderr"}, "streaming_logs", ())
    >>> list(found)
    ['streaming_log']
    """
    distinctive = set(filter(_is_distinctive, settings))

    def is_meant(name: str, value: object) -> bool:
        letters = _letters(name)
        if _are_similar(letters, _letters(section), _SIMILAR):
            return True
        if not isinstance(value, Mapping) or "stream" not in letters:
            return False
        return re.search("stream.*log", letters) is not None or not distinctive.isdisjoint(map(str, value))

    return {key: value for key, value in document.items() if is_meant(str(key), value)}


def _is_distinctive(key: str) -> bool:
    """Whether hardly anybody else has a key by this name."""
    return "_" in key and not key.startswith("archive.")


def _is_similar(key: str, settings: Iterable[str]) -> bool:
    return any(_are_similar(key.lower(), name, _SIMILAR_SETTING) for name in filter(_is_distinctive, settings))


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _are_similar(one: str, other: str, least: float) -> bool:
    from difflib import SequenceMatcher  # only for a configuration without the section

    matcher = SequenceMatcher(None, one, other)
    return matcher.real_quick_ratio() >= least and matcher.ratio() >= least  # the first compares lengths alone
