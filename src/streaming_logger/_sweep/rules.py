"""Which completed files are deleted, when and why. Pure: facts and settings in, verdicts out.

This is the only module that reads the retention settings. The sweep, the end of a session, the uploader and the
command gather `Facts` each in their own way and ask `Rules`, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from streaming_logger._config.schema import Config

__all__ = [
    "ARCHIVE_SETTINGS",
    "SETTINGS",
    "DeletedBy",
    "Disposal",
    "Facts",
    "Need",
    "Reason",
    "Room",
    "Rules",
    "Verdict",
    "remarks",
]

#: The settings that decide what is deleted, when and why.
SETTINGS = (
    *("file_retention_minutes", "failed_retention_minutes", "max_session_age_hours", "time_based_cleanup"),
    *("max_directory_mb", "min_free_disk_mb"),
)
#: The settings of the archive that decide what it takes, when, and what follows.
ARCHIVE_SETTINGS = ("when", "only", "delete_after_upload")

#: The rules by which files are deleted.
DeletedBy = Literal["retention", "max_age", "disk", "immediate", "archived"]
#: Why a file is deleted, will be, or is kept.
Reason = Literal[DeletedBy, "active", "pinned", "not archived", "no rule", "disabled", "not managed"]
#: What happens to a session's file at its end. "restart": it is kept, and its retention begins now.
Disposal = Literal["delete", "keep", "restart"]

_KEPT_BECAUSE = {"not archived": "not archived yet", "no rule": "no limit by age", "disabled": "logging is disabled"}
_RULES = get_args(DeletedBy)
#: Stands for the retention where none is set and some time span is needed.
_USUAL_RETENTION = 600.0
#: A session that was silent for longer than this share of its retention, and than a second, begins it at its end.
_SILENT_SHARE, _SILENT_SECONDS = 0.1, 1.0
#: An emergency frees this share of its limit more than it must, so that not every sweep is one.
_SLACK = 0.1
#: At most this share of a volume is kept free.
_VOLUME_SHARE = 0.1
#: After a write that the disk refused for lack of space, this share of the completed files is deleted.
_REFUSED_SHARE = 0.1
_MB = 1_000_000


class Facts(NamedTuple):
    """What a verdict on a session's file depends on. (A frozen dataclass is slower to make.)"""

    age: float
    """Seconds since its last write; below 0 when a clock was set back."""
    failed: bool = False
    in_use: bool = False
    """Active or parked."""
    pinned: bool = False
    archived: bool = True
    """Whether the archive is done with its present state: it is uploaded, or not wanted. Any value without an
    archive."""


class Verdict(NamedTuple):
    """Whether a file is deleted now, and why.

    >>> Rules.of(Config()).judge(Facts(age=700)).remark(str)
    'due (retention)'
    """

    is_due: bool
    reason: Reason
    """The rule that deletes it, now or in `due_in` seconds; or why it is kept."""
    due_in: float | None = None
    """Seconds until a rule makes it due, below 0 after that. None: not as long as the reason holds."""

    @property
    def is_kept(self) -> bool:
        """Whether something other than its age keeps it."""
        return self.reason not in _RULES

    def remark(self, duration: Callable[[float], str]) -> str:
        """The verdict for a reader; `duration` formats seconds.

        >>> Verdict(False, "not archived").remark(str)
        'kept: not archived yet'
        >>> Verdict(False, "retention", 180).remark("{:.0f} s".format)
        'due in 180 s'
        """
        if self.is_due:
            return f"due ({self.reason})"
        if self.is_kept or self.due_in is None:
            return f"kept: {_KEPT_BECAUSE.get(self.reason, self.reason)}"
        return f"due in {duration(self.due_in)}"


class Room(NamedTuple):
    """How much space there is and how much could be freed, in bytes. None: unknown."""

    used: int
    """By the files that are left once those that are due by age are deleted."""
    deletable: float = float("inf")
    """By those of them that are completed and not pinned."""
    files: int = 0
    """How many these are."""
    free: int | None = None
    volume: int | None = None
    refused: bool = False
    """Whether the disk has just refused a write for lack of space or quota."""


