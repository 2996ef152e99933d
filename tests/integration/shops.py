"""A workload that is healed, on a real engine: what its containers do, and what is told of them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound

from tests.harness import BUSYBOX, World
from tests.integration.console import Console, Controller, Tallyd, settings_of

WAIT = ["sh", "-c", "echo ready to serve; exec sleep 86400"]


class Shop:
    """A workload of source `image`, deployed, and what its containers do."""

    def __init__(self, tallyd: Tallyd, world: World) -> None:
        self.tallyd = tallyd
        self.world = world
        self.client = world.engine.client()

    def deploy(self, **options: Any) -> None:
        """Declare and deploy; the engine itself restarts nothing."""
        self.declare(**options)
        self.tallyd.ok("deploy", "shop")

    def declare(self, **options: Any) -> None:
        """Declare it."""
        config = {
            "image": BUSYBOX,
            "command": WAIT,
            "drain_seconds": 0,
            "stop_grace_seconds": 1,
            "restart": "no",
            **options,
        }
        self.tallyd.apply(
            {
                "id": "shop",
                "kind": "project",
                "source": {"kind": "image", "config": config},
                "trigger": {"kind": "manual"},
            }
        )

    def name(self, number: int = 1, sequence: int = 1) -> str:
        """Name of a container."""
        return f"{self.world.prefix}-shop-{sequence}-{number}"

    def inspected(self, number: int = 1, sequence: int = 1) -> dict[str, Any]:
        """A container, or nothing."""
        found = self.client.containers(all=True, filters={"name": f"^/{self.name(number, sequence)}$"})
        try:
            return dict(self.client.inspect_container(found[0]["Id"])) if found else {}
        except NotFound:  # it went in between
            return {}

    def state(self, number: int = 1, sequence: int = 1) -> str:
        """Its state; empty where it is gone."""
        return str(self.inspected(number, sequence).get("State", {}).get("Status", ""))

    def started_at(self, number: int = 1) -> str:
        """When it was started last."""
        return str(self.inspected(number).get("State", {}).get("StartedAt", ""))

    def kill_process(self, number: int = 1) -> None:
        """SIGKILL its process, without the engine being asked."""
        os.kill(int(self.inspected(number)["State"]["Pid"]), signal.SIGKILL)

    def why(self) -> str:
        """`tallyd why`, as a person reads it."""
        return self.tallyd.ok("why", "shop").stdout

    def events(self, kind: str) -> list[dict[str, Any]]:
        """History of one kind."""
        found: list[dict[str, Any]] = self.tallyd.ok("events", "--kind", kind, "--limit", "500", "-o", "json").json
        return found

    def holds(self) -> list[dict[str, Any]]:
        """What is held."""
        found: list[dict[str, Any]] = self.tallyd.ok("holds", "-o", "json").json
        return found

    def healings(self) -> list[str]:
        """What was decided, in order."""
        return [each["reason"] for each in self.events("healing")]

    def close(self) -> None:
        """Take every container away."""
        label = f"{self.world.prefix}.workload.id=shop"
        for each in self.client.containers(all=True, filters={"label": label}):
            self.client.remove_container(each["Id"], force=True, v=True)
        self.client.close()


@pytest.fixture
def shop(world: World, sqlite_url: str, tmp_path: Path) -> Iterator[Shop]:
    """A shop that nobody has deployed yet; a tick a second."""
    with contextlib.closing(Console()) as console:
        settings = settings_of(
            world.engine.endpoint,
            sqlite_url,
            tmp_path,
            TALLYD_LABEL_PREFIX=world.prefix,
            TALLYD_INTERVAL_SECONDS="1",
            TALLYD_HEALING_BACKOFF_SECONDS="0",
        )
        made = Shop(Tallyd(console, tmp_path, settings), world)
        made.tallyd.tick()
        try:
            yield made
        finally:
            made.close()


@contextlib.contextmanager
def controlled(shop: Shop) -> Iterator[Controller]:
    """With a controller that has seen the world."""
    with shop.tallyd.running() as controller:
        controller.wait_ready()
        controller.wait_for_metric("tallyd_event_stream_connected", 1)
        yield controller
