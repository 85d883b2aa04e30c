"""`max_session_mb`: a runaway keeps its beginning and its last part; what went is marked and counted."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from log_lines import without_page
from streaming_logger import RadarConfig
from streaming_logger._disk.cut import cut
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]

MARKER = re.compile(r"\[streaming_logger: ([\d,]+) characters dropped: session cap\]")


def explained(text: str, written: str) -> int:
    """The text is the beginning of what was written, a marker, and its end; how many characters the marker says."""
    found = MARKER.search(text)
    assert found is not None
    head, tail = text[: found.start()], text[found.end() :]
    assert written.startswith(head)
    assert written.endswith(tail)
    dropped = int(found[1].replace(",", ""))
    assert len(head) + dropped + len(tail) == len(written)
    return dropped


def test_runaway_keeps_its_beginning_and_its_last_part(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """At every flush the file is no longer than the cap; all cuts together make one marker, with the whole sum."""
    logger = manual(max_session_mb=0.01, radar=RadarConfig(enabled=False))
    path = logger.base_dir / "s.log"
    written = ""
    for number in range(2000):
        chunk = f"line {number} with an é\n"
        logger.write("s", chunk)
        written += chunk
        if number % 50 == 0:
            logger.advance(2)
            assert path.stat().st_size <= 10_000
    logger.complete_session("s")
    text = path.read_text()
    assert len(text.encode()) <= 10_000
    dropped = explained(text, written)
    assert text.startswith("line 0 ")
    assert text.endswith("line 1999 with an é\n")
    assert len(MARKER.split(text)[0].encode()) > 2400
    assert logger.stats().dropped_characters == {"session cap": dropped}
    assert logger.health().status == "ok"
    warned = [without_page(record) for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ["s is longer than max_session_mb: its beginning and its last part are kept"]


def test_one_large_chunk_is_cut_when_it_is_written(manual: Make) -> None:
    """Also by the completion of a session that no flush has seen."""
    logger = manual(max_session_mb=1)
    text = "".join(f"{number:09d}\n" for number in range(300_000))
    logger.write("s", text)
    logger.complete_session("s")
    assert (logger.base_dir / "s.log").stat().st_size <= 1_000_000
    assert explained(logger.text["s"], text) > 2_000_000


def test_new_turn_goes_on_with_the_same_marker(manual: Make) -> None:
    """The sum in the file is that of all turns; the beginning is still the first turn's."""
    logger = manual(max_session_mb=0.01)
    written = ""
    for turn in range(3):
        for number in range(1000):
            chunk = f"turn {turn} line {number}\n"
            logger.write("s", chunk)
            written += chunk
        logger.complete_session("s")
    explained(logger.text["s"], written)
    assert logger.text["s"].startswith("turn 0 line 0\n")


def test_without_the_setting_nothing_is_cut(manual: Make) -> None:
    """The default. And a session below the cap is untouched."""
    logger = manual()
    logger.write("s", "x" * 3_000_000)
    logger.complete_session("s")
    assert (logger.base_dir / "s.log").stat().st_size == 3_000_000
    logger = manual(max_session_mb=0.01)
    logger.write("t", "x" * 9_999)
    logger.complete_session("t")
    assert logger.text["t"] == "x" * 9_999


def test_file_that_another_process_writes_too_is_not_cut(manual: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Its appends could be lost. One line says so; the text is whole, and cut when that process is gone."""
    logger = manual(max_session_mb=0.01)
    logger.write("s", "begin;")
    logger.advance(2)
    path = logger.base_dir / "s.log"
    other = os.open(path, os.O_RDWR | os.O_APPEND)
    fcntl.flock(other, fcntl.LOCK_SH)
    try:
        logger.write("s", "x" * 50_000)
        logger.advance(2)
        assert path.stat().st_size == 50_006
        assert "cannot cut s.log: another process writes it, too" in caplog.text
        with path.open() as reader, pytest.raises(BlockingIOError):  # still active
            fcntl.flock(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)
    logger.write("s", "end")
    logger.advance(2)
    assert path.stat().st_size <= 10_000
    explained(logger.text["s"], "begin;" + "x" * 50_000 + "end")


def test_session_stays_active_while_it_is_cut(manual: Make) -> None:
    """The lock is shared again afterwards, and the session's text goes on in the same file."""
    logger = manual(max_session_mb=0.01)
    logger.write("s", "x" * 20_000)
    logger.advance(2)
    path = logger.base_dir / "s.log"
    inode = path.stat().st_ino
    with path.open() as reader:
        with pytest.raises(BlockingIOError):
            fcntl.flock(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(reader, fcntl.LOCK_SH | fcntl.LOCK_NB)
    logger.write("s", "more")
    logger.advance(2)
    assert path.read_text().endswith("xmore")
    assert path.stat().st_ino == inode


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("aé€😀", min_size=1, max_size=400), min_size=1, max_size=60), st.integers(1000, 4000))
def test_cuts_of_any_text_lose_no_count(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[str], limit: int
) -> None:
    """Characters of one to four bytes, cut anywhere: kept + counted == written, and no character is split."""
    path: Path = tmp_path_factory.mktemp("cut") / "s.log"
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    dropped = 0
    try:
        for chunk in chunks:
            os.write(fd, chunk.encode())
            done = cut(fd, limit)
            if done is not None:
                dropped += done.characters
            assert path.stat().st_size <= limit
        text = path.read_text(encoding="utf-8")
        if dropped:
            assert explained(text, "".join(chunks)) == dropped
        else:
            assert text == "".join(chunks)
    finally:
        os.close(fd)


