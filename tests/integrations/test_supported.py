"""What an integration patches is pinned to versions that were run, and refused where it is another."""

from __future__ import annotations

import itertools
import re
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streaming_logger import StreamingLoggerError
from streaming_logger.integrations import anthropic, openai, pydantic_ai
from streaming_logger.integrations._supported import Supported

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
SUPPORTED = Supported("pytest", "2.5", "4")


def module(version: Any) -> Any:
    return SimpleNamespace(__version__=version)


@pytest.mark.parametrize("version", ["2.5", "2.5.0", "2.10.1", "3.99.99", "3.0.0rc1", "2.5+local"])
def test_tested_versions_are_taken(version: str) -> None:
    """From the floor up to the next major version, which is another SDK."""
    assert SUPPORTED.check(module(version)) == version


@pytest.mark.parametrize("version", ["2.4.9", "1.99", "4", "4.0.0b1", "99.0"])
def test_other_versions_are_refused(version: str) -> None:
    """With the version that was found, those that are supported, and the way round it."""
    with pytest.raises(ImportError) as raised:
        SUPPORTED.check(module(version))
    assert isinstance(raised.value, StreamingLoggerError)
    assert str(raised.value) == (
        f"pytest {version} cannot be instrumented: it is not tested; supported is pytest>=2.5,<4. "
        "Log its streams with StreamingLogger.wrap instead"
    )


def test_version_is_the_modules_or_its_distributions() -> None:
    """One that is nowhere, or no version, is no fault: the features decide."""
    supported = Supported("pytest", "1", "999")
    assert supported.check(SimpleNamespace()) == metadata.version("pytest")
    assert Supported("no-such-package", "1", "2").check(SimpleNamespace()) == ""
    assert supported.check(module("unknown")) == "unknown"


@pytest.mark.parametrize("integration", [openai, anthropic, pydantic_ai])
def test_extra_installs_what_is_supported(integration: Any) -> None:
    """One pair of bounds, in the code and in pyproject.toml."""
    package, since, below = integration.SUPPORTED
    assert f"{package}>={since},<{below}" in itertools.chain(*EXTRAS.values())


@pytest.mark.parametrize("extra", ["prometheus", "otel", "openai", "anthropic", "langchain", "litellm", "pydantic-ai"])
def test_every_integrations_package_has_both_bounds(extra: str) -> None:
    """The floor and the newest major version were run."""
    for requirement in EXTRAS[extra]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+,<\d+", requirement)
