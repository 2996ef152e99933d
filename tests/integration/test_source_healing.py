"""The sources `compose` and `static` under a real `tallyd run`: what is brought back, what is left alone (S5)."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.harness import NGINX, World, wait_until
from tests.harness.components import require
from tests.harness.images import import_images
from tests.integration.console import Console, Tallyd, settings_of
from tests.keys import key_file

WAIT: Mapping[str, Any] = {"image": "busybox:local", "command": ["sleep", "86400"], "stop_signal": "SIGKILL"}
QUICK: Mapping[str, Any] = {"drain_seconds": 0, "stop_grace_seconds": 0}


class Ground:
    """A `tallyd` with a tick a second, and the containers that it made."""

    def __init__(self, tallyd: Tallyd, world: World) -> None:
        self.tallyd, self.world, self.client = tallyd, world, world.client

    def deploy(self, kind: str, source: str, **config: Any) -> None:
        """Declare `shop` and deploy it."""
        declared = {"kind": source, "config": {**QUICK, **config}}
        self.tallyd.apply({"id": "shop", "kind": kind, "source": declared, "trigger": {"kind": "manual"}})
        self.tallyd.ok("deploy", "shop")

    def project(self, **services: Mapping[str, Any]) -> None:
        """Deploy a Compose project."""
        inline = {"services": {name: {**WAIT, "network_mode": "none", **each} for name, each in services.items()}}
        self.deploy("stack", "compose", inline=inline)

    def listed(self) -> list[dict[str, Any]]:
        """Our containers, in any state, by name."""
        found = self.client.containers(all=True)
        mine = [each for each in found if any(self.world.prefix in name for name in each["Names"] or ())]
        return sorted(mine, key=lambda each: str(each["Names"]))

    def one(self, part: str) -> dict[str, Any]:
        """The container whose name has this part; empty where there is none."""
        return next((each for each in self.listed() if part in each["Names"][0]), {})

    def state(self, part: str) -> str:
        """Its state; empty where it is gone."""
        return str(self.one(part).get("State", ""))

    def kill_process(self, part: str) -> str:
        """SIGKILL its process; returns when it was started."""
        seen = self.client.inspect_container(self.one(part)["Id"])["State"]
        os.kill(int(seen["Pid"]), signal.SIGKILL)
        return str(seen["StartedAt"])

    def is_back(self, part: str, before: str) -> bool:
        """Whether it runs, started later than that."""
        seen = self.one(part)
        if seen.get("State") != "running":
            return False
        return bool(self.client.inspect_container(seen["Id"])["State"]["StartedAt"] != before)

    def answers(self, result: str) -> None:
        """Tick until the source has this answer: a tick does not wait for one that takes long."""
        wait_until(lambda: self.told("tick")["plugins"] == {result: 1}, 60, f"the source says {result}")

    def told(self, *arguments: str) -> Any:
        """What a command answers."""
        return self.tallyd.ok(*arguments, "-o", "json").json


@pytest.fixture
def ground(world: World, sqlite_url: str, tmp_path: Path) -> Iterator[Ground]:
    """Nothing is deployed yet."""
    settings = settings_of(world.engine.endpoint, sqlite_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    settings |= {"TALLYD_INTERVAL_SECONDS": "1", "TALLYD_HEALING_BACKOFF_SECONDS": "0"}
    settings |= {"TALLYD_HEALING_ATTEMPTS": "2", "TALLYD_SITES": str(tmp_path / "sites")}
    settings |= {"TALLYD_SECRETS_KEY_FILE": str(key_file(tmp_path)), "TALLYD_VOLUME_ROOTS": str(tmp_path)}
    with contextlib.closing(Console()) as console:
        made = Ground(Tallyd(console, tmp_path, settings), world)
        made.tallyd.tick()
        try:
            yield made
        finally:
            for each in made.listed():
                made.client.remove_container(each["Id"], force=True, v=True)


def _project(ground: Ground, _folder: Path) -> str:
    require("compose")
    ground.project(web={}, db={})
    return "web"


def _site(ground: Ground, folder: Path) -> str:
    import_images(ground.client, [NGINX])
    (folder / "content").mkdir()
    (folder / "content" / "index.html").write_text("one")
    ground.deploy("site", "static", directory=str(folder / "content"), image=NGINX, port=8080)
    return "-site-"


@pytest.mark.parametrize("deploy", [_project, _site])
def test_killed_is_back_and_stopped_is_held(
    ground: Ground, tmp_path: Path, deploy: Callable[[Ground, Path], str]
) -> None:
    """S5: a killed process is back; what a person stops is held, and nothing else is; released, it is back."""
    part = deploy(ground, tmp_path)
    with ground.tallyd.running() as controller:
        controller.wait_ready().wait_for_metric("tallyd_event_stream_connected", 1)
        before = ground.kill_process(part)
        wait_until(lambda: ground.is_back(part, before), 60, "it is back")
        ground.world.stop(ground.one(part)["Id"])
        (held,) = wait_until(lambda: ground.told("holds"), 60, "it is held")
        assert (held["author"], f"/{held['slot']}") == ("engine", ground.one(part)["Names"][0])
        if part == "web":
            before = ground.kill_process("db")
            wait_until(lambda: ground.is_back("db", before), 60, "the other one is not held")
        assert ground.state(part) == "exited"
        assert f"held: {held['slot']}" in ground.tallyd.ok("why", "shop").stdout
        ground.tallyd.ok("release", "shop")
        wait_until(lambda: ground.state(part) == "running", 60, "it is back after the release")


@pytest.mark.parametrize("deploy", [_project, _site])
def test_what_goes_again_and_again_is_not_healed_for_ever(
    ground: Ground, tmp_path: Path, deploy: Callable[[Ground, Path], str]
) -> None:
    """S5: with two attempts in the window, the third time it stays away; whoever is well is not asked for."""
    part = deploy(ground, tmp_path)
    with ground.tallyd.running() as controller:
        controller.wait_ready().wait_for_metric("tallyd_event_stream_connected", 1)
        for _ in range(2):
            gone = ground.one(part)["Id"]
            ground.world.rm(gone)
            wait_until(lambda gone=gone: ground.one(part).get("Id") not in (None, gone), 60, "it is made anew")
            wait_until(lambda: ground.state(part) == "running", 60, "it runs")
        ground.world.rm(ground.one(part)["Id"])
        controller.wait_for_metric('tallyd_healings_total{result="exhausted"}', 1, 60)
        assert ground.state(part) == ""
    assert [each["reason"] for each in ground.told("events", "--kind", "healing")] == [
        "attempted",
        "attempted",
        "exhausted",
    ]


def test_a_new_secret_is_drift_until_it_is_deployed(ground: Ground) -> None:
    """S4, S3: the revision knows the generation of its secrets; a deploy brings the new value into the container."""
    require("compose")
    inline = {"services": {"web": {**WAIT, "network_mode": "none", "environment": {"PW": "is ${PASSWORD}"}}}}
    config = {"inline": inline, "env": {"PASSWORD": {"secret": "pw"}}}
    declared = {"kind": "compose", "config": {**QUICK, **config}}
    ground.tallyd.apply({"id": "shop", "kind": "stack", "source": declared, "trigger": {"kind": "manual"}})
    ground.tallyd("secrets", "set", "shop", "pw", stdin="canary-first\n").expect(0)
    first = ground.told("deploy", "shop")["revision_id"]
    ground.answers("in_sync")
    ground.tallyd("secrets", "set", "shop", "pw", stdin="canary-second\n").expect(0)
    ground.answers("drift")
    assert ground.told("deploy", "shop")["revision_id"] != first
    seen = ground.client.inspect_container(ground.one("web")["Id"])["Config"]
    assert "PW=is canary-second" in seen["Env"]
    assert seen["Labels"][f"{ground.world.prefix}.secret-variables"] == "PW"
    ground.answers("in_sync")
