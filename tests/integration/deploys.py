"""A workload of source `image` on a real engine, with revisions as a deploy would make them, and its verbs."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from controller.plugins.contract import Workload, WorkloadKind
from controller.plugins.sources.image import ImageSource
from tests.harness import Engine, World
from tests.integration.acted import Acted

SERVE = ["httpd", "-f", "-p", "8080", "-h", "/www"]
OPTIONS: Mapping[str, Any] = {"port": 8080, "start_timeout_seconds": 20, "drain_seconds": 0, "stop_grace_seconds": 1}


class Deploys(Acted):
    """One workload with its revisions; every container of it is removed by `close`."""

    source: ImageSource

    def __init__(
        self,
        world: World,
        database_url: str,
        workload_id: str = "shop",
        own: frozenset[str] = frozenset(),
        endpoint: str = "",
        volume_roots: Sequence[Path] = (),
    ) -> None:
        workload = Workload(workload_id, workload_id, WorkloadKind.PROJECT, f"{world.prefix}-{workload_id}")
        label = f"{world.prefix}.workload.id={workload_id}"
        super().__init__(world, database_url, workload, label, own=own, endpoint=endpoint)
        self.elsewhere = ""
        self.source = ImageSource()
        self.source.equip(self.tools(volume_roots=volume_roots, elsewhere=lambda: self.elsewhere))

    def remove_more(self) -> None:
        """Volumes."""
        for name in self.volumes():
            self.client.remove_volume(name)

    def declare(self, image: str, digest: str = "", state: str = "inactive", **options: Any) -> str:
        """Make the next revision, of an image by tag; returns its id. It becomes what is declared."""
        config = {"image": image, "command": SERVE, **OPTIONS, **options}
        digest = digest or self.source.resolve(config)[1]
        made = self.made(f"{self.workload.id}-r{len(self.revisions) + 1}", (image, digest), config, config)
        self.move(made.id, state)
        return made.id

    def up(self, image: str, **options: Any) -> str:
        """Make a revision, stage and warm it; it is ready."""
        revision_id = self.declare(image, **options)
        self.source.stage(self.read(), revision_id)
        self.source.warm(self.read(), revision_id)
        self.move(revision_id, "ready")
        return revision_id

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

    def snapshot(self) -> Any:
        """The provider's state: what a repeated verb must leave as it is."""
        images = sorted(each["Id"] for each in self.client.images())
        containers = [
            (each["Id"], each["State"], each["Labels"], self.client.inspect_container(each["Id"])["RestartCount"])
            for each in self.listed()
        ]
        return images, containers, sorted(self.rows())


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
