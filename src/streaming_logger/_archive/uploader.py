"""One pass over the directory: uploads each completed file that is not in the archive yet.

The directory is the queue: a file's mark says up to which state of it all is done. A file is claimed only for
microseconds, before its upload: a new turn's writer must never wait for the store. What was written meanwhile is
found by the second look, and uploaded in the next pass.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from streaming_logger._archive.body import Digest, put_file
from streaming_logger._archive.bucket import ArchiveError, Bucket
from streaming_logger._archive.history import History, last_end, last_loop
from streaming_logger._archive.keys import Place, host_name_of, is_date, is_host_name
from streaming_logger._archive.record import Record
from streaming_logger._archive.turns import UploadTurns
from streaming_logger._base.errors import reason_of
from streaming_logger._base.outcomes import ORPHANED, has_failed
from streaming_logger._base.sync import OneShotEvent, allocate_lock
from streaming_logger._context import Context
from streaming_logger._disk.archived import Mark
from streaming_logger._disk.entries import Entry
from streaming_logger._disk.names import SUFFIX, session_id_of
from streaming_logger._disk.owner import Owners
from streaming_logger._disk.statx import lstat
from streaming_logger._disk.store import BusyError, Claim, ClaimedError, DeleteResult, ForeignFileError
from streaming_logger._disk.timing import timing_name_of
from streaming_logger._disk.turns import Turn
from streaming_logger._events.ledger import session_of
from streaming_logger._events.model import Event, SessionArchived, SessionDeleted
from streaming_logger._sweep.rules import Facts, Rules

__all__ = ["Uploader"]

#: Files examined, and uploaded, before the next ones are looked at.
_BATCH = 256
#: Marks without a file, and files without the mark that they had, are looked for in every so many passes.
_TIDY_EVERY = 100
#: A claim of another process is over after microseconds; a stuck one leaves the file to the sweep.
_CLAIM_TRIES, _CLAIM_SECONDS = 5, 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class _Completed:
    """A completed session's file, as it was while it was claimed."""

    name: str
    session: str
    fd: int
    found: os.stat_result
    mark: Mark | None
    """Of an older state."""
    outcome: str
    history: list[Event]
    """What the ledger has of it."""


class _OvertakenError(BusyError):
    """This process was stuck over an upload, and the file has changed in the meantime."""


