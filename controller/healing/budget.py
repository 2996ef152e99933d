"""How often a slot may be healed: so many attempts in a window, each later than the one before. Pure (S5).

The first attempt is made at once. What is decided is written down before anything is done, so neither a kill of the
controller nor a container that dies again gets an attempt for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from store.healing_records import Budget

ATTEMPTED, BACKOFF, EXHAUSTED = "attempted", "backoff", "exhausted"
"""What is decided."""


@dataclass(frozen=True, slots=True)
class HealingLimits:
    """Attempts in a window of so many seconds, and the back-off between two of them, which doubles up to a limit."""

    attempts: int = 5
    window_seconds: float = 600.0
    first_backoff_seconds: float = 10.0
    last_backoff_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Spent:
    """The decision, what is kept, and a sentence for people. ``again_at``: when it may be asked again."""

    decision: str
    budget: Budget
    message: str
    again_at: datetime | None = None


def spend_one(budget: Budget, limits: HealingLimits, now: datetime) -> Spent:
    """Take one attempt of the budget, if there is one.

    A slot that stayed up for a whole window since its last attempt begins anew. A clock that was set back does not
    lock anything up: a time to come that is further off than it can be counts as over.
    """
    current = _in_this_window(budget, limits, now)
    window_ends = current.window_began_at + timedelta(seconds=limits.window_seconds)
    span = f"{limits.attempts} in {_span(limits.window_seconds)}"
    if current.attempts >= limits.attempts:
        message = f"no attempt left of {span}; the next one after {window_ends:%H:%M:%S} UTC"
        return Spent(EXHAUSTED, replace(current, reason=EXHAUSTED), message, window_ends)
    longest = timedelta(seconds=limits.last_backoff_seconds)
    if current.not_before is not None and now < current.not_before <= now + longest:
        message = f"in back-off until {current.not_before:%H:%M:%S} UTC"
        return Spent(BACKOFF, replace(current, reason=BACKOFF), message, current.not_before)
    pause = min(limits.last_backoff_seconds, limits.first_backoff_seconds * 2.0 ** min(current.failures, 20))
    after = replace(
        current,
        attempts=current.attempts + 1,
        failures=current.failures + 1,
        not_before=now + timedelta(seconds=pause),
        last_attempt_at=now,
        reason=ATTEMPTED,
    )
    return Spent(ATTEMPTED, after, f"attempt {after.attempts} of {span}")


def _in_this_window(budget: Budget, limits: HealingLimits, now: datetime) -> Budget:
    window = timedelta(seconds=limits.window_seconds)
    last = budget.last_attempt_at
    if last is not None and now - last >= window:
        return replace(budget, window_began_at=now, attempts=0, failures=0, not_before=None)
    if not timedelta(0) <= now - budget.window_began_at < window:
        return replace(budget, window_began_at=now, attempts=0)
    return budget


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds:g} s"
