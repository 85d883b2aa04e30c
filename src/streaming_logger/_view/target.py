"""Which directory is looked at, and by which settings its files are deleted.

The directory is never opened as a server opens it: that makes what is missing, marks an
empty one as ours, and refuses what another user owns. Looking does none of it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from streaming_logger._base.errors import ConfigError
from streaming_logger._config.schema import MAX_FILE_BYTES, SECTION, Config, load, variable_of
from streaming_logger._config.watch import COPY
from streaming_logger._disk.directory import PRIVATE, Directory
from streaming_logger._disk.names import session_id_of
from streaming_logger._disk.paths import exists, is_directory, is_regular
from streaming_logger._disk.regular import read_regular
from streaming_logger._disk.timing import is_timing_name, log_name_of
from streaming_logger._sweep.rules import Rules
from streaming_logger._view.resolve import UsageError

__all__ = ["DEFAULT_FILE", "Target", "find_target", "find_target_of", "find_target_of_all"]

DEFAULT_FILE = "logging_config.json"
_STALL_SECONDS = 15.0
#: A longer argument is not a path.
_LONGEST_PATH = 1024
#: The setting in the text of a file that need not be JSON.
_DIRECTORY = re.compile(r'"directory"\s*:\s*("(?:[^"\\]|\\.)+")')


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One log directory, and the configuration that its servers are taken to have."""

    config: Config
    config_file: Path
    configured: bool
    """Whether that file exists; without it the older module's rules apply."""
    path: Path
    fault: ConfigError | None = None
    """What is wrong with ./logging_config.json."""
    remarks: tuple[str, ...] = ()
    """What whoever looks must know: whose settings are taken, what cannot be seen."""

    @property
    def is_assumed(self) -> bool:
        """Whether its rules are nobody's: the configuration is faulty, and no server left its own."""
        return self.fault is not None and self.config_file != self.path / COPY

    @property
    def stall_seconds(self) -> float:
        """An active session counts as stalled when its file got nothing for longer.

        The setting. If it is null, no server reports stalls, but an operator wants to see them.
        """
        limit = self.config.stall_seconds
        return max(_STALL_SECONDS if limit is None else limit, self.silence_seconds)

    @property
    def silence_seconds(self) -> float:
        """A file grows once a flush interval: only what is longer is a silence."""
        return 1.5 * self.config.flush_interval_seconds

    @property
    def directory(self) -> Directory:
        """For looking; see the module."""
        return Directory(self.path, adopt=self.config.adopt)

    @property
    def logs(self) -> Path:
        """Where the servers' logs in memory are."""
        return Path(self.config.crash_journal_directory)

    @property
    def managed(self) -> bool:
        """Whether a streaming logger sweeps this directory."""
        return self.config.adopt or is_directory(self.path / PRIVATE)

    @property
    def rules(self) -> Rules:
        """The rules by which its files are deleted."""
        return Rules.of(self.config, managed=self.managed)

    def must_exist(self) -> Target:
        """The same, with a remark if this user sees only a part of it. Raises `UsageError` if it can see nothing."""
        if not is_directory(self.path):
            raise UsageError(f"there is no directory {self.path}; name it by --dir, or its configuration by --config")
        if not os.access(self.path, os.R_OK | os.X_OK):
            raise UsageError(f"no permission to read {self.path}; {self.owner_hint()}")
        if self.owner_hint() and os.geteuid() != 0:
            return replace(self, remarks=(*self.remarks, f"not all can be seen: {self.owner_hint()}"))
        return self

    def owner_hint(self) -> str:
        """Who owns the directory and what to do, when it is another user; files in it are private."""
        owner = self.path.stat().st_uid
        if not hasattr(os, "geteuid") or owner == os.geteuid():
            return ""
        return f"{self.path} belongs to user {owner}; as that user: sudo -u '#{owner}' streaming-logger ..."


def find_target(directory: str | None, config_file: str | None) -> Target:
    """The directory of `--dir`, else of the configuration in `--config`, else in ./logging_config.json.

    Its rules are those of `--config`, else those that its server left in it, else those of
    ./logging_config.json. A relative directory in a configuration is taken from the configuration's
    own target: servers that read ./logging_config.json run there. A fault of ./logging_config.json is
    a remark, and hides no directory; one of `--config` raises `ConfigError`. Raises `UsageError`.
    """
    file = Path(config_file or DEFAULT_FILE)
    if config_file is not None and not exists(file):
        raise UsageError(f"there is no configuration file {file}")
    fault: ConfigError | None = None
    try:
        config = load(file)
    except ConfigError as error:
        if config_file is not None:
            raise
        config, fault = Config(), error
    if directory is not None:
        path = Path(directory).absolute()
    else:
        path = (file.parent / (_directory_named(file) if fault else config.directory)).absolute()
        if fault and not is_directory(path):
            raise fault
    if config_file is None and (left := _left_by_server(path)) is not None:
        if directory is not None:
            fault = None  # that file is not about this directory
        remarks = (f"{fault}; the settings that a server left in {path} are used",) if fault else ()
        return Target(config=left, config_file=path / COPY, configured=True, path=path, fault=fault, remarks=remarks)
    remarks = (f"{fault}; the defaults are assumed",) if fault else ()
    return Target(config=config, config_file=file, configured=exists(file), path=path, fault=fault, remarks=remarks)


def find_target_of(wanted: str, directory: str | None, config_file: str | None) -> tuple[Target, str]:
    """The same for one session: the path of its file names its directory, too. And what names it there."""
    parent, name = os.path.split(wanted)
    if is_timing_name(name):
        name = log_name_of(name)
    if session_id_of(name) is not None:
        try:
            is_path = is_directory(Path(parent, PRIVATE)) or (parent != "" and is_regular(Path(parent, name)))
        except (OSError, ValueError):  # too long for a path: an id
            is_path = False
        if is_path:
            return find_target(parent or ".", config_file), name
    return find_target(directory, config_file), wanted


def find_target_of_all(
    wanted: Sequence[str], directory: str | None, config_file: str | None
) -> tuple[Target, tuple[str, ...]]:
    """The same for the beginnings of ids, paths of files or directories: all of one directory. None: all of it."""
    found: dict[Path, Target] = {}
    prefixes = []
    for given in wanted:
        is_managed = given != "" and len(given) < _LONGEST_PATH and is_directory(Path(given, PRIVATE))
        target, prefix = (
            (find_target(given, config_file), "") if is_managed else find_target_of(given, directory, config_file)
        )
        found[target.path] = target
        prefixes.append(prefix)
    if len(found) > 1:
        raise UsageError("these are in different directories: " + ", ".join(map(str, found)))
    return found.popitem()[1] if found else find_target(directory, config_file), tuple(prefixes)


def _directory_named(file: Path) -> str:
    """The directory that a configuration names, although something in it is wrong; the default where none can be told.

    The environment goes before the file.
    """
    given = {name.upper(): value for name, value in os.environ.items()}
    if name := given.get(variable_of("directory")):
        return name
    try:
        _, _, section = read_regular(file, MAX_FILE_BYTES).decode("utf-8", "replace").partition(f'"{SECTION}"')
        found = _DIRECTORY.search(section)
        return str(json.loads(found[1], strict=False)) if found else Config().directory
    except (OSError, ValueError):
        return Config().directory


def _left_by_server(path: Path) -> Config | None:
    """The settings that are in force in a directory, if its server left a copy."""
    copy = path / COPY
    try:
        return load(copy, environ={}) if is_regular(copy) else None
    except (ConfigError, OSError):  # of another version, or not for this user to read
        return None
