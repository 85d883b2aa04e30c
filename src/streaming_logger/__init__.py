"""Logs what LLM servers stream: one plain file for each session, kept for a debugging window, then swept."""

from streaming_logger._base.errors import ConfigError, DirectoryError, Problem, StreamingLoggerError
from streaming_logger._base.outcomes import Outcome
from streaming_logger._base.stats import Health, Stats, SweepReport
from streaming_logger._config.schema import ArchiveConfig, Config, RadarConfig
from streaming_logger._default import get_streaming_logger
from streaming_logger._handle import SessionHandle
from streaming_logger._logger import StreamingLogger
from streaming_logger._version import __version__
from streaming_logger._watch.radar import Runaway

__all__ = [
    "ArchiveConfig",
    "Config",
    "ConfigError",
    "DirectoryError",
    "Health",
    "Outcome",
    "Problem",
    "RadarConfig",
    "Runaway",
    "SessionHandle",
    "Stats",
    "StreamingLogger",
    "StreamingLoggerError",
    "SweepReport",
    "__version__",
    "get_streaming_logger",
]
