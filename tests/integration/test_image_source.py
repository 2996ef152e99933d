"""The source `image` on a real engine: each verb, its repetition, and what it says when it cannot."""

from __future__ import annotations

import pytest

from controller.errors import ForeignRevision, InvalidSplit, RevisionNotFound, SplitNotFound, VerbFailed
from tests.harness import BUSYBOX, PrivateRegistry, World
from tests.integration.backends import free_port
from tests.integration.deploys import Deploys, page


def test_a_revision_from_its_image_to_its_end(deploys: Deploys, world: World, registry: PrivateRegistry) -> None:
    """D7, D8, R9: each verb returns when its effect is there; repeated, it leaves the same world and says so."""
    reference, digest = registry.push(world.engine, "shop:1")
    first = deploys.declare(reference, replicas=2)
    assert deploys.revisions[first].image_digest == digest

    assert deploys.source.stage(deploys.read(), first).changed
    assert deploys.client.inspect_image(f"{reference.rpartition(':')[0]}@{digest}")
    before = deploys.snapshot()
    assert not deploys.source.stage(deploys.read(), first).changed
    assert deploys.snapshot() == before

    warmed = deploys.source.warm(deploys.read(), first)
    assert warmed.changed
    assert deploys.states() == {"shop-1-1": "running", "shop-1-2": "running"}
    for name in ("shop-1-1", "shop-1-2"):
        address = deploys.inspected(name)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        assert b"busybox:local" in page(address, 8080)
        assert warmed.checks[f"{deploys.prefix}-{name}"] == f"answers at {address} port 8080"
    before = deploys.snapshot()
    assert not deploys.source.warm(deploys.read(), first).changed
    assert deploys.snapshot() == before
    rows = deploys.rows()
    assert sorted(rows) == [f"shop:{deploys.prefix}-shop-1-{number}" for number in (1, 2)]
    assert {(row.stage_id, row.image_tag, row.revision) for row in rows.values()} == {(first, reference, first)}

    assert deploys.source.drain(deploys.read(), first).changed
    assert set(deploys.states().values()) == {"exited"}
    before = deploys.snapshot()
    assert not deploys.source.drain(deploys.read(), first).changed
    assert deploys.snapshot() == before

    assert deploys.source.archive(deploys.read(), first).changed
    assert deploys.states() == {}
    assert deploys.rows() == {}
    before = deploys.snapshot()
    assert not deploys.source.archive(deploys.read(), first).changed
    assert deploys.snapshot() == before


