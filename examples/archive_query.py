"""Archives sessions, and asks the archive with DuckDB which of them went wrong. Needs the extra `archive` and duckdb.

`python examples/archive_query.py [URL]`: the archive is in a temporary directory, or at s3://bucket/prefix.
"""

import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from streaming_logger import ArchiveConfig, Config, StreamingLogger

STREAMS = Path(__file__).resolve().parent / "streams"
LOOPING = 4  # of the recordings, at least
QUERY = """
SELECT date, host, outcome, count(*) AS sessions, sum(characters) AS characters, count(loop) AS looping
FROM read_json('{archive}/date=*/host=*/*.json', hive_partitioning = true)
WHERE date >= current_date - 1
GROUP BY ALL ORDER BY ALL
"""


def archive(url: str, host: str) -> None:
    """What a server does, with recorded streams; it ends when all is uploaded."""
    config = Config(flush_interval_seconds=0.2, archive=ArchiveConfig(url=url, host=host))
    with tempfile.TemporaryDirectory() as place, StreamingLogger(config, directory=Path(place) / "logs") as logger:
        for path in STREAMS.glob("*.jsonl"):
            for line in path.read_text(encoding="utf-8").splitlines():
                logger.write(path.stem, json.loads(line)[1])
        until = time.monotonic() + 20
        while logger.stats().loops_found < LOOPING and time.monotonic() < until:
            time.sleep(0.05)  # a model is slower, and gives the radar the time that it takes
        for path in STREAMS.glob("*.jsonl"):
            logger.complete_session(path.stem, outcome="error" if path.stem.startswith("essay") else "completed")


def main() -> int:
    logging.basicConfig(stream=sys.stdout, format="\n--- log: %(message)s")  # what the library says
    with tempfile.TemporaryDirectory() as place:
        url = sys.argv[1] if len(sys.argv) > 1 else (Path(place) / "archive").as_uri()
        for host in ("web-1", "web-2"):
            archive(url, host)
        rows = duckdb.sql(QUERY.format(archive=url.removeprefix("file://")))
        print(rows)
        return 0 if len(rows.fetchall()) == 4 else 1


if __name__ == "__main__":
    sys.exit(main())
