"""Where a session stands in the archive: object keys. Pure.

The date and host come first, so that a query reads only the partitions that it names; an empty object under `index/`
leads from a session to its dates and hosts, so that finding one takes one request and not a listing of all.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from streaming_logger._disk.names import SUFFIX, file_name_of, session_id_of

__all__ = ["COMPRESSIONS", "INDEX", "Place", "host_name_of", "is_date", "is_host_name"]

#: The folder of the objects by which sessions are found.
INDEX = "index"
#: How a text may be stored.
COMPRESSIONS = ("gzip", "none")
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Place(NamedTuple):
    """One session on one host, begun on one day (UTC).

    >>> Place("2026-11-25", "web-1", "sess_1").text_key()
    'date=2026-11-25/host=web-1/sess_1.log.gz'
    """

    date: str
    host: str
    name: str
    """The name of its file, without `.log`."""

    @property
    def file(self) -> str:
        """The name of its file."""
        return self.name + SUFFIX

    @property
    def folder(self) -> str:
        return f"date={self.date}/host={self.host}"

    def text_key(self, compress: str = "gzip") -> str:
        """The session's text."""
        return f"{self.folder}/{self.name}{SUFFIX}{_suffix(compress)}"

    def timing_key(self, compress: str = "gzip") -> str:
        """Its timing file."""
        return f"{self.folder}/{self.name}.timing{_suffix(compress)}"

    @property
    def record_key(self) -> str:
        """What is known of it, as JSON."""
        return f"{self.folder}/{self.name}.json"

    @property
    def index_key(self) -> str:
        """The empty object that leads here.

        >>> Place("2026-11-25", "web-1", "sess_1").index_key
        'index/sess_1/2026-11-25/web-1'
        """
        return f"{INDEX}/{self.name}/{self.date}/{self.host}"

    @classmethod
    def of_index(cls, key: str) -> Place | None:
        """The place to which an index key leads; None for a key that no logger makes.

        >>> Place.of_index("index/sess_1/2026-11-25/web-1")
        Place(date='2026-11-25', host='web-1', name='sess_1')
        >>> Place.of_index("index/../2026-11-25/web-1") is None
        True
        """
        folder, *parts = key.split("/")
        if folder != INDEX or len(parts) != 3:
            return None
        name, date, host = parts
        return cls(date, host, name)._checked()

    @classmethod
    def of_record(cls, key: str) -> Place | None:
        """The place of a record's key; None for any other key.

        >>> Place.of_record("date=2026-11-25/host=web-1/sess_1.json")
        Place(date='2026-11-25', host='web-1', name='sess_1')
        """
        date, _, rest = key.partition("/")
        host, _, name = rest.partition("/")
        if not (date.startswith("date=") and host.startswith("host=") and name.endswith(".json")) or "/" in name:
            return None
        place = cls(date.removeprefix("date="), host.removeprefix("host="), name.removesuffix(".json"))
        return place._checked()

    def _checked(self) -> Place | None:
        """None for a place that no logger makes: anyone who can write to the bucket names its objects."""
        is_place = is_date(self.date) and is_host_name(self.host) and session_id_of(self.file) is not None
        return self if is_place else None


def host_name_of(host: str) -> str:
    """A host's name as a part of keys; encoded as names of session files are.

    >>> host_name_of("web-1.example.com"), host_name_of("a/b")
    ('web-1.example.com', 'a%2Fb')
    """
    return file_name_of(host).removesuffix(SUFFIX)


def is_host_name(name: str) -> bool:
    """Whether `host_name_of` can have made it."""
    return session_id_of(name + SUFFIX) is not None


def is_date(text: str) -> bool:
    """Whether a text has the form of a day in a key.

    >>> is_date("2026-11-25"), is_date("latest")
    (True, False)
    """
    return _DATE.fullmatch(text) is not None


def _suffix(compress: str) -> str:
    return ".gz" if compress == "gzip" else ""
