"""A workload of source `compose` on a real engine with the real Compose, its revisions and its verbs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller.plugins.contract import Workload, WorkloadKind
from controller.plugins.sources.compose import ComposeSource
from tests.harness import World
from tests.harness.components import require
from tests.integration.acted import Acted

PROJECT_LABEL = "com.docker.compose.project"
OPTIONS: Mapping[str, Any] = {"start_timeout_seconds": 60, "drain_seconds": 0, "stop_grace_seconds": 1}
WEB: Mapping[str, Any] = {
    "image": "busybox:local",
    "command": ["httpd", "-f", "-p", "8080", "-h", "/www"],
    "stop_signal": "SIGKILL",
}
DB: Mapping[str, Any] = {"image": "busybox:local", "command": ["sleep", "86400"], "stop_signal": "SIGKILL"}


class Stack(Acted):
    """One workload with its revisions; its whole project is removed by `close`."""

    source: ComposeSource

    def __init__(
        self,
        world: World,
        database_url: str,
        workload_id: str = "shop",
        manifests: Path | None = None,
        own: frozenset[str] = frozenset(),
    ) -> None:
        require("compose")
        ref = f"{world.prefix}-{workload_id}"
        workload = Workload(workload_id, workload_id, WorkloadKind.STACK, ref, source_kind="compose")
        super().__init__(world, database_url, workload, f"{PROJECT_LABEL}={ref}", own=own)
        self.source = ComposeSource()
        self.source.equip(self.tools(manifests=manifests))

    def remove_more(self) -> None:
        """Networks and volumes."""
        for each in self.client.networks(filters={"label": self.label}):
            self.client.remove_network(each["Id"])
        for each in self.client.volumes(filters={"label": self.label})["Volumes"] or ():
            self.client.remove_volume(each["Name"])

    def declare(self, state: str = "inactive", **options: Any) -> str:
        """Make the next revision, as a deploy does; returns its id. It becomes what is declared."""
        config = {**OPTIONS, **options}
        frozen = self.source.freeze(config)
        name = f"{self.workload.id}-r{len(self.revisions) + 1}"
        made = self.made(name, self.source.resolve(frozen), dict(frozen), config)
        self.move(made.id, state)
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
