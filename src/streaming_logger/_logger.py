"""The face: `StreamingLogger`, its verbs and the hot path."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from streaming_logger._base.loop import LoopEvent
from streaming_logger._base.outcomes import Outcome, checked_outcome
from streaming_logger._base.stats import Health, Stats, SweepReport
from streaming_logger._base.sync import OneShotEvent
from streaming_logger._config.schema import SECTION, Config, load, parse
from streaming_logger._config.watch import Settings
from streaming_logger._context import Context
from streaming_logger._handle import SessionHandle
from streaming_logger._runtime import process
from streaming_logger._runtime.engine import Engine
from streaming_logger._runtime.intake import make_fork_flag
from streaming_logger._sweep.rules import Rules
from streaming_logger._wal.record import key_of, name_of
from streaming_logger._watch.radar import Runaway
from streaming_logger._wrap import wrap

__all__ = ["DEFAULT_CONFIG_FILE", "StreamingLogger"]

DEFAULT_CONFIG_FILE = "logging_config.json"


def _engine(settings: Settings, directory: str | os.PathLike[str] | None) -> Engine:
    return Engine(Context.make(settings, Path(settings.config.directory if directory is None else directory)))


class StreamingLogger:
    """Logs streams of text, one file for each session, without slowing the streams.

    `config` is a `Config` or a whole `logging_config.json` as a mapping; None: the defaults. A mapping
    without section `streaming_logs` deletes each file at completion. `directory` overrides the setting.
    Raises `ConfigError` with all problems, and `DirectoryError` for an unsafe directory.

    >>> import tempfile
    >>> with StreamingLogger(Config(), directory=tempfile.mkdtemp()) as logger:
    ...     logger.write("sess_1", "Hello")
    ...     logger.complete_session("sess_1")
    ...     logger.stats().bytes_written
    5
    """

    def __init__(
        self, config: Mapping[str, Any] | Config | None = None, *, directory: str | os.PathLike[str] | None = None
    ) -> None:
        if not isinstance(config, Config):
            config = parse({SECTION: {}} if config is None else config)
        self._begin(_engine(Settings(config), directory))
        self._engine.open()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str] = DEFAULT_CONFIG_FILE) -> StreamingLogger:
        """A logger with the settings of a file, which is watched: edits take effect while it runs.

        A missing file counts as one without the section. Raises like the class itself.

        >>> import tempfile
        >>> StreamingLogger.from_file(tempfile.mkdtemp() + "/none.json").enabled
        True
        """
        self = cls._of(_engine(Settings(load(Path(path)), Path(path)), None))
        self._engine.open()
        return self

    @classmethod
    def _of(cls, engine: Engine) -> Self:
        """A logger around an engine, which is not open yet."""
        self = cls.__new__(cls)
        self._begin(engine)
        return self

    # -- the stream ------------------------------------------------------------------

    def write(self, session_id: str | None, chunk: str | None) -> None:
        """Logs one chunk of a session's stream. Never waits, for no lock and no disk.

        None and empty strings are ignored. Raises `TypeError` for other non-strings.

        >>> import tempfile
        >>> logger = StreamingLogger(directory=tempfile.mkdtemp())
        >>> logger.write("sess_1", "Hello"); logger.write("sess_1", None)
        >>> logger.stats().chunks_written
        1
        >>> logger.close()
        """
        if (
            type(chunk) is str
            and type(session_id) is str
            and session_id in self._known
            and self._is_mine[0]
            and chunk
            and "\0" not in chunk
        ):
            try:
                self._log.append(f"{session_id}\0{chunk}\0".encode())  # one call: done, or not done
                return
            except ValueError:  # no room, or a lone surrogate
                pass
        self._write_slowly(session_id, chunk)

    append_chunk = write

    def complete_session(self, session_id: str | None, *, outcome: Outcome = "completed", wait: bool = True) -> None:
        """Ends a session: its last chunks are written, its file is closed and kept for a while.

        With `wait` it returns when that is done (after 5 s in any case); without, at once: so call it on an
        event loop. An unknown or completed session is fine. Raises `TypeError` for an id or outcome that is
        not a string, `ValueError` for an outcome that is not one of `Outcome`.

        >>> import tempfile
        >>> logger = StreamingLogger(directory=tempfile.mkdtemp())
        >>> logger.complete_session("never heard of")
        >>> logger.close()
        """
        done = OneShotEvent() if wait else None
        engine = self._complete(session_id, outcome, done)
        if engine is not None and done is not None and not engine.wait(done):
            engine.counters.add(completions_overdue=1)

    async def acomplete_session(self, session_id: str | None, *, outcome: Outcome = "completed") -> None:
        """`complete_session` on an event loop, which goes on while the disk is slow.

        A cancellation ends the wait, and nothing else: the session is completed all the same.

        >>> import asyncio, tempfile
        >>> logger = StreamingLogger(Config(), directory=tempfile.mkdtemp())
        >>> logger.write("sess_1", "Hello"); asyncio.run(logger.acomplete_session("sess_1"))
        >>> logger.stats().sessions_completed
        1
        >>> logger.close()
        """
        done = LoopEvent()
        engine = self._complete(session_id, outcome, done)
        if engine is not None and not await engine.wait_async(done):
            engine.counters.add(completions_overdue=1)

    def wrap(
        self,
        session_id: str | None,
        stream: Any,
        text: Callable[[Any], str | None] | None = None,
        *,
        include: Iterable[str] = (),
        format: Literal["auto", "text", "sse", "jsonl"] = "auto",  # noqa: A002 - the word that users know
    ) -> Any:
        """The same stream, logged as it is read: yields each item unchanged, completes the session once.

        `stream` is an iterator, an async iterator, or a context manager that gives one; what else it
        has (`close`, `send`, `response`, ...) passes through. `text` gets the text of an item; None:
        the chunks of the known SDKs are told by their shape. `include` adds "reasoning", "tool_calls"
        and "choices". `format` says what `str` and `bytes` hold: "text", "sse" (server-sent events),
        "jsonl" (JSON documents), or "auto", which takes them for text until a whole event or document
        tells otherwise. A `session_id` of None makes one, in `.session_id`. The outcome, in `.outcome`,
        is "completed" at the end, "error" for an exception or an error that the stream reports, "closed"
        when the reader leaves early or is cancelled, "cancelled" when the source was, "abandoned" when it
        is garbage-collected. Of several streams with one id the last one completes the session. Never
        waits. Raises `TypeError` for an object that is not iterable, `ValueError` for an unknown option.

        >>> import tempfile
        >>> logger = StreamingLogger(Config(), directory=tempfile.mkdtemp())
        >>> for token in logger.wrap("sess_1", iter(["Hel", "lo"])):
        ...     print(token)
        Hel
        lo
        >>> logger.close(); logger.stats().sessions_completed
        1
        """
        return wrap(self, session_id, stream, text, include, format)

    def session(self, session_id: str, *, wait: bool = True, radar: bool = True) -> SessionHandle:
        """A context manager, for `with` and `async with`, that completes the session on every way out.

        Its outcome is "error" when an exception passes, "closed" for a cancellation, unless `handle.outcome` is set
        inside the block. `wait` as in `complete_session`, but on an event loop only `async with` waits. With
        `radar=False` this turn is not examined for loops.

        >>> import tempfile
        >>> logger = StreamingLogger(Config(), directory=tempfile.mkdtemp())
        >>> with logger.session("sess_1") as stream:
        ...     stream.write("Hello")
        >>> logger.stats().sessions_completed
        1
        >>> logger.close()
        """
        return SessionHandle(self, session_id, wait, radar)

    # -- the rest --------------------------------------------------------------------

    def flush(self) -> None:
        """Returns when what was written before the call is in the files, or after 5 s.

        >>> import tempfile
        >>> StreamingLogger(directory=tempfile.mkdtemp()).flush()
        """
        self._engine_here().flush()

    def cleanup_completed_files(self) -> SweepReport:
        """Sweeps now, on this thread, by the settings in force.

        >>> import tempfile
        >>> StreamingLogger(Config(), directory=tempfile.mkdtemp()).cleanup_completed_files().deleted
        0
        """
        return self._sweep(None)

    def cleanup_old_sessions(self, max_age_hours: float = 24) -> SweepReport:
        """Deletes completed files older than so many hours, whatever their retention.

        Raises `ValueError` for a negative age, `TypeError` for no number.

        >>> import tempfile
        >>> StreamingLogger(Config(), directory=tempfile.mkdtemp()).cleanup_old_sessions(1).deleted
        0
        """
        if isinstance(max_age_hours, bool) or not isinstance(max_age_hours, (int, float)):
            raise TypeError(f"max_age_hours must be a number, not {type(max_age_hours).__name__}")
        if not max_age_hours >= 0:
            raise ValueError(f"max_age_hours must be 0 or more, not {max_age_hours}")
        return self._sweep(Rules.older_than(max_age_hours * 3600))

    def stats(self) -> Stats:
        """A frozen snapshot of this process's numbers.

        >>> import tempfile
        >>> StreamingLogger(directory=tempfile.mkdtemp()).stats().sessions_active
        0
        """
        return self._engine_here().stats()

    def health(self) -> Health:
        """Whether all is well, for a server's health endpoint: status and reasons.

        >>> import tempfile
        >>> StreamingLogger(directory=tempfile.mkdtemp()).health().status
        'ok'
        """
        return self._engine_here().health()

    def close(self) -> None:
        """Writes everything and ends the worker; the files of open sessions are kept.

        Runs by itself at interpreter exit. Later writes go straight to their files.

        >>> import tempfile
        >>> logger = StreamingLogger(directory=tempfile.mkdtemp()); logger.close(); logger.close()
        """
        self._engine.close()

    def __enter__(self) -> StreamingLogger:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<StreamingLogger {self.base_dir}: {self._engine.status()}>"

    @property
    def on_runaway(self) -> Callable[[Runaway], object] | None:
        """Called with each loop that the radar finds, on a thread of its own: a server may stop the generation.

        It may hang; what it raises is reported. It is called again when the loop is 2, 4 and 8 times as long.

        >>> import tempfile
        >>> logger = StreamingLogger(directory=tempfile.mkdtemp())
        >>> logger.on_runaway = lambda runaway: print(runaway.session_id, runaway.kind, runaway.sample)
        >>> logger.close()
        """
        return self._engine.radar.on_runaway

    @on_runaway.setter
    def on_runaway(self, callback: Callable[[Runaway], object] | None) -> None:
        if callback is not None and not callable(callback):
            raise TypeError(f"on_runaway must be callable or None, not {type(callback).__name__}")
        self._engine_here().radar.on_runaway = callback

    # -- read-only, as servers of the older module know them ---------------------------

    @property
    def enabled(self) -> bool:
        """Whether anything is logged at all."""
        return self._engine.settings.config.enabled

    @property
    def flush_interval(self) -> float:
        """Seconds between two flushes."""
        return self._engine.settings.config.flush_interval_seconds

    @property
    def base_dir(self) -> Path:
        """Where the session files are."""
        return self._directory

    @property
    def session_files(self) -> Mapping[str, Path]:
        """The file of each active session; a snapshot."""
        found = self._engine.session_ids()
        return MappingProxyType({id_: self._directory / name_of(key_of(id_)) for id_ in found})

    @property
    def session_buffers(self) -> Mapping[str, list[str]]:
        """The text of each active session that is not in its file yet; a snapshot."""
        return MappingProxyType(self._engine.session_ids())

    # -- inside ----------------------------------------------------------------------

    def _begin(self, engine: Engine) -> None:
        self._directory = engine.context.path
        self._use(engine)
        process.watch(self)

    def _use(self, engine: Engine) -> None:
        # Closes at interpreter exit, and when this logger is garbage-collected.
        self._finalizer = weakref.finalize(self, engine.close)
        self._known: Set[str] = frozenset()  # until all is there: a handler may write
        self._log = engine.log
        self._is_mine = make_fork_flag()
        self._known = engine.intake.known
        self._engine = engine  # last: in a forked child `_engine_here` begins anew until it is there

    def _start_over(self) -> None:
        """In a forked child: an engine of its own, and nothing of the parent's."""
        self._finalizer.detach()
        self._use(self._engine.successor())

    def _engine_here(self) -> Engine:
        """The engine of this process: a C-level fork runs no hooks, so each slow path looks."""
        if self._engine.pid != os.getpid():
            self._start_over()
        return self._engine

    def _complete(self, session_id: str | None, outcome: Outcome, done: OneShotEvent | None) -> Engine | None:
        """Ends a session and has `done` set when its file is closed; None: there is nothing to wait for."""
        outcome = checked_outcome(outcome)
        if not session_id:
            return None
        if not isinstance(session_id, str):
            raise TypeError(f"session_id must be str, not {type(session_id).__name__}")
        if type(session_id) is not str:
            session_id = "".join((session_id,))  # an exact str: what a subclass overrides must not run in the table
        engine = self._engine_here()
        return engine if engine.end(session_id, outcome, done) else None

    def _write_slowly(self, session_id: str | None, chunk: str | None) -> None:
        """All but the everyday case: ignored and wrong arguments, a stream's first chunk."""
        for name, value in (("session_id", session_id), ("chunk", chunk)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} must be str, not {type(value).__name__}")
        engine = self._engine_here()
        if not session_id or not chunk or not engine.settings.config.enabled:
            return
        # Exact strings: what a subclass overrides must not run in the table or the worker.
        if type(chunk) is not str:
            chunk = "".join((chunk,))
        if type(session_id) is not str:
            session_id = "".join((session_id,))
        # Before the record: once the chunk is accepted, whatever interrupts this, it will be written.
        if not engine.closed:
            engine.worker.ensure()
            process.close_with_multiprocessing()
        engine.intake.write(session_id, chunk)
        if engine.closed:
            engine.release()

    def _sweep(self, rules: Rules | None) -> SweepReport:
        return self._engine_here().sweeper.sweep_at_once(rules)
