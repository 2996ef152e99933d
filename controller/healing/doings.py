"""What was asked of the engine lately, by us and by others, as its events tell. Bounded, and safe from any thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from controller.clock import CLOCK
from controller.engine.events import EngineEvent
from controller.healing.ended import Asked

MOST_CONTAINERS = 4_096
"""Whom something was asked of longest ago is forgotten first."""


class Doings:
    """Notes by container, from its last start on."""

    def __init__(self, now: Callable[[], datetime] = CLOCK.now) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._asked: OrderedDict[str, Asked] = OrderedDict()
        self._connected = False
        self._since: datetime | None = None
        self._lost = False

    def connected(self, connected: bool) -> None:
        """The event stream is there, or was lost."""
        with self._lock:
            if connected and not self._connected:
                self._since = self._now()
            if not connected:
                self._lost = True
            self._connected = connected

    @property
    def back_at(self) -> datetime | None:
        """When the stream began without a gap until now; ``None`` where there is none."""
        with self._lock:
            return self._since if self._connected else None

    @property
    def engine_was_lost(self) -> bool:
        """Whether the stream broke since this process began: then the engine was restarted, or a proxy before it."""
        return self._lost

    def acting(self, container_id: str) -> None:
        """We are about to end this container."""
        self._note(container_id, ours_at=self._now())

    def noticed(self, event: EngineEvent) -> None:
        """An event of the engine."""
        at = datetime.fromtimestamp(event.at, UTC)
        if event.action == "kill":
            self._note(event.container_id, killed_at=at, signal=event.signal)
        elif event.action == "stop":
            self._note(event.container_id, stopped_at=at)
        elif event.action == "die":
            self._note(event.container_id, died_at=at)
        elif event.action == "oom":
            self._note(event.container_id, out_of_memory=True)
        elif event.action == "start":
            with self._lock:
                self._asked.pop(event.container_id, None)

    def asked(self, container_id: str) -> Asked:
        """What was asked of a container since it started."""
        with self._lock:
            return self._asked.get(container_id, Asked())

    def _note(self, container_id: str, **noted: datetime | str | bool) -> None:
        with self._lock:
            before = self._asked.pop(container_id, Asked())
            self._asked[container_id] = replace(before, **noted)  # type: ignore[arg-type]  # mypy sees one type for all
            while len(self._asked) > MOST_CONTAINERS:
                self._asked.popitem(last=False)
