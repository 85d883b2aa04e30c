"""Which directory the command looks at, and by which settings its files will go.

The directory is never opened as a server opens it: that makes what is missing, marks an
empty one as ours, and refuses what another user owns. Looking does none of it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from streaming_logger._config import Config, load
from streaming_logger._directory import PRIVATE, Directory
from streaming_logger._errors import ConfigError

__all__ = ["DEFAULT_FILE", "Place", "UsageError", "find_place"]

DEFAULT_FILE = "logging_config.json"


class UsageError(Exception):
    """What was asked for cannot be done; the text says what can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One log directory, and the configuration that its servers are taken to have."""

    config: Config
    config_file: Path
    configured: bool
    """Whether that file exists; without it the older module's rules apply."""
    path: Path

    @property
    def directory(self) -> Directory:
        """For looking; see the module."""
        return Directory(self.path, adopt=self.config.adopt)

    @property
    def ours(self) -> bool:
        """Whether a streaming logger sweeps this directory."""
        return self.config.adopt or (self.path / PRIVATE).is_dir()

    def must_exist(self) -> Place:
        if not self.path.is_dir():
            raise UsageError(f"there is no directory {self.path}; name it by --dir, or its configuration by --config")
        if not os.access(self.path, os.R_OK | os.X_OK):
            raise UsageError(f"you may not look into {self.path}; {self.whose()}")
        if self.whose() and os.geteuid() != 0:
            print(f"streaming-logger: not all can be seen: {self.whose()}", file=sys.stderr)
        return self

    def whose(self) -> str:
        """Whose directory it is and what to do, when it is somebody else's; files in it are private."""
        owner = self.path.stat().st_uid
        if not hasattr(os, "geteuid") or owner == os.geteuid():
            return ""
        return f"{self.path} belongs to user {owner}; as that user: sudo -u '#{owner}' streaming-logger ..."


def find_place(directory: str | None, config_file: str | None) -> Place:
    """The directory of `--dir`, else of the configuration in `--config`, else in ./logging_config.json.

    A relative directory in a configuration is taken from the configuration's own place:
    servers that read ./logging_config.json run there. Raises `ConfigError`, `UsageError`.
    """
    path = Path(config_file or DEFAULT_FILE)
    if config_file is not None and not path.exists():
        raise UsageError(f"there is no configuration file {path}")
    try:
        config = load(path)
    except ConfigError as error:
        if directory is None or config_file is not None:
            raise
        print(f"streaming-logger: {error}; the defaults are assumed", file=sys.stderr)
        config = Config()
    return Place(
        config=config,
        config_file=path,
        configured=path.exists(),
        path=(path.parent / config.directory if directory is None else Path(directory)).absolute(),
    )
