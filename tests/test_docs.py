"""The documentation is run: doctests of the package and the README's samples."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
from pathlib import Path
from types import FunctionType

import pytest

import streaming_logger
from conftest import SDK_MODULES

PUBLIC = ("streaming_logger", "streaming_logger.testing")
MODULES = [
    name
    for _, name, is_package in pkgutil.walk_packages(streaming_logger.__path__, "streaming_logger.")
    if not is_package and not name.endswith("__main__") and name not in SDK_MODULES
]
README = Path(__file__).parents[1] / "README.md"
SAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture(autouse=True)
def own_default(monkeypatch: pytest.MonkeyPatch) -> object:
    """The process's one logger is made anew, here, and closed."""
    from streaming_logger import _default

    monkeypatch.setattr(_default, "_published", {})
    yield
    for logger in _default._published.values():
        logger.close()
        monkeypatch.setattr(_default, "_published", {})


@pytest.mark.parametrize("name", MODULES)
def test_doctests_of(name: str) -> None:
    """Every example in the docstrings gives what stands below it."""
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_every_public_name_has_an_example() -> None:
    """Classes, functions and the logger's verbs each show how they are used."""
    things = [getattr(streaming_logger, name) for name in streaming_logger.__all__]
    logger = streaming_logger.StreamingLogger
    verbs = [value for name, value in vars(logger).items() if callable(value) and not name.startswith("_")]
    things = [thing for thing in things if isinstance(thing, (type, FunctionType))]
    bare = [thing.__name__ for thing in (*things, *verbs) if ">>>" not in (thing.__doc__ or "")]
    assert set(bare) <= {"SessionHandle", "StreamingLogger"}
    assert ">>>" in (logger.__doc__ or "")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.strip().splitlines()[0][:40])
def test_readme_sample_runs(sample: str) -> None:
    """A sample runs as it stands, and prints what the comment behind `print` says."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(sample, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own README
    expected = re.findall(r"^\s*print\(.*\)\s+# (.*)$", sample, re.MULTILINE)
    assert printed.getvalue().splitlines() == expected
