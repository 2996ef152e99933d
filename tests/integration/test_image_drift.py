"""The source `image` looks after what serves: drift is repaired, and an unchanged world is not touched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.engine.endpoint import endpoint_from
from controller.engine.own import ids_told, own_ids
from controller.engine.verbs import EngineVerbs
from controller.errors import OwnContainer, VerbFailed
from controller.plugins.contract import Deployment, Result, Retry
from controller.rollout.chain import Course
from controller.rollout.turns import turn_held
from controller.rollout.walker import Walk
from store.turns import find_turn
from tests.harness import BUSYBOX, World, wait_until
from tests.integration.deploys import Deploys, writes
from tests.unit.rollouts import MemoryLedger

WRITES = {"create", "start", "stop", "remove", "pull", "connect"}


def test_an_unchanged_world_is_not_written_to(deploys: Deploys, world: World) -> None:
    """S3: three calls, no event of the engine, no request that writes."""
    deploys.up(BUSYBOX, replicas=2, cpus=0.25, memory="32m", env={"A": "b"}, publish_address="127.0.0.1")
    rows = deploys.rows()
    deploys.requests.clear()
    since = time.time()
    for _ in range(3):
        assert deploys.reconcile().result is Result.IN_SYNC
    assert writes(world.engine, since, time.time()) == []
    assert deploys.requests
    assert not set(deploys.requests) & WRITES
    assert deploys.rows() == rows


def test_drift_is_left_alone_while_somebody_deploys(deploys: Deploys, world: World) -> None:
    """S3, L2: in whatever process; it is repaired once that is over, and no turn is left behind."""
    deploys.up(BUSYBOX)
    _stop(deploys)
    since = time.time()
    with (
        turn_held(deploys.database, "shop", "cli:ann deploys shop-r2"),
        pytest.raises(Retry, match="left alone while cli:ann deploys shop-r2"),
    ):
        deploys.reconcile()
    assert writes(world.engine, since, time.time()) == []
    assert deploys.reconcile().result is Result.REPAIRED
    assert find_turn(deploys.database, "shop") is None


def _remove(deploys: Deploys) -> None:
    deploys.client.remove_container(f"{deploys.prefix}-shop-1-1", force=True)


def _stop(deploys: Deploys) -> None:
    deploys.client.stop(f"{deploys.prefix}-shop-1-1", timeout=0)


def _another_image(deploys: Deploys) -> None:
    _made_by_hand(deploys, image="labelled:local")


def _another_environment(deploys: Deploys) -> None:
    _made_by_hand(deploys, environment={"A": "another"})


def _another_port(deploys: Deploys) -> None:
    _made_by_hand(deploys, ports=[9999])


def _another_label(deploys: Deploys) -> None:
    _made_by_hand(deploys, spec="of another time", environment={"A": "b"})


def _made_by_hand(deploys: Deploys, image: str = BUSYBOX, spec: str = "0", **options: object) -> None:
    """The first container again, as somebody or an older tallyd would have made it."""
    name = f"{deploys.prefix}-shop-1-1"
    labels = dict(deploys.client.inspect_container(name)["Config"]["Labels"])
    _remove(deploys)
    labels[f"{deploys.prefix}.spec"] = spec
    made = deploys.client.create_container(image, ["httpd", "-f", "-p", "8080"], name=name, labels=labels, **options)
    deploys.client.start(made["Id"])


def _more_memory(deploys: Deploys) -> None:
    deploys.client.update_container(f"{deploys.prefix}-shop-1-1", mem_limit="128m", memswap_limit="256m")


def _another_network(deploys: Deploys) -> None:
    network = f"{deploys.prefix}-net"
    deploys.client.disconnect_container_from_network(f"{deploys.prefix}-shop-1-1", network, force=True)


def _left_over(deploys: Deploys) -> None:
    name = f"{deploys.prefix}-shop-1-1"
    labels = dict(deploys.client.inspect_container(name)["Config"]["Labels"])
    labels[f"{deploys.prefix}.role"] = "1-7"
    deploys.client.create_container(BUSYBOX, ["true"], name=f"{deploys.prefix}-shop-1-7", labels=labels)


@pytest.fixture
def network(deploys: Deploys, world: World) -> Iterator[str]:
    """A network, removed after the containers in it."""
    name = f"{world.prefix}-net"
    deploys.client.create_network(name)
    yield name
    for each in deploys.listed():
        deploys.client.remove_container(each["Id"], force=True)
    deploys.client.remove_network(name)


@pytest.mark.parametrize(
    ("drift", "why"),
    [
        (_remove, "shop-1-1 is gone"),
        (_stop, "shop-1-1 is stopped"),
        (_another_image, "shop-1-1 is not as declared"),
        (_another_environment, "shop-1-1 is not as declared"),
        (_another_port, "shop-1-1 is not as declared"),
        (_another_label, "shop-1-1 is not as declared"),
        (_more_memory, "shop-1-1 has other limits"),
        (_another_network, "shop-1-1 is not in network"),
        (_left_over, "shop-1-7 is one too many"),
    ],
)
def test_drift_is_repaired(
    deploys: Deploys, network: str, drift: Callable[[Deploys], None], why: str, world: World
) -> None:
    """S3, R9: one call brings back what was declared, the next has nothing to do; the row follows the container."""
    world.create(image="labelled:local")
    deploys.up(BUSYBOX, replicas=2, memory="64m", env={"A": "b"}, networks=[network])
    other = deploys.inspected("shop-1-2")["State"]["StartedAt"]
    drift(deploys)
    outcome = deploys.reconcile()
    assert outcome.result is Result.REPAIRED
    assert why in outcome.message
    assert deploys.states() == {"shop-1-1": "running", "shop-1-2": "running"}
    seen = deploys.inspected("shop-1-1")
    assert "A=b" in seen["Config"]["Env"]
    assert seen["HostConfig"]["Memory"] == 64 * 1024**2
    assert list(seen["NetworkSettings"]["Networks"]) == [network]
    assert seen["Image"] == deploys.client.inspect_image(BUSYBOX)["Id"]
    assert deploys.inspected("shop-1-2")["State"]["StartedAt"] == other
    assert deploys.rows()[f"shop:{deploys.prefix}-shop-1-1"].container_id == seen["Id"]
    assert deploys.reconcile().result is Result.IN_SYNC


def test_what_is_left_to_a_deploy_or_a_person(deploys: Deploys) -> None:
    """S3: nothing deployed, a new declaration, a deploy that was cut short, a paused container: left alone."""
    deploys.declare(BUSYBOX)
    kept, deploys.revisions = deploys.revisions, {}
    assert deploys.reconcile().message == "nothing is deployed yet"
    deploys.revisions = kept
    deploys.move("shop-r1", "warming")
    assert deploys.reconcile().message.startswith("the deploy was cut short, revision 1 is warming")
    assert deploys.states() == {}
    deploys.source.warm(deploys.read(), "shop-r1")
    deploys.move("shop-r1", "ready")
    deploys.client.pause(f"{deploys.prefix}-shop-1-1")
    paused = deploys.reconcile()
    assert (paused.result, paused.message) == (Result.DRIFT, f"{deploys.prefix}-shop-1-1 is paused")
    deploys.client.unpause(f"{deploys.prefix}-shop-1-1")
    deploys.declare(BUSYBOX, env={"NEW": "yes"})
    changed = deploys.reconcile()
    assert (changed.result, changed.message) == (Result.DRIFT, "deploy the declaration")
    assert deploys.states() == {"shop-1-1": "running"}


def test_a_container_that_has_another_address(deploys: Deploys, world: World, network: str) -> None:
    """S3, D1: connected again it has another one; the row says so, and the routers follow, once."""
    deploys.up(BUSYBOX, networks=[network])
    deploys.weigh(("shop-r1", 10_000))
    deploys.source.apply_traffic_split(deploys.read())
    name, before = f"{deploys.prefix}-shop-1-1", deploys.enforced[-1]
    stranger = world.run()
    deploys.client.disconnect_container_from_network(name, network)
    deploys.client.connect_container_to_network(stranger, network)
    deploys.client.connect_container_to_network(name, network)
    outcome = deploys.reconcile()
    assert (outcome.result, outcome.message) == (Result.REPAIRED, f"{name} has another address; routers follow")
    address = deploys.inspected("shop-1-1")["NetworkSettings"]["Networks"][network]["IPAddress"]
    assert deploys.enforced[-1].blocks[0]["targets"] == [{"address": address, "port": 8080}]
    assert deploys.enforced[-1] != before
    assert deploys.reconcile().result is Result.IN_SYNC
    world.rm(stranger)


def test_an_archived_revision_leaves_nothing(deploys: Deploys) -> None:
    """S3, D8: containers that a kill left behind go by the verb."""
    deploys.up(BUSYBOX)
    deploys.up(BUSYBOX)
    deploys.move("shop-r1", "archived")
    outcome = deploys.reconcile()
    assert (outcome.result, outcome.message) == (Result.REPAIRED, "containers of archived revision 1 are removed")
    assert deploys.states() == {"shop-2-1": "running"}


def test_a_reconcile_does_not_wait_for_a_verb(deploys: Deploys) -> None:
    """S3: while a verb of the workload runs, it is asked again later."""
    first = deploys.up(BUSYBOX)
    deploys.revisions[first].config["drain_seconds"] = 1  # type: ignore[index]
    draining = threading.Thread(target=lambda: deploys.source.drain(deploys.read(), first))
    deploys.requests.clear()
    draining.start()
    try:
        wait_until(lambda: "list_labelled" in deploys.requests, 5, "the drain has its turn")
        with pytest.raises(Retry, match="a verb of this workload is under way"):
            deploys.reconcile()
    finally:
        draining.join(20)
    assert deploys.states() == {"shop-1-1": "exited"}


def test_the_controllers_own_container(world: World, sqlite_url: str, tmp_path: Path) -> None:
    """S5, D4: is found out inside a container, and no verb touches it; outside there is none."""
    own = world.run(command=["sh", "-c", "cat /proc/self/cgroup; echo; sleep 86400"])
    told = [
        world.client.exec_start(world.client.exec_create(own, ["cat", path])["Id"]).decode()
        for path in ("/proc/self/cgroup", "/proc/self/mountinfo", "/etc/hostname")
    ]
    assert own in ids_told("", told[1], "")
    assert ids_told(told[0], told[1], told[2].strip()) == {own, own[:12]}
    assert not any(world.client.containers(all=True, filters={"id": each}) for each in own_ids())

    verbs = EngineVerbs(endpoint_from({"DOCKER_HOST": world.engine.endpoint}), own={own[:12]})
    for act in (
        lambda: verbs.stop_container(own[:10], 0),
        lambda: verbs.remove_container(own),
        lambda: verbs.start_container(own),
    ):
        with pytest.raises(OwnContainer, match="is the controller's own; it is not acted on"):
            act()
    assert world.state(own) == "running"
    verbs.cancel()


def test_a_source_refuses_to_take_its_controller_away(world: World, sqlite_url: str) -> None:
    """S5, D4: also where somebody made the controller itself a workload."""
    made = Deploys(world, sqlite_url)
    guarded = None
    try:
        first = made.up(BUSYBOX)
        guarded = Deploys(world, sqlite_url, own=frozenset({made.inspected("shop-1-1")["Id"]}))
        guarded.revisions, guarded.workload = made.revisions, made.workload
        for verb in (guarded.source.drain, guarded.source.archive):
            with pytest.raises(VerbFailed, match="is the controller's own"):
                verb(guarded.read(), first)
        assert made.states() == {"shop-1-1": "running"}
    finally:
        if guarded is not None:
            guarded.client.close()
            guarded.database.close()
        made.close()


class Shop(MemoryLedger):
    """What is stored, over containers that are real."""

    deploys: Deploys

    def read(self) -> Deployment:
        """See `Ledger`."""
        self.deploys.revisions, self.deploys.split = self.revisions, self.split
        return self.deploys.read()


def test_a_whole_deploy_and_a_failed_one(deploys: Deploys) -> None:
    """D8: a chain over real containers: two good revisions, then one that fails; the second serves on."""
    deploys.declare(BUSYBOX)
    ledger = Shop(deploys.revisions)
    ledger.deploys = deploys
    assert Walk(ledger, deploys.source, "shop-r1").walk().arrived
    deploys.declare(BUSYBOX, env={"V": "2"})
    assert Walk(ledger, deploys.source, "shop-r2", Course(weights=(2_500, 10_000))).walk().arrived
    assert deploys.states() == {"shop-1-1": "exited", "shop-2-1": "running"}
    assert [
        each.blocks[-1]["weight"] for each in deploys.enforced if each.blocks[-1]["revision_id"] == "shop-r2"
    ] == [
        2_500,
        10_000,
    ]
    deploys.declare(BUSYBOX, command=["false"])
    walked = Walk(ledger, deploys.source, "shop-r3").walk()
    assert not walked.arrived
    assert "exited with 1" in walked.detail
    assert ledger.states() == {"shop-r1": "inactive", "shop-r2": "ready", "shop-r3": "failed"}
    assert deploys.states() == {"shop-1-1": "exited", "shop-2-1": "running", "shop-3-1": "exited"}
