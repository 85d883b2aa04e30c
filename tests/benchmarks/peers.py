"""The candidates: this library, and what else one would write session files with.

Each writes the same chunks, without a newline where it can do without, to one file for
each session. `write` is what is measured; `close` returns when all is in the files.
"""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import queue
import threading
from collections.abc import Iterable
from pathlib import Path

__all__ = ["PEERS", "Peer", "open_peer"]


class Peer:
    """One way to write session files; sessions are named beforehand, and each is written by one thread."""

    end = ""
    """What it cannot help writing after each chunk."""

    def __init__(self, directory: Path, sessions: list[str]) -> None:
        self.paths = {session: directory / f"{session}.log" for session in sessions}

    def write(self, session: str, chunk: str) -> None:
        raise NotImplementedError

    def stream(self, sessions: Iterable[str], chunks: Iterable[str]) -> None:
        """Writes all chunks to each session, one call each, the sessions in turns."""
        write = self.write
        for chunk in chunks:
            for session in sessions:
                write(session, chunk)

    def flush(self) -> None:
        """Returns when every chunk is in its file; nothing where `write` does that."""

    def close(self) -> None:
        """The same, and closes the files."""


class Ours(Peer):
    """streaming_logger, with its defaults and a descriptor for each session; no peer has a radar, so it is off."""

    radar = False

    def __init__(self, directory: Path, sessions: list[str], **settings: object) -> None:
        super().__init__(directory, sessions)
        from streaming_logger import Config, RadarConfig, StreamingLogger

        defaults = {"max_open_files": len(sessions) + 100, "min_free_disk_mb": None}
        radar = RadarConfig(enabled=self.radar)
        self.logger = StreamingLogger(Config(**{**defaults, "radar": radar, **settings}), directory=directory)  # type: ignore[arg-type]
        self.write = self.logger.write  # type: ignore[method-assign]
        self.sessions = sessions

    def flush(self) -> None:
        self.logger.flush()

    def close(self) -> None:
        for session in self.sessions:
            self.logger.complete_session(session, wait=False)
        self.logger.close()


class OursWithRadar(Ours):
    """The same with the radar, which is on by default."""

    radar = True


class FWrite(Peer):
    """`f.write` with default buffering: what is written last may be seen very late."""

    def __init__(self, directory: Path, sessions: list[str]) -> None:
        super().__init__(directory, sessions)
        self.files = {session: path.open("a", encoding="utf-8") for session, path in self.paths.items()}

    def write(self, session: str, chunk: str) -> None:
        self.files[session].write(chunk)

    def flush(self) -> None:
        for file in self.files.values():
            file.flush()

    def close(self) -> None:
        for file in self.files.values():
            file.close()


class FWriteFlush(FWrite):
    """`f.write` and `f.flush`: seen at once, at the price of a system call for each chunk."""

    def write(self, session: str, chunk: str) -> None:
        file = self.files[session]
        file.write(chunk)
        file.flush()


class InHouse(Peer):
    """The older in-house module's design: lists of chunks, and one lock that is held over the I/O too."""

    def __init__(self, directory: Path, sessions: list[str], flush_interval: float = 2.0) -> None:
        super().__init__(directory, sessions)
        self._lock = threading.Lock()
        self._buffers: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._interval = flush_interval
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def write(self, session: str, chunk: str) -> None:
        with self._lock:
            if session not in self._buffers:
                self._buffers[session] = []
            self._buffers[session].append(chunk)

    def flush(self) -> None:
        with self._lock:
            for session, chunks in self._buffers.items():
                if chunks:
                    with open(self.paths[session], "a", encoding="utf-8") as file:
                        file.write("".join(chunks))
                    chunks.clear()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self.flush()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.flush()


def _bare(handler: logging.FileHandler) -> logging.FileHandler:
    """A handler that writes the message and nothing else."""
    handler.terminator = ""
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler


class Logging(Peer):
    """stdlib logging: a logger and a FileHandler for each session."""

    def __init__(self, directory: Path, sessions: list[str]) -> None:
        super().__init__(directory, sessions)
        self.loggers = {session: logging.getLogger(f"stream.{session}") for session in sessions}
        for session, logger in self.loggers.items():
            logger.propagate = False
            logger.setLevel(logging.INFO)
            logger.addHandler(self._handler(self.paths[session]))

    def _handler(self, path: Path) -> logging.Handler:
        return _bare(logging.FileHandler(path, encoding="utf-8"))

    def write(self, session: str, chunk: str) -> None:
        self.loggers[session].info(chunk)

    def close(self) -> None:
        for logger in self.loggers.values():
            for handler in logger.handlers:
                handler.close()