class Need(NamedTuple):
    """How much an emergency must free, in bytes and files."""

    bytes: int = 0
    files: int = 0
    is_hopeless: bool = False
    """Whether space is short, and deleting all that could be deleted would not end that."""

    def __bool__(self) -> bool:
        return self.bytes > 0 or self.files > 0

    def after(self, size: int) -> Need:
        """What is left of it once a file of this size is deleted."""
        return Need(self.bytes - size, self.files - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one configuration. Times are in seconds, sizes in bytes; None = never by that rule.

    >>> Rules.of(Config(file_retention_minutes=1)).judge(Facts(age=20))
    Verdict(is_due=False, reason='retention', due_in=40)
    """

    retention: float | None = None
    failed_retention: float | None = None
    """The same for failed sessions; never shorter."""
    max_age: float | None = None
    """No completed file outlives this."""
    is_immediate: bool = False
    """Whether a file is deleted at the completion of its session."""
    max_bytes: float | None = None
    """Of the directory: beyond that the oldest completed files are deleted."""
    min_free_bytes: float | None = None
    """On the volume; as `max_bytes`."""
    waits_for_archive: bool = False
    """Whether a file stays until the archive is done with it."""
    uploads_expired: bool = False
    """Whether files are uploaded when their retention is over."""
    uploads_trouble: bool = False
    """Whether only failed and looping sessions are uploaded."""
    deletes_uploaded: bool = False
    """Whether a file is deleted as soon as it is uploaded."""
    refusal: Literal["", "disabled", "not managed"] = ""
    """Why nothing is deleted at all."""

    @classmethod
    def of(cls, config: Config, *, managed: bool = True) -> Rules:
        """The rules of a configuration, for a directory that this library made (`managed`) or may not delete in."""
        archive = config.archive
        has_archive = archive.url is not None
        if config.time_based_cleanup:
            retention = _scaled(config.file_retention_minutes, 60)
            failed = None if retention is None else max(retention, 60 * (config.failed_retention_minutes or 0))
        else:  # no file is kept for a time: it is deleted at completion, or when it is archived
            retention = failed = 0.0 if has_archive else None
        return cls(
            retention=retention,
            failed_retention=failed,
            max_age=_scaled(config.max_session_age_hours, 3600),
            is_immediate=not has_archive and (not config.time_based_cleanup or retention == 0),
            max_bytes=_scaled(config.max_directory_mb, _MB),
            min_free_bytes=_scaled(config.min_free_disk_mb, _MB),
            waits_for_archive=has_archive,
            uploads_expired=archive.when == "expired",
            uploads_trouble=archive.only == "trouble",
            deletes_uploaded=archive.delete_after_upload,
            refusal="disabled" if not config.enabled else "" if managed else "not managed",
        )

    @classmethod
    def older_than(cls, seconds: float) -> Rules:
        """Deletes every completed file that is older, whatever the settings say, and knows no emergency."""
        return cls(max_age=seconds)

    # -- completed files -------------------------------------------------------------

    def judge(self, facts: Facts, *, is_emergency: bool = False) -> Verdict:
        """Whether a file is deleted now, and why. In an emergency its age does not matter."""
        if kept := self._kept(facts):
            return Verdict(False, kept)
        if is_emergency:
            return Verdict(True, "disk", 0.0)
        limit, rule = self._limit(failed=facts.failed)
        if limit is None:
            return Verdict(False, "no rule")
        due_in = limit - facts.age
        if due_in < 0 and rule == "retention" and self.waits_for_archive and not facts.archived:
            # The archive delays this rule and no other.
            due_in = float("inf") if self.max_age is None else self.max_age - facts.age
            if due_in >= 0:
                return Verdict(False, "not archived", None if self.max_age is None else due_in)
            rule = "max_age"
        return Verdict(due_in < 0, rule, due_in)

    def _kept(self, facts: Facts) -> Reason | None:
        """Why a file is kept whatever its age is."""
        if facts.pinned:
            return "pinned"
        if facts.in_use:
            return "active"
        return self.refusal or None

    def _limit(self, *, failed: bool) -> tuple[float | None, Literal["retention", "max_age"]]:
        """The age at which a completed file is due, and by which rule."""
        retention = self.failed_retention if failed else self.retention
        if retention is not None and (self.max_age is None or retention <= self.max_age):
            return retention, "retention"
        return self.max_age, "max_age"

    @property
    def least_age(self) -> float:
        """No younger file is due by age."""
        limit, _ = self._limit(failed=False)
        return float("inf") if limit is None else limit

    @property
    def usual_retention(self) -> float:
        """The retention, or 10 minutes where there is none."""
        return self.retention or _USUAL_RETENTION

    # -- the end of a session --------------------------------------------------------

    def at_completion(
        self, *, failed: bool, released: bool = False, silent: float = 0.0, inline: bool = False
    ) -> Disposal:
        """What happens to a session's file at its end.

        `released`: the logger closes, the session is not complete. `silent`: seconds since its last text. `inline`: no
        worker can run, so nobody sweeps later.
        """
        keeps = released or (failed and self._keeps_failed) or self.waits_for_archive
        if not keeps and (self.is_immediate or inline):
            return "delete"
        # The debugging window of a session that stalled begins at its end, not at its last text.
        return "restart" if silent > max(_SILENT_SECONDS, _SILENT_SHARE * self.usual_retention) else "keep"

    @property
    def _keeps_failed(self) -> bool:
        return (self.failed_retention or 0.0) > (self.retention or 0.0)

    # -- the archive -----------------------------------------------------------------

    def uploads(self, facts: Facts) -> bool:
        """Whether a completed file is uploaded now. Failed sessions do not wait for their longer retention."""
        return not self.uploads_expired or facts.age > self.least_age

    def wants(self, *, failed: bool, looped: bool) -> bool:
        """Whether a session belongs in the archive."""
        return failed or looped or not self.uploads_trouble

    def after_upload(self, facts: Facts) -> Verdict:
        """The verdict on a file that was just uploaded."""
        if self.deletes_uploaded and self._kept(facts) is None:
            return Verdict(True, "archived", 0.0)
        return self.judge(facts)

    # -- emergencies -----------------------------------------------------------------

    def is_short(self, free: int | None, volume: int | None, *, refused: bool = False) -> bool:
        """Whether there may be an emergency; its size is known when all files are."""
        if self.max_bytes is not None or (refused and self.min_free_bytes is not None):
            return True
        return free is not None and free < self.least_free_bytes(volume)

    def least_free_bytes(self, volume: int | None) -> float:
        """Free disk space below which completed files are deleted before their time; 0 = never.

        Of a volume that is not much larger than `min_free_disk_mb` only a share is kept free.

        >>> Rules(min_free_bytes=100_000_000).least_free_bytes(64_000_000)
        6400000.0
        """
        least = self.min_free_bytes or 0.0
        return least if volume is None else min(least, _VOLUME_SHARE * volume)

    def need(self, room: Room) -> Need:
        """What an emergency must free, files within their retention included; nothing where there is none.

        A disk that refuses writes is an emergency whatever its free bytes say: inodes and quotas run out, too. Low
        disk space is none where deleting everything would not end it.

        >>> Rules(max_bytes=10_000_000).need(Room(used=12_000_000))
        Need(bytes=3000000, files=0, is_hopeless=False)
        """
        if self.refusal:
            return Need()
        needed, files = 0.0, 0
        if self.max_bytes is not None and room.used > self.max_bytes:
            needed = room.used - self.max_bytes * (1 - _SLACK)
        least = self.least_free_bytes(room.volume)
        is_low = room.free is not None and room.free < least
        helps = room.free is not None and least <= room.free + room.deletable
        if room.free is not None and is_low and helps:
            needed = max(needed, least * (1 + _SLACK) - room.free)
        is_hopeless = is_low and not needed
        if room.refused and self.min_free_bytes is not None:
            is_hopeless = False
            if room.files:
                needed = max(needed, _REFUSED_SHARE * room.deletable)
                files = 1 + int(_REFUSED_SHARE * room.files)
        return Need(int(needed), files, is_hopeless)


def remarks(config: Config) -> list[str]:
    """Retention settings that are allowed together, and hardly meant.

    >>> remarks(Config(file_retention_minutes=0.5))
    ['cleanup_interval_seconds is longer than the retention: files stay until the next sweep']
    """
    rules, failed, found = Rules.of(config), config.failed_retention_minutes, []
    if not config.time_based_cleanup:
        return ["time_based_cleanup is false: each file is deleted when its session completes, nothing to debug by"]
    if rules.retention is None:
        if rules.max_age is None and rules.max_bytes is None:
            found.append("nothing is deleted before the disk is nearly full: no retention, no age, no size is set")
        return found
    if rules.max_age is not None and rules.retention > rules.max_age:
        found.append("max_session_age_hours is shorter than file_retention_minutes, and wins")
    if failed is not None and 60 * failed < rules.retention:
        found.append("failed_retention_minutes is shorter than file_retention_minutes, and has no effect")
    if 0 < rules.retention < config.cleanup_interval_seconds:
        found.append("cleanup_interval_seconds is longer than the retention: files stay until the next sweep")
    return found


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit
