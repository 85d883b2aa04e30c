"""The one logger of this process, for servers that import it in two lines."""

from __future__ import annotations

from pathlib import Path

from streaming_logger._base.errors import ConfigError, DirectoryError
from streaming_logger._config.schema import Config, load
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context
from streaming_logger._logger import DEFAULT_CONFIG_FILE, StreamingLogger
from streaming_logger._runtime.engine import Engine

__all__ = ["get_streaming_logger"]

# One entry at most. No lock: a log handler, a signal handler or a finalizer may ask for the logger
# while this thread makes it. Each makes one, without any effect; `setdefault`, one step, picks one.
_published: dict[str, StreamingLogger] = {}


def get_streaming_logger() -> StreamingLogger:
    """The one logger of this process, with the settings of `logging_config.json` here.

    It never takes the server down: for a bad configuration or directory one line in the log
    of `streaming_logger` names all problems, `health()` is degraded until they are mended, and
    the defaults are used. Without a file, or without the section `streaming_logs` in it, each
    file is deleted at completion, as the older module did.

    >>> get_streaming_logger() is get_streaming_logger()
    True
    """
    return _published.get("default") or _publish()


def _publish() -> StreamingLogger:
    path = Path(DEFAULT_CONFIG_FILE)
    try:
        settings = Settings(load(path), path)
    except ConfigError as error:
        settings = Settings(Config(), path, str(error))
    made = StreamingLogger._of(Engine(Context.make(settings, Path(settings.config.directory))))
    logger = _published.setdefault("default", made)
    if logger is not made:
        made._finalizer.detach()
        return logger
    engine = logger._engine
    try:
        engine.open()
    except DirectoryError as refusal:
        engine.events.report(
            "directory", "logging is disabled until this is fixed: %s", refusal, subject=str(engine.directory.path)
        )
    return logger
