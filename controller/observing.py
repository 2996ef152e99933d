"""What a running controller sees of its engine beside its passes: events, what was asked for, what ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from controller.engine.events import EngineEvent
from controller.engine.verbs import EngineVerbs
from controller.healing.doings import Doings
from controller.healing.holds import words_of
from controller.loop.chronicle import Chronicle, Keeping
from controller.loop.watch import WatchHooks
from controller.metrics import Metrics
from controller.rollout.equipment import Hooks
from controller.settings import Settings
from store.database import Database
from store.healing_records import Hold

if TYPE_CHECKING:
    from controller.loop.schedule import Loop


class Observing:
    """Notes about the engine, the verbs of its sources, and the chronicle, which the daemon starts and stops."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        metrics: Metrics,
        now: Callable[[], datetime],
        equipped: Callable[[Hooks], EngineVerbs],
        hooks: Hooks,
    ) -> None:
        """:param equipped: equips the sources, with ``hooks`` and what is seen here."""
        self._metrics = metrics
        self._doings = Doings(now)
        self._host_holds: list[str] = []
        self.verbs = equipped(replace(hooks, doings=self._doings, healed=self._healed))
        keeping = Keeping(settings.history_days, settings.history_rows, settings.history_log_lines)
        self.chronicle = Chronicle(database, settings.host, self.verbs, self._doings, keeping, now, self._held)
        metrics.publish_holds(())

    def hooks(self, loop: Loop) -> WatchHooks:
        """What the watch tells, and whom."""
        return WatchHooks(
            connected=self._connected,
            received=lambda action: self._metrics.events.labels(action).inc(),
            touched=loop.touch,
            resync=loop.request,
            noticed=self._noticed,
        )

    def host_holds(self) -> list[str]:
        """Why the whole host is left alone; empty where it is not."""
        return self._host_holds

    def _connected(self, connected: bool) -> None:
        self._metrics.event_stream_connected.set(connected)
        self._doings.connected(connected)

    def _noticed(self, event: EngineEvent) -> None:
        self._doings.noticed(event)
        self.chronicle.noticed(event)

    def _healed(self, answer: str) -> None:
        self._metrics.healed(answer)
        self.chronicle.look_at_holds()

    def _held(self, holds: list[Hold]) -> None:
        self._metrics.publish_holds([each.scope for each in holds])
        self._host_holds = [words_of(each) for each in holds if each.scope == "host"]
