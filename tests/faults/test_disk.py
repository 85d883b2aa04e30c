"""The disk is full, read-only, limited, immutable, lazy or hangs: the stream never sees it, and it heals by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disk_text import dropped_from, numbers
from programs import run

from conftest import logs, make_old
from streaming_logger.testing import ManualLogger

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts, chattr and /proc are Linux's")

Make = Callable[..., ManualLogger]

needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")


# -- mounted ---------------------------------------------------------------------------


def mount(*arguments: object) -> None:
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The log directory, on a disk of 1 MiB. To be named before `manual`, which closes its loggers first."""
    place = tmp_path / "logs"
    place.mkdir(mode=0o700)
    mount("-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", place)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@needs_root
def test_full_disk_loses_nothing_while_memory_lasts(small_disk: Path, manual: Make) -> None:
    """The unwritten tail is kept exactly; with space again it follows, in order, also of a completed session."""
    logger = manual()
    for begin in range(0, 200_000, 1000):
        logger.write("a", numbers(begin, begin + 1000))
    logger.write("b", "b;")
    logger.flush()
    taken = (small_disk / "a.log").stat().st_size
    assert taken < 1_050_000
    assert logger.stats().bytes_buffered >= 1_400_000 - taken
    assert logger.health().status == "degraded"
    logger.complete_session("a", wait=False)
    logger.write("a", "a new turn")
    for _ in range(3):
        logger.flush()
    mount("-o", "remount,size=16m", small_disk)
    logger.flush()
    assert logs(small_disk) == {"a": numbers(0, 200_000) + "a new turn", "b": "b;"}
    stats = logger.stats()
    assert stats.bytes_buffered == 0
    assert not stats.dropped_characters
    assert logger.health().status == "ok"


@needs_root
def test_full_disk_marks_what_finds_no_room_in_memory(small_disk: Path, manual: Make) -> None:
    """Counted to the character and marked at its place; a later stream is not hurt by the one that fills."""
    logger = manual(max_buffer_mb=1)
    for number in range(400_000):
        logger.write("a", f"{number:06d};")
        if number in (300_000, 350_000):  # a little space, twice: gaps in the middle
            mount("-o", f"remount,size={number // 250}k", small_disk)
        if number % 50_000 == 0:
            logger.flush()
    for number in range(100):
        logger.write("b", f"{number:06d};")
    logger.flush()
    assert logger.stats().bytes_buffered <= 1_000_000 + 64 * 1024
    assert logger.health().status == "failing"
    mount("-o", "remount,size=16m", small_disk)
    logger.flush()
    logger.complete_session("a")
    found = logs(small_disk)
    missing = dropped_from(found["a"], numbers(0, 400_000))
    assert found["a"].count("characters dropped") > 1
    assert missing > 0
    assert logger.stats().dropped_characters == {"buffer full": missing}
    assert found["b"] == numbers(0, 100)


@needs_root
def test_read_only_disk_is_waited_out(small_disk: Path, manual: Make) -> None:
    """Text waits in memory, the sweep deletes nothing and raises nothing, and all is written when it is over."""
    logger = manual()
    old = small_disk / "old.log"
    old.write_text("x")
    make_old(old, 3600)
    mount("-o", "remount,ro", small_disk)  # possible as long as nothing on it is open for writing
    for number in range(3):
        logger.write("s", f"{number};")
        logger.flush()
    logger.complete_session("s", wait=False)
    logger.advance(61)
    report = logger.cleanup_completed_files()
    assert (report.deleted, report.errors) == (0, 1)
    assert logger.stats().bytes_buffered == 6
    assert logger.health().status == "degraded"
    mount("-o", "remount,rw", small_disk)
    logger.flush()
    assert logs(small_disk) == {"old": "x", "s": "0;1;2;"}
    assert logger.cleanup_completed_files().deleted == 1
    assert logger.stats().bytes_buffered == 0


@needs_root
@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs mkfs.ext4")
def test_disk_that_turns_read_only_under_open_files(tmp_path: Path, manual: Make) -> None:
    """As ext4 does after an error of the medium: buffers are kept; another disk at that place gets them."""
    place, image = tmp_path / "logs", tmp_path / "disk"
    place.mkdir(mode=0o700)
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-E", "root_owner", image], check=True, capture_output=True)
    mount("-o", "loop", image, place)
    try:
        (place / "lost+found").rmdir()
        logger = manual()
        old = place / "old.log"
        old.write_text("x")
        make_old(old, 3600)
        logger.write("s", "0;")
        logger.flush()
        mount("-o", "remount,abort", place)
        for number in range(1, 4):
            logger.write("s", f"{number};")
            logger.flush()
        report = logger.cleanup_completed_files()
        assert report.deleted == 0
        assert report.errors
        assert logs(place) == {"old": "x", "s": "0;"}
        assert logger.stats().bytes_buffered == 6
    finally:
        subprocess.run(["umount", "-l", place], check=True)
    logger.write("s", "4;")
    logger.flush()
    assert logs(place) == {"s": "1;2;3;4;"}
    assert not logger.stats().dropped_characters


# -- attributes ------------------------------------------------------------------------


