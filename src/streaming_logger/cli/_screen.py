"""The terminal as `top` uses it: its other screen, its keys, its size.

A handful of escape sequences that every terminal knows, so it works without any package.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from types import FrameType, TracebackType

try:
    import termios
    import tty
except ImportError:  # Windows
    termios = tty = None  # type: ignore[assignment]

__all__ = ["BOLD", "NORMAL", "RED", "REVERSE", "Screen"]

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
BOLD, RED, REVERSE, NORMAL = "\x1b[1m", "\x1b[1;31m", "\x1b[7m", "\x1b[0m"


class Screen:
    """The other screen, keys without Enter; all as it was on every way out, `kill` and Ctrl-Z too."""

    possible = termios is not None

    def __enter__(self) -> Screen:
        self._keys = sys.stdin.fileno() if termios is not None and sys.stdin.isatty() else None
        self._before = None if self._keys is None else termios.tcgetattr(self._keys)
        # Python goes on with `select` after a signal; a byte in here ends it, so that a resize shows at once.
        self._signals, wake = os.pipe()
        self._wake = wake
        os.set_blocking(wake, False)
        self._woken_before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._handlers = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, _end),
            signal.SIGTSTP: signal.signal(signal.SIGTSTP, self._pause),
            signal.SIGWINCH: signal.signal(signal.SIGWINCH, lambda number, frame: None),
        }
        sys.stdout.flush()
        self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            sys.stdout.flush()  # what an exception left of a drawing belongs on this screen
        finally:
            self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._woken_before)
        os.close(self._signals)
        os.close(self._wake)

    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now; COLUMNS in the environment may be those of an hour ago."""
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        return (columns, lines) if columns and lines else shutil.get_terminal_size()

    def draw(self, lines: list[str]) -> None:
        """Shows these lines, which fit, from the top."""
        text = "\r\n".join(line + NORMAL + _REST_OF_LINE for line in lines)
        sys.stdout.write(_HOME + text + _REST_OF_SCREEN)
        sys.stdout.flush()

    def key(self, seconds: float) -> str:
        """The next key, or nothing after so many seconds or a resize; q when the keyboard is gone."""
        ready, _, _ = select.select([self._signals, *([] if self._keys is None else [self._keys])], [], [], seconds)
        if self._signals in ready:
            os.read(self._signals, 64)
        if self._keys is None or self._keys not in ready:
            return ""
        data = os.read(self._keys, 64)
        return data[:1].decode("ascii", "ignore").lower() if data else "q"

    # -- taking and giving back ------------------------------------------------------

    def _take(self) -> None:
        if self._keys is not None:
            tty.setcbreak(self._keys)
        _write(_ENTER)

    def _give_back(self) -> None:
        if self._keys is not None and self._before is not None:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)
        _write(_LEAVE)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the shell finds its own screen; `fg` comes back to this one."""
        self._give_back()
        mine = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, mine)
        self._take()


def _write(text: str) -> None:
    # Not sys.stdout: Ctrl-Z may interrupt a write to that, and two of them at once raise RuntimeError.
    os.write(sys.stdout.fileno(), text.encode())


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
