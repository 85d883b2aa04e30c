"""The central invariant: written = on the disk + buffered + counted as dropped, in order, for each session.

Hypothesis plays random lives against real files, with a disk that refuses or cuts writes
at the moments it chooses. What a file holds is read back as a list of characters and gaps.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streaming_logger import Config
from streaming_logger._disk.store import OpenFile, Store
from streaming_logger._write.session import marker
from streaming_logger.testing import ManualClock, ManualLogger

IDS = st.sampled_from(["a", "b/c", "sess_3"])
GAP = re.compile(r"\[streaming_logger: ([\d,]+) characters dropped: buffer full\]")


class FaultyStore(Store):
    """A real store on a disk that may be full, or takes only so many bytes of a write."""

    full = False
    most: int | None = None

    def append(self, file: OpenFile, blocks: Sequence[bytes | memoryview]) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().append(file, blocks if self.most is None else [b"".join(blocks)[: self.most]])


def is_explained(text: str, written: str) -> bool:
    """Whether a text with markers is what was written, each marker in the place of what it counts."""
    at, position = 0, 0
    for gap in GAP.finditer(text):
        piece = text[position : gap.start()]
        if written[at : at + len(piece)] != piece:
            return False
        at += len(piece) + int(gap[1].replace(",", ""))
        position = gap.end()
    return written[at:] == text[position:]


class Lives(RuleBasedStateMachine):
    """Sessions, a worker by hand, and faults."""

    @initialize(buffer_kb=st.sampled_from([2, 20, 1000]), files=st.sampled_from([1, 2, None]))
    def begin(self, buffer_kb: int, files: int | None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pytest-invariant-"))
        config = Config(
            max_buffer_mb=buffer_kb / 1000,
            max_open_files=files,
            min_free_disk_mb=None,
            idle_timeout_minutes=1,
            file_retention_minutes=None,
        )
        self.logger = ManualLogger(config, self.folder / "logs", clock=ManualClock(), make_store=FaultyStore)
        self.engine = self.logger._engine
        self.store = self.engine.context.store
        self.written: dict[str, str] = {}
        self.number = 0

    @rule(session=IDS, count=st.integers(1, 100), length=st.sampled_from([1, 6, 40, 700]))
    def write(self, session: str, count: int, length: int) -> None:
        """Numbered chunks, so that nothing can be lost, doubled or swapped unseen."""
        for _ in range(count):
            self.number += 1
            chunk = f"{self.number:x}\u00e9".rjust(length, "\u4e2d" if self.number % 3 else "x")
            self.written[session] = self.written.get(session, "") + chunk
            self.logger.write(session, chunk)

    @rule(session=IDS, outcome=st.sampled_from(["completed", "error"]))
    def complete(self, session: str, outcome: str) -> None:
        """With or without the worker's answer: there is no thread."""
        self.logger.complete_session(session, outcome=outcome, wait=False)

    @rule()
    def flush(self) -> None:
        """On this thread."""
        self.engine.worker.submit(self.engine.flusher.flush_all)
        self.logger.run_pending()

    @rule(seconds=st.sampled_from([0.1, 2, 61, 130]))
    def time_passes(self, seconds: float) -> None:
        """Flushes, sweeps and abandonments come due; no file is as old as the retention."""
        self.logger.advance(seconds)

    @rule()
    def sweep(self) -> None:
        """By the caller."""
        assert self.logger.cleanup_completed_files().deleted == 0

    @rule(full=st.booleans(), most=st.sampled_from([None, 1, 2, 7, 1000]))
    def disk(self, full: bool, most: int | None) -> None:
        """Fills up, cuts writes short (in the middle of a character, too), or is well again."""
        self.store.full, self.store.most = full, most if not full else None

    @invariant()
    def everything_is_explained(self) -> None:
        """On disk + buffered + dropped == written, now, in the middle of whatever goes on."""
        files = self.folder / "logs"
        self.engine.sessions.apply_all()
        for session, written in self.written.items():
            name = {"b/c": "b%2Fc"}.get(session, session)
            path = files / f"{name}.log"
            data = path.read_bytes() if path.exists() else b""
            ended = [completion.session for completion in self.engine.sessions.ended]
            turns = [*self.engine.flusher.unfinished(), *filter(None, ended), *self.engine.sessions.live.values()]
            for turn in turns:
                if turn.id == session:
                    data += b"".join(marker(block) if isinstance(block, int) else block for block in turn.blocks)
                    data += b"".join(turn.fresh)
            assert is_explained(data.decode(), written), f"{session}: {data.decode()[-200:]!r}"

    @invariant()
    def memory_is_bounded(self) -> None:
        """What is in memory stays within the setting, but for markers."""
        limit = self.engine.settings.config.max_buffer_mb * 1_000_000
        assert 0 <= self.engine.sessions.used <= limit + len(self.written) * 200
        assert self.logger.stats().chunks_written == self.number

    def teardown(self) -> None:
        if not hasattr(self, "logger"):
            return
        self.store.full, self.store.most = False, None
        self.logger.close()
        try:
            found = dict(self.logger.stats().dropped_characters)
            marked = 0
            for session, written in self.written.items():
                name = {"b/c": "b%2Fc"}.get(session, session)
                text = (self.folder / "logs" / f"{name}.log").read_text()
                assert is_explained(text, written)
                marked += sum(int(gap[1].replace(",", "")) for gap in GAP.finditer(text))
            assert sum(found.values()) == marked
            assert self.engine.sessions.used == 0
        finally:
            shutil.rmtree(self.folder)


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
