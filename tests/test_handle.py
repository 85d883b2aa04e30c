"""`logger.session(id)`: the outcome that each way out of the block gives."""

from __future__ import annotations

import asyncio

import pytest

from streaming_logger.testing import ManualLogger


def outcome_of(error: BaseException | None, *, chosen: str | None = None) -> str:
    """How a block ends that this exception leaves, or none."""
    with ManualLogger() as logger:
        handle = logger.session("s", wait=False)
        try:
            with handle as stream:
                stream.write("text")
                handle.outcome = chosen  # type: ignore[assignment]
                if error is not None:
                    raise error
        except BaseException as raised:
            if raised is not error:
                raise
        return logger.outcomes["s"]


class MyCancellation(asyncio.CancelledError):
    """A subclass counts as well."""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "completed"),
        (ValueError("x"), "error"),
        (KeyboardInterrupt(), "error"),
        (asyncio.CancelledError(), "cancelled"),
        (MyCancellation(), "cancelled"),
        (GeneratorExit(), "closed"),
    ],
)
def test_outcome_follows_from_how_the_block_ends(error: BaseException | None, outcome: str) -> None:
    """An exception passes on unchanged."""
    assert outcome_of(error) == outcome


@pytest.mark.parametrize("error", [None, ValueError("x"), asyncio.CancelledError()])
def test_outcome_set_inside_the_block_wins(error: BaseException | None) -> None:
    """The server knows better: for example that the model refused."""
    assert outcome_of(error, chosen="closed") == "closed"


def test_cancelled_task_has_closed_its_session() -> None:
    """In a real task on a real loop: whoever reads a stream and is cancelled has left it."""

    async def stream(logger: ManualLogger) -> None:
        with logger.session("s", wait=False) as handle:
            handle.write("text")
            await asyncio.sleep(60)

    async def main(logger: ManualLogger) -> None:
        task = asyncio.create_task(stream(logger))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with ManualLogger() as logger:
        asyncio.run(main(logger))
        assert (logger.text, logger.outcomes) == ({"s": "text"}, {"s": "closed"})
