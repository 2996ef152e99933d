"""A site of the source `static` on a real engine, with revisions as a deploy would make them, and its verbs."""

from __future__ import annotations

import contextlib
import http.client
import os
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
from controller.plugins.sources.static import StaticSource
from controller.plugins.sources.static_releases import Site
from controller.rollout.equipment import Equipment
from controller.settings_sources import load_settings
from store import hosts
from store.index import list_containers
from store.records import ContainerRow, Host
from store.workloads import apply_workloads
from tests.harness import NGINX, World
from tests.harness.images import import_images

HOST = "testhost"
PORT = 8080
OPTIONS: Mapping[str, Any] = {
    "image": NGINX,
    "port": PORT,
    "start_timeout_seconds": 20,
    "drain_seconds": 0,
    "stop_grace_seconds": 0,
}


class Stored(Equipment):
    """What a controller gives its sources, with the revisions of a test instead of the store's."""

    def __init__(self, owner: Sites, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        object.__setattr__(self, "_owner", owner)

    def deployment(self, workload: Workload) -> Deployment:
        """See `EngineTools`."""
        return self._owner.read()


class Sites:
    """One site with its revisions; every container of it is removed by `close`."""

    def __init__(self, world: World, database_url: str, folder: Path, **settings: Any) -> None:
        self.world = world
        self.prefix = world.prefix
        self.client = world.engine.client()
        import_images(self.client, [NGINX])
        self.requests: list[str] = []
        self.asked: list[str] = []
        self.verbs = EngineVerbs(
            endpoint_from({"DOCKER_HOST": world.engine.endpoint}),
            observer=lambda operation, _result, _seconds: self.requests.append(operation),
            own=(),
        )
        self.database = open_store(load_settings({"host": HOST, "database_url": database_url}, {}).settings)
        hosts.register(self.database, Host(HOST))
        self.workload = Workload("blog", "blog", WorkloadKind.SITE, f"{self.prefix}-blog", source_kind="static")
        apply_workloads(self.database, [self.workload], CLOCK.now())
        self.enforced: list[RuntimeConfig] = []
        self.revisions: dict[str, Revision] = {}
        self.split: TrafficSplit | None = None
        self.manifests = folder / "manifests"
        self.content = self.manifests / "content"
        self.content.mkdir(parents=True)
        self.site = Site(folder / "sites" / "blog")
        self.source = self.another_source(folder, **settings)

    def another_source(self, folder: Path, **settings: Any) -> StaticSource:
        """A source that remembers nothing, as after a restart."""
        made = StaticSource()
        given = {"manifests": self.manifests, "sites": folder / "sites", "environment": os.environ, "ask": self._ask}
        made.equip(Stored(self, self.prefix, self.verbs, self.database, HOST, self._route, **{**given, **settings}))
        return made

    def close(self) -> None:
        """Remove what was made."""
        for each in self.listed():
            self.client.remove_container(each["Id"], force=True, v=True)
        self.verbs.cancel()
        self.client.close()
        self.database.close()

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Have these files in the folder that is published."""
        for name, text in files.items():
            place = self.content / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text if isinstance(text, bytes) else text.encode())

    def declare(self, **options: Any) -> str:
        """Make the next revision, of the content as it is; returns its id. It becomes what is declared."""
        from_folder = {} if "git" in options else {"directory": "content"}
        config = {**OPTIONS, **from_folder, **options}
        self.source.validate(config)
        frozen = dict(self.source.freeze(config))
        reference, digest = self.source.resolve(frozen)
        sequence = len(self.revisions) + 1
        made = Revision(f"blog-{sequence}", "blog", sequence, reference, digest, "", frozen)
        self.revisions[made.id] = made
        self.workload = replace(self.workload, source_config=config)
        return made.id

    def publish(self, revision_id: str = "", **options: Any) -> str:
        """Deploy as a walk would: stage, warm, all the traffic, drain of who served before."""
        chosen = revision_id or self.declare(**options)
        before = [each.id for each in self.revisions.values() if each.state is RevisionState.READY]
        self.source.stage(self.read(), chosen)
        self.source.warm(self.read(), chosen)
        self.move(chosen, "ready")
        self.weigh((chosen, 10_000))
        self.source.apply_traffic_split(self.read())
        for each in before:
            if each != chosen:
                self.source.drain(self.read(), each)
                self.move(each, "inactive")
        return chosen

    def move(self, revision_id: str, state: str) -> None:
        """What the caller of a verb does."""
        self.revisions[revision_id] = replace(self.revisions[revision_id], state=RevisionState(state))

    def weigh(self, *entries: tuple[str, int]) -> None:
        """Set the split."""
        self.split = TrafficSplit("blog", [SplitEntry(*each) for each in entries])

    def read(self) -> Deployment:
        """What a verb is given."""
        return Deployment(self.workload, dict(self.revisions), self.split, HOST, tuple(self.rows().values()))

    def reconcile(self) -> Outcome:
        """One call of the plugin pass."""
        return self.source.reconcile(ReconcileRequest(self.workload, (), (), HOST))

    def listed(self) -> list[dict[str, Any]]:
        """The site's containers, in any state, by name."""
        found = self.client.containers(all=True, filters={"label": f"{self.prefix}.static-site={self.workload.ref}"})
        return sorted(found, key=lambda each: str(each["Names"]))

    def server(self) -> dict[str, Any]:
        """The one container, as the engine inspects it."""
        start = f"/{self.prefix}-blog-site-"
        (one,) = [each for each in self.listed() if each["Names"][0].startswith(start)]
        return dict(self.client.inspect_container(one["Id"]))

    @property
    def address(self) -> str:
        """Where the web server is."""
        return str(self.server()["NetworkSettings"]["IPAddress"])

    def page(self, path: str = "/", port: int = PORT) -> tuple[int, bytes]:
        """What the web server answers, asked directly."""
        return ask(self.address, port, path)

    def rows(self) -> dict[str, ContainerRow]:
        """The rows of the index."""
        return {row.id: row for row in list_containers(self.database, host=HOST)}

    def _route(self, runtime: RuntimeConfig) -> bool:
        changed = not self.enforced or self.enforced[-1] != runtime
        self.enforced.append(runtime)
        return changed

    def _ask(self, _workload: Workload, reason: str) -> bool:
        self.asked.append(reason)
        return True


def ask(address: str, port: int, path: str = "/") -> tuple[int, bytes]:
    """Status and content of one answer."""
    with contextlib.closing(http.client.HTTPConnection(address, port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
