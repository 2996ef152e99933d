"""A workload of a source that acts on a real engine, with revisions as a deploy would make them, and its verbs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from controller.clock import CLOCK
from controller.engine.endpoint import endpoint_from
from controller.engine.verbs import EngineVerbs
from controller.opening import open_store
from controller.plugins.contract import (
    Deployment,
    EngineTools,
    Outcome,
    ReconcileRequest,
    Revision,
    RevisionState,
    RuntimeConfig,
    Source,
    SplitEntry,
    TrafficSplit,
    Workload,
)
from controller.rollout.equipment import Equipment
from controller.settings_sources import load_settings
from store import hosts
from store.index import list_containers
from store.records import ContainerRow, Host
from store.workloads import apply_workloads
from tests.harness import World

HOST = "testhost"


class Stored(Equipment):
    """What a controller gives its sources, with the revisions and secrets of a test instead of the store's."""

    def __init__(self, acted: Acted, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        object.__setattr__(self, "_acted", acted)

    def deployment(self, workload: Workload) -> Deployment:
        """See `EngineTools`."""
        return self._acted.read()

    def reveal(self, workload: Workload, name: str) -> str:
        """The value of a secret: the test's, else the store's."""
        return self._acted.secrets[name] if name in self._acted.secrets else super().reveal(workload, name)


class Acted:
    """One workload with its revisions. Its containers, those with ``label``, are removed by `close`."""

    source: Source

    def __init__(
        self,
        world: World,
        database_url: str,
        workload: Workload,
        label: str,
        *,
        own: Collection[str] = (),
        endpoint: str = "",
    ) -> None:
        self.world = world
        self.prefix = world.prefix
        self.client = world.engine.client()
        self.requests: list[str] = []
        self.verbs = EngineVerbs(
            endpoint_from({"DOCKER_HOST": endpoint or world.engine.endpoint}),
            observer=lambda operation, _result, _seconds: self.requests.append(operation),
            own=own,
        )
        self.database = open_store(load_settings({"host": HOST, "database_url": database_url}, {}).settings)
        hosts.register(self.database, Host(HOST))
        self.workload = workload
        self.label = label
        apply_workloads(self.database, [self.workload], CLOCK.now())
        self.enforced: list[RuntimeConfig] = []
        self.asked: list[str] = []
        self.secrets: dict[str, str] = {}
        self.revisions: dict[str, Revision] = {}
        self.split: TrafficSplit | None = None

    def tools(self, **given: Any) -> EngineTools:
        """For the source's ``equip``."""
        return Stored(self, self.prefix, self.verbs, self.database, HOST, self._route, **{"ask": self._ask, **given})

    def close(self) -> None:
        """Remove what was made."""
        for each in self.listed():
            self.client.remove_container(each["Id"], force=True, v=True)
        self.remove_more()
        self.verbs.cancel()
        self.client.close()
        self.database.close()

    def remove_more(self) -> None:
        """What else was made, once its containers are gone."""

    def made(self, name: str, made_of: tuple[str, str], config: dict[str, Any], declared: dict[str, Any]) -> Revision:
        """Take a new revision up, of an image's reference and digest; what was declared for it is declared now."""
        reference, digest = made_of
        made = Revision(name, self.workload.id, len(self.revisions) + 1, reference, digest, "", config)
        self.revisions[made.id] = made
        self.workload = replace(self.workload, source_kind=self.source.kind, source_config=declared)
        return made

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
        """The workload's containers, in any state, by name."""
        found = self.client.containers(all=True, filters={"label": self.label})
        return sorted(found, key=lambda each: str(each["Names"]))

    def rows(self) -> dict[str, ContainerRow]:
        """The workload's rows of the index."""
        return {row.id: row for row in list_containers(self.database, host=HOST, workload_id=self.workload.id)}

    def _route(self, runtime: RuntimeConfig) -> bool:
        changed = not self.enforced or self.enforced[-1] != runtime
        self.enforced.append(runtime)
        return changed

    def _ask(self, _workload: Workload, reason: str) -> bool:
        self.asked.append(reason)
        return True
