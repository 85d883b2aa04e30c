"""The command line itself: help, exit codes, pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tools import COMMAND, Server, age, listed, run

from streaming_logger._version import __version__
from streaming_logger.cli._main import VERBS


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "streams"


def test_help_names_every_verb_with_its_line() -> None:
    """As the table of the manual does."""
    shown = " ".join(run("--help", env={**os.environ, "COLUMNS": "200"}).stdout.split())
    assert [verb.name for verb in VERBS if f"{verb.name} " not in shown or verb.help not in shown] == []


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_every_verb_takes_the_common_options_on_either_side(verb: str, directory: Path) -> None:
    """`--dir` before or after it; a wrong option is wrong usage."""
    assert "--json" in run(verb, "--help").stdout
    assert "unrecognized" in run(verb, "x", "y", "--no-such-option", check=2).stderr


def test_installed_command_and_module_are_the_same(directory: Path) -> None:
    """`streaming-logger` beside the interpreter, and `python -m streaming_logger`."""
    script = Path(sys.executable).with_name("streaming-logger")
    if not script.exists():
        pytest.skip("the package is not installed here, so it has no script")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == run("--help").stdout


def test_wrong_usage_and_wrong_configuration_are_2(tmp_path: Path) -> None:
    """No verb, no directory, no such file, a bad configuration."""
    run(check=2)
    run("ls", "--dir", "none", check=2)
    run("ls", "--config", "none.json", check=2)
    (tmp_path / "logging_config.json").write_text("{")
    assert "must be JSON" in run("ls", check=2).stderr


def test_bad_configuration_does_not_hide_a_named_directory(tmp_path: Path, directory: Path) -> None:
    """The sessions are shown all the same; the fault is reported beside them."""
    with Server(directory) as server:
        server.stream("sess_1", "x")
        (tmp_path / "logging_config.json").write_text("{")
        (directory / ".streaming_logger" / "settings.json").write_text("{")
        done = run("ls", "--dir", directory)
    assert "sess_1" in done.stdout
    assert "the defaults are assumed" in done.stderr


_BROKEN = ['{"streaming_logs": {"directory": "%s",}}', '{"streaming_logs": {"directory": "%s", "enabled": "yes"}}']


@pytest.mark.parametrize("broken", [*_BROKEN, '{"streaming_logs": {"directory": "%s', "{"])
def test_broken_configuration_here_does_not_block_a_look(tmp_path: Path, broken: str) -> None:
    """The directory that it names is shown, else the default one, by the settings that its server left there."""
    directory = tmp_path / ("elsewhere" if broken in _BROKEN else "logs/streaming")
    with Server(directory, file_retention_minutes=None, max_session_age_hours=None) as server:
        server.stream("sess_1", "Hello")
        server.complete_session("sess_1")
        (tmp_path / "logging_config.json").write_text(broken.replace("%s", "elsewhere"))
        for verb in ("ls", "history", "stats", "show sess_1", "follow sess_1", "top -d 0"):
            assert "the settings that a server left in" in run(*verb.split()).stderr
        assert listed_here() == {"sess_1": "no rule"}
        assert "logging_config.json: " in run("doctor", check=1).stdout


def listed_here() -> dict[str, str]:
    """The rule by which each session in the directory of ./logging_config.json goes."""
    return {session["id"]: session["swept_by"] for session in json.loads(run("ls", "--json").stdout)}


def test_nothing_is_deleted_by_assumed_rules(tmp_path: Path, directory: Path) -> None:
    """Where the configuration is broken and no settings were left, looking goes by the defaults; sweeping does not."""
    with Server(directory, file_retention_minutes=None, max_session_age_hours=None) as server:
        server.stream("sess_1", "Hello")
        server.complete_session("sess_1")
    age(directory / "sess_1.log", 1e6)
    (directory / ".streaming_logger" / "settings.json").unlink()
    (tmp_path / "logging_config.json").write_text("{")
    assert "must be JSON" in run("sweep", "--dir", directory, check=2).stderr
    assert (directory / "sess_1.log").exists()


def test_rules_are_those_that_the_server_left_in_the_directory(tmp_path: Path, directory: Path) -> None:
    """Wherever the command is run; a file that is named goes before, one that lies about does not."""
    app = tmp_path / "logging_config.json"
    app.write_text('{"streaming_logs": {"file_retention_minutes": 20}}')
    with Server(directory, file_retention_minutes=None, max_session_age_hours=None) as server:
        server.stream("sess_1", "x")
        server.complete_session("sess_1")
        age(directory / "sess_1.log", 1e6)
        assert listed(directory)["sess_1"]["swept_by"] == "no rule"
        run("sweep", "--dir", directory)
        assert (directory / "sess_1.log").exists()
        run("sweep", "--dir", directory, "--config", app)
        assert not (directory / "sess_1.log").exists()


def test_directory_of_a_configuration_is_taken_from_its_own_target(tmp_path: Path) -> None:
    """Where the server that reads it runs; the operator stands elsewhere."""
    app = tmp_path / "app"
    app.mkdir()
    (app / "logging_config.json").write_text('{"streaming_logs": {}}')
    with Server(app / "logs" / "streaming") as server:
        server.stream("sess_1", "x")
        assert "sess_1" in run("ls", "--config", app / "logging_config.json", cwd="/").stdout


def test_broken_pipe_is_silent(directory: Path) -> None:
    """`| head -1` of much."""
    with Server(directory) as server:
        server.stream("sess_1", "line\n" * 200_000)
    pipe = f"{' '.join(COMMAND)} show sess_1 --dir {directory} | head -n 1"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, timeout=50, check=True)
    assert (done.stdout, done.stderr) == ("line\n", "")


def test_everything_works_without_rich(directory: Path) -> None:
    """In a terminal too: a pty, and an interpreter that does not find it."""
    pty = pytest.importorskip("pty")
    with Server(directory) as server:
        server.stream("sess_1", "x")
        program = (
            "import sys; sys.modules['rich'] = None; from streaming_logger.cli._main import main; sys.exit(main())"
        )
        ours, theirs = pty.openpty()
        done = subprocess.run(
            [sys.executable, "-c", program, "ls", "--dir", directory], stdout=theirs, stderr=theirs, timeout=50
        )
        shown = os.read(ours, 65536).decode()
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0
    assert "sess_1" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    "wrong",
    ["ls -n -1", "show x -n -1", "follow x -n -1", "history -n -1", "top -c -1", "top -d inf", "top --stalled nan"],
)
def test_number_that_is_none_is_wrong_usage(wrong: str, directory: Path) -> None:
    """And no traceback."""
    directory.mkdir()
    assert "is invalid: expected" in run(*wrong.split(), "--dir", directory, check=2).stderr


@pytest.mark.parametrize("verb", ["show", "follow", "pin", "unpin"])
def test_empty_id_is_wrong_usage(verb: str, directory: Path) -> None:
    """`pin "$UNSET"` is not the only session there is."""
    with Server(directory) as server:
        server.stream("sess_1", "x")
        assert "empty" in run(verb, "", "--dir", directory, check=2).stderr


def test_closed_output_is_no_fault(directory: Path) -> None:
    """`>&-`, as some schedulers start their jobs."""
    with Server(directory) as server:
        server.stream("sess_1", "x")
    done = subprocess.run(
        ["sh", "-c", f"exec {' '.join(COMMAND)} ls --dir {directory} >&-"], capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")


#: The command as user nobody, who need not be able to reach this interpreter's own files.
_AS_NOBODY = """
import gettext, locale, os, sys
from streaming_logger.cli._main import main
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(main())
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_told_whose_directory_it_is() -> None:
    """And what to do; nothing that cannot be seen is called ended, or all right."""

    def nobody(*arguments: str, code: int) -> str:
        program = [sys.executable, "-c", _AS_NOBODY, *arguments, "--dir", directory]
        done = subprocess.run(program, capture_output=True, text=True, timeout=50, cwd="/")
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    with tempfile.TemporaryDirectory() as above:  # pytest's own directories are closed to others
        Path(above).chmod(0o755)
        directory = Path(above) / "streams"
        with Server(directory) as server:
            server.stream("sess_1", "x")
            server.complete_session("sess_1")
            for verb in ("ls", "show sess_1", "top", "stats", "history", "doctor", "sweep", "pin sess_1"):
                assert "sudo -u '#0'" in nobody(*verb.split(), code=2)
            directory.chmod(0o755)
            assert "0 ended, 1 unknown" in nobody("top", "-d", "0", code=0)
            assert "sudo -u '#0'" in nobody("ls", code=0)
            assert "sudo -u '#0'" in nobody("doctor", code=1)


