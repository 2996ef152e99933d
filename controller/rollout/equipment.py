"""What this process gives to sources that act: the engine's verbs, and the little of the store that they need."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from controller.engine.client import Observer
from controller.engine.containers import ContainerSeen, PublishedPort
from controller.engine.endpoint import Endpoint
from controller.engine.verbs import EngineVerbs, unobserved
from controller.errors import NotFound
from controller.healing.budget import HealingLimits
from controller.healing.doings import Doings
from controller.healing.healer import Healer, HealingRules
from controller.plugins.registry import Registry, equip_sources
from controller.plugins.tools import Permission
from controller.rollout.deployer import Deployment, Revision, RuntimeConfig
from controller.rollout.ledger import read_deployment
from controller.rollout.runtime_file import RuntimeFile
from controller.settings import Settings
from store.database import Database
from store.deployed_rows import bind_row, drop_rows
from store.records import Assignment, Workload

_CONNECT_SECONDS = 1.0


def _always(_workload: Workload, _slot: str, _why: str) -> Permission:
    return Permission(True)


def _no_router(_runtime: RuntimeConfig) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Equipment:
    """The :class:`~controller.plugins.tools.EngineTools` of a running controller, or of one command.

    ``route`` has the routers follow a split; returns whether that changed anything. ``permit`` knows the budgets.
    """

    prefix: str
    engine: EngineVerbs
    database: Database
    host: str
    route: Callable[[RuntimeConfig], bool] = field(default=_no_router)
    permit: Callable[[Workload, str, str], Permission] = field(default=_always)

    def answers(self, address: str, port: int) -> bool:
        """Whether something accepts a connection there within a second."""
        try:
            socket.create_connection((address, port), _CONNECT_SECONDS).close()
        except OSError:
            return False
        return True

    def bind_row(self, workload: Workload, revision: Revision, seen: ContainerSeen, role: str) -> None:
        """See `EngineTools`."""
        owned = {"image_tag": revision.image_ref, "stage_id": revision.id}
        extra = {"addresses": dict(seen.addresses)}
        bind_row(self.database, self.host, _row(workload, revision, seen, role), owned, extra)

    def drop_rows(self, workload: Workload, revision: Revision) -> None:
        """See `EngineTools`."""
        drop_rows(self.database, self.host, workload.id, revision.id)

    def deployment(self, workload: Workload) -> Deployment | None:
        """See `EngineTools`."""
        try:
            return read_deployment(self.database, workload.id, self.host)
        except NotFound:
            return None

    def enforce(self, runtime: RuntimeConfig) -> bool:
        """See `EngineTools`."""
        return self.route(runtime)

    def may_heal(self, workload: Workload, slot: str, why: str) -> Permission:
        """See `EngineTools`."""
        return self.permit(workload, slot, why)


def _row(workload: Workload, revision: Revision, seen: ContainerSeen, role: str) -> Assignment:
    return Assignment(
        id=f"{workload.id}:{seen.name}",
        workload_id=workload.id,
        workload_kind=str(workload.kind),
        role=role,
        container_id=seen.id,
        name=seen.name,
        image_ref=seen.image_ref,
        image_id=seen.image_id,
        state="",
        health="",
        port=seen.ports[0].private if seen.ports else 0,
        ports=_ports(seen.ports),
        revision=revision.id,
    )


def _ports(ports: Sequence[PublishedPort]) -> str:
    """In the shape in which the loop writes what a listing tells, so that the next pass has nothing to change."""
    objects = [
        {"private": each.private, "type": each.protocol, "ip": each.address, "public": each.public} for each in ports
    ]
    return orjson.dumps(objects).decode()


def equip(
    registry: Registry,
    settings: Settings,
    endpoint: Endpoint,
    database: Database,
    observer: Observer = unobserved,
    watched: Watched | None = None,
) -> EngineVerbs:
    """Give the sources of this process an engine to act on; returns its verbs, to be cancelled when it stops.

    :param watched: what a running controller sees of its engine; a command sees nothing.
    """
    watched = watched or Watched(Doings())
    verbs = EngineVerbs(
        endpoint,
        timeout_seconds=settings.engine_timeout_seconds,
        observer=observer,
        acting=watched.doings.acting,
    )
    healer = Healer(
        database,
        settings.host,
        verbs.inspect_container,
        lambda: datetime.now(UTC),  # noqa: TID251  # as the loop's clock; a command has no other
        doings=watched.doings,
        rules=rules_of(settings),
        told=watched.healed,
    )
    route: Callable[[RuntimeConfig], bool] = _no_router
    if settings.runtime_config is not None:
        route = RuntimeFile(settings.runtime_config, database, settings.host, registry).follow
    equip_sources(
        registry, Equipment(settings.label_prefix, verbs, database, settings.host, route, permit=healer.may_heal)
    )
    return verbs


@dataclass(frozen=True, slots=True)
class Watched:
    """What a running controller sees of its engine, and who hears what was decided about healing."""

    doings: Doings
    healed: Callable[[str], None] = lambda _answer: None


def rules_of(settings: Settings) -> HealingRules:
    """The budget of healing, as it was set."""
    limits = HealingLimits(
        settings.healing_attempts, settings.healing_window_seconds, settings.healing_backoff_seconds
    )
    return HealingRules(limits, settings.hold_seconds)
