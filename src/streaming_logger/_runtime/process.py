"""What the process does to a logger: it forks, and it ends.

No `before` hook at a fork: one that took locks could hang the server. The child is given
fresh rooms instead, and the parent, which goes on as if nothing had happened, writes what
was buffered. At the end `atexit` closes; multiprocessing children, which leave by
`os._exit`, have multiprocessing's own list of last things to do.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from streaming_logger._base.modules import loaded

__all__ = ["close_with_multiprocessing", "watch"]


class _Forkable(Protocol):
    def _start_over(self) -> None: ...

    def close(self) -> None: ...


_loggers: weakref.WeakSet[_Forkable] = weakref.WeakSet()
_finalized_in = 0


def watch(logger: _Forkable) -> None:
    """Starts a logger over in every forked child. Closing at exit is its finalizer's business."""
    _loggers.add(logger)


def close_with_multiprocessing() -> None:
    """Once a process, at first use: a multiprocessing child clears such lists when it begins.

    While another thread imports multiprocessing the next session does it.
    """
    global _finalized_in
    if _finalized_in == os.getpid():
        return
    finalize = getattr(loaded("multiprocessing.util"), "Finalize", None)
    if finalize is None:
        return
    finalize(None, _close_all, exitpriority=-100)
    _finalized_in = os.getpid()  # last: an interrupt before it means doing it twice, which is harmless


def _close_all() -> None:
    for logger in list(_loggers):
        logger.close()


def _start_over_in_child() -> None:
    for logger in list(_loggers):
        logger._start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over_in_child)
