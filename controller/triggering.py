"""Triggers of one process: what looks, what dispatches, what deploys, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from controller.clock import Clock
from controller.loop.report import TickOutcome, TickReport
from controller.metrics import Metrics
from controller.plugins.registry import Registry
from controller.rollout.rollouts import Rollouts
from controller.telling import tell_history
from controller.triggers.agenda import Agenda
from controller.triggers.answers import Answer, Answered
from controller.triggers.deploys import deploys_by
from controller.triggers.dispatcher import Dispatcher, DispatchHooks
from controller.triggers.looker import Looker, LookHooks
from controller.triggers.tools import Tools
from store.database import Database
from store.history_records import Event, EventKind

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where triggers are at work. ``environment`` is the process's; git gets the little of it that it needs."""

    registry: Registry
    database: Database
    host: str
    environment: Mapping[str, str]


class Triggering:
    """Start and stop are idempotent. The deploys of ``rollouts`` are halted by whoever made it."""

    def __init__(
        self, ground: Ground, rollouts: Rollouts, metrics: Metrics, leads: Callable[[], bool], clock: Clock
    ) -> None:
        registry, database, host = ground.registry, ground.database, ground.host
        self._ground = ground
        self._clock = clock
        self._metrics = metrics
        self._tools = Tools(ground.environment)
        agenda = Agenda(clock.monotonic)
        hooks = DispatchHooks(deploys_by(rollouts), leads, self._answered, clock.now)
        self.dispatcher = Dispatcher(hooks, registry, database, host, agenda)
        looking = LookHooks(self._tools, leads, metrics.observe_look, clock.now, clock.monotonic)
        self._looker = Looker(looking, registry, database, host, self.dispatcher, agenda)

    def start(self) -> None:
        """Begin to look. The first pass tells at what."""
        self._looker.start()

    def stop(self) -> None:
        """End what looks, and begin nothing. A deploy in flight stays owed; the next controller goes on with it."""
        self.dispatcher.stop()
        self._tools.cancel()
        self._looker.stop()

    def record(self, report: TickReport) -> None:
        """After each pass: which workloads have triggers, or that another controller leads."""
        if report.outcome is TickOutcome.STANDBY:
            self._looker.stand_by()
        elif report.complete and not report.targeted:
            self._looker.hear(report.triggers)

    def _answered(self, answered: Answered, about: str) -> None:
        self._metrics.observe_dispatch(answered.trigger_kind, str(answered.answer))
        tell(answered, about)
        if answered.answer is not Answer.NO_MATCH:
            tell_history(self._ground.database, event_of(answered, about, self._ground.host, self._clock.now()))


def event_of(answered: Answered, about: str, host: str, now: datetime) -> Event:
    """An answer, as history has it. Pure."""
    message = f"{answered.answer}: {answered.message}{f' ({about})' if about else ''}"
    return Event(
        now,
        EventKind.TRIGGER,
        host,
        answered.workload_id,
        answered.revision_id,
        str(answered.answer),
        message,
        f"trigger:{answered.trigger_kind}",
        details={"about": about, "again": answered.again},
    )


def tell(answered: Answered, about: str) -> None:
    """One line of the log for each answer, but for those that say that there is nothing to say."""
    level = log.debug if answered.answer is Answer.NO_MATCH else log.info
    (log.warning if answered.answer is Answer.ERRORED else level)(
        "trigger answered",
        workload=answered.workload_id,
        kind=answered.trigger_kind,
        answer=str(answered.answer),
        about=about,
        message=answered.message,
    )
