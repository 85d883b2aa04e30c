"""The table of sessions whose chunks go into a crash journal, too, and the hot path that does both in one step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from streaming_logger._context import Context
from streaming_logger._disk.journal_format import marker_record, record_of, turn_end_record
from streaming_logger._memory.journal import Journal, JournaledSession, turn_of
from streaming_logger._memory.session import Item, Session, encode, marker
from streaming_logger._memory.table import LONG_CHUNK, MIN_SEAL_AT, SessionTable

__all__ = ["JournaledTable", "Write"]

Write = Callable[[str | None, str | None], None]


class JournaledTable(SessionTable):
    """A session's list and its records in the journal are in step at every point where other code can run."""

    def __init__(self, context: Context, on_high_water: Callable[[], None]) -> None:
        super().__init__(context, on_high_water)
        self.journal = Journal(context, on_high_water)
        self._turns = count(1)

    def begin(self, session_id: str, waited: float = 0.0) -> None:
        session = JournaledSession(session_id, self._clock.monotonic(), MIN_SEAL_AT)
        session.begun -= waited
        session.turn = next(self._turns)
        self.live.setdefault(session_id, session)

    def remove(self, session: Session) -> None:
        journal, record = self.journal, (turn_end_record(session.id, turn_of(session)),)
        with self._guard:
            try:
                if self.live[session.id] is session:
                    # One step, as in `append`: a record behind this one is a later turn's.
                    del self.live[session.id]
                    journal.write(*record)
            except KeyError:
                pass
            except ValueError:
                journal.seal(0, 2)
                journal.missed(record[0])

    def append(self, session_id: str, chunk: str) -> Session:
        journal = self.journal
        journal.start()
        added = (chunk,)
        try:
            record: tuple[bytes, ...] = (record_of(session_id, encode(chunk)),)
        except MemoryError:
            record = ()
        while True:
            with self._guard:
                try:
                    session = self.live[session_id]
                    session += added
                    if not record:
                        raise ValueError("no memory for a record")
                    journal.write(*record)
                    return session
                except KeyError:  # new, or ended in this very moment
                    pass
                except ValueError:
                    journal.seal(0, 2)
                    journal.missed(marker_record(session_id))
                    return session
            self.begin(session_id)

    def writer(self, slowly: Write, seal: Callable[[Session], None]) -> Write:
        """`StreamingLogger.write` for this table; `slowly` takes what is not the everyday case."""
        live, journal = self.live, self.journal
        is_mine = journal.is_mine

        def write(session_id: str | None, chunk: str | None) -> None:
            if (
                type(chunk) is str
                and type(session_id) is str
                and chunk
                and is_mine[0]
                and "\0" not in chunk
                and "\0" not in session_id
            ):
                try:
                    # As `record_of` makes it. Two tuples: a call that has to make one may collect garbage first.
                    record, added = (f"{session_id}\0{chunk}\0".encode(),), (chunk,)
                    # From the lookup to the end of the call no other code can run (see `_memory.table`).
                    session = live[session_id]
                    session += added
                    journal.write(*record)
                except (KeyError, UnicodeEncodeError, MemoryError):
                    return slowly(session_id, chunk)
                except ValueError:
                    journal.seal(0, 2)
                    journal.missed(marker_record(session_id))
                if len(chunk) >= LONG_CHUNK:
                    session.seal_at -= len(chunk) // LONG_CHUNK
                if len(session) < session.seal_at:
                    return None
                return seal(session)
            return slowly(session_id, chunk)

        return write

    def seal(self, session: Session) -> None:
        super().seal(session)
        self.journal.check_room()

    def behind(self, session: Session, start: int) -> tuple[int, int]:
        """(place in the records, bytes of the session's items from `start` on, at that place)."""
        with self._guard:
            items = session[start:]
            place = self.journal.place()
        return place, sum(map(_size, items)) if items else 0

    def sessions(self, unfinished: list[Session]) -> list[Session]:
        """All in memory. In this order: a turn is queued before it leaves `live`."""
        live = list(self.live.copy().values())
        ended = [completion.session for completion in self.end_queue.copy() if completion.session is not None]
        return [*live, *ended, *unfinished]

    def discard(self, session: Session, reason: str) -> None:
        self.journal.keep()
        super().discard(session, reason)


def _size(item: Item) -> int:
    if isinstance(item, str):
        return len(item) if item.isascii() else len(encode(item))
    return len(marker(item)) if isinstance(item, int) else len(item)
