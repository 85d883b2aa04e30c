"""The directory: made privately, refused when unsafe, and known to be ours or not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streaming_logger import Config, DirectoryError, StreamingLogger
from streaming_logger._disk.directory import DEFAULT, PRIVATE, Directory


def ours(path: Path, *, adopt: bool = False) -> bool:
    """Whether a directory counts as ours."""
    directory = Directory(path, adopt=adopt)
    directory.open()
    directory.close()
    return directory.managed


def test_one_that_is_made_here_is_ours(tmp_path: Path) -> None:
    """And marked, so that it is ours at the next start too, whatever lies in it then."""
    assert ours(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / PRIVATE).is_dir()
    (tmp_path / "a" / "b" / "x.log").touch()
    assert ours(tmp_path / "a" / "b")


def test_one_without_log_files_is_ours(tmp_path: Path) -> None:
    """Nothing in it could be taken for a session's file."""
    (tmp_path / "notes.txt").touch()
    assert ours(tmp_path)


def test_one_with_log_files_of_others_is_not(tmp_path: Path) -> None:
    """It is written to and not marked, before `adopt` is set."""
    (tmp_path / "syslog.log").touch()
    assert not ours(tmp_path)
    assert not (tmp_path / PRIVATE).exists()
    assert ours(tmp_path, adopt=True)
    assert (tmp_path / PRIVATE).exists()
    assert ours(tmp_path)


def test_default_path_is_ours(tmp_path: Path) -> None:
    """Files of the older module lie there and are to be swept."""
    (tmp_path / DEFAULT).mkdir(parents=True)
    (tmp_path / DEFAULT / "sess_1.log").touch()
    assert ours(DEFAULT)


def test_default_path_that_leads_elsewhere_is_not(tmp_path: Path) -> None:
    """A symlink there may lead to anybody's files."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "syslog.log").touch()
    (tmp_path / DEFAULT.parent).mkdir()
    (tmp_path / DEFAULT).symlink_to(tmp_path / "elsewhere")
    assert not ours(DEFAULT)


def test_strangers_files_are_never_swept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A look-alike directory: a warning says so, the report too, and each file stays."""
    for name in ("syslog.log", "sess_1.log"):
        (tmp_path / name).write_text("precious")
        os.utime(tmp_path / name, (0, 0))
    with StreamingLogger(Config(file_retention_minutes=0.001), directory=tmp_path) as logger:
        assert "adopt" in caplog.text
        report = logger.cleanup_completed_files()
        assert (report.deleted, "adopt" in report.skipped) == (0, True)
        assert logger.cleanup_old_sessions(0).deleted == 0
    assert (tmp_path / "syslog.log").read_text() == "precious"


def refusal(path: Path) -> str:
    """What the logger says to such a directory."""
    with pytest.raises(DirectoryError) as caught:
        StreamingLogger(Config(), directory=path)
    return str(caught.value)


def test_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "file").touch()
    assert "is not a directory; move it away" in refusal(tmp_path / "file")


def test_dangling_symlink_is_refused(tmp_path: Path) -> None:
    """Nothing is made at the other end."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "is not a directory" in refusal(tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()


def test_world_writable_one_is_refused(tmp_path: Path) -> None:
    """With the command that mends it."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o1777)
    assert f"chmod o-w {tmp_path / 'open'}" in refusal(tmp_path / "open")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_foreign_owned_one_is_refused(tmp_path: Path) -> None:
    """Its owner could replace the files."""
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, -1)
    assert "belongs to user 12345" in refusal(tmp_path / "theirs")


def test_symlink_to_a_safe_directory_is_followed(tmp_path: Path) -> None:
    """Operators put logs on another disk that way."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with StreamingLogger(Config(), directory=tmp_path / "link") as logger:
        logger.write("s", "text")
    assert (tmp_path / "disk" / "s.log").read_text() == "text"


def test_removed_or_replaced_directory_is_noticed(tmp_path: Path) -> None:
    """And opened anew, one generation later."""
    directory = Directory(tmp_path / "logs")
    directory.open()
    assert not directory.is_stale()
    (tmp_path / "logs").rename(tmp_path / "away")
    assert directory.is_stale()
    directory.invalidate()
    directory.open()
    assert (directory.is_stale(), directory.generation) == (False, 2)
    directory.close()


def test_relative_path_is_fixed_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that changes its working directory goes on in the same place."""
    with StreamingLogger(Config(directory="here")) as logger:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        logger.write("s", "text")
    assert (tmp_path / "here" / "s.log").read_text() == "text"
