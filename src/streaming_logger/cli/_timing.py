"""`timing`: how fast a session was generated, where it stalled, and its rate over time as a chart."""

from __future__ import annotations

import math
import shutil
import sys
from argparse import ArgumentParser, Namespace
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate

from streaming_logger._view.text import utf8_decoder
from streaming_logger.cli._chart import LABEL, print_chart, rates, save_chart
from streaming_logger.cli._recording import Recording, with_recording
from streaming_logger.cli._text import one_line, span
from streaming_logger.cli._verb import OK, Verb, archive_argument, count, id_argument, note, print_json

__all__ = ["VERBS", "Figures", "figures"]

#: Points of the rate over time in JSON and in pictures.
_POINTS = 200
#: No screen is wider.
_MOST_COLUMNS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A session's timing in numbers; None where it has too few chunks for one.

    The rates are those after the first chunk: what comes before it is the wait for the prompt.
    """

    chunks: int
    characters: int
    total_seconds: float
    first_chunk_seconds: float | None
    """None also where a session began with its first chunk: nobody knows how long that was waited for."""
    chunks_per_second: float | None
    characters_per_second: float | None
    gap_seconds_p50: float | None
    gap_seconds_p99: float | None
    stall_seconds: float | None
    """The longest gap between two chunks, or the silence since the last one."""
    stall_at_seconds: float | None
    """When it began, counted from the session's start."""
    stall_at_byte: int | None
    """Its place in the log."""


def figures(
    delays: Sequence[float], characters: Sequence[int], sizes: Sequence[int], *, silence: float | None = None
) -> Figures:
    """The numbers of chunks, each given by the delay before it, its characters, its bytes.

    `silence`: of a session that has not ended, the seconds since its last chunk.

    >>> found = figures([0.5, 0.1, 2.0, 0.1], [4, 4, 4, 3], [4, 4, 4, 3])
    >>> found.first_chunk_seconds, found.characters_per_second, found.gap_seconds_p50
    (0.5, 5.0, 0.1)
    >>> found.stall_seconds, found.stall_at_seconds, found.stall_at_byte
    (2.0, 0.6, 8)
    """
    gaps = sorted(delays[1:])
    total = math.fsum(delays) + (silence or 0.0)
    first = delays[0] if delays else None
    generating = 0.0 if first is None else total - first
    stall = gaps[-1] if gaps else None
    before = 0 if stall is None else delays.index(stall, 1)
    if silence is not None and delays and silence > (stall or 0.0):
        stall, before = silence, len(delays)
    return Figures(
        chunks=len(delays),
        characters=sum(characters),
        total_seconds=round(total, 6),
        first_chunk_seconds=first or None,
        chunks_per_second=len(gaps) / generating if generating > 0 else None,
        characters_per_second=sum(characters[1:]) / generating if generating > 0 else None,
        gap_seconds_p50=_percentile(gaps, 0.5),
        gap_seconds_p99=_percentile(gaps, 0.99),
        stall_seconds=stall,
        stall_at_seconds=None if stall is None else round(math.fsum(delays[:before]), 6),
        stall_at_byte=None if stall is None else sum(sizes[:before]),
    )


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share does not exceed."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def _arguments(parser: ArgumentParser) -> None:
    id_argument(parser)
    archive_argument(parser)
    parser.add_argument(
        "--width",
        type=partial(count, most=_MOST_COLUMNS),
        metavar="N",
        help="columns of the chart (as the terminal has); 0: none",
    )
    parser.add_argument("--png", metavar="FILE", help="draw the chart into a PNG file; needs the extra `plot`")
    parser.add_argument("--svg", metavar="FILE", help="draw the chart into an SVG file; needs the extra `plot`")


def _timing(args: Namespace) -> int:
    return with_recording(args, lambda recording: _tell(recording, args))


def _tell(recording: Recording, args: Namespace) -> int:
    delays, characters, sizes = array("d"), array("q"), array("q")
    decode = utf8_decoder().decode
    for delay, data in recording.chunks():
        delays.append(delay)
        characters.append(len(decode(data)))
        sizes.append(len(data))
    session = recording.session
    found = figures(delays, characters, sizes, silence=session.silence)
    if session.silence is not None:
        delays.append(session.silence)
        characters.append(0)
    times = array("d", accumulate(delays))
    points = rates(times, characters, _POINTS)
    for form in ("png", "svg"):
        if file := getattr(args, form):
            save_chart(file, form, one_line(session.id), points, found.total_seconds)
    if args.json:
        over_time = {"rate": [round(rate, 3) for rate in points], "rate_seconds": found.total_seconds / _POINTS}
        remarks = {"remarks": recording.remarks()}
        print_json({"session": recording.session.id, **asdict(found), **over_time, **remarks})
        return OK
    for name, value in _rows(found, session.silence):
        print(f"{name:<21}{value}")
    columns = (_columns() if args.width is None else args.width) - LABEL
    if columns > 0 and found.total_seconds > 0:
        print("\ncharacters a second")
        print_chart(rates(times, characters, columns), found.total_seconds)
    for remark in recording.remarks():
        note(f"[{remark}]")
    return OK


def _columns() -> int:
    """The terminal's; 80 for a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


def _rows(found: Figures, silence: float | None) -> list[tuple[str, str]]:
    stall = span(found.stall_seconds)
    if found.stall_at_seconds is not None:
        stall += f", at {span(found.stall_at_seconds)}, after byte {found.stall_at_byte:,}"
        stall += ", until now" if found.stall_seconds == silence else ""
    return [
        ("time to first chunk", span(found.first_chunk_seconds)),
        ("chunks", f"{found.chunks:,}, {_rate(found.chunks_per_second)}"),
        ("characters", f"{found.characters:,}, {_rate(found.characters_per_second)}"),
        ("gaps", f"p50 {span(found.gap_seconds_p50)}, p99 {span(found.gap_seconds_p99)}"),
        ("longest stall", stall),
        ("total", span(found.total_seconds)),
    ]


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.1f} a second"


VERBS = (
    Verb(
        "timing",
        "how fast a session was generated, where it stalled, its rate over time as a chart; needs `record_timing`",
        _arguments,
        _timing,
        "ID [--width N] [--png FILE] [--svg FILE]",
    ),
)
