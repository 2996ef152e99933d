"""What this process gives to sources that act: the engine's verbs, and the little of the store that they need."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from controller.clock import CLOCK
from controller.declared.git import Git, GitLimits
from controller.engine.client import Observer
from controller.engine.containers import ContainerSeen, Progress, PublishedPort
from controller.engine.endpoint import Endpoint
from controller.engine.verbs import EngineVerbs, unheard, unobserved
from controller.errors import NotFound
from controller.healing.budget import HealingLimits
from controller.healing.deeds import Deeds
from controller.healing.doings import Doings
from controller.healing.healer import Healer, HealingRules
from controller.plugins.registry import Registry, equip_sources
from controller.plugins.tools import GitCommand, Permission, SecretSeen
from controller.rollout.deployer import Deployment, Revision, RuntimeConfig
from controller.rollout.host_paths import allowed_path
from controller.rollout.ledger import read_deployment
from controller.rollout.runtime_file import RuntimeFile
from controller.rollout.secrets import Secrets, by_name
from controller.rollout.turns import AT_ONCE, is_dead, turn_held
from controller.settings import Settings
from store.database import Database
from store.deployed_rows import bind_row, drop_rows
from store.records import Assignment, Workload, WorkloadKind
from store.revisions import declared_digest
from store.turns import find_turn

_CONNECT_SECONDS = 1.0
_SERVICE_LABEL, _NUMBER_LABEL = "com.docker.compose.service", "com.docker.compose.container-number"


def _always(_workload: Workload, _slot: str, _why: str) -> Permission:
    return Permission(True)


def _nobody_deploys(_workload: Workload, _reason: str) -> bool:
    return False


def _no_router(_runtime: RuntimeConfig) -> bool:
    return False


def _nobody_tells() -> str:
    return "no router is told of splits"


@dataclass(frozen=True, slots=True)
class Equipment:
    """The :class:`~controller.plugins.tools.EngineTools` of a running controller, or of one command.

    ``route`` has the routers follow a split; returns whether that changed anything. ``key_file`` has the keys of
    secret values, ``volume_roots`` are the folders whose contents may be mounted. ``environment`` is what git gets to
    see of ours. ``ask`` has a declaration deployed; returns whether somebody does that. ``halt`` is set when the
    process stops. ``elsewhere`` says why it is not certain that all of them do, or nothing. ``permit`` knows
    the budgets of healing.
    """

    prefix: str
    engine: EngineVerbs
    database: Database
    host: str
    route: Callable[[RuntimeConfig], bool] = field(default=_no_router)
    key_file: Path | None = None
    volume_roots: Sequence[Path] = ()
    manifests: Path | None = None
    sites: Path = Path("/var/lib/tallyd/sites")
    environment: Mapping[str, str] = field(default_factory=dict)
    ask: Callable[[Workload, str], bool] = field(default=_nobody_deploys)
    halt: threading.Event = field(default_factory=threading.Event)
    elsewhere: Callable[[], str] = field(default=_nobody_tells)
    permit: Callable[[Workload, str, str], Permission] = field(default=_always)

    def git(self, folder: Path) -> GitCommand:
        """See `EngineTools`."""
        return Git(folder, self.environment, GitLimits())

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

    def reveal(self, workload: Workload, name: str) -> str:
        """See `EngineTools`."""
        return Secrets(self.database, self.key_file).reveal(workload.id, name)

    def secrets(self, workload: Workload) -> Mapping[str, SecretSeen]:
        """See `EngineTools`."""
        return by_name(Secrets(self.database, self.key_file).seen(workload.id))

    def declared_digest(self, workload: Workload) -> str:
        """See `EngineTools`."""
        return declared_digest(self.database, workload.id, workload.source_config)

    def host_path(self, path: str) -> str:
        """See `EngineTools`."""
        return allowed_path(path, self.volume_roots)

    def ask_deploy(self, workload: Workload, reason: str) -> bool:
        """See `EngineTools`."""
        return self.ask(workload, reason)

    def busy(self, workload: Workload) -> str:
        """See `EngineTools`."""
        holder = find_turn(self.database, workload.id)
        return "" if holder is None or is_dead(holder.owner) else holder.doing

    def turn(self, workload: Workload, doing: str) -> AbstractContextManager[object]:
        """See `EngineTools`."""
        return turn_held(self.database, workload.id, doing, patience=AT_ONCE, halt=self.halt)

    def pause(self, seconds: float) -> bool:
        """See `EngineTools`."""
        return self.halt.wait(seconds)

    def enforce(self, runtime: RuntimeConfig) -> bool:
        """See `EngineTools`."""
        return self.route(runtime)

    def may_heal(self, workload: Workload, slot: str, why: str) -> Permission:
        """See `EngineTools`."""
        return self.permit(workload, slot, why)

    def routed_elsewhere(self) -> str:
        """See `EngineTools`."""
        return self.elsewhere()


def _row(workload: Workload, revision: Revision, seen: ContainerSeen, role: str) -> Assignment:
    return Assignment(
        id=_row_id(workload, seen),
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
        revision="" if workload.kind is WorkloadKind.SITE else revision.id,
    )


def _row_id(workload: Workload, seen: ContainerSeen) -> str:
    """That of a site or a stack is the one that a pass gives it (R10): a name of our own would be a second row."""
    if workload.kind is WorkloadKind.SITE:
        return f"{workload.id}:site"
    if workload.kind is not WorkloadKind.STACK:
        return f"{workload.id}:{seen.name}"
    number = seen.labels.get(_NUMBER_LABEL, "")
    replica = f":{int(number)}" if number.isdecimal() and int(number) > 1 else ""
    return f"{workload.id}:{seen.labels.get(_SERVICE_LABEL) or seen.name}{replica}"


def _ports(ports: Sequence[PublishedPort]) -> str:
    """In the shape in which the loop writes what a listing tells, so that the next pass has nothing to change."""
    objects = [
        {"private": each.private, "type": each.protocol, "ip": each.address, "public": each.public} for each in ports
    ]
    return orjson.dumps(objects).decode()


def router_of(settings: Settings, database: Database, registry: Registry) -> Callable[[RuntimeConfig], bool]:
    """What has the routers of this host follow a split; nothing where none are told anything."""
    if settings.runtime_config is None:
        return _no_router
    return RuntimeFile(settings.runtime_config, database, settings.host, registry).follow


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a process hears and says: of each request to the engine, of each line of a pull, and that it stops.

    ``environment`` is what git gets to see of ours. ``ask`` has a declaration deployed; returns whether somebody does
    that. ``doings`` are what a running controller sees of its engine, and ``healed`` hears what was decided about
    healing. ``actor`` is who acts by this process, such as ``cli:root``.
    """

    observer: Observer = unobserved
    pulled: Progress = unheard
    halt: threading.Event = field(default_factory=threading.Event)
    environment: Mapping[str, str] = field(default_factory=dict)
    doings: Doings = field(default_factory=Doings)
    healed: Callable[[str], None] = lambda _answer: None
    ask: Callable[[Workload, str], bool] = _nobody_deploys
    actor: str = "controller"


