"""What is measured, and which goal each figure has: the sections of the benchmark, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from peers import PEERS
from rounds import Results, Rounds
from wrapped import MEASURES

__all__ = ["GROWTH_FILES", "GROWTH_SESSIONS", "SECTIONS", "Row", "Sizes", "growth"]

OURS = "streaming_logger"
WITH_RADAR = "with the radar"
GROWTH_SESSIONS = (1, 100, 10_000, 100_000)
GROWTH_FILES = (1_000, 10_000, 100_000, 500_000)

#: Chunks of a saturated run, so that each takes a fraction of a second to a few.
_CHUNKS = {
    OURS: 3_000_000,
    "f.write": 3_000_000,
    "f.write + flush": 300_000,
    "in-house, one lock": 1_000_000,
    "logging.FileHandler": 60_000,
    "logging.MemoryHandler": 60_000,
    "logging.QueueHandler": 40_000,
    "picologging": 200_000,
    "loguru": 30_000,
    "loguru, enqueue": 10_000,
    "structlog": 100_000,
    "aiofiles": 5_000,
}


@dataclass(frozen=True)
class Sizes:
    """How large the runs are; the goals are meant for the full ones."""

    sessions: int = 10_000
    times: int = 1000
    """Completions."""
    files: int = 100_000
    seconds: float = 1.5
    share: float = 1.0
    """Of the chunks."""


QUICK = Sizes(sessions=1000, files=1000, seconds=0.4, share=0.02, times=100)


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure, and the limit it should keep; None where there is none."""

    what: str
    figure: float
    shown: str
    limit: float | None = None
    least: bool = False
    """Whether the limit is a lower one."""
    unit: str = ""
    decides: bool = False
    """Whether the manual shows it: one of the figures by which a user decides."""

    @property
    def met(self) -> bool | None:
        if self.limit is None:
            return None
        return self.figure >= self.limit if self.least else self.figure <= self.limit

    @property
    def goal(self) -> str:
        return "" if self.limit is None else f"{'≥' if self.least else '≤'} {self.limit:g}{self.unit}"


Section = Callable[[Rounds, Sizes], Iterator[Row]]


