"""No argument whatever ends a verb in a traceback."""

from __future__ import annotations

import argparse
import gc
import io
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming_logger import StreamingLogger
from streaming_logger.cli._main import VERBS, main

#: A verb that runs until it is stopped gets its Ctrl-C after so long.
_LASTING_SECONDS = 0.15

#: What a shell can hand over: no NUL, bytes that are no text, and nothing that names a file of this machine.
_TEXT = st.text(
    st.one_of(
        st.characters(exclude_characters="\0", codec="utf-8"),
        st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]),
    ),
    max_size=12,
).filter(lambda text: not text.startswith("/") and ".." not in text)
_POOL = st.sampled_from(
    [
        *("", "-", "--", "-1", "0", "1", "3", "1e9", "nan", "inf", "99999999999999999999", "9" * 5000, "²", "1" * 300),
        *(
            "sess_1",
            "sess",
            "sess_1.log",
            "d/sess_1.log",
            "d/sess_1.timing",
            "d",
            "d/",
            r"a b\x1b",
            r"a b\x1",
            "a b%1B",
        ),
        *("con", "%", "%4", "x" * 300, "\\", r"\U99999999", r"\ud800", "\udc80", "gone.log", "d/gone.log", "here"),
        *("config.json", "bad.json", "missing.json", "nowhere/out", "out", "2026-11-25", "2026-99-99", "error", "loop"),
        *("foo://[", "file:", "file://x", "s3://", "gs://[", "s3://[::1", "az://a/b?c#d", "http://"),
    ]
)
#: What leads further than to the first check.
_GOOD = st.sampled_from(["sess_1", "d/sess_1.log", "d/sess_1.timing", r"a b\x1b", "conv", "3", "0.5", "error", "out"])
_VALUE = st.one_of(_GOOD, _GOOD, _GOOD, _POOL, _TEXT)


def _argument(action: argparse.Action) -> st.SearchStrategy[list[str]]:
    """An option or a positional argument, with a value where it takes one: of its choices, mostly."""
    value = (st.sampled_from(list(action.choices)) | _VALUE) if action.choices else _VALUE
    if action.option_strings:
        name = st.sampled_from(action.option_strings).map(lambda text: [text])
        return name if action.nargs == 0 else st.tuples(name, value).map(lambda pair: [*pair[0], pair[1]]) | name
    return st.lists(
        value, min_size=0 if action.nargs in ("?", "*") else 1, max_size=1 if action.nargs in (None, "?") else 3
    )


def _arguments(verb_name: str) -> st.SearchStrategy[list[str]]:
    """A verb with some of the arguments that its parser knows."""
    verb = next(verb for verb in VERBS if verb.name == verb_name)
    parser = argparse.ArgumentParser(add_help=False)
    verb.arguments(parser)
    for common in ("--dir", "--config"):
        parser.add_argument(common)
    parser.add_argument("--json", action="store_true")
    options = st.lists(
        st.one_of([_argument(action) for action in parser._actions if action.option_strings]), max_size=3
    )
    positional = st.tuples(*(_argument(action) for action in parser._actions if not action.option_strings))
    where = st.sampled_from([["--dir", "d"], ["--config", "config.json"]]) | st.just([])
    parts = st.tuples(where, options.map(_joined), positional.map(_joined)).flatmap(st.permutations)
    return parts.map(lambda parts: [verb_name, *_joined(parts)])


def _joined(parts: Iterable[list[str]]) -> list[str]:
    return [word for part in parts for word in part]


_COMMANDS = st.one_of([_arguments(verb.name) for verb in VERBS]) | st.lists(_VALUE, max_size=3)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[None]:
    """A working directory with a configuration, sessions of several kinds, and an archive."""
    (tmp_path / "here").mkdir()
    (tmp_path / "config.json").write_text('{"streaming_logs": {"directory": "d"}}')
    (tmp_path / "bad.json").write_text('{"streaming_logs": {"directory": 7}}')
    section = {"min_free_disk_mb": None, "record_timing": True, "archive": {"url": f"file://{tmp_path}/here"}}
    logger = StreamingLogger({"streaming_logs": section}, directory="d")
    for id_, outcome in (
        ("sess_1", "completed"),
        ("sess_1", "error"),
        ("a b\x1b", "completed"),
        ("conversation", "error"),
    ):
        for _ in range(2):  # it takes time
            logger.write(id_, "text\n" * 100)
        logger.complete_session(id_, outcome=outcome)
    logger.write("sess_active", "日本")
    logger.flush()
    yield
    logger.close()


@contextmanager
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C, a while from now."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, _LASTING_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ends(arguments: list[str]) -> int:
    """The exit code of the command; whatever else it raises is raised."""
    handlers = logging.root.handlers[:]
    standard_input, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(b"text"))
    is_lasting = any(name in arguments for verb in VERBS if verb.lasting for name in (verb.name, *verb.aliases))
    gc.disable()  # an exception in one of its callbacks reaches nobody
    try:
        with redirect_stdout(io.TextIOWrapper(io.BytesIO())), redirect_stderr(io.TextIOWrapper(io.BytesIO())):
            if not is_lasting:
                return main(arguments)
            with _ctrl_c():
                return main(arguments)
    except SystemExit as end:  # argparse
        return int(end.code or 0)
    except KeyboardInterrupt:  # before or after the verb's own work, on a machine that is busy
        return 0
    finally:
        sys.stdin = standard_input
        logging.root.handlers[:] = handlers
        gc.enable()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer sends Ctrl-C here")
@pytest.mark.usefixtures("place")
@settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "120")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(_COMMANDS)
def test_no_argument_ends_in_a_traceback(arguments: list[str]) -> None:
    """Any words in any order: an exit code of those that `--help` names, and no exception."""
    assert _ends(arguments) in (0, 1, 2)