def test_a_container_has_all_that_was_declared(deploys: Deploys, world: World) -> None:
    """S1, D8: environment, limits, labels, health check, volume, restart policy, published port, network."""
    network = f"{world.prefix}-net"
    deploys.client.create_network(network, labels={"made": "by a test"})
    try:
        deploys.up(
            BUSYBOX,
            env={"GREETING": "hello = world", "EMPTY": ""},
            labels={"team": "blue", f"{deploys.prefix}.revision": "a lie"},
            healthcheck={"test": "wget -q -O - http://127.0.0.1:8080/", "interval": "200ms", "timeout": "5s"},
            cpus=0.5,
            memory="64m",
            networks=[network],
            volumes=[{"name": f"{world.prefix}-data", "target": "/data"}],
            publish_address="127.0.0.1",
        )
        seen = deploys.inspected("shop-1-1")
        assert {"GREETING=hello = world", "EMPTY="} <= set(seen["Config"]["Env"])
        assert seen["Config"]["Labels"]["team"] == "blue"
        ours = {name: seen["Config"]["Labels"][f"{deploys.prefix}.{name}"] for name in ("revision", "role")}
        assert ours == {"revision": "shop-r1", "role": "1-1"}
        assert seen["Config"]["Labels"][f"{deploys.prefix}.workload.kind"] == "project"
        assert seen["Config"]["Healthcheck"]["Interval"] == 200_000_000
        assert seen["State"]["Health"]["Status"] == "healthy"
        assert (seen["HostConfig"]["NanoCpus"], seen["HostConfig"]["Memory"]) == (500_000_000, 64 * 1024**2)
        assert seen["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert list(seen["NetworkSettings"]["Networks"]) == [network]
        (mounted,) = seen["Mounts"]
        assert (mounted["Name"], mounted["Destination"]) == (f"{world.prefix}-data", "/data")
        deploys.weigh(("shop-r1", 10_000))
        (block,) = deploys.source.report_runtime_config(deploys.read()).blocks
        (target,) = block["targets"]
        assert target["address"] == "127.0.0.1"
        assert b"busybox:local" in page("127.0.0.1", target["port"])
    finally:
        deploys.source.archive(deploys.read(), "shop-r1")
        deploys.client.remove_network(network)
        deploys.client.remove_volume(f"{world.prefix}-data", force=True)


def test_strangers_are_refused_before_the_engine_is_asked(deploys: Deploys) -> None:
    """D2, D3, D4: typed errors, and not one request."""
    first = deploys.declare(BUSYBOX, "sha256:" + "0" * 64)
    other = deploys.revisions[first]
    deploys.requests.clear()
    for verb in (deploys.source.stage, deploys.source.warm, deploys.source.drain, deploys.source.archive):
        with pytest.raises(RevisionNotFound):
            verb(deploys.read(), "nobody")
    with pytest.raises(SplitNotFound):
        deploys.source.apply_traffic_split(deploys.read())
    deploys.weigh((first, 9_999))
    with pytest.raises(InvalidSplit):
        deploys.source.apply_traffic_split(deploys.read())
    deploys.weigh((first, 5_000), ("stranger", 5_000))
    with pytest.raises(ForeignRevision):
        deploys.source.apply_traffic_split(deploys.read())
    assert deploys.requests == []
    assert deploys.enforced == []
    assert deploys.revisions[first] == other


def test_a_split_is_handed_to_the_routers(
    deploys: Deploys, world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """D5, D6: exactly its entries, in order, zero weights kept; repeated it changes nothing."""
    one, two = deploys.up(BUSYBOX, replicas=2), deploys.up(BUSYBOX, publish_address="127.0.0.1")
    deploys.weigh((two, 10_000), (one, 0))
    applied = deploys.source.apply_traffic_split(deploys.read())
    assert (applied.workload_id, applied.changed) == ("shop", True)
    assert [(each.revision_id, each.weight) for each in applied.entries] == [(two, 10_000), (one, 0)]
    assert not deploys.source.apply_traffic_split(deploys.read()).changed
    runtime = deploys.enforced[-1]
    assert runtime == deploys.source.report_runtime_config(deploys.read())
    assert [(each["revision_id"], each["weight"]) for each in runtime.blocks] == [(two, 10_000), (one, 0)]
    addresses = [deploys.inspected(f"shop-1-{number}")["NetworkSettings"]["IPAddress"] for number in (1, 2)]
    assert runtime.blocks[1]["targets"] == [{"address": each, "port": 8080} for each in addresses]
    other = Deploys(world, f"sqlite:///{tmp_path_factory.mktemp('other')}/other.db", "blog")
    try:
        states = deploys.states()
        other.up(BUSYBOX)
        other.weigh(("blog-r1", 10_000))
        other.source.apply_traffic_split(other.read())
        other.source.archive(other.read(), "blog-r1")
        assert deploys.states() == states
        assert deploys.source.report_runtime_config(deploys.read()) == runtime
    finally:
        other.close()


def test_recreate_stops_the_old_one_first_and_brings_it_back(deploys: Deploys) -> None:
    """S1, D8: both want the same published port; a new one that fails gives it back."""
    fixed = {"strategy": "recreate", "publish_address": "127.0.0.1", "publish_port": free_port()}
    old = deploys.up(BUSYBOX, **fixed)
    bad = deploys.declare(BUSYBOX, **{**fixed, "command": ["false"]})
    with pytest.raises(VerbFailed, match="exited with 1"):
        deploys.source.warm(deploys.read(), bad)
    assert deploys.states() == {"shop-1-1": "running", "shop-2-1": "exited"}
    deploys.up(BUSYBOX, **fixed)
    assert deploys.states() == {"shop-1-1": "exited", "shop-2-1": "exited", "shop-3-1": "running"}
    assert not deploys.source.drain(deploys.read(), old).changed