def calls(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    for sessions, limit in ((1, 1.65), (sizes.sessions, 1.65)):
        arguments = {"sessions": sessions, "blocks": 9}
        found = rounds.run("streams.call", {OURS: arguments, "yardstick": arguments})
        ns = f"{found.median(OURS, 'ns'):.0f} ns"
        yield Row(
            f"write(), {sessions:,} sessions, against method + with lock + list.append",
            found.ratio(OURS, "yardstick", "ns"),
            ns,
            limit,
            unit="x",
            decides=True,
        )


def wrapped(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    for kind, (what, limit) in MEASURES.items():
        arguments = {"kind": kind, "count": max(1000, int(50_000 * sizes.share))}
        found = rounds.run("wrapped.items", {OURS: arguments, "bare": arguments})
        if "bare" in found.missing:
            yield Row(f"{what}: not installed", float("nan"), "")
            continue
        pairs = zip(found.values[OURS]["ns"], found.values["bare"]["ns"], strict=True)
        bare = f"bare {found.median('bare', 'ns'):.0f} ns"
        decides = kind in ("str", "OpenAI")
        yield Row(what, median(ours - bare for ours, bare in pairs), bare, limit, unit=" ns", decides=decides)


def throughput(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    found = rounds.run(
        "streams.saturated", {name: {"chunks": max(500, int(_CHUNKS[name] * sizes.share))} for name in PEERS}
    )
    limits = {"logging.FileHandler": 15.0, "loguru": 30.0, "f.write + flush": 2.0}
    yield Row("throughput, 100 sessions x 4 threads, 6-byte chunks", 1.0, f"{found.median(OURS, 'rate'):,.0f}/s")
    for name in PEERS:
        if name in found.values and name != OURS:
            ratio = found.ratio(OURS, name, "rate")
            rate = f"{found.median(name, 'rate'):,.0f}/s"
            decides = name in ("f.write + flush", "logging.FileHandler", "loguru")
            yield Row(
                f"throughput against {name}", ratio, rate, limits.get(name), least=True, unit="x", decides=decides
            )
    for name in found.missing:
        yield Row(f"throughput against {name}: not installed", float("nan"), "")
    # One thread, as a stream's server writes it.
    arguments = {"size": 6, "megabytes": max(1, int(12 * sizes.share))}
    found = rounds.run("streams.large", dict.fromkeys((OURS, "f.write + flush"), arguments))
    yield Row(
        "one stream of 6-byte chunks against f.write + flush",
        found.ratio(OURS, "f.write + flush", "mb"),
        f"{found.median(OURS, 'mb'):.0f} MB/s",
        6.0,
        least=True,
        unit="x",
    )


def cpu(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    for sessions in (100, 1000, 4000):
        arguments = {"sessions": sessions, "seconds": 4 * sizes.seconds}
        peers = ["no-op", OURS, "f.write"]
        if sessions > 100:
            peers += ["f.write + flush"]
        if sessions == 1000:
            peers += ["logging.FileHandler"]
        found = rounds.run("rhythm.cpu", dict.fromkeys(peers, arguments))

        def net(name: str, found: Results = found) -> float:
            pairs = zip(found.values[name]["ns"], found.values["no-op"]["ns"], strict=True)
            return median(ns - noop for ns, noop in pairs)

        for name in peers[2:]:
            limit = {"f.write": 2.0, "f.write + flush": 0.17}.get(name)
            yield Row(
                f"CPU time of a chunk, all threads, {sessions:,} sessions at 50 chunks/s, radar off, against {name}",
                net(OURS) / net(name),
                f"{net(OURS):,.0f} ns against {net(name):,.0f} ns",
                limit,
                unit="x",
                decides=name == "f.write" and sessions > 100,
            )


def rounds_of_writes(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    arguments = {"sessions": min(4000, sizes.sessions), "seconds": 6 * sizes.seconds}
    found = rounds.run("rhythm.rounds_of_writes", dict.fromkeys((OURS, WITH_RADAR, "f.write"), arguments))
    for figure, what, limit in (("p50", "p50", None), ("p99", "p99", 2.0), ("p100", "the worst", 5.0)):
        yield Row(
            f"a round of writes over {arguments['sessions']:,} sessions every 20 ms beside the flush, {what}",
            found.median(OURS, figure),
            f"f.write {found.median('f.write', figure):.2f} ms",
            limit,
            unit=" ms",
            decides=limit is not None,
        )
    for figure, what in (("p99", "p99"), ("p100", "the worst")):
        yield Row(
            f"the same with the radar, {what}, against without",
            found.ratio(WITH_RADAR, OURS, figure),
            f"{found.median(WITH_RADAR, figure):.2f} ms",
            1.2,
            unit="x",
        )


def radar(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    arguments = {"sessions": sizes.sessions, "seconds": 8 * sizes.seconds}
    found = rounds.run("rhythm.radar", dict.fromkeys((WITH_RADAR, OURS), arguments))
    per_second = found.median(WITH_RADAR, "characters")
    yield Row(
        f"CPU time of the worker, {sizes.sessions:,} sessions at {per_second:.0f} characters/s, with the radar",
        100 * found.median(WITH_RADAR, "worker"),
        f"the radar {100 * found.median(WITH_RADAR, 'radar'):.1f} %, "
        f"without it {100 * found.median(OURS, 'worker'):.1f} %",
        25.0,
        unit=" % of a core",
        decides=True,
    )


def large_chunks(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    for size, limit in ((64, None), (1024, 0.8), (8192, 0.8)):
        arguments = {"size": size, "megabytes": max(4, int(40 * sizes.share))}
        found = rounds.run("streams.large", dict.fromkeys((OURS, "f.write"), arguments))
        yield Row(
            f"one stream of {size:,}-byte chunks against f.write",
            found.ratio(OURS, "f.write", "mb"),
            f"{found.median(OURS, 'mb'):,.0f} MB/s",
            limit,
            least=True,
            unit="x",
        )


def tails(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    for sessions in (100, sizes.sessions):
        arguments = {"sessions": sessions, "seconds": sizes.seconds}
        found = rounds.run("streams.paced", dict.fromkeys((OURS, "f.write", "logging.FileHandler"), arguments))
        for name, limit in (("f.write", 1.0), ("logging.FileHandler", 0.1)):
            tail = f"{found.median(OURS, 'p99.9'):.1f} µs against {found.median(name, 'p99.9'):.1f} µs"
            yield Row(
                f"p99.9 of write(), {sessions:,} paced sessions, against {name}",
                found.ratio(OURS, name, "p99.9"),
                tail,
                limit,
                unit="x",
            )
    alone = {"peer": OURS, "sessions": 100, "seconds": sizes.seconds}
    found = rounds.run(
        "streams.paced",
        {
            "alone": alone,
            "a sweep of the directory runs": {**alone, "beside": "sweep"},
            "10,000 dirty sessions are flushed": {**alone, "beside": "flush"},
        },
        files=sizes.files,
        age=60,
        shared=True,
    )
    for name in found.values:
        if name != "alone":
            tail = f"{found.median(name, 'p99.9'):.1f} µs against {found.median('alone', 'p99.9'):.1f} µs"
            yield Row(f"p99.9 while {name}, against alone", found.ratio(name, "alone", "p99.9"), tail, 2.0, unit="x")


def flushes(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    arguments = {"sessions": sizes.sessions, "times": 9}
    found = rounds.run("files.flush", {OURS: arguments, "os.write": arguments})
    yield Row(
        f"flush of {sizes.sessions:,} dirty sessions against a bare os.write loop",
        found.ratio(OURS, "os.write", "seconds"),
        f"{found.median(OURS, 'seconds') * 1e3:.1f} ms",
        1.5,
        unit="x",
    )


def sweeps(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    for expired, known, what, limit in (
        (False, False, "none expired, against find -mmin", 1.1),
        (False, True, "the same by the worker, which has looked before", 0.05),
        (True, False, "all expired, against find -delete", 1.2),
    ):
        both = {OURS: {"expired": expired, "known": known}, "find": {"expired": expired}}
        found = rounds.run("files.sweep", both, files=sizes.files, age=3600 if expired else 0, shared=not expired)
        yield Row(
            f"sweep of {sizes.files:,} files, {what}",
            found.ratio(OURS, "find", "seconds"),
            f"{found.median(OURS, 'us'):.2f} µs a file",
            limit,
            unit="x",
        )


def looks(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    found = rounds.run("files.look", {"ls": {}}, files=sizes.files, age=60, shared=True)
    yield Row(f"streaming-logger ls over {sizes.files:,} files", found.median("ls", "seconds"), "", 2.0, unit=" s")


def completions(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    for wait, limit in ((False, 3.0), (True, 150.0)):
        arguments = {"wait": wait, "times": sizes.times}
        found = rounds.run(
            "files.complete", {"few": {**arguments, "sessions": 0}, "many": {**arguments, "sessions": sizes.sessions}}
        )
        took = found.median("few", "us")
        yield Row(f"complete_session(wait={wait}), p50", took, "", limit, unit=" µs", decides=not wait)
        yield Row(
            f"the same beside {sizes.sessions:,} open sessions",
            found.ratio("many", "few", "us"),
            f"{found.median('many', 'us'):.1f} µs",
            2.0,
            unit="x",
        )


def journal(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    arguments = {"sessions": 100, "chunks": max(20_000, int(400_000 * sizes.share))}
    found = rounds.run("journal.single", {"with": arguments, "without": arguments})
    for figure, limit in (("p50", 1.2), ("p99.9", 1.5)):
        yield Row(
            f"{figure} of write() with the crash journal, against crash_journal: false",
            found.ratio("with", "without", figure),
            f"{found.median('with', figure):,.0f} ns against {found.median('without', figure):,.0f} ns",
            limit,
            unit="x",
            decides=True,
        )
    flushed = {"sessions": sizes.sessions, "times": 9}
    found = rounds.run("journal.flush", {"with": flushed, "without": flushed})
    yield Row(
        f"flush of {sizes.sessions:,} dirty sessions with the crash journal, against crash_journal: false",
        found.ratio("with", "without", "seconds"),
        f"{found.median('with', 'seconds') * 1e3:.1f} ms",
        unit="x",
    )
    amount = {"sessions": 500, "megabytes": max(2, int(10 * sizes.share))}
    found = rounds.run("journal.recovery", {OURS: amount})
    yield Row("recovery of a crash journal, 500 sessions", found.median(OURS, "mb"), "", unit=" MB/s")


def archive(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    arguments = {"sessions": 100, "seconds": 7.0}
    found = rounds.run("archive.beside", {"with": arguments, "without": arguments})
    for figure, what, limit in (
        ("p50", "p50 of write()", 1.1),
        ("p99.9", "p99.9 of write()", None),
        ("flush", "a flush", 1.2),
    ):
        with_it, without = (found.median(candidate, figure) for candidate in ("with", "without"))
        shown = f"{with_it:.2f} ms" if figure == "flush" else f"{with_it:,.0f} ns against {without:,.0f} ns"
        yield Row(
            f"{what} while 100 sessions a second are archived, against without",
            found.ratio("with", "without", figure),
            shown,
            limit,
            unit="x",
        )
    found = rounds.run("archive.rate", {OURS: {"sessions": max(200, int(5000 * sizes.share))}})
    yield Row("sessions archived to a directory", found.median(OURS, "rate"), "", unit=" /s")


def sizes_in_memory(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    found = rounds.run(
        "files.memory",
        {
            "an open idle session": {"of": "session", "count": sizes.sessions},
            "a buffered 6-byte chunk": {"of": "chunk", "count": int(5_000_000 * max(sizes.share, 0.2))},
        },
    )
    for name, limit in (("an open idle session", 600.0), ("a buffered 6-byte chunk", 12.0)):
        decides = name.startswith("an open")
        yield Row(f"memory of {name}", found.median(name, "bytes"), "", limit, unit=" B", decides=decides)


def imports(rounds: Rounds, sizes: Sizes) -> Iterator[Row]:
    base = "json, logging, threading, dataclasses"
    found = rounds.run("files.imports", {OURS: {"module": OURS}, base: {"module": base}})
    yield Row(
        f"import against importing {base}",
        found.ratio(OURS, base, "seconds"),
        f"{found.median(OURS, 'seconds') * 1e3:.1f} ms",
        1.3,
        unit="x",
    )


SECTIONS: Mapping[str, Section] = {
    "calls": calls,
    "wrap": wrapped,
    "throughput": throughput,
    "cpu": cpu,
    "rounds": rounds_of_writes,
    "radar": radar,
    "large": large_chunks,
    "tails": tails,
    "flush": flushes,
    "sweeps": sweeps,
    "ls": looks,
    "completions": completions,
    "journal": journal,
    "archive": archive,
    "memory": sizes_in_memory,
    "import": imports,
}


def growth(rounds: Rounds, sizes: Sizes) -> tuple[dict[int, float], dict[int, float]]:
    """Nanoseconds of a call by sessions, and microseconds of a sweep for each file by files."""
    few = Rounds(min(3, rounds.count), rounds.directory)
    by_sessions, by_files = {}, {}
    for sessions in GROWTH_SESSIONS:
        if sessions <= 10 * sizes.sessions:
            found: Results = few.run("streams.call", {OURS: {"sessions": sessions, "blocks": 7}})
            by_sessions[sessions] = found.median(OURS, "ns")
    for files in GROWTH_FILES:
        if files <= 5 * sizes.files:
            found = few.run("files.sweep", {OURS: {"expired": False}}, files=files, shared=True)
            by_files[files] = found.median(OURS, "us")
    return by_sessions, by_files
