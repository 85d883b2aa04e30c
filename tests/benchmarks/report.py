"""What the benchmark says: the environment, the table, the growth, the documents' parts, the plot."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from goals import Row

__all__ = [
    "PLOT",
    "RESULTS",
    "as_markdown",
    "as_text",
    "chart",
    "environment",
    "growth_table",
    "plot",
    "write_documents",
    "write_results",
]

_ROOT = Path(__file__).parents[2]
PLOT = Path(__file__).with_name("speed.png")
RESULTS = Path(__file__).with_name("RESULTS.md")
MANUAL_PAGE = _ROOT / "src" / "streaming_logger" / "manual" / "performance.md"
#: The longest bar of the chart, in characters.
_BAR = 40
_WORDS = {True: "met", False: "not met", None: ""}


def environment(directory: Path) -> str:
    """One paragraph: what ran where."""
    versions = []
    for name in ("streaming-logger", "loguru", "structlog", "picologging", "aiofiles"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.release()}, "
        f"{platform.machine()}, {os.cpu_count()} cores, {_file_system(directory)}; {', '.join(versions)}."
    )


def _file_system(directory: Path) -> str:
    """The type of the file system that holds a directory, where /proc tells."""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return "unknown file system"
    mounts = {line.split()[1]: line.split()[2] for line in lines}
    return next(mounts[str(parent)] for parent in (directory, *directory.parents) if str(parent) in mounts)


def _value(row: Row) -> str:
    return f"{row.figure:.3g}{row.unit}" if row.figure == row.figure else "-"


def as_text(row: Row) -> str:
    """The row for a terminal."""
    goal = f"{row.goal:>9}  {_WORDS[row.met]:7}" if row.goal else " " * 18
    return f"{row.what:92} {_value(row) if row.unit else '':>9}  {goal}  {row.shown}"


def as_markdown(rows: Iterable[Row]) -> str:
    """The table."""
    lines = ["| what | figure | goal | | in itself |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.what} | {_value(row) if row.unit else ''} | {row.goal} | {_WORDS[row.met]} | {row.shown} |"
        for row in rows
    ]
    return "\n".join(lines)


def growth_table(by_sessions: dict[int, float], by_files: dict[int, float]) -> str:
    """Cost of a call by sessions, and of a sweep for each file by files."""
    lines = ["| sessions | write() |", "|---|---|", *(f"| {n:,} | {ns:.0f} ns |" for n, ns in by_sessions.items())]
    lines += [
        "",
        "| files | sweep, for each file |",
        "|---|---|",
        *(f"| {n:,} | {us:.2f} µs |" for n, us in by_files.items()),
    ]
    return "\n".join(lines)


def plot(path: Path, rates: dict[str, float], by_sessions: dict[int, float], by_files: dict[int, float]) -> None:
    """Chunks a second of all candidates, and both growths, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (bars, left, right) = pyplot.subplots(
        1, 3, figsize=(13, 3.4), layout="constrained", width_ratios=(1.5, 1, 1)
    )
    names = sorted(rates, key=lambda name: rates[name])
    colours = ["tab:blue" if name == "streaming_logger" else "silver" for name in names]
    drawn = bars.barh(names, [rates[name] for name in names], color=colours)
    bars.bar_label(drawn, [f"{rates[name]:,.0f}" for name in names], padding=3, fontsize=8)
    bars.set(xscale="log", xlabel="6-byte chunks a second, 100 sessions, 4 threads", xlim=(1e3, 1e8))
    left.plot(list(by_sessions), list(by_sessions.values()), "o-")
    left.set(xscale="log", xlabel="sessions in turns", ylabel="ns for each write()", ylim=(0, None))
    right.plot(list(by_files), list(by_files.values()), "o-")
    right.set(xscale="log", xlabel="files in the directory", ylabel="µs of a sweep for each file", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def write_results(head: str, table: str, growth: str) -> None:
    """The whole table, beside this file."""
    title = "# Results of `python tests/benchmarks --readme`"
    RESULTS.write_text("\n\n".join([title, head, table, growth]) + "\n", encoding="utf-8")


def chart(rates: dict[str, float]) -> str:
    """Chunks a second of all candidates, as text: it can be read where only the package is seen."""
    longest, most = max(map(len, rates)), max(rates.values())
    lines = ["6-byte chunks a second, 100 sessions, 4 threads"]
    for name, rate in sorted(rates.items(), key=lambda item: -item[1]):
        lines.append(f"{name:{longest}}  {'█' * round(rate / most * _BAR) or '▏'} {rate:,.0f}")
    return "\n".join(["```text", *lines, "```"])


def write_documents(picture: str, text: str) -> None:
    """The chart into the README, the text into the manual's page: between the marks of each."""
    for path, part in ((_ROOT / "README.md", picture), (MANUAL_PAGE, text)):
        old = path.read_text(encoding="utf-8")
        pattern = re.compile(r"(<!-- speed:begin -->\n).*?(<!-- speed:end -->)", re.DOTALL)
        new, found = pattern.subn(lambda match, part=part: f"{match[1]}{part}\n{match[2]}", old)
        if not found:
            sys.exit(f"{path.name} has no part between <!-- speed:begin --> and <!-- speed:end -->")
        path.write_text(new, encoding="utf-8")
