"""`help`: the manual in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess

import pytest
from tools import COMMAND, run

from streaming_logger.cli import _manual


def test_without_a_topic_all_pages_are_listed() -> None:
    """Each with the sentence that says what it answers."""
    shown = run("help").stdout
    assert [topic for topic in _manual.topics() if f"  {topic} " not in shown] == []
    assert _manual.about("disk") in shown


@pytest.mark.parametrize("topic", _manual.topics())
def test_page_fits_a_terminal(topic: str) -> None:
    """No Markdown is left of links, tables and marks, and prose is no wider than the terminal."""
    shown = run("help", topic, env={"COLUMNS": "72"}).stdout
    assert shown.splitlines()[0].isupper()
    prose = re.sub(r"^ {4}.*$", "", shown, flags=re.MULTILINE)  # code stays as it is
    assert [line for line in prose.splitlines() if len(line) > 72 and " " in line.strip()] == []
    assert not re.search(r"^```|^\||\]\(|<!--|\*\*|<br>", prose, re.MULTILINE)


def test_tables_are_paragraphs() -> None:
    """A row's first cell, and the others indented below it."""
    shown = run("help", "settings", env={"COLUMNS": "72"}).stdout
    assert "\n`record_timing`\n    default: false\n" in shown


def test_beginning_of_a_topic_suffices() -> None:
    """Where it is unique; otherwise the pages that begin so are named."""
    assert run("help", "run").stdout == run("help", "runaways").stdout
    assert "settings, sizing" not in run("help", "se", check=2).stderr
    assert "sdks, servers, settings, sizing" in run("help", "s", check=2).stderr


def test_mistyped_topic_is_guessed() -> None:
    """Or the way to the list is shown."""
    assert "did you mean 'runaways'?" in run("help", "runways", check=2).stderr
    assert "lists all pages" in run("help", "xyzzy", check=2).stderr


def test_json_has_the_page_as_it_is_stored() -> None:
    """For programs."""
    assert json.loads(run("help", "disk", "--json").stdout) == {"topic": "disk", "markdown": _manual.page("disk")}
    assert {"topic", "about"} == set(json.loads(run("help", "--json").stdout)[0])


def test_page_is_paged_in_a_terminal() -> None:
    """By the user's pager."""
    master, slave = os.openpty()
    environ = {**os.environ, "PAGER": "sed s/^/paged:/", "TERM": "xterm"}
    done = subprocess.Popen([*COMMAND, "help", "metrics"], stdin=slave, stdout=slave, env=environ)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while data := os.read(master, 4096):
            shown += data
    os.close(master)
    assert done.wait(50) == 0
    assert shown.startswith(b"paged:METRICS AND HEALTH")
