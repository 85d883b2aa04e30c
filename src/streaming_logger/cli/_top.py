"""`top`: the active sessions of all worker processes, live.

The screen is drawn with a handful of escape sequences that every terminal knows, so it
works without any package; where rich is installed the rows have colours.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from streaming_logger.cli._place import find_place
from streaming_logger.cli._rates import Active, Look, Rates
from streaming_logger.cli._text import Column, age, cut, duration, one_line, plain_table, size
from streaming_logger.cli._verb import OK, Verb, as_json, count, seconds

try:
    import termios
    import tty
except ImportError:  # Windows
    termios = tty = None  # type: ignore[assignment]

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
_ORDERS: dict[str, tuple[str, Callable[[Active], Any]]] = {
    "r": ("rate", lambda session: (session.rate or 0.0, session.size)),
    "s": ("size", lambda session: session.size),
    "i": ("idle", lambda session: session.idle),
    "a": ("age", lambda session: session.age or 0.0),
    "n": ("name", lambda session: session.id),
}
_KEYS = "keys: q quit, r rate, s size, i idle, a age, n name, v reverse"

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_BOLD, _RED, _REVERSE, _NORMAL = "\x1b[1m", "\x1b[1;31m", "\x1b[7m", "\x1b[0m"


def _arguments(parser: ArgumentParser) -> None:
    names = [name for name, _ in _ORDERS.values()]
    parser.add_argument("-d", "--delay", type=seconds, default=2.0, metavar="S", help="seconds between two looks (2)")
    parser.add_argument("-c", "--count", type=count, metavar="N", help="end after N looks")
    parser.add_argument("--sort", choices=names, default="rate", help="the order to begin with")
    parser.add_argument(
        "--stalled", type=seconds, default=15.0, metavar="S", help="mark sessions silent for so long (15)"
    )


def _top(args: Namespace) -> int:
    place = find_place(args.dir, args.config).must_exist()
    rates = Rates(place.directory, stalled_seconds=args.stalled)
    delay = max(0.1, args.delay)
    view = _View(args.sort, str(place.path))
    try:
        if args.json or not sys.stdout.isatty():
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
    rates.look()
    for _ in range(count):
        time.sleep(delay)
        look = rates.look()
        if json:
            print(as_json(asdict(look)), flush=True)
        else:
            print("\n".join([view.title(look), *plain_table(_COLUMNS, view.rows(look.sessions))]), flush=True)


def _live(view: _View, rates: Rates, delay: float, count: int | None) -> None:
    look, looks = rates.look(), 1
    again = time.monotonic() + min(delay, 1.0)  # rates need two looks: the second comes soon
    with _screen():
        while True:
            view.draw(look)
            key = _key(max(0.0, again - time.monotonic()))
            if key == "q":
                return
            if key:
                view.press(key)
            elif time.monotonic() >= again:
                if count is not None and looks >= count:
                    return
                look, looks = rates.look(), looks + 1
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

    def title(self, look: Look) -> str:
        stalled = sum(session.stalled for session in look.sessions)
        return (
            f"{time.strftime('%H:%M:%S')}  {len(look.sessions):,} active"
            f"{f', {stalled:,} STALLED' if stalled else ''}, {look.ended:,} ended, "
            f"{look.rate:,.0f} char/s  {self._path}"
        )

    def rows(self, sessions: list[Active], limit: int | None = None) -> list[tuple[str, ...]]:
        name, order = _ORDERS[self._key]
        ordered = sorted(sessions, key=order, reverse=(name != "name") is not self._backwards)
        return [
            (
                "-" if session.rate is None else f"{session.rate:,.0f}",
                size(session.size),
                age(session.age),
                duration(session.idle),
                "STALLED" if session.stalled else session.state,
                one_line(session.id),
            )
            for session in ordered[:limit]
        ]

    def draw(self, look: Look) -> None:
        columns, lines = shutil.get_terminal_size()
        room = max(1, lines - 4)
        rows = self.rows(look.sessions, room)
        title, headings, *table = [
            cut(line, columns) for line in [self.title(look), *plain_table(_COLUMNS, rows or [("",) * len(_COLUMNS)])]
        ]
        name = _ORDERS[self._key][0]
        hidden = len(look.sessions) - len(rows)
        foot = f"... {hidden:,} more  " if hidden else ""
        foot += f"sorted by {name}{' reversed' if self._backwards else ''};  {_KEYS}"
        shown = [_BOLD + title, _REVERSE + headings.ljust(columns)]
        shown += [_RED + line if row[4] == "STALLED" else line for row, line in zip(rows, table, strict=False)]
        if not rows:
            shown.append("no session is active")
        shown += [""] * (room - max(1, len(rows)) + 1) + [cut(foot, columns)]
        text = "\r\n".join(line + _NORMAL + _REST_OF_LINE for line in shown)
        sys.stdout.write(_HOME + text + _REST_OF_SCREEN)
        sys.stdout.flush()


# -- the terminal --------------------------------------------------------------------


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    """The terminal's other screen, keys without Enter; all as it was on every way out."""
    fd = sys.stdin.fileno() if termios is not None and sys.stdin.isatty() else None
    before = None if fd is None else termios.tcgetattr(fd)
    sys.stdout.write(_ENTER)
    try:
        if fd is not None:
            tty.setcbreak(fd)
        yield
    finally:
        if fd is not None and before is not None:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _key(seconds: float) -> str:
    """The next key, or nothing after so many seconds; q when the keyboard is gone."""
    if termios is None or not sys.stdin.isatty():
        time.sleep(seconds)
        return ""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if not ready:
        return ""
    data = os.read(sys.stdin.fileno(), 64)
    return data[:1].decode("ascii", "ignore").lower() if data else "q"


VERBS = (
    Verb(
        "top",
        "live view of the active sessions of all processes; stalled ones are marked",
        _arguments,
        _top,
        "[--sort ORDER] [--stalled S]",
    ),
)
