"""What the worker notes in the log for whoever recovers it: each append before and after, and turns that are over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streaming_logger._wal.log import Log
from streaming_logger._wal.record import (
    About,
    Claim,
    End,
    Kind,
    claims_record,
    end_text,
    ids_record,
    note_record,
    special_record,
)

__all__ = ["Notes"]

#: Text of one session that is noted again when the log is about to forget it; more is lost in a crash.
_AGAIN_BYTES = 1 << 16


class Notes:
    """In a log that does not outlive the process nothing is noted."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._time = 0.0 if log.fields == 3 else None

    @property
    def is_kept(self) -> bool:
        """Whether anybody will ever read them."""
        return self._log.storage.is_shared

    def claims(self, claims: Sequence[Claim]) -> None:
        """These appends are about to be tried."""
        self._note(claims_record(claims, self._time))

    def done(self) -> None:
        """All that was claimed is in the files."""
        self._note(special_record(Kind.DONE, b"", b"", self._time))

    def closed(self, numbers: Iterable[int]) -> None:
        """The ends with these numbers are carried out."""
        self._note(ids_record(Kind.CLOSED, [b"%d" % number for number in numbers], self._time))

    def live(self, keys: Iterable[bytes], place: int) -> None:
        """These sessions are active at this place of the log."""
        self._note(ids_record(Kind.LIVE, keys, self._time, b"%d" % place))

    def lost(self, about: About) -> None:
        """The unwritten text of a turn is not in the log any more."""
        self._note(note_record(Kind.LOST, about, b"", self._time))

    def again(self, about: About, end: End | None, text: bytes) -> None:
        """What is left of a turn, before the log forgets it."""
        if end is not None:
            self._note(note_record(Kind.ENDED, about, end_text(end), self._time))
        if len(text) <= _AGAIN_BYTES:
            self._note(note_record(Kind.AGAIN, about, text, self._time))
        else:
            self.lost(about)

    def _note(self, record: bytes) -> None:
        if not self.is_kept:
            return
        try:
            self._log.append(record)
        except ValueError:
            if not self._log.add_note(record):
                self._log.storage.give_up()
