"""The activation in force. Whoever begins something takes it once, and keeps it to the end (W8)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from controller.loop.tick import Activation


class Activations:
    """Holds the activation in force, and those that were replaced less than a drain window ago (W10)."""

    def __init__(self, first: Activation, monotonic: Callable[[], float]) -> None:
        self._current = first
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._draining: list[tuple[float, Activation]] = []

    def current(self) -> Activation:
        """The activation to begin with now."""
        if self._draining:
            self._drop_drained()
        return self._current

    def swap(self, new: Activation, drain_seconds: float) -> None:
        """Put a new one in force; the old one is kept for so long, and dropped at once for 0."""
        with self._lock:
            old, self._current = self._current, new
            if drain_seconds > 0:
                self._draining = [*self._draining, (self._monotonic() + drain_seconds, old)]

    @property
    def draining(self) -> int:
        """How many replaced ones are still kept."""
        self._drop_drained()
        return len(self._draining)

    def _drop_drained(self) -> None:
        with self._lock:
            now = self._monotonic()
            self._draining = [(until, each) for until, each in self._draining if until > now]
