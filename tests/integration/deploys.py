"""A workload of source `image` on a real engine, with revisions as a deploy would make them, and its verbs."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
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
from controller.plugins.sources.image import ImageSource
from controller.rollout.equipment import Equipment
from controller.settings_sources import load_settings
from store import hosts
from store.index import list_containers
from store.records import ContainerRow, Host
from store.workloads import apply_workloads
from tests.harness import Engine, World

HOST = "testhost"
SERVE = ["httpd", "-f", "-p", "8080", "-h", "/www"]
OPTIONS: Mapping[str, Any] = {"port": 8080, "start_timeout_seconds": 20, "drain_seconds": 0, "stop_grace_seconds": 1}


class Stored(Equipment):
    """What a controller gives its sources, with the revisions of a test instead of the store's."""

    def __init__(self, deploys: Deploys, *given: Any, **hooks: Any) -> None:
        super().__init__(*given, **hooks)
        object.__setattr__(self, "_deploys", deploys)

    def deployment(self, workload: Workload) -> Deployment:
        """See `EngineTools`."""
        return self._deploys.read()


class Deploys:
    """One workload with its revisions; every container of it is removed by `close`."""

    def __init__(
        self,
        world: World,
        database_url: str,
        workload_id: str = "shop",
        own: frozenset[str] = frozenset(),
        endpoint: str = "",
        volume_roots: Sequence[Path] = (),
    ) -> None:
        engine = world.engine
        self.prefix = world.prefix
        self.client = engine.client()
        self.requests: list[str] = []
        verbs = EngineVerbs(
            endpoint_from({"DOCKER_HOST": endpoint or engine.endpoint}),
            observer=lambda operation, _result, _seconds: self.requests.append(operation),
            own=own,
        )
        self.verbs = verbs
        settings = load_settings({"host": HOST, "database_url": database_url}, {}).settings
        self.database = open_store(settings)
        hosts.register(self.database, Host(HOST))
        self.workload = Workload(workload_id, workload_id, WorkloadKind.PROJECT, f"{self.prefix}-{workload_id}")
        apply_workloads(self.database, [self.workload], CLOCK.now())
        self.enforced: list[RuntimeConfig] = []
        self.elsewhere = ""
        self.revisions: dict[str, Revision] = {}
        self.split: TrafficSplit | None = None
        self.source = ImageSource()
        given = {"volume_roots": volume_roots, "elsewhere": lambda: self.elsewhere}
        self.source.equip(Stored(self, self.prefix, verbs, self.database, HOST, self._route, **given))

    def close(self) -> None:
        """Remove what was made."""
        for each in self.listed():
            self.client.remove_container(each["Id"], force=True, v=True)
        for name in self.volumes():
            self.client.remove_volume(name)
        self.verbs.cancel()
        self.client.close()
        self.database.close()

    def declare(self, image: str, digest: str = "", state: str = "inactive", **options: Any) -> str:
        """Make the next revision, of an image by tag; returns its id. It becomes what is declared."""
        config = {"image": image, "command": SERVE, **OPTIONS, **options}
        digest = digest or self.source.resolve(config)[1]
        sequence = len(self.revisions) + 1
        made = Revision(
            f"{self.workload.id}-r{sequence}",
            self.workload.id,
            sequence,
            image,
            digest,
            "",
            config,
            state=RevisionState(state),
        )
        self.revisions[made.id] = made
        self.workload = replace(self.workload, source_kind="image", source_config=config)
        return made.id

    def up(self, image: str, **options: Any) -> str:
        """Make a revision, stage and warm it; it is ready."""
        revision_id = self.declare(image, **options)
        self.source.stage(self.read(), revision_id)
        self.source.warm(self.read(), revision_id)
        self.move(revision_id, "ready")
        return revision_id

    def move(self, revision_id: str, state: str) -> None:
        """What the caller of a verb does."""
        self.revisions[revision_id] = replace(self.revisions[revision_id], state=RevisionState(state))

    def weigh(self, *entries: tuple[str, int]) -> None:
        """Set the split."""
        self.split = TrafficSplit(self.workload.id, [SplitEntry(*each) for each in entries])

    def read(self) -> Deployment:
        """What a verb is given."""
        rows = tuple(self.rows().values())
        return Deployment(self.workload, dict(self.revisions), self.split, HOST, rows)

    def reconcile(self) -> Outcome:
        """One call of the plugin pass."""
        return self.source.reconcile(ReconcileRequest(self.workload, (), (), HOST))

    def listed(self) -> list[dict[str, Any]]:
        """The workload's containers, in any state, by name."""
        label = f"{self.prefix}.workload.id={self.workload.id}"
        found = self.client.containers(all=True, filters={"label": label})
        return sorted(found, key=lambda each: str(each["Names"]))

    def states(self) -> dict[str, str]:
        """State of each container, by its name without the prefix."""
        return {each["Names"][0].removeprefix(f"/{self.prefix}-"): each["State"] for each in self.listed()}

    def inspected(self, name: str) -> dict[str, Any]:
        """A container as the engine inspects it, by its name without the prefix."""
        return dict(self.client.inspect_container(f"{self.prefix}-{name}"))

    def volumes(self) -> dict[str, dict[str, str]]:
        """The labels of each volume whose name begins with the prefix, or that carries our label; by name."""
        found = self.client.volumes()["Volumes"] or []
        labels = {each["Name"]: each["Labels"] or {} for each in found}
        ours = f"{self.prefix}.workload.id"
        return {name: has for name, has in labels.items() if name.startswith(self.prefix) or ours in has}

    def rows(self) -> dict[str, ContainerRow]:
        """The rows of the index."""
        return {row.id: row for row in list_containers(self.database, host=HOST)}

    def snapshot(self) -> Any:
        """The provider's state: what a repeated verb must leave as it is."""
        images = sorted(each["Id"] for each in self.client.images())
        containers = [
            (each["Id"], each["State"], each["Labels"], self.client.inspect_container(each["Id"])["RestartCount"])
            for each in self.listed()
        ]
        return images, containers, sorted(self.rows())

    def _route(self, runtime: RuntimeConfig) -> bool:
        changed = not self.enforced or self.enforced[-1] != runtime
        self.enforced.append(runtime)
        return changed


def page(address: str, port: int) -> bytes:
    """What a server there answers."""
    with contextlib.closing(socket.create_connection((address, port), 5)) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b""))


def writes(engine: Engine, since: float, until: float) -> list[str]:
    """What was done to an engine in that time, by its own account: every event of a container, image or network."""
    with contextlib.closing(engine.client()) as client:
        events = client.events(since=since, until=until, decode=True)
        return [f"{each['Type']} {each['Action']}" for each in events]
