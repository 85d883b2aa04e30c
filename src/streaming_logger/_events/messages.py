"""The lines of the log: for each its page of the manual, and what an operator does about it.

The text of a message stands where it is logged; this table has the same text. A test holds the two equal.
`records` adds the page to warnings and errors, `streaming-logger help messages` shows the table.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MESSAGES", "REPEATS", "Message", "with_page"]

#: What a background error that was logged before ends with.
REPEATS = " (%d more like it since)"


class Message(NamedTuple):
    """Lines of the log that call for the same action."""

    texts: tuple[str, ...]
    """Format strings, as they are logged."""
    page: str
    """The page of the manual that a warning or error of this text names; or empty."""
    advice: str


MESSAGES = (
    Message(("swept %d files (%s), %d bytes, %d errors, in %.3f s",), "", "None needed: one line for each sweep."),
    Message(("configuration reloaded: %s",), "", "None needed: the edit is in force."),
    Message(
        (
            "no time-based cleanup is configured in section streaming_logs: each file is deleted when its session "
            'completes; to keep files for 10 minutes, add "streaming_logs": {} to %s',
        ),
        "settings",
        "Add the section to keep a debugging window.",
    ),
    Message(
        ("configuration reload rejected: %s",),
        "settings",
        "Fix the file; `streaming-logger check-config` lists every problem. The previous settings stay in force.",
    ),
    Message(("%s %r takes effect at the next start",), "settings", "Restart the server when convenient."),
    Message(
        ("using the default settings: %s",),
        "settings",
        "Fix the configuration. An edited file is picked up; an environment variable is read at the next start.",
    ),
    Message(
        ("another process uses %s with other settings: %s; the shortest window wins for all files",),
        "servers",
        "Give all processes the same settings, or a directory each.",
    ),
    Message(
        ("logging is disabled until this is fixed: %s",),
        "troubleshooting",
        "The directory is unsafe or is not a directory. Do what the line says; on a Kubernetes volume use a "
        "subdirectory of the mount point.",
    ),
    Message(
        ("%s is writable by its group, whose members can replace the files in it; run: chmod g-w %s",),
        "troubleshooting",
        "Run the command, unless every member of the group is trusted.",
    ),
    Message(
        ("%s already holds other *.log files: it is written to, but not swept; adopt: true sweeps it too",),
        "files",
        "Use a directory of its own, or set `adopt`.",
    ),
    Message(
        (
            "cannot write %s, its text stays in memory: %s",
            "%s: %s; text stays in memory",
            "%s: %s",
            "completing %s: %s",
        ),
        "disk",
        "Check the disk: full, read-only, failing, or no descriptors left. `locked by another process` names a "
        "process that is stuck: resume or end it. Nothing is lost yet.",
    ),
    Message(("writes recovered", "%s can be used again"), "", "None needed: the fault is over."),
    Message(
        ("%d characters of %s dropped: %s",),
        "disk",
        "Text is lost. The disk was too slow or failed for too long, or `max_buffer_mb` is too small.",
    ),
    Message(
        ("the disk did not respond within %g s: %d characters given up",),
        "disk",
        "The disk hung while the process ended. With a crash journal the next start recovers the text.",
    ),
    Message(
        ("low disk space: deleting the oldest completed files, %d bytes",),
        "disk",
        "Free disk space, quota or inodes; or lower `min_free_disk_mb` or raise `max_directory_mb`. Files are being "
        "deleted before their retention is over.",
    ),
    Message(
        ("low disk space: %d bytes are free, and deleting completed files would not help",),
        "disk",
        "Something else fills the disk. Completed files are kept until a write fails.",
    ),
    Message(
        ("%s was removed or renamed while open; writing to a new file",),
        "disk",
        "Find the program that deletes or rotates files here (logrotate, tmpfiles, a script) and exclude the "
        "directory from it.",
    ),
    Message(("cannot write the timing of %s: %s",), "disk", "Check the disk. The session's text is not affected."),
    Message(
        ("cannot sweep %s: %s",), "disk", "Check owner and mode of that file. It stays; all other files are swept."
    ),
    Message(("nothing is swept: %s",), "servers", "The file system has no locks. Use a directory on a local disk."),
    Message(
        ("%s holds %s and makes no progress: continuing without it",),
        "troubleshooting",
        "A process is stopped (SIGSTOP, a debugger, `docker pause`) or its disk hangs. Resume or end it; "
        "`streaming-logger doctor` lists what it holds.",
    ),
    Message(
        ("%s is longer than max_session_mb: its beginning and its last part are kept",),
        "runaways",
        "Probably a runaway generation. A marker in the file shows how much was removed.",
    ),
    Message(
        ("cannot cut %s: another process writes it, too", "cannot cut %s: %s"),
        "runaways",
        "The file grows beyond `max_session_mb`. Its text is still written.",
    ),
    Message(
        ("%s loops since character %d: %d characters repeated, %r",),
        "runaways",
        "Read the session with `streaming-logger show`; let the server stop it with `on_runaway`.",
    ),
    Message(
        ("%s looped for %d characters, %d of them after it was found",),
        "runaways",
        "The loop or its stream is over. The second number is what `on_runaway` could have saved.",
    ),
    Message(
        ("on_runaway failed: %r", "on_runaway hangs: %d calls have not returned"),
        "runaways",
        "Fix the application's callback.",
    ),
    Message(
        ("%s stalled: no text for %.1f s", "%s %s after a stall of %.1f s"),
        "runaways",
        "A model server hangs or is overloaded. `streaming-logger top` shows which sessions wait.",
    ),
    Message(
        ("process %d died: %d sessions recovered, %d bytes",),
        "crash-journal",
        'Find out why the process died. Its sessions are complete, with the outcome "crashed".',
    ),
    Message(
        ("cannot recover %s: %s",),
        "crash-journal",
        "A crash journal or a session file cannot be used. Fix what the line names, then run "
        "`streaming-logger doctor --recover`.",
    ),
    Message(
        ("a crash may lose the last flush interval: %s",),
        "crash-journal",
        "Shared memory is missing, full or too small. Logging goes on without a crash journal.",
    ),
    Message(
        ("%d chunks found no room in the crash journal for a while: a crash would have lost them",),
        "crash-journal",
        "Raise `crash_journal_mb`, or find out why the disk delays flushes.",
    ),
    Message(
        ("the crash journal is gone: a crash may lose text",),
        "crash-journal",
        "Find the program that deletes files in the shared memory, such as logind with `RemoveIPC=yes`.",
    ),
    Message(("the crash journal is whole again",), "", "None needed: the fault is over."),
    Message(
        ("%s recovers %s and makes no progress: continuing without it", "%s is passed over: %s"),
        "crash-journal",
        "The process that recovers a dead process's sessions is stopped or hangs. Resume or end it.",
    ),
    Message(
        ("cannot archive to %s: %s",),
        "archive",
        "The object storage is down or rejects the credentials. Files are kept and uploads retried.",
    ),
    Message(("cannot archive %s: %s",), "archive", "The file of that session cannot be read. Check owner and mode."),
    Message(
        ("cannot archive %s: it held other *.log files before, set adopt to true",),
        "archive",
        "Use a directory of its own, or set `adopt`.",
    ),
    Message(("uploads to %s work again",), "", "None needed: the fault is over."),
    Message(
        ("closed before all files are archived: the next process goes on",),
        "archive",
        "The next start, or `streaming-logger archive`, uploads the rest. Raise `archive.drain_seconds` if this is "
        "frequent.",
    ),
    Message(
        (
            "cannot extract text from a stream item: %r",
            "no text found in a stream of %s; pass text= to say where it is",
        ),
        "sdks",
        "The shape of the stream's items is unknown. Pass `text=` to `wrap`.",
    ),
    Message(
        ("a response of %.200r is not logged: %s (reported once)",),
        "servers",
        "Do what the line says, or select fewer `paths`.",
    ),
    Message(
        ("the %s of a response is not used as the session id: name it by session_id=%r (reported once)",),
        "servers",
        "Name the header with `session_id=` if clients can be trusted with it. Until then ids are generated.",
    ),
    Message(("%s is ignored: %s",), "servers", "Correct the environment variable."),
    Message(
        ("%s: a stream is not logged: %s", "%s: no numbers are exported: %s"),
        "sdks",
        "An integration failed; the stream itself is not affected. Report it, with the versions of this library "
        "and the SDK.",
    ),
    Message(
        ("%s: a session id is not usable: %s",),
        "sdks",
        "Fix what supplies the id (`session_id=`, metadata, a header). Until then the session has a generated id.",
    ),
    Message(
        ("the clock jumped by %+.0f s: nothing is deleted for %.0f s",),
        "troubleshooting",
        "None needed, unless it repeats: then check time synchronisation.",
    ),
    Message(
        ("the worker thread died and is started again", "%s failed: %r"),
        "troubleshooting",
        "A fault in this library or its surroundings: report it.",
    ),
    Message(
        ("%s took %.1f s: flushes are late",),
        "troubleshooting",
        "A subscriber of events is slow: the disk under the ledger, or a log handler.",
    ),
    Message(
        ("no worker thread (%s): callers write files, and delete them, at completion",),
        "troubleshooting",
        "The process may start no more threads: check `ulimit -u` and the pids limit of its cgroup.",
    ),
    Message(("the worker thread runs again",), "", "None needed: the fault is over."),
    Message(
        (
            "this system has no flock: a file counts as in use while the system refuses to delete it (Windows), and "
            "no promise is tested here",
        ),
        "guarantees",
        "Run production servers on Linux.",
    ),
)

_PAGES = {text: message.page for message in MESSAGES for text in message.texts if message.page}


def with_page(text: str) -> str:
    """The format string of a log record, followed by its page of the manual.

    >>> with_page("cannot sweep %s: %s")
    'cannot sweep %s: %s (streaming-logger help disk)'
    >>> with_page("of the application")
    'of the application'
    """
    page = _PAGES.get(text.removesuffix(REPEATS))
    return f"{text} (streaming-logger help {page})" if page else text
