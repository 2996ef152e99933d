"""What the process knows of its own truth right now: how old it is, and what is in the way (R21, O4)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from controller.loop.report import TickReport

STALE_INTERVALS = 3


class LoopStatus:
    """Fed with every report; read by readiness, metrics and the log. Safe from several threads."""

    def __init__(self, interval_seconds: float, monotonic: Callable[[], float]) -> None:
        self._interval = interval_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last: TickReport | None = None
        self._last_complete: TickReport | None = None
        self._completed_at = 0.0

    def set_interval(self, interval_seconds: float) -> None:
        """Judge ages by another interval from now on."""
        with self._lock:
            self._interval = interval_seconds

    def record(self, report: TickReport) -> None:
        """Take note of a pass."""
        with self._lock:
            if report.targeted:
                return  # says nothing about the age of the rest
            self._last = report
            if report.complete:
                self._last_complete = report
                self._completed_at = self._monotonic()

    @property
    def last(self) -> TickReport | None:
        """The last pass, whatever became of it."""
        with self._lock:
            return self._last

    @property
    def last_complete(self) -> TickReport | None:
        """The last pass that made the index true."""
        with self._lock:
            return self._last_complete

    @property
    def listed_at(self) -> datetime | None:
        """When the last complete listing began."""
        complete = self.last_complete
        return None if complete is None else complete.began_at

    def not_ready_because(self) -> list[str]:
        """Why the index cannot be relied on; empty when it can."""
        with self._lock:
            last, complete, completed_at = self._last, self._last_complete, self._completed_at
        why = [*last.errors] if last is not None and not last.complete else []
        if complete is None:
            return ["no complete listing yet", *why]
        age = self._monotonic() - completed_at
        if age > STALE_INTERVALS * self._interval:
            return [f"the last complete listing is {age:.0f} s old, over {STALE_INTERVALS} intervals", *why]
        return []
