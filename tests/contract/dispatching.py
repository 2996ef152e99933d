"""A dispatcher over a real store, with a source that deploys to memory and triggers that do as they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from controller.plugins.contract import Found, Look, TriggerEvent, TriggerIntent, Workload, asked_by_hand
from controller.plugins.registry import Registry
from controller.plugins.triggers.manual import ManualTrigger
from controller.rollout.rollouts import Rollouts
from controller.triggers.agenda import Agenda
from controller.triggers.answers import Answered
from controller.triggers.deploys import deploys_by
from controller.triggers.dispatcher import Dispatcher, DispatchHooks
from controller.triggers.looker import Looker, LookHooks
from store.database import Database
from store.triggers import Binding, get_binding
from store.workloads import apply_workloads
from tests.builders import HOST, NOW
from tests.rollouts import any_engine
from tests.unit.passes import Times
from tests.unit.rollouts import SHOP, MemoryDeployer


@dataclass
class MemorySource(MemoryDeployer):
    """A source that deploys to memory; the declaration says which image."""

    kind: str = "memory"
    config: dict[str, Any] = field(default_factory=dict)
    resolved: Callable[[], None] = lambda: None

    def validate(self, config: Mapping[str, Any]) -> None:
        """See `Source`."""

    def config_schema(self) -> dict[str, Any]:
        """See `Source`."""
        return {}

    def reconcile(self, request: object) -> Any:
        """See `Source`."""

    def resolve(self, config: Mapping[str, Any]) -> tuple[str, str]:
        """See `Resolver`."""
        self.resolved()
        return config["image"], f"sha256:{config['image']}"


@dataclass
class Told:
    """A trigger that finds what it is told to find."""

    kind: str = "told"
    find: Callable[[Look], Found] = lambda _look: Found({})
    matches: Callable[[Workload, TriggerEvent], TriggerIntent | None] = lambda workload, event: TriggerIntent(
        workload.id, f"saw {event.payload['what']}", key=str(event.payload["what"])
    )
    looks: list[Look] = field(default_factory=list)

    def validate(self, config: Mapping[str, Any]) -> None:
        """Any configuration will do."""

    def look(self, look: Look) -> Found:
        """See `Looking`."""
        self.looks.append(look)
        return self.find(look)

    def match(self, workload: Workload, event: TriggerEvent) -> TriggerIntent | None:
        """See `Trigger`."""
        return asked_by_hand(workload, event) or (None if event.kind != self.kind else self.matches(workload, event))


class NoTools:
    """For triggers that need none."""

    def branch_head(self, repository: str, branch: str) -> str:
        """See `TriggerTools`."""
        raise AssertionError("no git here")


class Dispatching:
    """One controller's dispatcher and looker. ``answers`` are all that were told."""

    def __init__(self, database: Database, *triggers: Any, host: str = HOST) -> None:
        self.database = database
        self.source = MemorySource()
        self.times = Times()
        self.leads = True
        self.halt = threading.Event()
        self.answers: list[Answered] = []
        self.looked: list[tuple[str, str]] = []
        known = {each.kind: each for each in (ManualTrigger(), *triggers)}
        self.registry = Registry({"memory": self.source}, known)
        self.agenda = Agenda(lambda: self.times.monotonic)
        rollouts = Rollouts(database, self.registry, host, self.now, self.halt, check_engine=any_engine)
        hooks = DispatchHooks(
            deploys_by(rollouts),
            lambda: self.leads,
            lambda answered, _about: self.answers.append(answered),
            self.now,
        )
        self.dispatcher = Dispatcher(hooks, self.registry, database, host, self.agenda)
        looking = LookHooks(
            NoTools(),
            lambda: self.leads,
            lambda kind, result: self.looked.append((kind, result)),
            self.now,
            lambda: self.times.monotonic,
        )
        self.looker = Looker(looking, self.registry, database, host, self.dispatcher, self.agenda)

    def now(self) -> datetime:
        """The wall clock."""
        return self.times.now

    def declare(self, workload_id: str = "shop", trigger: str = "manual", image: str = "shop:1", **more: Any) -> None:
        """Declare a workload of the source that deploys to memory."""
        declared = replace(
            SHOP,
            id=workload_id,
            ref=workload_id,
            source_kind="memory",
            source_config={"image": image},
            trigger_kind=trigger,
            **more,
        )
        apply_workloads(self.database, [declared], NOW)

    def hear(self, *workload_ids: str) -> None:
        """A pass saw these."""
        found = [self.binding(each).workload for each in workload_ids]
        self.looker.hear([(each.id, each.trigger_kind, each.generation) for each in found])

    def binding(self, workload_id: str = "shop") -> Binding:
        """As it is stored."""
        return get_binding(self.database, workload_id)

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self.times.go_on(seconds)
        self.agenda.wake()

    def stop(self) -> None:
        """End what runs."""
        self.halt.set()
        self.dispatcher.stop()
        self.looker.stop()
