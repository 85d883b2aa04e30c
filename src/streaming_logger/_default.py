"""The one logger of this process, for servers that import it in two lines."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from streaming_logger._config import Config, load
from streaming_logger._config_file import Settings
from streaming_logger._errors import ConfigError, DirectoryError
from streaming_logger._logger import DEFAULT_CONFIG_FILE, StreamingLogger

__all__ = ["get_streaming_logger"]

_default: StreamingLogger | None = None
_default_lock = threading.Lock()


def _renew_lock() -> None:
    """In a forked child: the thread that may have held it is not there any more."""
    global _default_lock
    _default_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def get_streaming_logger() -> StreamingLogger:
    """The one logger of this process, with the settings of `logging_config.json` here.

    It never takes the server down: a bad configuration or directory is one line in the
    log of `streaming_logger`, with all problems, and the defaults are used.

    >>> get_streaming_logger() is get_streaming_logger()
    True
    """
    global _default
    with _default_lock:
        if _default is None:
            _default = _forgiving()
        return _default


def _forgiving() -> StreamingLogger:
    path = Path(DEFAULT_CONFIG_FILE)
    problem: Exception | None = None
    try:
        settings = Settings(load(path), path)
    except ConfigError as error:
        problem, settings = error, Settings(Config(), path)
    logger = StreamingLogger.__new__(StreamingLogger)
    logger._begin(settings, None)
    door = logger._engine.door
    if problem is not None:
        door.say(logging.ERROR, "the defaults are used, because of %s", problem)
    try:
        logger._open_directory()
    except DirectoryError as refusal:
        door.say(logging.ERROR, "nothing is written before this is mended: %s", refusal)
    return logger
