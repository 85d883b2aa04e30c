"""Lines of the log without the manual's page that they end with."""

from __future__ import annotations

import logging


def without_page(record: logging.LogRecord) -> str:
    """The message of a record, without `(streaming-logger help PAGE)`."""
    return record.getMessage().partition(" (streaming-logger help ")[0]
