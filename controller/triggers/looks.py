"""The looks in flight: each on a thread of its own, since Python can stop none; one that is late is left behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from controller.plugins.contract import Found, Look, Looking
from store.triggers import Binding

MOST_LOOKS = 4
LOOK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Flight:
    binding: Binding
    began: float
    number: int


class Looks:
    """Used by one thread; ``ended`` is called on another one whenever there is something to be taken."""

    def __init__(self, monotonic: Callable[[], float], ended: Callable[[], None]) -> None:
        self._monotonic = monotonic
        self._told = ended
        self._ended: SimpleQueue[tuple[_Flight, Found | BaseException]] = SimpleQueue()
        self._running: dict[str, _Flight] = {}
        self._overdue: dict[str, _Flight] = {}
        self._number = 0

    @property
    def some_run(self) -> bool:
        """Whether anything is waited for."""
        return bool(self._running)

    @property
    def full(self) -> bool:
        """Whether as many run as may."""
        return len(self._running) >= MOST_LOOKS

    def holds(self, workload_id: str) -> bool:
        """Whether a look at this workload has not ended, be it late or not."""
        return workload_id in self._running or workload_id in self._overdue

    def begin(self, binding: Binding, trigger: Looking, look: Look) -> None:
        """Start a look."""
        self._number += 1
        flight = _Flight(binding, self._monotonic(), self._number)

        def run() -> None:
            try:
                found = trigger.look(look)
                if not isinstance(found, Found):
                    raise TypeError(f"look returned {type(found).__name__} instead of Found")
                json.dumps(dict(found.state))
            except BaseException as error:  # noqa: BLE001  # a plugin ends here, also by sys.exit; it counts as failed
                self._ended.put((flight, error))
            else:
                self._ended.put((flight, found))
            self._told()

        self._running[binding.workload.id] = flight
        try:
            threading.Thread(target=run, name=f"look-{binding.workload.id}", daemon=True).start()
        except RuntimeError as error:  # the system gives no more threads
            self._ended.put((flight, error))
            self._told()

    def take(self) -> list[tuple[Binding, Found | BaseException | None]]:
        """What ended, and what is late by now (``None``); what ends after that is not told any more."""
        taken: list[tuple[Binding, Found | BaseException | None]] = []
        while True:
            try:
                flight, found = self._ended.get_nowait()
            except Empty:
                break
            workload_id = flight.binding.workload.id
            if self._running.get(workload_id) == flight:
                del self._running[workload_id]
                taken.append((flight.binding, found))
            elif self._overdue.get(workload_id) == flight:
                del self._overdue[workload_id]
        now = self._monotonic()
        for flight in [each for each in self._running.values() if now - each.began >= LOOK_SECONDS]:
            self._overdue[flight.binding.workload.id] = self._running.pop(flight.binding.workload.id)
            taken.append((flight.binding, None))
        return taken
