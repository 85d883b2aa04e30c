"""Turns to upload: processes that share a directory upload side by side, each file in one of them.

A stuck process loses its turn to another. An upload that is done twice makes the same objects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from streaming_logger._context import Context
from streaming_logger._disk.directory import PRIVATE
from streaming_logger._disk.turns import Patience, Turn, Turns

__all__ = ["UploadTurns"]

#: In `.streaming_logger`: a file for each upload under way.
_UPLOADS = "uploads"


class UploadTurns:
    """This process's turns to upload files of one directory, and the processes that it passes over."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._faults = context.events.rounds()
        self._turns = Turns(context.store.directory, context.clock)
        self._claims = Patience(context.clock)
        self.left: set[str] = set()
        """Files that other processes were uploading, in this pass."""

    @contextlib.contextmanager
    def take(self, name: str) -> Iterator[Turn | None]:
        """The turn to upload a file; None while another process uploads it. Raises `OSError`."""
        turn = self._taken(name)
        if turn is None:
            self.left.add(name)
            yield None
            return
        try:
            if turn.stuck:
                self._report(turn.stuck, f"the upload of {name}")
            yield turn
        finally:
            turn.remove()

    def met_claim(self, name: str) -> None:
        """A claim takes microseconds: the holder that a file has pass after pass is stuck."""
        holder = self._store.directory.holder(name)
        if self._claims.is_over(name, holder):
            self._report(holder, name)

    def end_pass(self, seen: set[str]) -> None:
        """`seen` are the files that were there."""
        self._claims.retain(seen)
        self._turns.patience.retain({f"{_UPLOADS}/{name}" for name in self.left})
        self._faults.end()

    def abandon(self) -> None:
        """There are no more passes."""
        self._faults.abandon()

    def remove_dead(self, seen: set[str]) -> None:
        """Removes what processes left that were killed while they uploaded a file that is gone now."""
        with contextlib.suppress(FileNotFoundError):
            for name in self._store.directory.names(f"{PRIVATE}/{_UPLOADS}") - seen:
                if turn := self._turns.take(f"{_UPLOADS}/{name}"):
                    turn.remove()

    def _taken(self, name: str) -> Turn | None:
        try:
            return self._turns.take(f"{_UPLOADS}/{name}")
        except FileNotFoundError:
            self._store.directory.make_subdir(f"{PRIVATE}/{_UPLOADS}")
            return self._turns.take(f"{_UPLOADS}/{name}")

    def _report(self, holder: str, what: str) -> None:
        self._faults.report(
            f"stuck {what}", "%s holds %s and makes no progress: continuing without it", holder, what, subject=what
        )
