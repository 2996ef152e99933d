"""`controller.healing.budget`: how often a slot may be healed. No store, no clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.healing.budget import ATTEMPTED, BACKOFF, EXHAUSTED, HealingLimits, spend_one
from store.healing_records import Budget
from tests.builders import HOST, NOW, later

LIMITS = HealingLimits(attempts=3, window_seconds=100, first_backoff_seconds=5, last_backoff_seconds=15)
FRESH = Budget(HOST, "shop-1", "shop", NOW)


def decisions(*seconds: float, limits: HealingLimits = LIMITS, budget: Budget = FRESH) -> list[str]:
    """What is decided at these times, one after the other."""
    told = []
    for each in seconds:
        spent = spend_one(budget, limits, later(each))
        told.append(spent.decision)
        budget = spent.budget
    return told


def test_the_first_attempt_is_made_at_once_and_later_ones_wait_longer() -> None:
    """S5: exponential back-off per slot: 5 s, then 10 s."""
    assert decisions(0, 4, 5, 14, 15) == [ATTEMPTED, BACKOFF, ATTEMPTED, BACKOFF, ATTEMPTED]


def test_the_window_has_so_many_attempts() -> None:
    """S5: then none is left until the first of them is a window ago, and the back-off goes on from where it was."""
    assert decisions(0, 5, 15, 40, 99, 100, 104, 114, 115, 116) == [
        *[ATTEMPTED] * 3,
        *[EXHAUSTED] * 2,
        ATTEMPTED,
        EXHAUSTED,
        BACKOFF,
        ATTEMPTED,
        BACKOFF,
    ]


def test_what_stayed_up_for_a_whole_window_begins_anew() -> None:
    """S5: a container that dies once a day is healed at once each day."""
    assert decisions(0, 5, 15, 200, 205) == [ATTEMPTED] * 5


def test_the_answer_tells_when_it_may_be_asked_again() -> None:
    """S5: for `why`."""
    first = spend_one(FRESH, LIMITS, NOW)
    assert first.message == "attempt 1 of 3 in 100 s"
    assert spend_one(first.budget, LIMITS, later(1)).again_at == later(5)
    spent = replace(first.budget, attempts_at=(later(7), later(20), later(30)))
    assert spend_one(spent, LIMITS, later(50)).again_at == later(107)
    assert "no attempt left" in spend_one(spent, LIMITS, later(50)).message


def test_no_attempts_means_none() -> None:
    """S5: 0 switches healing off."""
    assert decisions(0, 1_000, limits=replace(LIMITS, attempts=0)) == [EXHAUSTED, EXHAUSTED]


def test_a_clock_that_was_set_back_locks_nothing_up() -> None:
    """F: an hour back is a new window, and a back-off that would last an hour is none."""
    spent = spend_one(replace(FRESH, attempts_at=(NOW, later(1), later(2))), LIMITS, later(50)).budget
    assert decisions(-3_600, budget=spent) == [ATTEMPTED]
    waiting = spend_one(FRESH, LIMITS, NOW).budget
    assert decisions(-3_600, budget=waiting) == [ATTEMPTED]


@given(st.lists(st.floats(0, 1_000), min_size=1, max_size=200))
def test_no_window_ever_has_more(moments: list[float]) -> None:
    """S5: whenever it is asked, no budget is overrun."""
    budget, made = FRESH, list[datetime]()
    for each in sorted(moments):
        spent = spend_one(budget, LIMITS, later(each))
        budget = spent.budget
        if spent.decision == ATTEMPTED:
            made.append(later(each))
    assert all(
        b - a >= timedelta(seconds=LIMITS.window_seconds) for a, b in zip(made, made[LIMITS.attempts :], strict=False)
    )
