"""On an event loop: write() never waits, and complete_session(wait=False) returns at once."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

try:
    from streaming_logger import Config, StreamingLogger
except ImportError:  # a fresh clone, not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    from streaming_logger import Config, StreamingLogger


async def model(name: str) -> AsyncIterator[str]:
    """Stands for a model's stream."""
    for number in range(1, 6):
        await asyncio.sleep(0.02)
        yield f"{name} says {number}. "


async def answer(logger: StreamingLogger, name: str) -> str:
    """Streams one answer and logs it; a cancelled task completes its session, too."""
    sent = ""
    outcome = "error"
    try:
        async for chunk in model(name):
            logger.write(f"sess_{name}", chunk)
            sent += chunk
        outcome = "completed"
    finally:
        logger.complete_session(f"sess_{name}", outcome=outcome, wait=False)
    return sent


async def answer_all(logger: StreamingLogger, names: list[str]) -> list[str]:
    return await asyncio.gather(*(answer(logger, name) for name in names))


def main() -> int:
    names = ["ada", "grace", "edsger"]
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "logs"
        with StreamingLogger(Config(), directory=directory) as logger:
            sent = asyncio.run(answer_all(logger, names))
        # Closed: what wait=False left to the worker is in the files.
        logged = [(directory / f"sess_{name}.log").read_text(encoding="utf-8") for name in names]
    for name, text in zip(names, logged, strict=True):
        print(f"sess_{name}.log: {text}")
    return 0 if logged == sent else 1


if __name__ == "__main__":
    sys.exit(main())
