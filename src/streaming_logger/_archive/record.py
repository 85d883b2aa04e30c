"""What the archive says of one session: a JSON object of one line beside its text. Pure."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

__all__ = ["Record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One session, as it was uploaded. Times are ISO 8601, in UTC."""

    session: str
    file: str
    host: str
    outcome: str
    bytes: int
    characters: int
    start: str
    end: str
    """When its file was last written to."""
    loop: str | None
    """The kind of the last loop that the radar found in it."""
    sha256: str
    """Of the text, not compressed."""
    key: str
    """Of the text's object."""
    timing_key: str | None
    stored_bytes: int
    """Size of the text's object."""
    events: Sequence[Mapping[str, Any]] = ()
    """The session's lines of the ledger."""

    def to_json(self) -> builtins.bytes:
        return json.dumps(asdict(self), default=str).encode() + b"\n"

    @classmethod
    def from_json(cls, data: builtins.bytes) -> Record:
        """Raises `ValueError` for what is no record; fields of later versions are left out."""
        given = json.loads(data)
        if not isinstance(given, dict):
            raise ValueError("a record must be a JSON object")
        try:
            return cls(**{field.name: given[field.name] for field in fields(cls)})
        except KeyError as missing:
            raise ValueError(f"a record must have {missing}") from missing

    def attributes(self) -> dict[str, str]:
        """What is stored with the text's object as its metadata, where the store has that."""
        found = {name: getattr(self, name) for name in ("outcome", "bytes", "characters", "start", "end", "loop")}
        # Metadata are HTTP headers: ASCII, on one line.
        return {name: str(value).encode("ascii", "backslashreplace").decode() for name, value in found.items() if value}

    def with_stored(self, stored_bytes: int, timing_key: str | None) -> Record:
        """The same, once the session's objects are there."""
        return replace(self, stored_bytes=stored_bytes, timing_key=timing_key)
