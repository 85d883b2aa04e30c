"""The rate of a session over time, drawn with characters for the terminal, or by matplotlib into a picture."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence

from streaming_logger._view.resolve import UsageError
from streaming_logger.cli._text import size, span

__all__ = ["LABEL", "chart", "print_chart", "rates", "save_chart"]

#: Columns before the first cell, for the scale.
LABEL = 6
_HEIGHT = 6
#: Of the times in a timing file, in seconds.
_RESOLUTION = 1e-6
#: A cell from empty to full.
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:#"


def rates(times: Sequence[float], counts: Sequence[int], points: int) -> array[float]:
    """The rate in equal intervals from 0 to the last time, for counts that were complete at these times.

    Each count is spread over the gap before it, so that the intervals may be shorter than the gaps.

    >>> rates([1.0, 2.0, 4.0], [0, 8, 8], 4).tolist()
    [0.0, 8.0, 4.0, 4.0]
    """
    total = times[-1] if times else 0.0
    if total < _RESOLUTION:  # as good as no time: the smallest float has no half
        return array("d", [0.0] * points)
    step = total / points
    found, index, done, reached = array("d"), 0, 0.0, 0.0
    begun = 0.0  # of the gap
    for point in range(1, points + 1):
        edge = total if point == points else point * step
        while index < len(times) and times[index] <= edge:
            done += counts[index]
            begun = times[index]
            index += 1
        at_edge = done
        if index < len(times):
            at_edge += counts[index] * (edge - begun) / (times[index] - begun)
        found.append((at_edge - reached) / step)
        reached = at_edge
    return found


def print_chart(values: Sequence[float], total: float) -> None:
    """Prints rates over so many seconds, a column each: with blocks, or in ASCII where the output has none."""
    try:
        _BLOCKS.encode(sys.stdout.encoding)
        levels = _BLOCKS
    except UnicodeError:
        levels = _ASCII
    print("\n".join(chart(values, total, levels)))


def chart(values: Sequence[float], total: float, levels: str) -> list[str]:
    """The lines of a chart. `levels` are the cells from empty to full; what is above zero is never empty.

    >>> print("|\\n".join(chart([0.0, 4.0, 12.0, 6.0, 0.1, 3.0, 3.0, 3.0, 0.0], 12.5, " .:#")))
       12   #      |
            #      |
            #      |
            ##     |
           ### ::: |
        0  ###.### |
          0 12.50 s
    """
    peak = max(values) or 1.0
    lines = []
    for row in reversed(range(_HEIGHT)):
        label = size(peak) if row == _HEIGHT - 1 else "" if row else "0"
        shares = (min(1.0, max(0.0, value / peak * _HEIGHT - row)) for value in values)
        cells = "".join(levels[math.ceil(share * (len(levels) - 1))] for share in shares)
        lines.append(f"{label:>{LABEL - 1}} {cells}")
    return [*lines, f"{'':{LABEL}}0{span(total):>{max(0, len(values) - 1)}}"]


def save_chart(file: str, form: str, title: str, values: Sequence[float], total: float) -> None:
    """Draws the same into a file, "png" or "svg". Raises `UsageError` without matplotlib, `OSError`."""
    try:
        from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise UsageError(
            f"--{form} needs matplotlib; install the extra `plot` of streaming-logger ({error})"
        ) from error
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.add_subplot(xlabel="seconds since the session's start", ylabel="characters a second")
    axes.set_title(title, parse_math=False)  # an id may have dollar signs
    axes.stairs(values, [total * edge / len(values) for edge in range(len(values) + 1)], fill=True)
    axes.margins(x=0)
    axes.set_ylim(bottom=0)
    figure.savefig(file, format=form)
