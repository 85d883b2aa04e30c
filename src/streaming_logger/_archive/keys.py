"""Where a session stands in the archive: object keys. Pure.

The date and host come first, so that a query reads only the partitions that it names; an empty object under `index/`
leads from a session to its dates and hosts, so that finding one takes one request and not a listing of all.
"""

from __future__ import annotations

from typing import NamedTuple

from streaming_logger._disk.names import SUFFIX, file_name_of

__all__ = ["INDEX", "Place", "host_name_of"]

#: The folder of the objects by which sessions are found.
INDEX = "index"


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
        """The place to which an index key leads.

        >>> Place.of_index("index/sess_1/2026-11-25/web-1")
        Place(date='2026-11-25', host='web-1', name='sess_1')
        """
        folder, *parts = key.split("/")
        if folder != INDEX or len(parts) != 3:
            return None
        name, date, host = parts
        return cls(date, host, name)

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
        return cls(date.removeprefix("date="), host.removeprefix("host="), name.removesuffix(".json"))


def host_name_of(host: str) -> str:
    """A host's name as a part of keys; encoded as names of session files are.

    >>> host_name_of("web-1.example.com"), host_name_of("a/b")
    ('web-1.example.com', 'a%2Fb')
    """
    return file_name_of(host).removesuffix(SUFFIX)


def _suffix(compress: str) -> str:
    return ".gz" if compress == "gzip" else ""