@pytest.fixture
def attribute() -> Iterator[Callable[[str, Path], None]]:
    """Sets one with chattr; all are taken away again, or nobody could remove the test's directory."""
    touched = set()

    def change(what: str, path: Path) -> None:
        touched.add(path)
        if shutil.which("chattr") is None or subprocess.run(["chattr", what, path], capture_output=True).returncode:
            pytest.skip("this file system knows no such attribute")

    yield change
    for path in touched:
        subprocess.run(["chattr", "-i", "-a", path], capture_output=True)


@needs_root
@pytest.mark.parametrize("is_open", [False, True])
def test_immutable_file_holds_up_its_own_session_only(
    tmp_path: Path, manual: Make, attribute: Callable[[str, Path], None], is_open: bool
) -> None:
    """It waits, in order; others go on; its deletion is refused and counted; then all heals."""
    logger = manual()
    path = tmp_path / "logs" / "s.log"
    if is_open:
        logger.write("s", "0;")
        logger.flush()
    else:
        path.write_text("0;")
    attribute("+i", path)
    for number in range(1, 4):
        logger.write("s", f"{number};")
        logger.write("other", f"{number};")
        logger.flush()
    assert logs(tmp_path / "logs") == {"s": "0;", "other": "1;2;3;"}
    assert logger.stats().bytes_buffered == 6
    attribute("-i", path)
    logger.flush()
    assert path.read_text() == "0;1;2;3;"
    assert logger.stats().bytes_buffered == 0


@needs_root
@pytest.mark.parametrize("what", ["+i", "+a"])
def test_refused_deletion_is_counted_and_the_others_are_swept(
    tmp_path: Path, manual: Make, attribute: Callable[[str, Path], None], what: str
) -> None:
    """An append-only file is written as ever; neither it nor an immutable one can be deleted until it is freed."""
    logger = manual()
    names = ("kept", "goes")
    for name in names:
        logger.write(name, "0;")
    logger.flush()
    if what == "+a":
        attribute(what, tmp_path / "logs" / "kept.log")
    for name in names:
        logger.write(name, "1;")
        logger.complete_session(name)
    assert logs(tmp_path / "logs") == {"kept": "0;1;", "goes": "0;1;"}
    attribute("-a", tmp_path / "logs" / "kept.log")
    for name in names:
        make_old(tmp_path / "logs" / f"{name}.log", 3600)
    attribute(what, tmp_path / "logs" / "kept.log")
    report = logger.cleanup_completed_files()
    assert (report.deleted, report.errors) == (1, 1)
    assert list(logs(tmp_path / "logs")) == ["kept"]
    assert logger.health().status == "degraded"
    attribute(what.replace("+", "-"), tmp_path / "logs" / "kept.log")
    assert logger.cleanup_completed_files().deleted == 1


# -- limits of the process -------------------------------------------------------------


def test_file_size_limit_is_waited_out(tmp_path: Path) -> None:
    """EFBIG: the file ends at the limit, to the byte; other sessions go on; with a higher limit the rest follows."""
    status, _, errors = run(
        """
import resource
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
with open_logger(flush_interval_seconds=0.05) as logger:
    whole = "".join(f"{number:06d};" for number in range(3000))
    logger.write("big", whole)
    logger.write("small", "x")
    logger.flush()
    big, small = Path(sys.argv[1], "big.log"), Path(sys.argv[1], "small.log")
    assert big.read_text() == whole[:10_000] and small.read_text() == "x"
    assert logger.stats().bytes_buffered == 11_000 and logger.health().status == "degraded", logger
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    logger.flush()
    assert big.read_text() == whole
    assert not logger.stats().bytes_buffered and logger.health().status == "ok", logger
""",
        tmp_path / "logs",
    )
    assert status == 0, errors


@pytest.mark.parametrize("open_before", [0, 10])
def test_no_descriptor_left_is_waited_out(tmp_path: Path, open_before: int) -> None:
    """EMFILE: without any file open text waits; with some they take turns. The sweep raises nothing."""
    status, _, errors = run(
        """
import resource
from pathlib import Path
count = int(sys.argv[2])
with open_logger(flush_interval_seconds=0.05, max_open_files=1000) as logger:
    for number in range(count):
        logger.write(f"s{number}", "0;")
    logger.flush()
    while not logger.stats().sweeps:
        time.sleep(0.01)  # the worker's first sweep has descriptors, which it would give back too late
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        while True:
            os.dup(0)  # the server's own sockets have taken all that was free
    except OSError:
        pass
    for number in range(20):
        logger.write(f"s{number}", "1;")
    logger.flush()
    waiting = logger.stats().bytes_buffered
    assert waiting == (0 if count else 40), logger
    report = logger.cleanup_completed_files()
    assert not report.deleted
    if not count:
        assert report.errors and logger.health().status == "degraded", logger
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    logger.flush()
    for number in range(20):
        text = Path(sys.argv[1], f"s{number}.log").read_text()
        assert text == ("0;1;" if number < count else "1;"), (number, text)
    assert not logger.stats().bytes_buffered and not logger.stats().dropped_characters
""",
        tmp_path / "logs",
        str(open_before),
    )
    assert status == 0, errors
