"""What this process gives to sources that act: the engine's verbs, and the little of the store that they need."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from controller.engine.client import Observer
from controller.engine.containers import ContainerSeen, Progress, PublishedPort
from controller.engine.endpoint import Endpoint
from controller.engine.verbs import EngineVerbs, unheard, unobserved
from controller.errors import NotFound
from controller.plugins.registry import Registry, equip_sources
from controller.rollout.deployer import Deployment, Revision, RuntimeConfig
from controller.rollout.ledger import read_deployment
from controller.rollout.runtime_file import RuntimeFile
from controller.rollout.turns import AT_ONCE, is_dead, turn_held
from controller.settings import Settings
from store.database import Database
from store.deployed_rows import bind_row, drop_rows
from store.records import Assignment, Workload, WorkloadKind
from store.turns import find_turn

_CONNECT_SECONDS = 1.0
_SERVICE_LABEL, _NUMBER_LABEL = "com.docker.compose.service", "com.docker.compose.container-number"


def _no_router(_runtime: RuntimeConfig) -> bool:
    return False


def _nobody_deploys(_workload: Workload, _reason: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Equipment:
    """The :class:`~controller.plugins.tools.EngineTools` of a running controller, or of one command.

    ``halt`` is set when the process stops. ``route`` has the routers follow a split; returns whether that changed
    anything. ``ask`` has a declaration deployed; returns whether somebody does that.
    """

    prefix: str
    engine: EngineVerbs
    database: Database
    host: str
    route: Callable[[RuntimeConfig], bool] = field(default=_no_router)
    halt: threading.Event = field(default_factory=threading.Event)
    manifests: Path | None = None
    ask: Callable[[Workload, str], bool] = field(default=_nobody_deploys)

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
        revision=revision.id,
    )


def _row_id(workload: Workload, seen: ContainerSeen) -> str:
    """A stack's is the one that a pass gives it (R10): a name of the deployer's own would be a second row."""
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


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a process hears and says: of each request to the engine, of each line of a pull, and that it stops.

    ``ask`` has a declaration deployed; returns whether somebody does that.
    """

    observer: Observer = unobserved
    pulled: Progress = unheard
    halt: threading.Event = field(default_factory=threading.Event)
    ask: Callable[[Workload, str], bool] = _nobody_deploys


def equip(
    registry: Registry, settings: Settings, endpoint: Endpoint, database: Database, hooks: Hooks | None = None
) -> EngineVerbs:
    """Give the sources of this process an engine to act on; returns its verbs, to be cancelled when it stops."""
    hooks = hooks or Hooks()
    verbs = EngineVerbs(
        endpoint, timeout_seconds=settings.engine_timeout_seconds, observer=hooks.observer, pulled=hooks.pulled
    )
    route: Callable[[RuntimeConfig], bool] = _no_router
    if settings.runtime_config is not None:
        route = RuntimeFile(settings.runtime_config, database, settings.host, registry).follow
    folder = _folder_of(settings.manifests)
    equip_sources(
        registry,
        Equipment(settings.label_prefix, verbs, database, settings.host, route, hooks.halt, folder, hooks.ask),
    )
    return verbs


def _folder_of(manifests: Path | None) -> Path | None:
    if manifests is None:
        return None
    return manifests.parent if manifests.is_file() else manifests
