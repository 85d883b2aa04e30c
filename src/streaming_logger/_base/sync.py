"""Real threads, how they wait for each other, and the table of all locks.

All locks of the library, in the order in which they are taken:

| lock | owner | held by | guards |
|---|---|---|---|
| running | `_runtime/worker.py` | the worker thread while it lives | that there is one worker; its deaths |
| I/O | `_runtime/worker.py` | the thread that does I/O; the worker, as a rule | open files, flusher, owner file |
| items | `_stream_log.py` | who reads a stream, or the worker, for microseconds, while text is held | what is held |
| log | `_wal/log.py` | a caller or the worker for microseconds, when a segment is full | which segment is the last |
| guard | `_base/stats.py` | nobody under the GIL; without one, each step | counters |
| recovering | `_sweep/crashes.py` | who recovers dead processes' logs; never waited for | that one thread does |
| turn | `_disk/turns.py` | who sweeps, uploads a file, rotates the ledger (flock) | nothing: saves work |
| claiming | `_archive/uploader.py` | the uploader's threads, never over a request | the pass, its claims |
| session file | `_disk/store.py` | writers shared, a claim exclusively (flock) | the file, against deletion |
| owner file | `_disk/owner.py` | its process for life (flock) | the names of its parked sessions |
| temporary file | `_disk/process_files.py` | its process until it is renamed (flock) | the file, against removal |
| log's header | `_wal/storage.py` | its process for life (lockf) | that nobody recovers it |
| dead log | `_wal/dead.py` | who recovers it (lockf on another byte) | that one process recovers it |
| recovered file | `_wal/recovery.py` | who marks its outcome, for microseconds (flock) | that nobody goes on with it |

A caller never waits for a lock that the worker holds over I/O: it waits for an event, for a
bounded time. The worker waits for no lock that a caller may hold, but for milliseconds. A file's lock is tried, never
waited for. A stopped process keeps what it holds: a turn and a dead process's log are taken from it after 15 s; the
others guard text, so `health()` and `doctor` name the process.

gevent and eventlet replace `_thread`'s functions by their own. The worker must stay a
real thread all the same: as a greenlet it would stop all others while the disk is slow,
and a real lock taken inside a greenlet hung gunicorn's workers forever. So this module
takes its primitives from an unpatched copy of `_thread`.

`threading.Event` would do for the events, but its `set()` takes a lock that is not
reentrant: a signal handler or a GC finalizer that completes a session inside another
`set()` on the same thread would hang. One raw lock cannot, and costs a tenth.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from types import BuiltinFunctionType, ModuleType
from typing import Any

__all__ = ["GIL", "AutoResetEvent", "Guard", "OneShotEvent", "allocate_lock", "is_owned", "run_thread"]

#: Whether this interpreter has the lock that makes a lookup followed by an append atomic.
GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


def _unpatched() -> ModuleType:
    """A copy of `_thread` as the interpreter makes it, also after the module was patched."""
    spec = BuiltinImporter.find_spec("_thread")
    if spec is None or spec.loader is None:
        import _thread

        return _thread
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_real = _unpatched()
allocate_lock: Callable[[], Any] = _real.allocate_lock
RLock: Callable[[], Any] = _real.RLock


def Guard() -> contextlib.AbstractContextManager[object]:  # noqa: N802 - it stands for a class
    """What makes several steps in memory one: nothing where the GIL does, else a reentrant lock."""
    return contextlib.nullcontext() if GIL else RLock()


def is_owned(lock: Any) -> bool:
    """Whether this very thread holds a reentrant lock: then whatever runs on it now must not wait.

    >>> lock = RLock()
    >>> with lock: is_owned(lock)
    True
    """
    return lock._is_owned()  # type: ignore[no-any-return]  # as threading.Condition asks it


def run_thread(target: Callable[[], None], name: str) -> None:
    """Runs a function in a real daemon thread. Raises `RuntimeError` when no thread can start.

    Not `threading.Thread`: its `start()` is Python code, and a signal that raises inside it
    leaves a thread that runs half registered, or registered and not running.
    """

    def named() -> None:
        try:
            threading.current_thread().name = name  # for log records, debuggers and profilers
            target()
        finally:
            # Python 3.11 keeps the entry of such a thread for good.
            getattr(threading, "_active", {}).pop(_real.get_ident(), None)

    _real.start_new_thread(named, ())


class AutoResetEvent:
    """Set from anywhere, any number of times; lets one `wait` pass, now or the next one.

    >>> event = AutoResetEvent(); event.set(); event.set(); event.wait(0), event.wait(0)
    (True, False)
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        if self._lock.locked():
            try:  # noqa: SIM105 - suppress() is Python code, and takes longer than the rest
                self._lock.release()
            except RuntimeError:  # another thread set it in between
                pass

    def wait(self, seconds: float) -> bool:
        """Whether it was set in time."""
        if seconds > 0:
            return bool(self._lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)))
        return bool(self._lock.acquire(blocking=False))


class OneShotEvent(AutoResetEvent):
    """Set once; every waiter passes, now and later.

    >>> event = OneShotEvent(); event.wait(0)
    False
    >>> event.set(); event.wait(0), event.wait(0)
    (True, True)
    """

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        super().__init__()
        self.is_set = False

    def set(self) -> None:
        self.is_set = True  # the flag decides: a waiter may be interrupted before it passes the lock on
        super().set()

    def wait(self, seconds: float) -> bool:
        if not self.is_set:
            if type(time.sleep) is BuiltinFunctionType:
                super().wait(seconds)
            else:
                self._wait_as_greenlet(seconds)
        if self.is_set:
            super().set()  # for the next waiter
        return self.is_set

    def _wait_as_greenlet(self, seconds: float) -> None:
        """Waits by gevent's or eventlet's `sleep`, so that other greenlets run meanwhile."""
        slept, step = 0.0, 0.0005
        while not self.is_set and slept < seconds:
            time.sleep(step)
            slept, step = slept + step, min(2 * step, 0.01)
