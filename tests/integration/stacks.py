"""A workload of source `compose` on a real engine with the real Compose, its revisions and its verbs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.clock import CLOCK
from controller.engine.endpoint import endpoint_from
from controller.engine.verbs import EngineVerbs
from controller.opening import open_store
from controller.plugins.contract import (
    Deployment,
    Outcome,
    ReconcileRequest,
    Revision,
    RevisionState,
    RuntimeConfig,
    SplitEntry,
    TrafficSplit,
    Workload,
    WorkloadKind,
)
from controller.plugins.sources.compose import ComposeSource
from controller.rollout.equipment import Equipment
from controller.settings_sources import load_settings
from store import hosts
from store.index import list_containers
from store.records import ContainerRow, Host
from store.workloads import apply_workloads
from tests.harness import World
from tests.harness.components import require

HOST = "testhost"
PROJECT_LABEL = "com.docker.compose.project"
OPTIONS: Mapping[str, Any] = {"start_timeout_seconds": 60, "drain_seconds": 0, "stop_grace_seconds": 1}
WEB: Mapping[str, Any] = {
    "image": "busybox:local",
    "command": ["httpd", "-f", "-p", "8080", "-h", "/www"],
    "stop_signal": "SIGKILL",
}
DB: Mapping[str, Any] = {"image": "busybox:local", "command": ["sleep", "86400"], "stop_signal": "SIGKILL"}


class Stored(Equipment):
    """What a controller gives its sources, with the revisions and secrets of a test instead of the store's."""

    def __init__(self, stacks: Stack, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        object.__setattr__(self, "_stack", stacks)

    def deployment(self, workload: Workload) -> Deployment:
        """See `EngineTools`."""
        return self._stack.read()

    def reveal(self, workload: Workload, name: str) -> str:
        """The value of a secret."""
        return self._stack.secrets[name]


class Stack:
    """One workload with its revisions; its whole project is removed by `close`."""

    def __init__(
        self,
        world: World,
        database_url: str,
        workload_id: str = "shop",
        manifests: Path | None = None,
        own: frozenset[str] = frozenset(),
    ) -> None:
        require("compose")
        self.prefix = world.prefix
        self.client = world.engine.client()
        self.requests: list[str] = []
        self.verbs = EngineVerbs(
            endpoint_from({"DOCKER_HOST": world.engine.endpoint}),
            observer=lambda operation, _result, _seconds: self.requests.append(operation),
            own=own,
        )
        self.database = open_store(load_settings({"host": HOST, "database_url": database_url}, {}).settings)
        hosts.register(self.database, Host(HOST))
        self.workload = Workload(
            workload_id, workload_id, WorkloadKind.STACK, f"{self.prefix}-{workload_id}", source_kind="compose"
        )
        apply_workloads(self.database, [self.workload], CLOCK.now())
        self.enforced: list[RuntimeConfig] = []
        self.asked: list[str] = []
        self.secrets: dict[str, str] = {}
        self.revisions: dict[str, Revision] = {}
        self.split: TrafficSplit | None = None
        self.source = ComposeSource()
        given = (self.prefix, self.verbs, self.database, HOST, self._route)
        self.source.equip(Stored(self, *given, manifests=manifests, ask=self._ask))

    def close(self) -> None:
        """Remove what was made."""
        for each in self.listed():
            self.client.remove_container(each["Id"], force=True, v=True)
        label = {"label": f"{PROJECT_LABEL}={self.workload.ref}"}
        for each in self.client.networks(filters=label):
            self.client.remove_network(each["Id"])
        for each in self.client.volumes(filters=label)["Volumes"] or ():
            self.client.remove_volume(each["Name"])
        self.verbs.cancel()
        self.client.close()
        self.database.close()

    def declare(self, state: str = "inactive", **options: Any) -> str:
        """Make the next revision, as a deploy does; returns its id. It becomes what is declared."""
        config = {**OPTIONS, **options}
        frozen = self.source.freeze(config)
        reference, digest = self.source.resolve(frozen)
        sequence = len(self.revisions) + 1
        made = Revision(
            f"{self.workload.id}-r{sequence}",
            self.workload.id,
            sequence,
            reference,
            digest,
            "",
            frozen,
            state=RevisionState(state),
        )
        self.revisions[made.id] = made
        self.workload = replace(self.workload, source_config=config)
        return made.id

    def up(self, **options: Any) -> str:
        """Make a revision, stage and warm it; it is ready, and the one before is not any more."""
        revision_id = self.declare(**options)
        self.source.stage(self.read(), revision_id)
        self.source.warm(self.read(), revision_id)
        for each in self.revisions:
            self.move(each, "inactive")
        self.move(revision_id, "ready")
        return revision_id

    def services(self, **services: Mapping[str, Any]) -> str:
        """Bring services up that stand in the manifest itself."""
        return self.up(inline={"services": {name: dict(each) for name, each in services.items()}})

    def move(self, revision_id: str, state: str) -> None:
        """What the caller of a verb does."""
        self.revisions[revision_id] = replace(self.revisions[revision_id], state=RevisionState(state))

    def weigh(self, *entries: tuple[str, int]) -> None:
        """Set the split."""
        self.split = TrafficSplit(self.workload.id, [SplitEntry(*each) for each in entries])

    def read(self) -> Deployment:
        """What a verb is given."""
        return Deployment(self.workload, dict(self.revisions), self.split, HOST, tuple(self.rows().values()))

    def reconcile(self) -> Outcome:
        """One call of the plugin pass."""
        return self.source.reconcile(ReconcileRequest(self.workload, (), (), HOST))

    def listed(self) -> list[dict[str, Any]]:
        """The project's containers, in any state, by name."""
        found = self.client.containers(all=True, filters={"label": f"{PROJECT_LABEL}={self.workload.ref}"})
        return sorted(found, key=lambda each: str(each["Names"]))

    def states(self) -> dict[str, str]:
        """State of each service's containers; several are joined."""
        states: dict[str, str] = {}
        for each in self.listed():
            name = each["Labels"]["com.docker.compose.service"]
            states[name] = f"{states[name]}, {each['State']}" if name in states else each["State"]
        return states

    def container(self, service: str) -> str:
        """The id of a service's only container."""
        (found,) = [each for each in self.listed() if each["Labels"]["com.docker.compose.service"] == service]
        return str(found["Id"])

    def rows(self) -> dict[str, ContainerRow]:
        """The rows of the index."""
        return {row.id: row for row in list_containers(self.database, host=HOST, workload_id=self.workload.id)}

    def _route(self, runtime: RuntimeConfig) -> bool:
        changed = not self.enforced or self.enforced[-1] != runtime
        self.enforced.append(runtime)
        return changed

    def _ask(self, _workload: Workload, reason: str) -> bool:
        self.asked.append(reason)
        return True