def test_crash_in_a_cut_loses_neither_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever system call is the last one, the beginning and the end are in the file."""
    written = "".join(f"{number:05d}\n" for number in range(2000))
    real = {name: getattr(os, name) for name in ("pwrite", "ftruncate")}
    for calls in itertools.count():
        path = tmp_path / f"{calls}.log"
        path.write_text(written)
        left = [calls]

        def dying(name: str, left: list[int] = left) -> Callable[..., int]:
            def call(*arguments: object) -> int:
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
                return int(real[name](*arguments) or 0)

            return call

        for name in real:
            monkeypatch.setattr(os, name, dying(name))
        fd = os.open(path, os.O_RDWR | os.O_APPEND)
        try:
            cut(fd, 8000)
        except KeyboardInterrupt:
            pass
        else:
            break
        finally:
            os.close(fd)
        text = path.read_text()
        assert text.startswith(written[:1990])
        assert text.endswith(written[-1990:])
    assert calls >= 2


# -- text that looks like the marker ---------------------------------------------------

FORGED = "[streaming_logger: 1,000,000 characters dropped: session cap]"


def test_forged_marker_does_not_change_the_sum(manual: Make) -> None:
    """A model prints one where a cut's marker stands, first and again: the sum is what was dropped."""
    logger = manual(max_session_mb=0.01, radar=RadarConfig(enabled=False))
    written = ""
    for number in range(4):
        chunk = "x" * (2500 - number) + FORGED + "y" * 12_000
        logger.write("s", chunk)
        written += chunk
        logger.advance(2)
    logger.complete_session("s")
    assert explained(logger.text["s"], written) == logger.stats().dropped_characters["session cap"]


@pytest.mark.parametrize("shift", range(-64, 8, 3))
def test_forged_marker_at_any_place_does_not_change_the_sum(tmp_path: Path, shift: int) -> None:
    """Around the quarter of the limit, where the marker of a cut stands."""
    path = tmp_path / "s.log"
    written = "x" * (2000 + shift) + FORGED + "y" * 10_000
    path.write_text(written)
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        dropped = 0
        for _ in range(3):
            done = cut(fd, 8000)
            assert done is not None
            dropped += done.characters
            os.write(fd, b"z" * 10_000)
            written += "z" * 10_000
        text = path.read_text()
        sums = [int(found.replace(",", "")) for found in MARKER.findall(text.replace(FORGED, ""))]
        assert sums == [dropped]
    finally:
        os.close(fd)


@pytest.mark.parametrize("limits", [(8000, 4000), (4000, 8000), (8000, 2000, 6000)])
def test_sum_survives_another_limit(tmp_path: Path, limits: tuple[int, ...]) -> None:
    """`max_session_mb` may be edited while a session runs: kept + counted == written."""
    path, written = tmp_path / "s.log", ""
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        for limit in limits:
            chunk = "".join(f"{number:05d}é" for number in range(2000))
            os.write(fd, chunk.encode())
            written += chunk
            assert cut(fd, limit) is not None
            assert path.stat().st_size <= limit
            explained(path.read_text(encoding="utf-8"), written)
    finally:
        os.close(fd)


def test_without_attributes_each_cut_has_its_own_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that keeps none: what may be an earlier marker, or a forged one, stays as text."""

    def unsupported(*_: object) -> bytes:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "getxattr", unsupported)
    monkeypatch.setattr(os, "setxattr", unsupported)
    path = tmp_path / "s.log"
    path.write_text("x" * 2000 + FORGED + "y" * 10_000)
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    dropped = []
    try:
        for _ in range(3):
            done = cut(fd, 8000)
            assert done is not None
            dropped.append(done.characters)
            os.write(fd, b"z" * 10_000)
    finally:
        os.close(fd)
    assert [int(found.replace(",", "")) for found in MARKER.findall(path.read_text())] == [1_000_000, *dropped]
