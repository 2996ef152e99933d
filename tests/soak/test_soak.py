"""The soak in its short form, and what its judge would say of a budget that is overrun."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from store.history_records import Event, EventKind
from tests.soak.judge import overruns
from tests.soak.run import soak

NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.mark.timeout(900)
def test_two_minutes_of_mischief_end_in_agreement() -> None:
    """S1, S3, S5, F: after kills, stops, pauses, pushes and edits, declared and real agree, within the budgets."""
    said: list[str] = []
    soaked = soak(120, 7, said.append)
    assert soaked.problems == [], "\n".join(said)
    assert len(soaked.done) >= 5, soaked.done


def attempt(second: int, attempts: int) -> Event:
    """One healing of a slot."""
    at = NOW + timedelta(seconds=second)
    return Event(at, EventKind.HEALING, subject="a", reason="attempted", details={"attempts": attempts})


def test_the_judge_sees_an_overrun() -> None:
    """S5: one attempt too many, too many in a window, and a start that nobody may have made."""
    assert overruns([attempt(n, n + 1) for n in range(5)], Counter(a=6), Counter(a=1)) == []
    assert overruns([attempt(0, 6)], Counter(), Counter()) == ["a: attempt 6 of 5"]
    (many,) = overruns([attempt(n, 1 + n % 5) for n in range(6)], Counter(), Counter())
    assert many.startswith("a: more than 5 attempts in 60 s")
    (odd,) = overruns([attempt(0, 1)], Counter(a=3), Counter(a=1))
    assert odd == "a: started 3 times; 2 were attempts or deploys"