def equip(
    registry: Registry, settings: Settings, endpoint: Endpoint, database: Database, hooks: Hooks | None = None
) -> EngineVerbs:
    """Give the sources of this process an engine to act on; returns its verbs, to be cancelled when it stops."""
    hooks = hooks or Hooks()
    deeds = Deeds(database, settings.host, hooks.actor, CLOCK.now)

    def acting(container_id: str) -> None:
        hooks.doings.acting(container_id)
        deeds.acting(container_id)

    verbs = EngineVerbs(
        endpoint,
        timeout_seconds=settings.engine_timeout_seconds,
        observer=hooks.observer,
        pulled=hooks.pulled,
        acting=acting,
    )
    healer = Healer(
        database,
        settings.host,
        verbs.inspect_container,
        CLOCK.now,
        doings=hooks.doings,
        rules=rules_of(settings),
        told=hooks.healed,
    )
    route: Callable[[RuntimeConfig], bool] = _no_router
    elsewhere: Callable[[], str] = _nobody_tells
    if settings.runtime_config is not None:
        file = RuntimeFile(settings.runtime_config, database, settings.host, registry)
        route, elsewhere = file.follow, file.followers.routed_elsewhere
    given = Equipment(
        settings.label_prefix,
        verbs,
        database,
        settings.host,
        route,
        settings.secrets_key_file,
        settings.volume_roots,
        _folder_of(settings.manifests),
        settings.sites / settings.host,
        hooks.environment,
        hooks.ask,
        halt=hooks.halt,
        elsewhere=elsewhere,
        permit=healer.may_heal,
    )
    equip_sources(registry, given)
    return verbs


def rules_of(settings: Settings) -> HealingRules:
    """The budget of healing, as it was set."""
    limits = HealingLimits(
        settings.healing_attempts, settings.healing_window_seconds, settings.healing_backoff_seconds
    )
    return HealingRules(limits, settings.hold_seconds)


def _folder_of(manifests: Path | None) -> Path | None:
    if manifests is None:
        return None
    return manifests.parent if manifests.is_file() else manifests
