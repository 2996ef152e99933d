"""The source `image` on a real engine and a real registry, when something is in the way: what it says, and leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.errors import VerbFailed
from controller.plugins.contract import Result
from tests.harness import BUSYBOX, PrivateRegistry, World
from tests.integration.backends import free_port
from tests.integration.deploys import Deploys


def test_an_image_that_the_registry_does_not_have(deploys: Deploys, world: World, registry: PrivateRegistry) -> None:
    """D4, D8: said by name, with what to look at; and by a registry that is down, another thing."""
    reference, digest = registry.push(world.engine, "shop:1")
    unknown = deploys.declare(f"{registry.address}/nothing:1", "sha256:" + "0" * 64)
    with pytest.raises(VerbFailed, match="the registry has no such image") as missing:
        deploys.source.stage(deploys.read(), unknown)
    assert f"{registry.address}/nothing@sha256:000" in str(missing.value)
    assert "ImageUnavailable" in missing.value.checks["engine"]
    with pytest.raises(VerbFailed, match="the registry has no such image"):
        deploys.source.resolve({"image": f"{registry.address}/shop:2", "port": 80})
    with pytest.raises(VerbFailed, match=r"is not on the engine; stage brings it"):
        deploys.source.warm(deploys.read(), unknown)

    registry.stop()
    known = deploys.declare(reference, digest)
    with pytest.raises(VerbFailed, match="does not reach the registry; is it up"):
        deploys.source.stage(deploys.read(), known)
    with pytest.raises(VerbFailed, match="does not reach the registry; is it up"):
        deploys.source.resolve(deploys.revisions[known].config)
    registry.start()
    assert deploys.source.stage(deploys.read(), known).changed
    assert deploys.states() == {}


@pytest.mark.parametrize("registry", [True], indirect=True, ids=["protected"])
def test_credentials(deploys: Deploys, world: World, registry: PrivateRegistry, tmp_path: Path) -> None:
    """D4, D8: none or wrong ones are told without being shown; right ones work."""
    reference, digest = registry.push(world.engine, "shop:1")
    right = registry.docker_config(tmp_path / "right.json")
    wrong = registry.docker_config(tmp_path / "wrong.json", "not-the-password")
    for options in ({}, {"credentials_file": str(wrong)}):
        revision = deploys.declare(reference, digest, **options)
        with pytest.raises(VerbFailed, match="wants other credentials; see credentials_file") as refused:
            deploys.source.stage(deploys.read(), revision)
        assert "not-the-password" not in str(refused.value) + str(refused.value.checks)
        with pytest.raises(VerbFailed, match="wants other credentials"):
            deploys.source.resolve(deploys.revisions[revision].config)
    revision = deploys.declare(reference, credentials_file=str(right))
    assert deploys.revisions[revision].image_digest == digest
    assert deploys.source.stage(deploys.read(), revision).changed


@pytest.mark.parametrize("restart", ["no", "always"])
def test_a_container_that_ends_at_once(deploys: Deploys, restart: str) -> None:
    """D4, D8: fails without waiting for the time-out, with exit code and last lines; it does not run on."""
    script = ["sh", "-c", "echo cannot find the configuration; exit 3"]
    options = {"command": script, "restart": restart, "start_timeout_seconds": 3600}
    revision = deploys.declare(BUSYBOX, **options)
    deploys.source.stage(deploys.read(), revision)
    with pytest.raises(VerbFailed, match="exited with 3") as failed:
        deploys.source.warm(deploys.read(), revision)
    assert "cannot find the configuration" in failed.value.checks[f"{deploys.prefix}-shop-1-1"]
    assert deploys.states() == {"shop-1-1": "exited"}


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"command": ["sleep", "1000"]}, "does not answer on port 8080"),
        ({"healthcheck": {"test": "exit 1", "interval": "200ms", "retries": 1}}, "its health check says unhealthy"),
    ],
    ids=["port", "health"],
)
def test_one_that_never_gets_ready_leaves_the_old_one_alone(
    deploys: Deploys, options: dict[str, object], seen: str
) -> None:
    """D4, D8, S1: it fails when its time is over, is stopped, and whoever served goes on."""
    old = deploys.up(BUSYBOX)
    untouched = deploys.inspected("shop-1-1")["State"]["StartedAt"]
    new = deploys.declare(BUSYBOX, start_timeout_seconds=2, **options)
    with pytest.raises(VerbFailed, match="did not get ready within 2 s") as failed:
        deploys.source.warm(deploys.read(), new)
    assert seen in failed.value.checks[f"{deploys.prefix}-shop-2-1"]
    assert deploys.states() == {"shop-1-1": "running", "shop-2-1": "exited"}
    assert deploys.inspected("shop-1-1")["State"]["StartedAt"] == untouched
    assert not deploys.source.warm(deploys.read(), old).changed


def test_a_port_that_is_taken_and_a_network_that_is_not_there(deploys: Deploys, world: World) -> None:
    """D4: told in the engine's words; nothing is left behind."""
    port = free_port()
    world.run(published={(80, "tcp"): port})
    clash = deploys.declare(BUSYBOX, strategy="recreate", publish_address="127.0.0.1", publish_port=port)
    with pytest.raises(VerbFailed, match=r"(?i)port is already allocated|address already in use"):
        deploys.source.warm(deploys.read(), clash)
    lost = deploys.declare(BUSYBOX, networks=["no-such-network"])
    with pytest.raises(VerbFailed, match="no-such-network"):
        deploys.source.warm(deploys.read(), lost)
    assert deploys.states() == {}


def test_a_name_that_a_stranger_has(deploys: Deploys, world: World) -> None:
    """D4: a container that carries no spec of ours is neither taken over nor removed, whatever its labels."""
    labels = {f"{deploys.prefix}.workload.id": "shop", f"{deploys.prefix}.revision": "shop-r1"}
    stranger = world.run(f"{deploys.prefix}-shop-1-1", labels)
    first = deploys.declare(BUSYBOX)
    with pytest.raises(VerbFailed, match="is already in use"):
        deploys.source.warm(deploys.read(), first)
    deploys.source.drain(deploys.read(), first)
    deploys.source.archive(deploys.read(), first)
    assert world.state(stranger) == "running"


def test_a_free_port_needs_a_row(deploys: Deploys) -> None:
    """D4: what cannot be told to a router is refused before anything is made."""
    first = deploys.declare(BUSYBOX, publish_address="127.0.0.1")
    deploys.weigh((first, 10_000))
    with pytest.raises(VerbFailed, match="has no address yet; warm it first"):
        deploys.source.apply_traffic_split(deploys.read())
    assert deploys.enforced == []
    assert deploys.reconcile().result is Result.IN_SYNC
