"""How often a slot may be healed: so many attempts in any window, each later than the one before. Pure (S5).

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
    """Attempts in any window of so many seconds, and the back-off between two, which doubles up to a limit."""

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
    made = attempts_in_window(budget, limits, now)
    current = replace(budget, attempts_at=made, asked_at=now)
    if not made:
        current = replace(current, failures=0, not_before=None)
    if not limits.attempts:
        return Spent(EXHAUSTED, replace(current, reason=EXHAUSTED), "healing_attempts is 0")
    span = f"{limits.attempts} in {span_of(limits.window_seconds)}"
    if len(made) >= limits.attempts:
        again_at = made[-limits.attempts] + timedelta(seconds=limits.window_seconds)
        message = f"no attempt left of {span}; the next one after {again_at:%H:%M:%S} UTC"
        return Spent(EXHAUSTED, replace(current, reason=EXHAUSTED), message, again_at)
    longest = timedelta(seconds=limits.last_backoff_seconds)
    if current.not_before is not None and now < current.not_before <= now + longest:
        message = f"in back-off until {current.not_before:%H:%M:%S} UTC"
        return Spent(BACKOFF, replace(current, reason=BACKOFF), message, current.not_before)
    pause = min(limits.last_backoff_seconds, limits.first_backoff_seconds * 2.0 ** min(current.failures, 20))
    after = replace(
        current,
        attempts_at=(*made, now),
        failures=current.failures + 1,
        not_before=now + timedelta(seconds=pause),
        reason=ATTEMPTED,
    )
    return Spent(ATTEMPTED, after, f"attempt {len(after.attempts_at)} of {span}")


def attempts_in_window(budget: Budget, limits: HealingLimits, now: datetime) -> tuple[datetime, ...]:
    """When a slot was healed within the window that ends now, oldest first."""
    window = timedelta(seconds=limits.window_seconds)
    return tuple(sorted(each for each in budget.attempts_at if abs(now - each) < window))


def span_of(seconds: float) -> str:
    """A span of time for people: 600 → ``10 min``."""
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds:g} s"
