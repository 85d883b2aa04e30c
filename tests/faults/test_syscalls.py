"""The k-th system call fails, for every k, as SQLite tests it: nothing raised, lost, leaked or wrongly deleted."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from disk_child import PHASES, SESSIONS
from programs import running, wait_for_line

from conftest import logs, make_old

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="strace is Linux's")

FAULTS = [
    *(("write", error) for error in ("ENOSPC", "EIO", "EINTR")),
    *(("writev", error) for error in ("ENOSPC", "EIO", "EINTR")),
    *(("openat", error) for error in ("EMFILE", "EACCES", "EIO", "ENOSPC", "EINTR")),
    *(("flock", error) for error in ("ENOLCK", "EIO", "EINTR")),
    *(("newfstatat", error) for error in ("EACCES", "EIO")),
    *(("unlinkat", error) for error in ("EACCES", "EIO", "EINTR")),
    *(("getdents64", error) for error in ("EIO", "EINTR")),
]
#: Files that were there before: swept where the directory is ours, and only there.
OLD = {"old0", "old1", "old2"}
#: How many k there are at the very most; a scenario that never runs clean is an error.
MANY = 400


class Child:
    """The program of disk_child.py, and what it says."""

    def __init__(self, who: str) -> None:
        self.who = who
        self._talk, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._talk.settimeout(30)
        with theirs:
            self._program = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("disk_child.py"), str(theirs.fileno()), who],
                pass_fds=[theirs.fileno()],
            )

    def say(self, text: str) -> None:
        self._talk.send(text.encode())

    def hear(self) -> object:
        return json.loads(self._talk.recv(1 << 20))

    def end(self) -> None:
        self._talk.close()  # it hears nothing any more
        try:
            self._program.wait(10)
        finally:
            self._program.kill()
            self._program.wait()


@pytest.fixture(params=["caller", "worker"])
def child(request: pytest.FixtureRequest) -> Iterator[Child]:
    """Who does the I/O in it: the caller, who then has no worker, or the worker thread, as in a server."""
    child = Child(request.param)
    yield child
    child.end()


def attach(pid: int, inject: str, output: Path, *options: str) -> subprocess.Popen[str]:
    """strace at the process, from here on."""
    call = inject.split(":")[0]
    tracer = subprocess.Popen(
        ["strace", "-f", "-p", str(pid), "-o", output, "-e", f"trace={call}", "-e", f"inject={inject}", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    printed = tracer.stderr.readline()
    if "attached" not in printed:
        detach(tracer)
        pytest.skip(f"strace cannot attach here: {printed.strip()}")
    return tracer


def detach(tracer: subprocess.Popen[str]) -> None:
    with tracer:
        tracer.send_signal(signal.SIGTERM)


@pytest.fixture
def needs_strace() -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")


def injected(child: Child, place: Path, inject: str, *, foreign: bool = False) -> int:
    """One life with one fault; how many calls it hit. Everything that must hold is asserted here."""
    directory = place / "logs"
    directory.mkdir(mode=0o700)
    for name in OLD:
        (directory / f"{name}.log").write_text("x")
        make_old(directory / f"{name}.log", 7200)
    if not foreign:
        (directory / ".streaming_logger").mkdir(mode=0o700)  # our mark
    child.say(str(directory))
    pid = child.hear()
    assert isinstance(pid, int)
    tracer = attach(pid, inject, place / "strace")
    try:
        child.say("go")
        printed = child.hear()
    finally:
        detach(tracer)
    hits = (place / "strace").read_text().count("INJECTED")
    assert printed == PHASES[0], f"{inject}: {printed}"
    child.say("go")
    printed = child.hear()
    assert printed == PHASES[1], f"{inject}: {printed}"
    found = logs(directory)
    assert OLD & found.keys() == (OLD if foreign else set()), inject
    expected = {**dict.fromkeys(SESSIONS, "1;2;3;4;"), "done": "1;2;", "many": "m" * 600}
    assert {name: text for name, text in found.items() if name not in OLD} == expected, inject
    child.say("go")
    printed = child.hear()
    assert printed == PHASES[2], f"{inject}: {printed}"
    child.say("go")
    assert child.hear() == [], f"{inject}: descriptors left"
    shutil.rmtree(directory)
    return hits


def every_kth(child: Child, place: Path, call: str, error: str, on: str = "") -> int:
    """Fails the k-th call, and with `on="+"` all after it, for each k until lives run clean; how many did not."""
    tried = clean = 0
    for k in range(1, MANY):
        if injected(child, place, f"{call}:error={error}:when={k}{on}"):
            tried, clean = tried + 1, 0
        else:
            clean += 1
        if clean == 5:  # not 1: a few calls depend on the age of a time stamp, so not all lives are of one length
            print(
                f"figures {child.who}: {call} {error} {'from the k-th on' if on else 'the k-th'}: {tried} lives, 0 lost"
            )
            return tried
    raise AssertionError(f"{call} is still called after {MANY} times")


@pytest.mark.usefixtures("needs_strace")
@pytest.mark.parametrize("call", dict.fromkeys(call for call, _ in FAULTS))
def test_a_sample_of_calls_fails(tmp_path: Path, child: Child, call: str) -> None:
    """Every so-manieth call fails once; the errors take turns."""
    errors = [error for name, error in FAULTS if name == call]
    step = {"write": 3, "openat": 3, "flock": 5, "newfstatat": 7}.get(call, 1)
    tried = 0
    for k in range(1, MANY, step):
        if not injected(child, tmp_path, f"{call}:error={errors[tried % len(errors)]}:when={k}"):
            break
        tried += 1
    assert tried


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("needs_strace")
@pytest.mark.parametrize(("call", "error"), FAULTS)
def test_every_call_fails_once(tmp_path: Path, child: Child, call: str, error: str) -> None:
    """The k-th call fails, for every k until a life runs clean."""
    assert every_kth(child, tmp_path, call, error)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("needs_strace")
@pytest.mark.parametrize(("call", "error"), [fault for fault in FAULTS if fault[1] != "EINTR"])
def test_every_call_fails_from_the_kth_on(tmp_path: Path, child: Child, call: str, error: str) -> None:
    """The k-th call and all after it fail until the fault ends, for every k."""
    assert every_kth(child, tmp_path, call, error, on="+")


@pytest.mark.usefixtures("needs_strace")
@pytest.mark.parametrize("call", ["newfstatat", "getdents64"])
def test_a_fault_never_makes_a_foreign_directory_ours(tmp_path: Path, child: Child, call: str) -> None:
    """Whatever look at the directory fails, other people's files in it are not swept."""
    for k in range(1, 13):
        if not injected(child, tmp_path, f"{call}:error=EIO:when={k}", foreign=True):
            break


SWEEPS = """
logger = open_logger()
say("ready")
for line in sys.stdin:
    report = logger.cleanup_completed_files()
    say(f"swept {report.deleted} {report.errors}")
"""


@pytest.mark.usefixtures("needs_strace")
@pytest.mark.parametrize("call", ["newfstatat", "openat", "unlinkat"])
def test_a_bad_file_keeps_no_other_from_being_swept(tmp_path: Path, call: str) -> None:
    """One file whose every stat, open or unlink fails, as with a bad inode: counted, and all others go."""
    with running(SWEEPS, tmp_path / "logs") as program:
        wait_for_line(program, "ready")
        for number in range(50):
            (tmp_path / "logs" / f"s{number}.log").write_text("x")
            make_old(tmp_path / "logs" / f"s{number}.log", 3600)
        tracer = attach(program.pid, f"{call}:error=EIO", tmp_path / "strace", "-P", "s25.log")
        try:
            assert program.stdin is not None
            program.stdin.write("go\n")
            program.stdin.flush()
            assert wait_for_line(program, "swept") == "49 1"
        finally:
            detach(tracer)
    assert list(logs(tmp_path / "logs")) == ["s25"]
