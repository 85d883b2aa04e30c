"""Logs what LLM servers stream: one plain file for each session, kept for a debugging window, then swept."""

from streaming_logger._config import Config
from streaming_logger._default import get_streaming_logger
from streaming_logger._errors import ConfigError, DirectoryError, Problem, StreamingLoggerError
from streaming_logger._handle import SessionHandle
from streaming_logger._logger import StreamingLogger
from streaming_logger._stats import Health, Stats, SweepReport

__all__ = [
    "Config",
    "ConfigError",
    "DirectoryError",
    "Health",
    "Problem",
    "SessionHandle",
    "Stats",
    "StreamingLogger",
    "StreamingLoggerError",
    "SweepReport",
    "get_streaming_logger",
]
