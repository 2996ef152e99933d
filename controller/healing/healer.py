"""Whether a source may heal a slot: asked before anything is done, and the answer is written down first (S5).

The order: what is held is left alone; what is paused, restarting or still starting too; what a person stopped gets a
hold; when a host loses most of its containers at once, all of it gets one; and what is left has a budget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from controller.engine.containers import ContainerSeen
from controller.healing.budget import ATTEMPTED, HealingLimits, Spent, spend_one
from controller.healing.deeds import deed_before
from controller.healing.doings import Doings
from controller.healing.ended import End, Ender, who_ended
from controller.healing.holds import CONTROLLER, ENGINE, held_by, hold_event, over_since, words_of
from controller.healing.storm import WINDOW_SECONDS, Storm, ended_of, storm_in
from controller.plugins.tools import Permission
from store.database import Database
from store.healing import list_holds, put_hold, rows_that_serve, spend
from store.healing_records import Budget, Hold
from store.history import read_events
from store.history_records import Event, EventFilter, EventKind
from store.records import Workload

HELD, LEFT_ALONE, STORM = "held", "left_alone", "storm"
"""Answers besides those of the budget."""

_ENDED = ("exited", "dead")
_LEFT_ALONE = ("paused", "restarting", "removing")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HealingRules:
    """What an operator set. ``hold_seconds``: how long what a person stopped is left alone."""

    limits: HealingLimits = field(default_factory=HealingLimits)
    hold_seconds: float = 3600.0


class Healer:
    """Answers for one host. Safe from several threads; what counts is in the store."""

    def __init__(
        self,
        database: Database,
        host: str,
        inspect: Callable[[str], ContainerSeen | None],
        now: Callable[[], datetime],
        *,
        doings: Doings | None = None,
        rules: HealingRules | None = None,
        told: Callable[[str], None] = lambda _answer: None,
    ) -> None:
        """:param told: hears each answer, in one word."""
        self._database = database
        self._host = host
        self._inspect = inspect
        self._now = now
        self._doings = doings or Doings(now)
        self._rules = rules or HealingRules()
        self._told = told

    def may_heal(self, workload: Workload, slot: str, why: str) -> Permission:
        """Whether this slot may be repaired now; a yes is one attempt of its budget.

        :param slot: the name of the container.
        :param why: what is wrong with it, for history.
        :raises EngineError: the engine does not tell what became of it.
        :raises StoreError: the budget cannot be kept, so nothing may be done.
        """
        now = self._now()
        known = list_holds(self._database, host=self._host, workload_id=workload.id, over=True, now=now)
        held = held_by(known, slot, now)
        if held is not None:
            return self._no(HELD, words_of(held))
        seen = self._inspect(slot)
        if seen is not None and (seen.state in _LEFT_ALONE or seen.health == "starting"):
            return self._no(LEFT_ALONE, f"{slot} is {seen.health if seen.health == 'starting' else seen.state}")
        if seen is not None and seen.state in _ENDED and self._stopped_by_hand(seen, over_since(known, slot, now)):
            return self._hold_slot(workload, slot, now)
        storm = self._storm(now, known)
        if storm is not None:
            return self._hold_host(storm, now)
        return self._spend(workload, slot, why, now)

    def _no(self, answer: str, message: str) -> Permission:
        self._told(answer)
        return Permission(False, message)

    def _stopped_by_hand(self, seen: ContainerSeen, answered_at: datetime | None) -> bool:
        """Whether a person stopped it, and nobody has let it go since."""
        if answered_at is not None and (seen.finished_at is None or seen.finished_at <= answered_at):
            return False
        since = self._doings.back_at
        finished = seen.finished_at
        end = End(seen.exit_code, seen.oom_killed, seen.error, seen.restart_policy, seen.stop_grace_seconds, finished)
        watched = since is not None and finished is not None and finished > since
        asked = self._doings.asked(seen.id)
        lost = self._doings.engine_was_lost
        if who_ended(end, asked, watched=watched, engine_restarted=lost) is not Ender.PERSON:
            return False
        if finished is None:
            return True
        # A deploy by the command line, which may have been killed, looks as a person does; but it writes down first.
        return deed_before(self._database, self._host, seen.id, finished, seen.stop_grace_seconds) is None

    def _hold_slot(self, workload: Workload, slot: str, now: datetime) -> Permission:
        until = now + timedelta(seconds=self._rules.hold_seconds)
        hold = Hold(self._host, workload.id, slot, ENGINE, "somebody stopped it", now, until)
        if put_hold(self._database, hold, [hold_event(hold)], only_new=True):
            log.info("a container that was stopped by hand is left alone", workload=workload.id, container=slot)
        return self._no(HELD, words_of(hold))

    def _storm(self, now: datetime, known: Sequence[Hold]) -> Storm | None:
        wanted = EventFilter(
            host=self._host,
            kinds=(EventKind.STATE,),
            since=now - timedelta(seconds=WINDOW_SECONDS),
            limit=1_000,
        )
        answered = [each.expires_at for each in known if each.scope == "host" and each.expires_at is not None]
        ended = ended_of(
            read_events(self._database, wanted),
            now,
            engine_back_at=self._doings.back_at,
            since=max(answered, default=None),
        )
        return storm_in(rows_that_serve(self._database, self._host), ended) if ended else None

    def _hold_host(self, storm: Storm, now: datetime) -> Permission:
        hold = Hold(self._host, "", "", CONTROLLER, storm.message, now)
        if put_hold(self._database, hold, [hold_event(hold)], only_new=True):
            log.warning(
                "healing stops on this host; look, then: tallyd release --host", host=self._host, reason=storm.message
            )
        return self._no(STORM, words_of(hold))

    def _spend(self, workload: Workload, slot: str, why: str, now: datetime) -> Permission:
        answer: list[Spent] = []

        def decide(budget: Budget) -> tuple[Budget, Sequence[Event]]:
            spent = spend_one(replace(budget, workload_id=workload.id), self._rules.limits, now)
            answer[:] = [spent]
            new = spent.decision == ATTEMPTED or spent.decision != budget.reason
            return spent.budget, [self._event(workload, slot, why, spent, now)] if new else []

        spend(self._database, Budget(self._host, slot, workload.id, now), decide)
        self._told(answer[0].decision)
        return Permission(answer[0].decision == ATTEMPTED, answer[0].message)

    def _event(self, workload: Workload, slot: str, why: str, spent: Spent, now: datetime) -> Event:
        again = spent.again_at.isoformat() if spent.again_at else ""
        doing = "healed" if spent.decision == ATTEMPTED else "not healed"
        return Event(
            now,
            EventKind.HEALING,
            self._host,
            workload.id,
            slot,
            spent.decision,
            f"{doing}: {why}; {spent.message}",
            CONTROLLER,
            details={"attempts": len(spent.budget.attempts_at), "again_at": again},
        )
