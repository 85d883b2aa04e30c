"""The detector on 76 runaways and 141 ordinary answers; `measure.py` prints the figures."""

from __future__ import annotations

import statistics

from measure import cases, examined


def test_runaways_are_found_and_ordinary_answers_pass() -> None:
    """At least 62 of 76, none before its onset; at most 14 of 141; exact loops within 400 characters, median."""
    result = examined(cases())
    assert sum(map(len, result.delays.values())) >= 62, result.missed
    assert result.early == []
    assert len(result.false) <= 14, result.false
    assert statistics.median(result.delays["exact"]) <= 400
    assert statistics.median(result.delays["flood"]) <= 400
