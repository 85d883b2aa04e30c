"""How a setting is declared, and how a value is checked: kinds of settings, their rules, hints at what was meant."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from streaming_logger._base.errors import Problem, without_secrets

__all__ = [
    "ARCHIVE_SCHEMES",
    "auto",
    "check",
    "choice",
    "did_you_mean",
    "from_text",
    "is_url",
    "number",
    "switch",
    "text",
    "url",
]

#: Where an archive can be: S3, GCS, Azure, a directory.
ARCHIVE_SCHEMES = ("s3", "gs", "az", "file")
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._$-]*")

_NUMBER, _SWITCH, _AUTO, _TEXT, _CHOICE, _URL = "number", "switch", "auto or switch", "text", "choice", "url"


def number(default: float | None, low: float, high: float, doc: str, *, null: str = "", whole: bool = False) -> Any:
    """A setting that is a number from low to high; `null` says what null means, where it is allowed."""
    return _setting(_NUMBER, default, doc, low=low, high=high, null=null, whole=whole)


def switch(default: bool, doc: str) -> Any:
    return _setting(_SWITCH, default, doc)


def auto(default: object, doc: str) -> Any:
    """True, false or "auto"."""
    return _setting(_AUTO, default, doc)


def text(default: str | None, doc: str, *, null: str = "") -> Any:
    return _setting(_TEXT, default, doc, null=null)


def choice(doc: str, *choices: str) -> Any:
    """The first one is the default."""
    return _setting(_CHOICE, choices[0], doc, choices=choices)


def url(doc: str, *schemes: str, null: str) -> Any:
    """A URL with one of these schemes; null is the default."""
    return _setting(_URL, None, doc, choices=schemes, null=null)


def _setting(kind: str, default: object, doc: str, **rules: object) -> Any:
    return field(default=default, metadata={"kind": kind, "doc": doc, **rules})


def check(rules: Mapping[str, Any], label: str, value: object) -> Problem | None:
    """What is wrong with the value of a setting with these rules, if anything."""
    kind, null = rules["kind"], rules.get("null")
    if kind == _SWITCH:
        good, rule = isinstance(value, bool), "must be true or false"
    elif kind == _AUTO:
        good, rule = isinstance(value, bool) or value == "auto", "must be true, false or auto"
    elif kind == _CHOICE:
        good, rule = value in rules["choices"], "must be one of " + ", ".join(rules["choices"])
        if not good:
            return Problem(label, rule, value, did_you_mean(str(value), rules["choices"]))
    elif kind == _TEXT:
        good = isinstance(value, str) and bool(value.strip()) and "\0" not in value
        rule = "must be a non-empty text" if null else "must be a non-empty path"
    elif kind == _URL:
        good = isinstance(value, str) and is_url(value, rules["choices"])
        rule = "must be a URL: " + ", ".join(f"{scheme}://..." for scheme in rules["choices"])
        if not good and without_secrets(label, value) is not value:
            return Problem(label, "must not have credentials or a query: credentials come from the environment", value)
    else:
        low, high = rules["low"], rules["high"]
        rule = f"must be a {'whole ' if rules['whole'] else ''}number from {low:g} to {high:g}"
        good = isinstance(value, int if rules["whole"] else (int, float)) and not isinstance(value, bool)
        good = good and low <= value <= high  # never for NaN and infinities
    if null:
        good, rule = good or value is None, rule + " or null"
    return None if good else Problem(label, rule, value)


def is_url(value: str, schemes: Iterable[str] = ARCHIVE_SCHEMES) -> bool:
    """Whether it is the URL of a bucket or folder, and nothing else: no user, password, port, query or fragment.

    >>> is_url("s3://chat-logs/prod"), is_url("s3://key:secret@chat-logs"), is_url("s3://chat-logs?region=x")
    (True, False, False)
    """
    from urllib.parse import urlsplit  # only for who has set one

    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    if parts.scheme not in schemes or set("?#") & set(value) or not value.isprintable():
        return False
    # A file is on this machine: file:///path; else the bucket stands where a host does.
    if parts.scheme == "file":
        return parts.netloc in ("", "localhost") and parts.path.startswith("/")
    return _BUCKET.fullmatch(parts.netloc) is not None


def from_text(rules: Mapping[str, Any], given: str) -> object:
    """The value that a text in the environment stands for."""
    if rules["kind"] in (_TEXT, _URL, _CHOICE):
        return None if rules.get("null") and given.strip().lower() == "null" else given
    try:
        return json.loads(given.strip().lower())
    except (ValueError, RecursionError):
        return given


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A hint at the name that was probably meant, or nothing."""
    import difflib  # only for who made a mistake

    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(given.lower(), by_lower, 1)
    return f"did you mean {by_lower[close[0]]!r}?" if close else ""
