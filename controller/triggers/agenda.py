"""When to attend to which workload's trigger: written to by many threads, waited on by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable


class Agenda:
    """Workload id → time of the monotonic clock."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._due: dict[str, float] = {}
        self._woken = False

    def put(self, workload_id: str, after_seconds: float = 0.0) -> None:
        """Attend to it then, or earlier where that was said before."""
        at = self._monotonic() + max(0.0, after_seconds)
        with self._changed:
            self._due[workload_id] = min(at, self._due.get(workload_id, at))
            self._changed.notify_all()

    def hurry(self) -> None:
        """Attend to all of them now."""
        with self._changed:
            self._due = dict.fromkeys(self._due, self._monotonic())
            self._changed.notify_all()

    def keep(self, workload_ids: Iterable[str]) -> None:
        """Forget all others."""
        kept = set(workload_ids)
        with self._changed:
            self._due = {each: at for each, at in self._due.items() if each in kept}

    def wake(self) -> None:
        """End the waiting."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def wait(self, most_seconds: float | None) -> list[str]:
        """Wait until something is due, or until it is woken, for so long at most; what is due is taken out."""
        with self._changed:
            due = self._take()
            if not due and not self._woken:
                self._changed.wait(self._seconds(most_seconds))
                due = self._take()
            self._woken = False
        return due

    def _take(self) -> list[str]:
        now = self._monotonic()
        due = sorted(each for each, at in self._due.items() if at <= now)
        for each in due:
            del self._due[each]
        return due

    def _seconds(self, most_seconds: float | None) -> float | None:
        if not self._due:
            return most_seconds
        left = max(0.0, min(self._due.values()) - self._monotonic())
        return left if most_seconds is None else min(most_seconds, left)