class LoggingMemory(Logging):
    """MemoryHandler of 1,000 records before each FileHandler."""

    def _handler(self, path: Path) -> logging.Handler:
        return logging.handlers.MemoryHandler(1000, logging.CRITICAL, super()._handler(path))


class LoggingQueue(Logging):
    """QueueHandler in each session's logger, one QueueListener that writes the files."""

    def __init__(self, directory: Path, sessions: list[str]) -> None:
        self._queue: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        super().__init__(directory, sessions)
        self._files = {f"stream.{name}": _bare(logging.FileHandler(path)) for name, path in self.paths.items()}
        route = logging.Handler()
        route.handle = lambda record: self._files[record.name].handle(record)  # type: ignore[method-assign]
        self._listener = logging.handlers.QueueListener(self._queue, route)  # type: ignore[arg-type]
        self._listener.start()

    def _handler(self, path: Path) -> logging.Handler:
        return logging.handlers.QueueHandler(self._queue)  # type: ignore[arg-type]

    def close(self) -> None:
        self._listener.stop()
        for handler in self._files.values():
            handler.close()


class Picologging(Logging):
    """picologging, logging in C++: a logger and a FileHandler for each session."""

    end = "\n"

    def __init__(self, directory: Path, sessions: list[str]) -> None:
        import picologging

        Peer.__init__(self, directory, sessions)
        self.loggers = {session: picologging.Logger(f"stream.{session}", logging.INFO) for session in sessions}
        for session, logger in self.loggers.items():
            handler = picologging.FileHandler(str(self.paths[session]))
            handler.setFormatter(picologging.Formatter("%(message)s"))
            logger.addHandler(handler)


class Loguru(Peer):
    """loguru: one sink that goes by the bound session; a filtered sink for each would look at every message."""

    enqueue = False

    def __init__(self, directory: Path, sessions: list[str]) -> None:
        super().__init__(directory, sessions)
        from loguru import logger

        self._files = {session: path.open("a", encoding="utf-8") for session, path in self.paths.items()}
        self._logger = logger
        logger.remove()
        logger.add(self._sink, format=lambda record: "{message}", enqueue=self.enqueue, catch=False)
        self.bound = {session: logger.bind(session=session) for session in sessions}

    def _sink(self, message: str) -> None:
        self._files[message.record["extra"]["session"]].write(message)  # type: ignore[attr-defined]

    def write(self, session: str, chunk: str) -> None:
        self.bound[session].info(chunk)

    def close(self) -> None:
        self._logger.remove()
        for file in self._files.values():
            file.close()


class LoguruEnqueue(Loguru):
    """loguru with enqueue=True."""

    enqueue = True


class Structlog(Peer):
    """structlog: a WriteLogger for each session."""

    end = "\n"

    def __init__(self, directory: Path, sessions: list[str]) -> None:
        super().__init__(directory, sessions)
        import structlog

        self._files = {session: path.open("a", encoding="utf-8") for session, path in self.paths.items()}
        self.loggers = {
            session: structlog.wrap_logger(
                structlog.WriteLogger(file),
                processors=[lambda logger, method, event: event["event"]],
                wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
                cache_logger_on_first_use=True,
            ).bind()
            for session, file in self._files.items()
        }

    def write(self, session: str, chunk: str) -> None:
        self.loggers[session].info(chunk)

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class Aiofiles(Peer):
    """aiofiles: each `await file.write` is a round trip to a thread; one event loop for each writing thread."""

    def stream(self, sessions: Iterable[str], chunks: Iterable[str]) -> None:
        asyncio.run(self._stream(list(sessions), chunks))

    async def _stream(self, sessions: list[str], chunks: Iterable[str]) -> None:
        import aiofiles

        files = [await aiofiles.open(self.paths[session], "a", encoding="utf-8") for session in sessions]
        for chunk in chunks:
            for file in files:
                await file.write(chunk)
        for file in files:
            await file.close()


PEERS: dict[str, type[Peer]] = {
    "streaming_logger": Ours,
    "f.write": FWrite,
    "f.write + flush": FWriteFlush,
    "in-house, one lock": InHouse,
    "logging.FileHandler": Logging,
    "logging.MemoryHandler": LoggingMemory,
    "logging.QueueHandler": LoggingQueue,
    "picologging": Picologging,
    "loguru": Loguru,
    "loguru, enqueue": LoguruEnqueue,
    "structlog": Structlog,
    "aiofiles": Aiofiles,
}


def open_peer(name: str, directory: Path, sessions: list[str]) -> Peer:
    """Raises `ImportError` for one that is not installed."""
    return {**PEERS, "with the radar": OursWithRadar}[name](directory, sessions)
