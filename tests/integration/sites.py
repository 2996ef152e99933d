"""A site of the source `static` on a real engine, with revisions as a deploy would make them, and its verbs."""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller.plugins.contract import (
    RevisionState,
    Workload,
    WorkloadKind,
)
from controller.plugins.sources.static import StaticSource
from controller.plugins.sources.static_releases import Site
from tests.harness import NGINX, World
from tests.harness.images import import_images
from tests.integration.acted import Acted

PORT = 8080
OPTIONS: Mapping[str, Any] = {
    "image": NGINX,
    "port": PORT,
    "start_timeout_seconds": 20,
    "drain_seconds": 0,
    "stop_grace_seconds": 0,
}


class Sites(Acted):
    """One site with its revisions; every container of it is removed by `close`."""

    source: StaticSource

    def __init__(self, world: World, database_url: str, folder: Path, **settings: Any) -> None:
        ref = f"{world.prefix}-blog"
        workload = Workload("blog", "blog", WorkloadKind.SITE, ref, source_kind="static")
        super().__init__(world, database_url, workload, f"{world.prefix}.static-site={ref}")
        import_images(self.client, [NGINX])
        self.manifests = folder / "manifests"
        self.content = self.manifests / "content"
        self.content.mkdir(parents=True)
        self.site = Site(folder / "sites" / "blog")
        self.source = self.another_source(folder, **settings)

    def another_source(self, folder: Path, **settings: Any) -> StaticSource:
        """A source that remembers nothing, as after a restart."""
        made = StaticSource()
        given = {"manifests": self.manifests, "sites": folder / "sites", "environment": os.environ}
        made.equip(self.tools(**{**given, **settings}))
        return made

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
        return self.made(f"blog-{len(self.revisions) + 1}", self.source.resolve(frozen), frozen, config).id

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


def ask(address: str, port: int, path: str = "/") -> tuple[int, bytes]:
    """Status and content of one answer."""
    with contextlib.closing(http.client.HTTPConnection(address, port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