class Uploader:
    """The passes over one directory. A process runs one at a time: see `Archiver`."""

    def __init__(self, context: Context, bucket: Bucket, drain_until: Callable[[], float | None]) -> None:
        """`drain_until` is the monotonic time after which no upload begins; None while there is no hurry."""
        self._context = context
        self._drain_until = drain_until
        # Held by the uploader's threads over what they do with the directory, never over a request.
        self._lock = allocate_lock()
        self._store = context.store
        self._turns = UploadTurns(context)
        self._bucket = bucket
        self._history = History(context.store.directory)
        self._host = socket.gethostname()
        self._passes = 0
        self._done: dict[str, tuple[float, int]] = {}
        """Names of files that need nothing, by (mtime, size): their marks are not read again."""
        self._deferred: set[str] = set()
        """Files of which no end is known: it may be on its way to the ledger."""
        self.uploaded = 0
        """Sessions, in this pass."""
        self._refusals: list[ArchiveError] = []
        self._faults = context.events.rounds()

    @property
    def has_deferred(self) -> bool:
        """Whether the last pass left files to the next one because their end was not known."""
        return bool(self._deferred)

    @property
    def has_left(self) -> bool:
        """Whether the last pass left files to other processes that were uploading them."""
        return bool(self._turns.left)

    def abandon(self) -> None:
        """There are no more passes: what kept single files from being uploaded matters no more."""
        self._faults.abandon()
        self._turns.abandon()

    def run(self) -> None:
        """One pass. Raises `ArchiveError` when the store refused something, or the directory's `OSError`."""
        self.uploaded = 0
        self._turns.left.clear()
        self._refusals.clear()
        self._store.directory.open()
        self._history.refresh()
        is_tidying = self._passes % _TIDY_EVERY == 0
        done, self._done = {} if is_tidying else self._done, {}
        # Before the scan: another process may mark what it has uploaded meanwhile.
        marked = self._store.marks.names() if is_tidying else set()
        rules, seen = self._rules, set[str]()
        with (
            contextlib.closing(Owners(self._store.directory)) as owners,
            contextlib.closing(self._store.scan(_BATCH, self._failed)) as slices,
        ):
            for part in slices:
                seen.update(entry.name for entry in part)
                due = [entry for entry in part if not self._is_done(entry, done) and self._is_due(entry, rules)]
                self._upload_all(due, owners)
                if self._is_over():
                    return
        self._faults.end()
        if is_tidying:
            for name in marked - seen:
                self._store.marks.remove(name)
            self._turns.remove_dead(seen)
        self._deferred &= seen
        self._turns.end_pass(seen)
        self._passes += 1
        if self._refusals:
            raise self._refusals[0]

    def _is_done(self, entry: Entry, done: dict[str, tuple[float, int]]) -> bool:
        state = (entry.mtime, entry.size)
        if done.get(entry.name) != state:
            return False
        self._done[entry.name] = state
        return True

    def _is_due(self, entry: Entry, rules: Rules) -> bool:
        if session_id_of(entry.name) is None:
            return False
        age = self._context.clock.wall() - entry.mtime
        # The radar may look at the last text after the session's end.
        is_settled = age >= self._context.timeouts.upload_pause or self._drain_until() is not None
        return rules.uploads(Facts(age=age)) and (is_settled or rules.uploads_expired)

    @property
    def _rules(self) -> Rules:
        return Rules.of(self._context.settings.config)

    def _is_over(self) -> bool:
        until = self._drain_until()
        return until is not None and self._context.clock.monotonic() >= until

    def _upload_all(self, entries: list[Entry], owners: Owners) -> None:
        """So many at once as the settings allow, each on a thread of its own; the first one on this."""
        left = iter(entries)
        threads: list[OneShotEvent] = []
        for number in range(1, min(len(entries), self._context.settings.config.archive.max_uploads)):
            ended = OneShotEvent()
            with contextlib.suppress(RuntimeError, MemoryError):  # fewer threads, then
                self._context.run_thread(
                    lambda ended=ended: self._work(left, owners, ended),  # type: ignore[misc]
                    f"streaming_logger archive {number}",
                )
                threads.append(ended)
        self._work(left, owners, OneShotEvent())
        for ended in threads:
            ended.wait(float("inf"))
        if self._is_down():
            raise self._refusals[0]

    def _work(self, left: Iterator[Entry], owners: Owners, ended: OneShotEvent) -> None:
        try:
            while not self._is_over() and not self._is_down():
                with self._lock:
                    entry = next(left, None)
                if entry is None:
                    return
                self._take(entry, owners)
        finally:
            ended.set()

    def _is_down(self) -> bool:
        """Whether the store refuses so much that the rest waits for the next pass."""
        return len(self._refusals) > self.uploaded + self._context.settings.config.archive.max_uploads

    def _take(self, entry: Entry, owners: Owners) -> None:
        """One file, if it is complete and not archived. Whatever goes wrong leaves the others alone."""
        try:
            with self._lock:
                completed = self._claimed(entry, owners)
            if completed is None:
                return
            try:
                with self._turns.take(completed.name) as turn:
                    if turn is not None and not self._is_archived(completed):
                        mark = self._upload(completed, turn) if self._is_wanted(completed) else Mark.of(completed.found)
                        with self._lock:
                            self._settle(completed, mark, owners)
            finally:
                self._store.directory.close_file(completed.fd)
        except _OvertakenError:
            self._take(entry, owners)
        except ClaimedError:
            self._turns.met_claim(entry.name)
        except (BusyError, FileNotFoundError, ForeignFileError):
            pass  # in use, gone, or no session's
        except ArchiveError as error:
            self._refusals.append(error)
        except OSError as error:
            self._failed(entry.name, error)
        except Exception as error:  # noqa: BLE001 - one file must not end the thread
            self._refusals.append(ArchiveError(f"{entry.name}: {error!r}"))

    def _is_archived(self, completed: _Completed) -> bool:
        """Whether another process has just done it."""
        mark = self._store.marks.read(completed.name)
        return mark is not None and mark.covers(completed.found)

    def _claimed(self, entry: Entry, owners: Owners) -> _Completed | None:
        """Looks at a completed file; None for one that is done with, or whose end is not known yet."""
        name = entry.name
        with self._store.claim(name, owners) as claim:
            mark = self._store.marks.read(name)
            if mark is not None and mark.covers(claim.found):
                self._done[name] = (claim.found.st_mtime, claim.found.st_size)
                return None
            history = self._history.of(name)
            outcome = self._outcome(claim, history)
            if outcome is None:
                return None
            self._deferred.discard(name)
            fd = self._store.directory.open_file(name, os.O_RDONLY)
        session = next(filter(None, map(session_of, history)), session_id_of(name) or name)
        return _Completed(
            name=name, session=session, fd=fd, found=claim.found, mark=mark, outcome=outcome, history=list(history)
        )

    def _outcome(self, claim: Claim, history: list[Event]) -> str | None:
        """How the last turn ended; None while the ledger may not have its end yet."""
        if (failed := self._store.outcome(claim.fd)) is not None:
            return failed
        end = last_end(history)
        if end is not None and end.covers(claim.found.st_mtime):
            return end.outcome
        if claim.name not in self._deferred:
            self._deferred.add(claim.name)
            return None
        return ORPHANED

    def _is_wanted(self, completed: _Completed) -> bool:
        looped = last_loop(completed.history) is not None
        return self._rules.wants(failed=has_failed(completed.outcome), looped=looped)

    def _upload(self, completed: _Completed, turn: Turn) -> Mark:
        """All of its objects; the mark for this state. Raises `_OvertakenError`."""

        def progress() -> None:
            turn.show_progress()
            if turn.is_lost and not Mark.of(completed.found).covers(os.fstat(completed.fd)):
                # Another process may have archived a later state, of which this has overwritten a part.
                self._store.marks.remove(completed.name)
                raise _OvertakenError(completed.name)

        name, size = completed.name, completed.found.st_size
        settings = self._context.settings.config.archive
        start = self._start(completed)
        before = completed.mark
        if before is not None and is_date(before.date) and is_host_name(before.host):
            place = Place(before.date, before.host, name.removesuffix(SUFFIX))
        else:
            place = Place(start[:10], host_name_of(settings.host or self._host), name.removesuffix(SUFFIX))
        digest = Digest(completed.fd, size)
        record = Record(
            session=completed.session,
            file=name,
            host=place.host,
            outcome=completed.outcome,
            bytes=size,
            characters=digest.characters,
            start=start,
            end=_iso(completed.found.st_mtime),
            loop=last_loop(completed.history),
            sha256=digest.sha256,
            key=place.text_key(settings.compress),
            timing_key=None,
            stored_bytes=0,
            events=[event.to_line() for event in completed.history],
        )
        stored = put_file(
            self._bucket, record.key, completed.fd, size, settings.compress, record.attributes(), progress=progress
        )
        timing_key = self._upload_timing(name, place, settings.compress, progress)
        record = record.with_stored(stored, timing_key)
        self._bucket.put(place.record_key, record.to_json())
        progress()
        self._bucket.put(place.index_key, b"")
        progress()
        with self._lock:
            self.uploaded += 1
        self._context.counters.add(uploads=1, uploaded_bytes=stored)
        self._context.events.emit(SessionArchived(session=completed.session, file=name, bytes=size, key=record.key))
        return Mark.of(completed.found, place.date, place.host, self._bucket.url)

    def _upload_timing(self, name: str, place: Place, compress: str, progress: Callable[[], None]) -> str | None:
        """The session's timing file, if there is one; its key."""
        try:
            fd = self._store.directory.open_file(timing_name_of(name), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            key = place.timing_key(compress)
            put_file(self._bucket, key, fd, os.fstat(fd).st_size, compress, progress=progress)
            return key
        finally:
            self._store.directory.close_file(fd)

    def _settle(self, completed: _Completed, mark: Mark, owners: Owners) -> None:
        """Marks what is done with, unless it was written to meanwhile; deletes it where that is the rule."""
        name = completed.name
        # Without a claim: the mark is of one state of the file, whatever is written to it now.
        if not mark.covers(self._store.directory.stat(name)):
            return  # a new turn: the next pass uploads it
        self._store.marks.write(name, mark)
        reason = self._rules.after_upload(Facts(age=self._context.clock.wall() - completed.found.st_mtime)).reason
        if not mark.date or reason != "archived":
            return
        for _ in range(_CLAIM_TRIES):
            how, size = self._store.delete_if(name, lambda claim: mark.covers(claim.found), owners)
            if how is not DeleteResult.CLAIMED:
                break
            time.sleep(_CLAIM_SECONDS)
        if how is DeleteResult.DELETED:
            self._context.counters.deleted(reason, 1, size)
            self._context.events.emit(SessionDeleted(session=completed.session, file=name, bytes=size, reason=reason))

    def _start(self, completed: _Completed) -> str:
        """When the session began, as far as that is known: the birth of its file, or the first that is told of it."""
        born = lstat(str(self._store.directory.path / completed.name)).born
        times = [event.at for event in completed.history]
        # A birth is told by a finer clock than a write: it may come out as the later one.
        return _iso(min(completed.found.st_mtime, *(times if born is None else [born])))

    def _failed(self, name: str, error: Exception) -> None:
        self._context.counters.add(upload_errors=1)
        kind = error.errno if isinstance(error, OSError) else type(error).__name__
        text = (error.strerror if isinstance(error, OSError) else None) or reason_of(error)
        self._faults.report(f"upload {kind}", "cannot archive %s: %s", name, text, subject=name)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
