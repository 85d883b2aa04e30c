"""Ledger lines: each event becomes one line of the ledger."""

from __future__ import annotations

from streaming_logger._disk.ledger import Ledger
from streaming_logger._events.observers import Event, Observer

__all__ = ["LedgerLines"]


class LedgerLines(Observer):
    """Gathers a line for each event; writes them after each slice of a flush or sweep."""

    name = "ledger"

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def on_event(self, event: Event) -> None:
        self._ledger.note(event.at, event.kind, **event.fields)

    def on_batch(self) -> None:
        self._ledger.write()
