"""Measures this library and its peers side by side: `python tests/benchmarks` (about half an hour).

Needs `pip install -e '.[bench]'`; a peer that is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import report
from goals import OURS, QUICK, SECTIONS, Row, Sizes, growth
from rounds import Rounds

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small and few: shows that it works, under a minute")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), help="these sections, and no growth")
    parser.add_argument("--rounds", type=int, help="of each measure; 7 is what figures are quoted from")
    parser.add_argument("--directory", type=Path, help="where files are written (default: for temporary files)")
    parser.add_argument("--readme", action="store_true", help="write the README's chart, the manual's rows, RESULTS.md")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to a file")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the picture: all candidates, and the growth")
    options = parser.parse_args()

    rounds = Rounds(options.rounds or (1 if options.quick else 7), options.directory)
    sizes = QUICK if options.quick else Sizes()
    head = report.environment((options.directory or Path(tempfile.gettempdir())).resolve())
    print(head)
    rows = []
    for name in options.only or SECTIONS:
        for row in SECTIONS[name](rounds, sizes):
            rows.append(row)
            print(report.as_text(row), flush=True)
    met = [row.met for row in rows if row.met is not None]
    print(
        f"{sum(met)} of {len(met)} goals met" + (", but the goals are meant for the full run" if options.quick else "")
    )
    text = f"Medians of {rounds.count} rounds. {head}"
    table = report.as_markdown(rows)
    if options.markdown:
        options.markdown.write_text(f"{text}\n\n{table}\n", encoding="utf-8")
    if options.only:
        return
    by_sessions, by_files = growth(rounds, sizes)
    grown = report.growth_table(by_sessions, by_files)
    print(grown)
    if options.plot:
        report.plot(options.plot, rates(rows), by_sessions, by_files)
    if options.readme:
        report.plot(report.PLOT, rates(rows), by_sessions, by_files)
        report.write_results(text, table, grown)
        deciding = report.as_markdown(row for row in rows if row.decides)
        report.write_documents(report.chart(rates(rows)), f"{text}\n\n{deciding}")


def rates(rows: list[Row]) -> dict[str, float]:
    """Chunks a second by candidate, as the section `throughput` shows them."""
    found = {}
    for row in rows:
        if row.what.startswith("throughput") and row.shown:
            name = row.what.partition(" against ")[2] or OURS
            found[name] = float(row.shown.removesuffix("/s").replace(",", ""))
    return found


if __name__ == "__main__":
    main()
