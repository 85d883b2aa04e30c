"""The recorded model output of examples/streams, and session files made of it as a server with timing makes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from streaming_logger._disk.names import file_name_of
from streaming_logger._disk.timing import format_line, timing_name_of

_STREAMS = Path(__file__).parents[1] / "examples" / "streams"

Events = Iterable[tuple[float, str]]


def events_of(name: str) -> list[tuple[float, str]]:
    """(seconds, chunk) of one recording, named by its prompt; without empty chunks, which are not logged."""
    (file,) = _STREAMS.glob(f"{name}_*.jsonl")
    events = (json.loads(line) for line in file.read_text().splitlines())
    return [(at, text) for at, text in events if text]


def write_pair(directory: Path, session: str, events: Events) -> bytes:
    """Writes `<session>.log` and `<session>.timing` of these events; returns the log's bytes."""
    directory.mkdir(exist_ok=True)
    log, timing, last = b"", b"", 0.0
    for at, text in events:
        data = text.encode("utf-8", "backslashreplace")
        log += data
        timing += format_line(at - last, len(data))
        last = at
    name = file_name_of(session)
    (directory / name).write_bytes(log)
    (directory / timing_name_of(name)).write_bytes(timing)
    return log
