"""Which versions of an SDK its integration is tested with, where the integration patches it."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any, NamedTuple

from streaming_logger._base.errors import StreamingLoggerError

__all__ = ["Supported", "UnsupportedError"]


class UnsupportedError(StreamingLoggerError, ImportError):
    """The installed version of an SDK cannot be patched. Its streams can still be wrapped."""


class Supported(NamedTuple):
    """The versions of a package from `since` to `below`. pyproject.toml has the same for the extra.

    >>> Supported("anthropic", "0.45", "3").refuse("0.44.1", "it is not tested")
    Traceback (most recent call last):
    streaming_logger.integrations._supported.UnsupportedError: anthropic 0.44.1 cannot be instrumented: it is not \
tested; supported is anthropic>=0.45,<3. Log its streams with StreamingLogger.wrap instead
    """

    package: str
    since: str
    below: str

    def check(self, module: Any) -> str:
        """The version of the package; "" where it is not known. Raises `UnsupportedError` for an untested one."""
        version = self._version_of(module)
        numbers = _numbers(version)
        if numbers and not _numbers(self.since) <= numbers < _numbers(self.below):
            self.refuse(version, "it is not tested")
        return version

    def refuse(self, version: str, reason: str) -> None:
        """Raises `UnsupportedError`."""
        wanted = f"{self.package}>={self.since},<{self.below}"
        raise UnsupportedError(
            f"{self.package} {version} cannot be instrumented: {reason}; supported is {wanted}. "
            "Log its streams with StreamingLogger.wrap instead"
        )

    def _version_of(self, module: Any) -> str:
        version = getattr(module, "__version__", None)
        if isinstance(version, str):
            return version
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:  # not installed by a package manager: its features decide
            return ""


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version: `2.0.1rc1` is (2, 0, 1)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