def test_version_is_told() -> None:
    """That of the package."""
    assert run("--version").stdout == f"streaming-logger {__version__}\n"


@pytest.mark.parametrize(
    "wrong",
    [
        ["ls", "--archive", "foo://["],
        ["ls", "--archive", "foo://\x1b[31m"],
        ["ls", "--archive", "file:///", "--date", "\x1b[31m"],
        ["ls", "--state", "\x1b[31m"],
        ["ls", "--sort", "\x1b[31m"],
        ["ls", "--dir", "\x1b[31m"],
        ["ls", "--dir", "x" * 5000],
        ["ls", "--config", "\x1b[31m"],
        ["ls", "--config", "x" * 5000],
        ["check-config", "\x1b[31m"],
        ["archive", "foo://["],
        ["find", "x", "--archive", "foo://["],
        ["show", "x", "--archive", "foo://["],
        ["\x1b[31m"],
        ["top", "-d", "\x1b[31m"],
        ["ls", "-n", "\u00b2"],
    ],
)
def test_wrong_argument_is_an_error_and_is_escaped(wrong: list[str], directory: Path) -> None:
    """No traceback, and no terminal sequence."""
    with Server(directory) as server:
        server.stream("sess_1", "x")
    done = run(*wrong, *(() if "--dir" in wrong or len(wrong) == 1 else ("--dir", directory)), check=2)
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
