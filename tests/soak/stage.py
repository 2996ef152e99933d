"""What the soak happens to: an engine, a registry, a folder of declared files, and a `tallyd run` over them."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.harness import BUSYBOX, NGINX, PrivateEngine, PrivateRegistry
from tests.harness.images import import_images
from tests.integration.backends import free_port
from tests.integration.console import Console, Controller, Tallyd, settings_of

PREFIX = "soak"
REPLICAS = {"web": 4, "api": 4}
ATTEMPTS = 5
WINDOW_SECONDS = 60
_PROJECT = {
    "directory": "stack",
    "files": ["compose.yaml"],
    "drain_seconds": 0,
    "stop_grace_seconds": 0,
    "start_timeout_seconds": 20,
}
_WAIT = ["sh", "-c", "exec sleep 86400"]


class Stage:
    """All of it. `start` begins, `close` takes all away; in between it is changed as people would change it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tallyd-soak-")))
        self.engine = PrivateEngine()
        self.registry = PrivateRegistry(self._made("registry"))
        self.port = free_port()
        self.versions = {"web": 0, "stack": 0, "site": 0}
        self.tallyd: Tallyd
        self.controller: Controller
        self.began_at = 0.0

    def start(self) -> None:
        """Declare everything, deploy it, and start the controller."""
        self._stack.callback(self.engine.stop)
        self.engine.start()
        self.client = self.engine.client()
        self._stack.callback(self.client.close)
        import_images(self.client, [NGINX])
        self._stack.callback(self.registry.stop)
        self.registry.start()
        for name in self.versions:
            self.renew(name)
        self._declare()
        console = self._stack.enter_context(contextlib.closing(Console()))
        self.tallyd = Tallyd(console, self.folder, self._settings())
        self.controller = self._run()
        for name in ("web", "api", "stack", "site"):
            self.tallyd.ok("deploy", name, "--wait")

    def close(self) -> None:
        """Stop and remove all."""
        self._stack.close()

    def restart_controller(self) -> None:
        """What a machine does that lost its power: kill -9, and start again."""
        self.controller.kill()
        self.controller = self._run()

    def renew(self, name: str) -> int:
        """The next version of a workload: a pushed image, an edited Compose file, or another page."""
        version = self.versions[name] = self.versions[name] + 1
        if name == "web":
            self._push(version)
        elif name == "stack":
            self._write("stack/compose.yaml", _stack(version))
        else:
            self._write("site/index.html", f"version {version}\n")
        return version

    def containers(self, workload_id: str | None = None) -> list[dict[str, Any]]:
        """What is really there, of one workload or of all."""
        found: list[dict[str, Any]] = self.client.containers(all=True)
        return [each for each in found if workload_id in (None, owner_of(each))]

    def _push(self, version: int) -> None:
        recipe = f"FROM {BUSYBOX}\nLABEL version={version}\n".encode()
        said = list(self.client.build(fileobj=io.BytesIO(recipe), tag="web:next", rm=True, decode=True))
        assert not any("error" in each for each in said), said
        self.registry.push(self.engine, "web:stable", "web:next")

    def _declare(self) -> None:
        workloads = [
            _image("web", f"{self.registry.address}/web:stable", {"kind": "registry", "config": {"poll_seconds": 3}}),
            _image("api", BUSYBOX, {"kind": "manual"}),
            {
                "id": "stack",
                "kind": "stack",
                "source": {"kind": "compose", "config": _PROJECT},
                "trigger": {"kind": "manual"},
            },
            {
                "id": "site",
                "kind": "site",
                "ref": "site",
                "source": {"kind": "static", "config": self._site()},
                "trigger": {"kind": "manual"},
            },
        ]
        self._write("soak.yaml", yaml.safe_dump({"workloads": workloads}))

    def _site(self) -> dict[str, Any]:
        return {
            "directory": "site",
            "image": NGINX,
            "publish_address": "127.0.0.1",
            "publish_port": self.port,
        }

    def _settings(self) -> dict[str, str]:
        return settings_of(
            self.engine.endpoint,
            f"sqlite:///{self.folder / 'tallyd.db'}",
            self.folder,
            TALLYD_LABEL_PREFIX=PREFIX,
            TALLYD_INTERVAL_SECONDS="2",
            TALLYD_MANIFESTS=str(self.folder / "declared"),
            TALLYD_HEALING_ATTEMPTS=str(ATTEMPTS),
            TALLYD_HEALING_WINDOW_SECONDS=str(WINDOW_SECONDS),
            TALLYD_HEALING_BACKOFF_SECONDS="1",
            TALLYD_SITES=str(self._made("sites")),
        )

    def _run(self) -> Controller:
        running = self._stack.enter_context(self.tallyd.running(executed=True))
        return running.wait_ready()

    def _write(self, name: str, text: str) -> None:
        path = self._made("declared") / name
        path.parent.mkdir(exist_ok=True)
        beside = path.with_suffix(".new")
        beside.write_text(text)
        beside.rename(path)

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder


def owner_of(container: dict[str, Any]) -> str:
    """The workload that a container of the soak belongs to; empty for none."""
    labels = container["Labels"]
    project = str(labels.get("com.docker.compose.project", "")).removeprefix(f"{PREFIX}-")
    return str(labels.get(f"{PREFIX}.workload.id") or labels.get(f"{PREFIX}.static-site") or project)


def _image(name: str, image: str, trigger: dict[str, Any]) -> dict[str, Any]:
    config = {
        "image": image,
        "command": _WAIT,
        "replicas": REPLICAS[name],
        "restart": "no",
        "drain_seconds": 0,
        "stop_grace_seconds": 0,
    }
    return {"id": name, "kind": "project", "source": {"kind": "image", "config": config}, "trigger": trigger}


def _stack(version: int) -> str:
    service = {"image": BUSYBOX, "command": _WAIT, "environment": {"VERSION": str(version)}, "stop_signal": "SIGKILL"}
    return json.dumps({"version": "3", "services": {"queue": service, "worker": service}})
