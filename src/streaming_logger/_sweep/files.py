"""What a sweep does to one file: looks at it while it is claimed, asks the rules, deletes it, and tells of it.

`DryRun` does the same without a claim, a deletion or a word.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import NamedTuple

from streaming_logger._base.errors import reason_of
from streaming_logger._context import Context
from streaming_logger._disk.directory import PRIVATE
from streaming_logger._disk.entries import Entry
from streaming_logger._disk.names import session_id_of
from streaming_logger._disk.owner import Owners
from streaming_logger._disk.peek import peek
from streaming_logger._disk.process_files import is_temporary, remove_abandoned, temporary_files
from streaming_logger._disk.store import BusyError, Claim, ClaimedError, ForeignFileError
from streaming_logger._disk.timing import is_timing_name, log_name_of
from streaming_logger._events.model import DiskEmergency, SessionDeleted
from streaming_logger._sweep.rules import Facts, Need, Rules, Verdict

__all__ = ["DryRun", "Files", "Swept"]


class Swept(NamedTuple):
    """One session's file that a sweep looked at. `verdict.is_due`: it was deleted, or would have been."""

    name: str
    size: int
    age: float
    verdict: Verdict


class Files:
    """The files of one directory for one sweep. Whatever goes wrong with one of them is reported, never raised."""

    def __init__(self, context: Context, rules: Rules, report: Callable[..., None]) -> None:
        """`report` is called with what cannot be examined or deleted."""
        self._context = context
        self._store = context.store
        self._report = report
        self.rules = rules
        self.owners = Owners(context.store.directory)
        self.errors = 0
        self.claims: dict[str, str] = {}
        """Files that another process has claimed, and which one."""

    def close(self) -> None:
        self.owners.close()

    def delete(self, entry: Entry, *, is_emergency: bool = False) -> Swept | None:
        """Deletes a session's file if the rules say so while it is claimed. None: it is gone, or not a session's."""
        age = self._context.clock.wall() - entry.mtime
        if entry.pinned:
            return self._kept(entry, Facts(age=age, pinned=True))
        try:
            with self._claim(entry.name) as claim:
                facts = self.facts(claim)
                # A turn that ended since the scan is not among the oldest any more.
                is_same = claim.found.st_mtime == entry.mtime
                verdict = self.rules.judge(facts, is_emergency=is_emergency and is_same)
                swept = Swept(entry.name, claim.found.st_size, facts.age, verdict)
                if verdict.is_due:
                    if not self._delete(claim):
                        return self._kept(entry, Facts(age=age, in_use=True))
                    self._tell(swept, facts)
                return swept
        except ClaimedError:
            self.claims[entry.name] = self._store.directory.holder(entry.name)
            return self._kept(entry, Facts(age=age, in_use=True))
        except BusyError:
            return self._kept(entry, Facts(age=age, in_use=True))
        except (FileNotFoundError, ForeignFileError):
            return None
        except Exception as error:  # noqa: BLE001 - it is this file's: the others are swept
            # A symlink may have been put there since the scan: not a session's file.
            if not (isinstance(error, OSError) and error.errno == errno.ELOOP):
                self.failed(entry.name, error)
            return None

    def facts(self, claim: Claim) -> Facts:
        """What the rules need to know of a completed file."""
        is_archived = True
        if self.rules.waits_for_archive:
            mark = self._store.marks.read(claim.name)
            is_archived = mark is not None and mark.covers(claim.found)
        return Facts(
            age=self._context.clock.wall() - claim.found.st_mtime,
            failed=self._store.outcome(claim.fd) is not None,
            pinned=claim.found.st_mode & stat.S_ISVTX != 0,
            archived=is_archived,
        )

    def _kept(self, entry: Entry, facts: Facts) -> Swept:
        return Swept(entry.name, entry.size, facts.age, self.rules.judge(facts))

    def _claim(self, name: str) -> AbstractContextManager[Claim]:
        return self._store.claim(name, self.owners)

    def _delete(self, claim: Claim) -> bool:
        return self._store.delete(claim)

    def _tell(self, swept: Swept, facts: Facts) -> None:
        self._context.counters.add(deleted_unarchived=not facts.archived)
        self._context.events.emit(
            SessionDeleted(
                session=session_id_of(swept.name) or swept.name,
                file=swept.name,
                bytes=swept.size,
                reason=swept.verdict.reason,
                age=round(swept.age, 3),
                archived=None if facts.archived else False,
            )
        )

    def emergency(self, need: Need) -> None:
        """Says that files are about to be deleted for lack of space, or that this would not help."""
        events = self._context.events
        if need:
            events.emit(DiskEmergency(bytes=need.bytes, reason="disk"))
        if need.is_hopeless:
            events.report(
                "low disk",
                "low disk space: %d bytes are free, and deleting completed files would not help",
                self._store.directory.free_bytes() or 0,
                subject="disk",
            )
        else:
            events.clear("low disk", "", subject="disk")

    # -- what sessions and processes left --------------------------------------------

    def remove_leftovers(self) -> None:
        """Temporary files and owner files of dead processes, whatever their age."""
        try:
            for name in temporary_files(self._store.directory):
                self._guarded(name, self._remove_abandoned)
        except OSError as error:
            self.failed(PRIVATE, error)
        with suppress(OSError):  # reported with each session's file that may be parked, then
            self.owners.any_alive()  # looking removes those of the dead

    def delete_other(self, name: str) -> bool:
        """Deletes what is left of a session or process that is gone; whether that is gone, too."""
        if is_temporary(name):
            return self._guarded(name, self._remove_abandoned)
        # A timing file goes with its log, and by itself where that was deleted without it.
        return is_timing_name(name) and self._guarded(name, self._delete_orphaned_timing)

    def _remove_abandoned(self, name: str) -> bool:
        return remove_abandoned(self._store.directory, name)

    def _delete_orphaned_timing(self, name: str) -> bool:
        return self._store.delete_orphaned_timing(name)

    def _guarded(self, name: str, delete: Callable[[str], bool]) -> bool:
        try:
            return delete(name)
        except FileNotFoundError:
            return True  # its process lives and is done with it, or another sweep removed it
        except Exception as error:  # noqa: BLE001 - it is this file's: the others are swept
            self.failed(name, error)
            return False

    def failed(self, what: str, error: Exception) -> None:
        """Counts and reports what could not be examined or deleted."""
        self.errors += 1
        kind = error.errno if isinstance(error, OSError) else type(error).__name__
        text = (error.strerror if isinstance(error, OSError) else None) or reason_of(error)
        self._report(f"sweep {kind}", "cannot sweep %s: %s", what, text, subject=what, reason="error")


class DryRun(Files):
    """The same files for who only wants to know. Changes nothing, and takes no lock that a writer might wait for."""

    def _claim(self, name: str) -> AbstractContextManager[Claim]:
        return peek(self._store, name, self.owners)

    def _delete(self, claim: Claim) -> bool:
        return True

    def _tell(self, swept: Swept, facts: Facts) -> None:
        """Nothing has happened."""

    def emergency(self, need: Need) -> None:
        """Nothing is going to happen."""

    def _remove_abandoned(self, name: str) -> bool:
        return False  # whether its process lives is told by a lock

    def _delete_orphaned_timing(self, name: str) -> bool:
        try:
            self._store.directory.stat(log_name_of(name))
        except FileNotFoundError:
            return True
        return False
