"""The documentation is run: doctests of the package, and the samples of the README and the manual."""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import io
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import pytest

import streaming_logger
from conftest import SDK_MODULES, make_old
from manual import PAGES, README
from streaming_logger._config.schema import parse
from streaming_logger.cli._main import parser

PUBLIC = ("streaming_logger", "streaming_logger.testing")
MODULES = [
    name
    for _, name, is_package in pkgutil.walk_packages(streaming_logger.__path__, "streaming_logger.")
    if not is_package and not name.endswith("__main__") and name not in SDK_MODULES
]


def samples(path: Path, language: str) -> list[str]:
    """The fenced samples of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


DOCUMENTS = (README, *sorted(PAGES.glob("*.md")))
SAMPLES = samples(README, "python")
ALL_SAMPLES = [
    pytest.param(sample, id=f"{path.stem}-{number}")
    for path in DOCUMENTS
    for number, sample in enumerate(samples(path, "python"))
]
CONFIGURATIONS = [sample for path in DOCUMENTS for sample in samples(path, "json")]
COMMANDS = [
    line.removeprefix("$ streaming-logger ").partition(" #")[0].strip()
    for path in DOCUMENTS
    for sample in samples(path, "console")
    for line in sample.splitlines()
    if line.startswith("$ streaming-logger ")
]


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


@pytest.mark.parametrize("sample", ALL_SAMPLES)
def test_sample_runs(sample: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample runs as it stands, and prints what the comment behind `print` says."""
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(sample, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own documents
    expected = re.findall(r"^\s*print\(.*\)\s+# (.*)$", sample, re.MULTILINE)
    assert printed.getvalue().splitlines() == expected


@pytest.mark.parametrize("sample", CONFIGURATIONS)
def test_configuration_is_valid(sample: str) -> None:
    """What is shown as `logging_config.json` is accepted, and changes something."""
    assert parse(json.loads(sample), environ={}) != parse({"streaming_logs": {}}, environ={})


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_command_exists(command: str) -> None:
    """The command accepts each line that is shown of it."""
    parser().parse_args(shlex.split(command))


class FirstSample:
    """The README's first sample, run as a program of its own in an empty directory, up to any of its comments."""

    def __init__(self, folder: Path, until: str) -> None:
        lines = SAMPLES[0].splitlines(keepends=True)
        place = next(number for number, line in enumerate(lines) if until in line)
        done = subprocess.run(
            [sys.executable, "-c", "".join(lines[: place + 1]) + "    pass\n" * (lines[place].rstrip()[-1] == ":")],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        assert done.stderr == ""
        self.folder = folder
        self.file = folder / "logs" / "streaming" / "sess_abc123.log"

    def states(self) -> dict[str, dict[str, object]]:
        """What `ls` shows there."""
        return {session["file"]: session for session in json.loads(self.command("ls", "--json"))}

    def sweeps(self, age: float) -> bool:
        """Whether a sweep deletes the file when its last write is so many seconds ago."""
        make_old(self.file, age - (time.time() - self.file.stat().st_mtime))
        self.command("sweep")
        return not self.file.exists()

    def command(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "streaming_logger", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=50, check=True).stdout


def holds_where_it_writes(folder: Path) -> None:
    """There is a directory of ours at that place, and nothing else."""
    FirstSample(folder, "# writes to ./logs/streaming")
    assert (folder / "logs" / "streaming" / ".streaming_logger").is_dir()
    assert os.listdir(folder) == ["logs"]


def holds_what_is_streamed(folder: Path) -> None:
    """The file has the text of the chunks, and nothing else."""
    sample = FirstSample(folder, "logger.complete_session(")
    chunks = ast.literal_eval(re.findall(r"for chunk in (\(.*?\)):", SAMPLES[0])[0])
    assert sample.file.read_text() == "".join(chunks)


def holds_what_completion_does(folder: Path) -> None:
    """Flushed and closed: whole, and no process holds it. Kept for 10 minutes by a sweep, and then deleted by one."""
    sample = FirstSample(folder, "logger.complete_session(")
    assert sample.file.read_text()
    assert sample.states()["sess_abc123.log"]["state"] == "completed"
    assert not sample.sweeps(9.9 * 60)
    assert sample.sweeps(10.1 * 60)


#: What the first sample claims, each with what checks it.
CLAIMS: dict[str, Callable[[Path], None]] = {
    "writes to ./logs/streaming": holds_where_it_writes,
    "what the model streams": holds_what_is_streamed,
    "flushed, closed, kept for 10 minutes, then deleted": holds_what_completion_does,
}


def test_every_comment_of_the_first_sample_is_checked() -> None:
    """A claim that is added or changed there needs a check here."""
    assert re.findall(r"\s# (.*)", SAMPLES[0]) == list(CLAIMS)


@pytest.mark.parametrize("claim", CLAIMS)
def test_claim_of_the_first_sample_holds(claim: str, tmp_path: Path) -> None:
    """As a reader tries it: in an empty directory, with no configuration and no environment of ours."""
    CLAIMS[claim](tmp_path)


def test_first_sample_leaves_the_file_that_the_readme_reads(tmp_path: Path) -> None:
    """`tail -f` below it names the file, and shows its text."""
    shown = re.findall(r"^\$ tail -f (\S+)\n(.*)$", README.read_text(), re.MULTILINE)[0]
    FirstSample(tmp_path, "logger.complete_session(")
    assert (tmp_path / shown[0]).read_text() == shown[1]
