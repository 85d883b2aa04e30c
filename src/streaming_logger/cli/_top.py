"""`top`: the active sessions of all worker processes, live.

On a terminal until it is stopped; into a pipe one scan, or as many as `--count` says.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from streaming_logger._view.sessions import Session
from streaming_logger.cli._rates import Rates, Snapshot
from streaming_logger.cli._screen import BOLD, RED, REVERSE, Screen
from streaming_logger.cli._text import Column, age, cut, duration, one_line, size, table_lines
from streaming_logger.cli._verb import OK, Verb, as_json, count, seconds, target_of

__all__ = ["VERBS"]

_COLUMNS = (
    Column("CHAR/S", number=True),
    Column("SIZE", number=True),
    Column("AGE", number=True),
    Column("IDLE", number=True),
    Column("STATE"),
    Column("SESSION"),
)

#: By key: the name of an order, and the order; the largest first.
_ORDERS: dict[str, tuple[str, Callable[[Session], Any]]] = {
    "r": ("rate", lambda session: (session.rate or 0.0, session.size)),
    "s": ("size", lambda session: session.size),
    "i": ("idle", lambda session: session.idle),
    "a": ("age", lambda session: session.age or 0.0),
    "n": ("name", lambda session: session.id),
}
#: The keys of the orders are their first letters. With the rest of the line it fits 80 columns.
_KEYS = "q quit, v reverse, sort: Rate Size Idle Age Name"


def _arguments(parser: ArgumentParser) -> None:
    names = [name for name, _ in _ORDERS.values()]
    parser.add_argument("-d", "--delay", type=seconds, default=2.0, metavar="S", help="seconds between two scans (2)")
    parser.add_argument("-c", "--count", type=count, metavar="N", help="end after N scans")
    parser.add_argument("--sort", choices=names, default="rate", help="the order to begin with")
    parser.add_argument(
        "--stalled", type=seconds, metavar="S", help="mark sessions silent for longer (stall_seconds, or 15)"
    )


def _top(args: Namespace) -> int:
    target = target_of(args)
    rates = Rates(target, stall_seconds=args.stalled)
    delay = max(0.1, args.delay)
    view = _View(args.sort, str(target.path))
    try:
        if args.json or not sys.stdout.isatty() or not Screen.possible:
            _print_looks(view, rates, delay, args.count or 1, json=args.json)
        else:
            _live(view, rates, delay, args.count)
    except KeyboardInterrupt:
        pass
    finally:
        rates.close()
    return OK


def _print_looks(view: _View, rates: Rates, delay: float, count: int, *, json: bool) -> None:
    """For a pipe: so many looks, one below the other. The first only makes the second tell rates."""
    rates.scan()
    for number in range(count):
        time.sleep(delay if number else max(delay, rates.first_seconds))
        look = rates.scan()
        if json:
            print(as_json({**asdict(look), "sessions": [session.shown() for session in look.sessions]}), flush=True)
        else:
            print("\n".join([view.title(look), *table_lines(_COLUMNS, view.rows(look.sessions))]), flush=True)


def _live(view: _View, rates: Rates, delay: float, count: int | None) -> None:
    look, looks = rates.scan(), 1
    again = time.monotonic() + min(delay, 1.0)  # rates need two looks: the second comes soon
    with Screen() as screen:
        while True:
            view.draw(look, screen)
            key = screen.key(max(0.0, again - time.monotonic()))
            if key == "q":
                return
            if key:
                view.press(key)
            elif time.monotonic() >= again:
                if count is not None and looks >= count:
                    return
                look, looks = rates.scan(), looks + 1
                again = time.monotonic() + delay


class _View:
    """What the screen shows of a look, and in which order."""

    def __init__(self, order: str, path: str) -> None:
        self._key = next(key for key, (name, _) in _ORDERS.items() if name == order)
        self._backwards = False
        self._path = one_line(path)

    def press(self, key: str) -> None:
        if key in _ORDERS:
            self._key, self._backwards = key, False
        elif key == "v":
            self._backwards = not self._backwards

    def title(self, look: Snapshot) -> str:
        stalled = sum(session.stalled for session in look.sessions)
        loops = sum(bool(session.loop) for session in look.sessions)
        return (
            f"{time.strftime('%H:%M:%S')}  {len(look.sessions):,} active"
            f"{f', {loops:,} LOOP' if loops else ''}{f', {stalled:,} STALLED' if stalled else ''}, "
            f"{look.ended:,} ended, "
            f"{f'{look.unknown:,} unknown, ' if look.unknown else ''}"
            f"{'-' if look.rate is None else f'{look.rate:,.0f}'} char/s  {self._path}"
        )

    def rows(self, sessions: list[Session], limit: int | None = None) -> list[tuple[str, ...]]:
        name, order = _ORDERS[self._key]
        ordered = sorted(sessions, key=order, reverse=(name != "name") is not self._backwards)
        return [
            (
                "-" if session.rate is None else f"{session.rate:,.0f}",
                size(session.size),
                age(session.age),
                duration(session.idle),
                "STALLED" if session.stalled else "LOOP" if session.loop else session.state,
                one_line(session.id),
            )
            for session in ordered[:limit]
        ]

    def draw(self, look: Snapshot, screen: Screen) -> None:
        columns, lines = screen.size()
        height = max(1, lines - 4)
        rows = self.rows(look.sessions, height)
        title, headings, *table = [
            cut(line, columns) for line in [self.title(look), *table_lines(_COLUMNS, rows or [("",) * len(_COLUMNS)])]
        ]
        hidden = len(look.sessions) - len(rows)
        foot = f"+{hidden:,} more  " if hidden else ""
        foot += f"by {_ORDERS[self._key][0]}{' reversed' if self._backwards else ''};  {_KEYS}"
        shown = [BOLD + title, REVERSE + headings.ljust(columns)]
        shown += [RED + line if row[4] in ("STALLED", "LOOP") else line for row, line in zip(rows, table, strict=False)]
        if not rows:
            shown.append(cut("the directory is gone" if look.gone else "no session is active", columns))
        shown += [""] * (height - max(1, len(rows)) + 1) + [cut(foot, columns)]
        screen.draw(shown)


VERBS = (
    Verb(
        "top",
        "live view of the active sessions of all processes; those that loop or stall are marked",
        _arguments,
        _top,
        "[--sort ORDER] [--stalled S]",
        lasting=True,
    ),
)
