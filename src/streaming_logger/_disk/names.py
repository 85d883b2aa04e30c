"""Session id <-> file name. Pure: no file is touched here.

A plain id is its own file name. Anything else is percent-encoded byte by byte, so
that every id has one name, distinct, inside the directory, on every file system;
an over-long one is cut, and made unique by a hash.
"""

from __future__ import annotations

import re

__all__ = ["SUFFIX", "file_name_of", "session_id_of"]

SUFFIX = ".log"
MAX_STEM = 200
_HASH_DIGITS = 32
_MAX_PREFIX = MAX_STEM - _HASH_DIGITS - 1

# Windows opens a device for `CON.log` too, whatever follows the first dot.
_DEVICE = r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)"
_PLAIN = re.compile(rf"(?!{_DEVICE})[A-Za-z0-9_][A-Za-z0-9._-]{{0,{MAX_STEM - 1}}}")
_IS_DEVICE = re.compile(_DEVICE)
_ESCAPE = re.compile(rb"%([0-9A-F]{2})")
_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")
_CUT = re.compile(rf"[A-Za-z0-9._%-]{{{_MAX_PREFIX - 2},{_MAX_PREFIX}}}~[0-9a-f]{{{_HASH_DIGITS}}}")


def file_name_of(session_id: str) -> str:
    """The name of a session's file.

    >>> file_name_of("sess_abc123"), file_name_of("../x"), file_name_of("CON")
    ('sess_abc123.log', '%2E.%2Fx.log', '%43ON.log')
    """
    if _PLAIN.fullmatch(session_id):
        return session_id + SUFFIX
    raw = session_id.encode("utf-8", "surrogatepass")
    stem = _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], raw).decode("ascii")
    if stem[:1] in (".", "-") or _IS_DEVICE.match(stem):
        stem = f"%{ord(stem[0]):02X}{stem[1:]}"
    if len(stem) > MAX_STEM:
        prefix = stem[:_MAX_PREFIX]
        half_escape = prefix.rfind("%", _MAX_PREFIX - 2)
        if half_escape >= 0:
            prefix = prefix[:half_escape]
        import hashlib  # rarely needed, and half as long to import as all the rest

        stem = f"{prefix}~{hashlib.sha256(raw).hexdigest()[:_HASH_DIGITS]}"
    return stem + SUFFIX


def session_id_of(file_name: str) -> str | None:
    """The id whose file this is, or None for a name that `file_name` cannot have made.

    The id of an over-long session cannot be had back; what is returned then is the
    file name's stem (`prefix~hash`), which no id shares.

    >>> session_id_of("%2E.%2Fx.log"), session_id_of("x.log.bak"), session_id_of("%41.log")
    ('../x', None, None)
    """
    stem = file_name.removesuffix(SUFFIX)
    if stem == file_name:
        return None
    if _PLAIN.fullmatch(stem) or _CUT.fullmatch(stem):
        return stem
    try:
        raw = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), stem.encode())
        decoded = raw.decode("utf-8", "surrogatepass")
        return decoded if decoded and file_name_of(decoded) == file_name else None
    except UnicodeError:
        return None
