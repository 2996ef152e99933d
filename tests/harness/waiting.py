"""Waiting for a state of the world, with a deadline; the only place in the tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

POLL_SECONDS = 0.01
LONGEST_POLL_SECONDS = 0.5


def wait_until(predicate: Callable[[], Answer], timeout_seconds: float = 10.0, what: str = "") -> Answer:
    """The first truthy answer of `predicate`; AssertionError with `what` when none came in time."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        asked_at = time.monotonic()
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            wanted = what or getattr(predicate, "__name__", "condition")
            raise AssertionError(f"not within {timeout_seconds:g} s: {wanted} (last answer: {answer!r})")
        # A question that is a whole process would else keep a processor from those it waits for.
        took_seconds = time.monotonic() - asked_at
        time.sleep(max(POLL_SECONDS, min(took_seconds, LONGEST_POLL_SECONDS)))
