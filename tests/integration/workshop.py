"""Workloads of source `image`, declared and deployed by the command line on a real engine; all removed afterwards."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docker.errors import NotFound

from tests.harness import BUSYBOX, World
from tests.integration.console import Console, Controller, Finished, Tallyd, settings_of
from tests.keys import key_file

TOKEN = "0123456789abcdef0123"
AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}


class Workshop:
    """A `tallyd` with keys for secrets and a folder whose contents may be mounted."""

    def __init__(self, console: Console, world: World, database_url: str, folder: Path) -> None:
        self.world = world
        self.prefix = world.prefix
        self.client = world.engine.client()
        self.folder = folder
        self.keys = key_file(folder)
        self.root = folder / "mountable"
        self.root.mkdir()
        self.runtime = folder / "runtime" / "runtime.json"
        self.runtime.parent.mkdir()
        settings = settings_of(
            world.engine.endpoint,
            database_url,
            folder,
            TALLYD_LABEL_PREFIX=world.prefix,
            TALLYD_API_TOKEN=TOKEN,
            TALLYD_SECRETS_KEY_FILE=str(self.keys),
            TALLYD_VOLUME_ROOTS=str(self.root),
            TALLYD_RUNTIME_CONFIG=str(self.runtime),
        )
        self.tallyd = Tallyd(console, folder, settings)
        self.tallyd.tick()

    def close(self) -> None:
        """Take containers and volumes away."""
        for each in self.containers():
            self.client.remove_container(each["Id"], force=True, v=True)
        for name in self.volumes():
            self.client.remove_volume(name)
        self.client.close()

    def declare(self, workload_id: str = "shop", *, parent: str | None = None, **options: Any) -> None:
        """Declare a workload that serves, unless another command is given."""
        config = {
            "image": BUSYBOX,
            "command": ["httpd", "-f", "-p", "8080", "-h", "/www"],
            "port": 8080,
            "drain_seconds": 0,
            "stop_grace_seconds": 1,
            "start_timeout_seconds": 20,
            **options,
        }
        self.tallyd.apply(
            {
                "id": workload_id,
                "kind": "project",
                "source": {"kind": "image", "config": config},
                "trigger": {"kind": "manual"},
                "parent": parent,
                "public_faces": [{"host": f"{workload_id}.example"}],
            }
        )

    def deploy(self, workload_id: str = "shop", exit_code: int = 0) -> Finished:
        """Deploy what is declared."""
        return self.tallyd("deploy", workload_id).expect(exit_code)

    def states(self, workload_id: str = "shop") -> dict[str, str]:
        """Revision → state."""
        listed = self.tallyd.ok("revision", "list", workload_id, "-o", "json").json
        return {each["id"]: each["state"] for each in listed}

    def containers(self, workload_id: str | None = None) -> list[dict[str, Any]]:
        """Its containers, in any state; those of all workloads where none is given."""
        label = f"{self.prefix}.workload.id" + (f"={workload_id}" if workload_id else "")
        return list(self.client.containers(all=True, filters={"label": label}))

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a container, by its name without the prefix; empty where there is none."""
        try:
            seen = self.client.inspect_container(f"{self.prefix}-{name}")
        except NotFound:
            return {}
        return dict(each.split("=", 1) for each in seen["Config"]["Env"])

    def labels(self, name: str) -> Mapping[str, str]:
        """The labels of a container, by its name without the prefix."""
        found: Mapping[str, str] = self.client.inspect_container(f"{self.prefix}-{name}")["Config"]["Labels"]
        return found

    def volumes(self) -> list[str]:
        """The volumes that carry our label, or whose name begins with the prefix."""
        found = self.client.volumes()["Volumes"] or []
        ours = f"{self.prefix}.workload.id"
        return sorted(
            each["Name"] for each in found if each["Name"].startswith(self.prefix) or ours in (each["Labels"] or {})
        )

    def routed(self) -> list[str]:
        """The workloads that routers are told of."""
        with contextlib.suppress(FileNotFoundError):
            return [each["id"] for each in json.loads(self.runtime.read_text())["workloads"]]
        return []


@contextlib.contextmanager
def opened_workshop(world: World, database_url: str, folder: Path) -> Iterator[Workshop]:
    """A workshop, and its end."""
    with (
        contextlib.closing(Console()) as console,
        contextlib.closing(Workshop(console, world, database_url, folder)) as made,
    ):
        yield made


def every_answer(controller: Controller) -> dict[str, str]:
    """The body of every GET that the running controller offers and that takes no more than a workload's id."""
    paths = controller.get("/api/openapi.json").json["paths"]
    asked = [path for path, verbs in paths.items() if "get" in verbs]
    told = {}
    for path in [*asked, "/api/openapi.json"]:
        where = path.replace("{workload_id}", "shop").replace("{revision_id}", "shop-1")
        if "stream" in where or "{" in where:
            continue
        told[where] = controller.request("GET", where, headers=AUTHORISED).body.decode()
    return told
