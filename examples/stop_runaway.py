"""A server that aborts a generation when the radar finds that it loops. The model's output is a recorded runaway."""

import json
import logging
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

try:
    from streaming_logger import Config, Runaway, StreamingLogger
except ImportError:  # a fresh clone, not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    from streaming_logger import Config, Runaway, StreamingLogger

RECORDING = Path(__file__).resolve().parent / "streams" / "sql_t0.0.jsonl"
SPEED = 4


def model(stopped: threading.Event) -> Iterator[str]:
    """Stands for a model's stream, which ends early when it is told to."""
    last = 0.0
    for line in RECORDING.read_text(encoding="utf-8").splitlines():
        at, chunk = json.loads(line)
        if stopped.wait((at - last) / SPEED):
            return
        last = at
        yield chunk


def main() -> int:
    logging.basicConfig(stream=sys.stdout, format="\n--- log: %(message)s")  # what the library says
    generations: dict[str, threading.Event] = {"sess_sql": threading.Event()}

    def stop(runaway: Runaway) -> None:
        print(f"\n--- {runaway.session_id} loops since character {runaway.offset}: {runaway.kind}, stopped")
        generations[runaway.session_id].set()

    whole = sum(len(json.loads(line)[1]) for line in RECORDING.read_text(encoding="utf-8").splitlines())
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "logs"
        with StreamingLogger(Config(flush_interval_seconds=0.1), directory=directory) as logger:
            logger.on_runaway = stop
            for chunk in logger.wrap("sess_sql", model(generations["sess_sql"])):
                print(chunk, end="", flush=True)
        logged = (directory / "sess_sql.log").read_text(encoding="utf-8")
    print(f"--- {len(logged):,} characters streamed and logged; the model would have gone on to {whole:,}")
    return 0 if generations["sess_sql"].is_set() and len(logged) < whole else 1


if __name__ == "__main__":
    sys.exit(main())
