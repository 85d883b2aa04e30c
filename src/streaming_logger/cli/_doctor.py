"""`doctor`: checks a directory and its servers for faults, and says how to fix each."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from streaming_logger._base.outcomes import has_failed
from streaming_logger._config.schema import Config
from streaming_logger._disk.archived import Marks
from streaming_logger._disk.directory import PRIVATE
from streaming_logger._disk.locks import process
from streaming_logger._disk.names import session_id_of
from streaming_logger._disk.private import subdirectory_hint
from streaming_logger._disk.process_files import is_temporary
from streaming_logger._disk.timing import is_timing_name, log_name_of
from streaming_logger._sweep.rules import Rules
from streaming_logger._view.activity import PARKED, UNKNOWN
from streaming_logger._view.sessions import IN_USE, ORPHANED, Session, scan
from streaming_logger._view.target import Target
from streaming_logger._wal.dead import DeadLogs
from streaming_logger.cli import _system
from streaming_logger.cli._check import remarks
from streaming_logger.cli._findings import Finding, recently, refused_configurations
from streaming_logger.cli._keep import recover
from streaming_logger.cli._text import counted, duration, one_line, size, wrapped
from streaming_logger.cli._verb import FOUND_PROBLEMS, OK, Verb, note, print_json_lines, target_of

__all__ = ["VERBS"]

_MB = 1_000_000
#: A clock that differs by more is wrong, not coarse.
_CLOCK_SECONDS = 60.0


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--recover", action="store_true", help="first recover what crash journals hold")


def _doctor(args: Namespace) -> int:
    target = target_of(args)
    if args.recover:
        recover(target)
    # First: looking at the sessions removes what dead owners left.
    owners = _system.owners(target.directory)
    sessions = scan(target)
    findings = [
        *_configuration(target),
        *_directory(target),
        *_room(target, sessions),
        *_file_system(target),
        *_files(target, sessions),
        *_archive(target),
        *_journals(target),
        *_workers(owners, sessions),
        *_stuck(target),
        *_sessions(target, sessions),
        *_kept(target, owners, sessions),
        *refused_configurations(target, owners),
        *recently(target),
    ]
    if args.json:
        print_json_lines(findings)
    else:
        for finding in findings:
            _print(finding)
        problems = sum(finding.level == "problem" for finding in findings)
        note(f"{counted(problems, 'problem')} found" if problems else "no problems found")
    return FOUND_PROBLEMS if any(finding.level == "problem" for finding in findings) else OK


def _print(finding: Finding) -> None:
    mark = {"ok": "  ok     ", "note": "  note   ", "problem": "  PROBLEM"}[finding.level]
    if sys.stdout.isatty() and finding.level != "ok" and "NO_COLOR" not in os.environ:
        mark = f"\x1b[{31 if finding.level == 'problem' else 33}m{mark}\x1b[0m"
    print(mark + wrapped(f"{' ' * 9}  {one_line(finding.text)}", 11)[9:])
    if finding.todo:
        print(wrapped(f"{' ' * 11}-> {one_line(finding.todo)}", 14))


# -- the checks ----------------------------------------------------------------------


def _configuration(target: Target) -> Iterator[Finding]:
    if target.fault:
        yield Finding(
            "problem",
            f"{target.fault}; {'the defaults are assumed' if target.is_assumed else 'settings left here are used'}",
            "`check-config` names every problem; a server that starts with this file refuses it",
        )
    if target.is_assumed:
        return
    if target.configured:
        yield Finding("ok", f"configuration {target.config_file}")
    else:
        yield Finding(
            "note",
            f"there is no {target.config_file} here; the rules without one are assumed",
            "name the server's by --config",
        )
    for remark in remarks(target.config) if target.configured else ():
        yield Finding("note", remark)


def _directory(target: Target) -> Iterator[Finding]:
    found = os.stat(target.path)
    me = os.geteuid() if hasattr(os, "geteuid") else found.st_uid
    fine = True
    hint = subdirectory_hint(target.path)
    if found.st_uid != me:
        fine = False
        todo = f"run this command as that user: sudo -u '#{found.st_uid}' streaming-logger ..."
        yield Finding(
            "note" if me == 0 else "problem",
            f"{target.path} belongs to user {found.st_uid}, and you are {me}: a server of yours would refuse it"
            f"{'' if me == 0 else ', and you cannot see what it holds'}",
            f"{hint}, if this is a volume's mount point; or {todo}" if hint else todo,
        )
    if found.st_mode & stat.S_IWOTH:
        fine = False
        todo = f"chmod o-w {target.path}"
        yield Finding(
            "problem", "the directory is world-writable: servers refuse it", f"{todo}; or {hint}" if hint else todo
        )
    elif stat.S_IMODE(found.st_mode) & 0o077:
        fine = False
        yield Finding(
            "note",
            f"others can look into the directory (mode {stat.S_IMODE(found.st_mode):04o}); the files are private",
            f"chmod 700 {target.path} unless that is meant",
        )
    if not target.managed:
        fine = False
        yield Finding(
            "problem",
            f"no streaming logger sweeps here: there is no {PRIVATE}, so nothing is ever deleted",
            "is it the right directory? If it held other *.log files before, move them away, or set adopt to true",
        )
    if fine:
        yield Finding("ok", f"directory {target.path}, private and ours")


def _room(target: Target, sessions: list[Session]) -> Iterator[Finding]:
    free = target.directory.free_bytes()
    rules = target.rules
    wanted, limit = rules.min_free_bytes, rules.max_bytes
    volume = target.directory.volume_bytes()
    least = rules.least_free_bytes(volume)
    used = sum(session.size for session in sessions)
    if wanted is not None and wanted > least:
        # A small volume is no mistake, but a setting that somebody chose and that no free space can meet is one.
        is_wrong = volume is not None and wanted > volume and wanted != Rules.of(Config()).min_free_bytes
        yield Finding(
            "problem" if is_wrong else "note",
            f"min_free_disk_mb ({wanted / _MB:g}) is too much for this volume; below {size(least)} bytes of free space "
            "completed files go before their time",
            "lower min_free_disk_mb, or put the directory on a larger volume",
        )
    if free is not None and free < least * 1.5:
        level = "problem" if free < least else "note"
        yield Finding(
            level,
            f"{size(free)} bytes are free; below {size(least)} completed files go before their time",
            "free disk space; shorten file_retention_minutes, or set max_directory_mb",
        )
    elif free is not None:
        count = counted(len(sessions), "session")
        yield Finding("ok", f"{size(free)} bytes free on the disk, {size(used)} used by {count}")
    if limit is not None and used > limit:
        yield Finding(
            "problem",
            f"the sessions take {size(used)} bytes, max_directory_mb is {limit / _MB:g}",
            "the next sweep deletes the oldest; when all are active or pinned, nothing can go",
        )
    inodes = _system.free_inodes(target.path)
    if inodes is not None and inodes < 10_000:
        count = counted(inodes, "more file")
        yield Finding("problem", f"only {count} can be made on this disk", "delete small files elsewhere")


def _file_system(target: Target) -> Iterator[Finding]:
    kind = _system.file_system(target.path)
    refusal = _system.flock_refusal(target.directory)
    if refusal:
        yield Finding(
            "problem",
            f"this file system ({kind}) has no flock ({refusal}): nothing is swept here",
            "put the directory on a local disk",
        )
    elif kind.startswith(_system.REMOTE):
        yield Finding(
            "note",
            f"the directory is on {kind}: locks go over the network, and other hosts' locks and clocks count",
            "a local disk is faster and safer; mount NFS with local_lock=none",
        )
    else:
        yield Finding("ok", f"file system {kind}, flock works")


def _files(target: Target, sessions: list[Session]) -> Iterator[Finding]:
    known = {session.file for session in sessions}
    strays, planted, open_ones, timings = [], [], [], []
    with target.directory.scan() as entries:
        for entry in entries:
            if entry.name in known:
                with contextlib.suppress(FileNotFoundError):  # swept since it was listed
                    if entry.stat(follow_symlinks=False).st_mode & 0o077:
                        open_ones.append(entry.name)
            elif session_id_of(entry.name) is not None:
                planted.append(entry.name)
            elif is_timing_name(entry.name):
                timings.append(entry.name)
            elif entry.name != PRIVATE and not is_temporary(entry.name):
                strays.append(entry.name)
    if planted:
        yield Finding(
            "problem",
            f"{_some(planted)} under the name of a session: a link, or no regular file; it is never written or deleted",
            "move it away; until then that session's text waits in memory",
        )
    alone = [name for name in timings if log_name_of(name) not in known]
    if timings and not alone:
        yield Finding("ok", f"{counted(len(timings), 'timing file')}, each beside its session's")
    elif alone:
        yield Finding(
            "note",
            f"{_some(alone)} with the timing of a session whose own file is gone",
            "the next sweeps delete them when they are due; nothing else needs them",
        )
    if strays:
        yield Finding("note", f"{_some(strays)} of no session; left alone", "move it away if nobody needs it there")
    if open_ones:
        yield Finding("note", f"{_some(open_ones)} readable by others than the owner", "chmod 600; who changed it?")
    pinned = [session.file for session in sessions if session.pinned]
    if pinned:
        total = size(sum(session.size for session in sessions if session.pinned))
        yield Finding("note", f"{_some(pinned)} pinned, {total} bytes", "unpin what is not needed any more")
    future = [session.file for session in sessions if session.mtime > time.time() + _CLOCK_SECONDS]
    if future:
        yield Finding(
            "problem",
            f"{_some(future)} written in the future: this clock was set back, or another host's is ahead",
            "check the clock (timedatectl); those files are swept late, `touch` them to be rid of them sooner",
        )


def _archive(target: Target) -> Iterator[Finding]:
    url = target.config.archive.url
    if url is None:
        return
    with contextlib.suppress(OSError):
        elsewhere = Marks(target.directory).elsewhere(url)
        if elsewhere:
            yield Finding(
                "note",
                f"{counted(len(elsewhere), 'session', 'is')} archived under another URL than archive.url, {url}",
                "`streaming-logger archive --again` uploads them there as well",
            )


def _journals(target: Target) -> Iterator[Finding]:
    place, refused = Path(target.config.crash_journal_directory), dict[str, str]()
    waiting = DeadLogs(place, target.directory).waiting(refused.__setitem__)
    if waiting:
        yield Finding(
            "problem",
            f"{counted(len(waiting), 'crash journal')} of dead processes ({', '.join(map(str, waiting))}) "
            f"{'waits' if len(waiting) == 1 else 'wait'} to be recovered: text is missing from session files",
            "run `streaming-logger doctor --recover`; a server that starts or sweeps here recovers them as well",
        )
    for name, why in refused.items():  # of which directory it is cannot be told
        yield Finding(
            "note",
            f"the crash journal {name} cannot be recovered: {why}",
            f"keep a copy for a report, then remove it: {place / name}",
        )


def _workers(owners: list[_system.Owner], sessions: list[Session]) -> Iterator[Finding]:
    active = sum(session.state in IN_USE for session in sessions)
    alive = [owner for owner in owners if owner.alive]
    if alive:
        yield Finding(
            "ok", f"server processes alive: {', '.join(str(owner.pid) for owner in alive)}; {active:,} active"
        )
    else:
        yield Finding("note", f"no server process has shown itself here; {counted(active, 'session', 'is active')}")
    for owner in owners:
        if not owner.alive:
            yield Finding("note", f"process {owner.pid} ended without closing its logger; the next sweep clears it up")
    for owner in alive:
        limit, used = _system.descriptors(owner.pid)
        if limit is not None and used is not None and used > 0.8 * limit:
            yield Finding(
                "problem",
                f"process {owner.pid} uses {used:,} of {limit:,} descriptors",
                "raise its limit (LimitNOFILE, ulimit -n) or lower max_open_files",
            )
    parked = sum(session.state == PARKED for session in sessions)
    if parked:
        yield Finding(
            "note",
            f"{counted(parked, 'active session', 'is parked')}: there are more than a process may have files open",
            "nothing is lost, each write costs an open; raise LimitNOFILE, or max_open_files",
        )


def _stuck(target: Target) -> Iterator[Finding]:
    for pid, names in _system.stuck(target.directory).items():
        yield Finding(
            "problem",
            f"{process(pid)} holds {_some(names)} and makes no progress: a session's text waits for its file",
            f"continue it (kill -CONT {pid}), or end it; `ps -o pid,stat,cmd {pid}` shows what it is",
        )


def _sessions(target: Target, sessions: list[Session]) -> Iterator[Finding]:
    orphaned = [session.file for session in sessions if session.state == ORPHANED]
    if orphaned:
        yield Finding(
            "problem",
            f"{_some(orphaned)} orphaned: a process ended without completing it",
            "was it killed (dmesg, OOM)? The last flush interval's text may be missing; it is swept in its time",
        )
    patience, silent = target.config.idle_timeout_minutes, []
    if patience is not None:
        late = 60 * patience + max(60.0, 5 * target.config.flush_interval_seconds)
        silent = [session.file for session in sessions if session.state in IN_USE and session.idle > late]
        if silent:
            yield Finding(
                "problem",
                f"{_some(silent)} active, but silent for longer than idle_timeout_minutes ({patience:g})",
                "its process hangs or is stopped, or its worker cannot write: see that server's log and health()",
            )
    stalled = [session.file for session in sessions if session.stalled and session.file not in silent]
    if stalled:
        yield Finding(
            "problem",
            f"{_some(stalled)} stalled: no text for more than {duration(target.stall_seconds)}",
            "`ls --state stalled` lists all; is the model or its connection stuck?",
        )
    looping = [session.file for session in sessions if session.loop and session.state in IN_USE]
    if looping:
        yield Finding(
            "problem",
            f"{_some(looping)} looping: the text repeats itself",
            "`ls --state looping` lists all; `follow ID` shows it; stop those generations",
        )
    bad = Counter(s.state for s in sessions if has_failed(s.state) and s.state not in (*IN_USE, ORPHANED, UNKNOWN))
    for state, count in bad.most_common(5):
        yield Finding("note", f"{counted(count, 'session')} ended as {state}", f"`ls --state {state}`, then `show ID`")


def _kept(target: Target, owners: list[_system.Owner], sessions: list[Session]) -> Iterator[Finding]:
    """Files that are still there although they should be deleted, or archived and deleted."""
    late = 60 + 3 * target.config.cleanup_interval_seconds
    overdue = [s.file for s in sessions if s.verdict.is_due and (s.verdict.due_in or 0.0) < -late]
    alive = [str(owner.pid) for owner in owners if owner.alive]
    if overdue and alive:
        yield Finding(
            "problem",
            f"{_some(overdue)} overdue for deletion, although a server is alive: {', '.join(alive)}",
            "see its log for `cannot sweep` and `nothing is swept`; is --config the server's own?",
        )
    elif overdue:
        yield Finding(
            "problem",
            f"{_some(overdue)} overdue for deletion: no server sweeps",
            "start one, or run `streaming-logger sweep`; is --config the server's own?",
        )
    waiting = [s for s in sessions if s.verdict.reason == "not archived"]
    if waiting:
        is_late = max(s.idle for s in waiting) > target.rules.least_age + late
        yield Finding(
            "problem" if is_late else "note",
            f"{_some([s.file for s in waiting])} kept beyond the retention: not archived yet",
            "`streaming-logger archive` uploads them, or says why it cannot; a server tries again by itself",
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{counted(len(names), 'file')} ({shown})"


VERBS = (
    Verb("doctor", "what may be wrong with the directory and its servers, and how to fix it", _arguments, _doctor),
)
