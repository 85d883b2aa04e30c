"""Outcomes: what callers may say, and which ends are failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, get_args

import pytest

from conftest import logs
from streaming_logger import Outcome
from streaming_logger._base.outcomes import Ending, has_failed
from streaming_logger.testing import ManualLogger

Make = Callable[..., ManualLogger]


def test_what_failed() -> None:
    """Neither the end of a server nor logging that was switched off is a fault of the session."""
    well = {ending for ending in get_args(Ending) if not has_failed(ending)}
    assert well == {"completed", "released", "disabled"}
    assert has_failed("a word of another version")


def test_callers_outcomes_are_endings() -> None:
    """The ledger has what callers say as they say it."""
    assert set(get_args(Outcome)) < set(get_args(Ending))


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_each_outcome_is_accepted(manual: Make, outcome: Outcome) -> None:
    """By every way to end a session."""
    logger = manual()
    logger.write("a", "text")
    logger.complete_session("a", outcome=outcome, wait=False)
    with logger.session("b", wait=False) as handle:
        handle.outcome = outcome
        handle.write("text")
    assert logger.outcomes == {"a": outcome, "b": outcome}


@pytest.mark.parametrize("outcome", ["banana", "", "timeout", "abandoned", "released", "disabled", "x" * 999])
def test_another_outcome_is_refused(manual: Make, outcome: Any) -> None:
    """On the caller's line, with field, rule and value; the session stays as it is."""
    logger = manual()
    logger.write("s", "text")
    expected = "^outcome: must be one of 'completed', 'error', 'cancelled', 'closed', got '"
    with pytest.raises(ValueError, match=expected + outcome[:70]) as refused:
        logger.complete_session("s", outcome=outcome)
    assert len(str(refused.value)) < 200
    with pytest.raises(ValueError, match=expected):
        asyncio.run(logger.acomplete_session("s", outcome=outcome))
    with pytest.raises(ValueError, match=expected), logger.session("t", wait=False) as handle:
        handle.outcome = outcome
    logger.advance(2)
    assert logger.stats().sessions_active == 1
    assert logs(logger.base_dir) == {"s": "text"}


@pytest.mark.parametrize("outcome", [None, 3, b"error", ["error"], object()])
def test_an_outcome_that_is_no_string_is_a_type_error(manual: Make, outcome: Any) -> None:
    """Also for a session that is not there."""
    for session in ("s", "", None):
        with pytest.raises(TypeError, match="outcome must be str, not "):
            manual().complete_session(session, outcome=outcome)
