"""`controller.plugins.sources.image_plan`: what a revision wants, and what there is to do. No engine."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from controller.labels import LabelNames
from controller.plugins.contract import (
    ContainerRow,
    ContainerSeen,
    Deployment,
    Revision,
    RevisionState,
    SplitEntry,
    TrafficSplit,
)
from controller.plugins.sources.image_plan import (
    blocks_of,
    of_revision,
    options_of,
    ours,
    pinned,
    plan_of,
    specs_of,
)
from tests.builders import HOST, assignment
from tests.unit.rollouts import SHOP

P = "tallyd"
DIGEST = f"sha256:{'1' * 64}"
LABELS = LabelNames(P)


def revision(sequence: int = 1, **options: Any) -> Revision:
    """A revision of the shop."""
    config = {"image": "reg.example:5000/shop:1", "port": 80, **options}
    return Revision(f"r{sequence}", "shop", sequence, config["image"], DIGEST, "", config)


def specs(made: Revision) -> list[Any]:
    """What it wants."""
    return specs_of(SHOP, made, options_of(made.config), P, "the-image")


def seen(spec: Any, **replaced: Any) -> ContainerSeen:
    """A container that is as its spec wants it."""
    found = ContainerSeen(
        id=f"id-{spec.name}",
        name=spec.name,
        state="running",
        labels=spec.labels,
        addresses=dict.fromkeys(spec.networks or ("bridge",), "172.17.0.2"),
        memory_bytes=spec.memory_bytes,
        nano_cpus=spec.nano_cpus,
    )
    return replace(found, **replaced)


def test_the_image_is_wanted_by_digest() -> None:
    """D8: whatever the tag says by now."""
    assert pinned(revision()) == f"reg.example:5000/shop@{DIGEST}"
    assert pinned(replace(revision(), image_ref="shop")) == f"shop@{DIGEST}"
    assert pinned(replace(revision(), image_ref="localhost:5000/shop")) == f"localhost:5000/shop@{DIGEST}"
    assert pinned(replace(revision(), image_ref=f"shop@sha256:{'2' * 64}")) == f"shop@{DIGEST}"


def test_replicas_have_names_roles_and_labels_of_their_own() -> None:
    """R10, S1: so that each gets a row; our labels cannot be declared away."""
    one, two = specs(revision(3, replicas=2, labels={"tallyd.workload.id": "a lie", "team": "blue"}))
    assert (one.name, two.name) == ("tallyd-shop-3-1", "tallyd-shop-3-2")
    assert (one.labels[LABELS.role], two.labels[LABELS.role]) == ("3-1", "3-2")
    assert one.labels[LABELS.workload_id] == "shop"
    assert one.labels["tallyd.workload.kind"] == "project"
    assert one.labels["team"] == "blue"
    assert one.labels[LABELS.revision] == "r3"


@pytest.mark.parametrize(
    "changed",
    [
        {"env": {"A": "b"}},
        {"command": ["x"]},
        {"labels": {"a": "b"}},
        {"port": 81},
        {"memory": "64m"},
        {"cpus": 0.5},
        {"networks": ["net"]},
        {"volumes": [{"name": "v", "target": "/v"}]},
        {"healthcheck": {"test": "true"}},
        {"restart": "no"},
        {"stop_grace_seconds": 1},
        {"publish_address": "127.0.0.1"},
    ],
)
def test_every_declared_field_of_a_container_is_in_its_digest(changed: dict[str, Any]) -> None:
    """S3: a container of another declaration is known by its label."""
    (before,), (after,) = specs(revision()), specs(revision(**changed))
    assert before.labels[LABELS.spec] != after.labels[LABELS.spec]
    assert plan_of([after], [seen(before, addresses=dict.fromkeys(after.networks, "x"))], LABELS.spec).create == [
        after
    ]


def test_nothing_to_do() -> None:
    """S3, D7: running, paused and restarting containers of the right spec are left alone."""
    wanted = specs(revision(replicas=3, networks=["net"], memory="64m"))
    there = [seen(each, state=state) for each, state in zip(wanted, ("running", "paused", "restarting"), strict=True)]
    assert plan_of(wanted, there, LABELS.spec).empty
    assert [each.labels[LABELS.spec] for each in wanted] == [
        each.labels[LABELS.spec] for each in specs(revision(replicas=3, networks=["net"], memory="64m"))
    ]


@pytest.mark.parametrize(
    ("replaced", "why"),
    [
        ({"state": "dead"}, "is dead"),
        ({"labels": {}}, "is not as declared"),
        ({"addresses": {"bridge": "x"}}, "is not in network net"),
        ({"memory_bytes": 1}, "has other limits"),
        ({"nano_cpus": 1}, "has other limits"),
    ],
)
def test_a_wrong_one_is_made_anew(replaced: dict[str, Any], why: str) -> None:
    """S3: removed first, for its name is wanted."""
    wanted = specs(revision(networks=["net"]))
    wrong = seen(wanted[0], **replaced)
    plan = plan_of(wanted, [wrong], LABELS.spec)
    assert (plan.remove, plan.create, plan.start) == ([wrong], wanted, [])
    assert plan.why == [f"tallyd-shop-1-1 {why}"]


def test_missing_stopped_and_surplus_ones() -> None:
    """S3: created, started, removed."""
    wanted = specs(revision(replicas=3))
    stopped, created = seen(wanted[0], state="exited"), seen(wanted[1], state="created")
    surplus = seen(specs(revision(replicas=4))[3])
    plan = plan_of(wanted, [stopped, created, surplus], LABELS.spec)
    assert (plan.remove, plan.create, plan.start) == ([surplus], [wanted[2]], [stopped, created])
    assert plan.why == [
        "tallyd-shop-1-1 is stopped",
        "tallyd-shop-1-2 is created",
        "tallyd-shop-1-3 is gone",
        "tallyd-shop-1-4 is one too many",
    ]


def test_a_label_alone_makes_no_container_ours() -> None:
    """S3: no spec, or a name that is not ours, and it is left alone."""
    mine, other = specs(revision())[0], specs(revision(2))[0]
    forged = seen(mine, labels={name: value for name, value in mine.labels.items() if name != LABELS.spec})
    renamed = seen(mine, name="kept-for-later")
    found = ours([seen(mine), forged, renamed, seen(other)], SHOP, P)
    assert found == [seen(mine), seen(other)]
    assert of_revision(found, revision(2), P) == [seen(other)]


def deployment(*entries: tuple[Revision, int], rows: tuple[Any, ...] = ()) -> Deployment:
    """The shop with a split."""
    split = TrafficSplit("shop", [SplitEntry(each.id, weight) for each, weight in entries])
    return Deployment(SHOP, {each.id: each for each, _ in entries}, split, HOST, rows)


def row(name: str, revision_id: str, ports: str = "[]", extra: str = "{}") -> ContainerRow:
    """A row of a container of the shop."""
    seen = asdict(assignment(f"shop:{name}", name, revision=revision_id, ports=ports)) | {"name": name}
    owned = dict.fromkeys(("subdomain", "proxy_route_id", "npm_proxy_id", "image_tag"), "")
    return ContainerRow(host=HOST, last_seen_at=None, stage_id=revision_id, extra_json=extra, **owned, **seen)


def test_targets_are_the_containers_own_addresses() -> None:
    """D1: where nothing is published; one block an entry, in order, zero kept; what is not known is left out."""
    rows = (
        row("tallyd-shop-2-1", "r2", extra='{"addresses": {"other": "10.0.0.9", "net": "10.1.0.2"}}'),
        row("tallyd-shop-2-2", "r2", extra='{"addresses": {"net": ""}}'),
        row("tallyd-shop-1-1", "r1", extra='{"addresses": {"bridge": "172.17.0.2"}}'),
        row("tallyd-shop-1-2", "r1", extra='{"addresses": {"bridge": "172.17.0.3"}}'),
    )
    two = revision(2, replicas=3, networks=["net"])
    one = replace(revision(1), state=RevisionState.DRAINING)
    told = blocks_of(deployment((two, 0), (one, 10_000), rows=rows), P)
    assert told == [
        {
            "revision_id": "r2",
            "weight": 0,
            "targets": [{"address": "10.1.0.2", "port": 80}],
            "draining": False,
        },
        {
            "revision_id": "r1",
            "weight": 10_000,
            "targets": [{"address": "172.17.0.2", "port": 80}],
            "draining": True,
        },
    ]
    assert blocks_of(replace(deployment((revision(), 10_000)), split=None), P) == []


def test_targets_are_published_ports_as_the_index_has_them() -> None:
    """D1: one that nobody has seen yet is left out; a fixed one is known without."""
    ports = json.dumps([{"private": 80, "type": "tcp", "ip": "0.0.0.0", "public": 49153}])
    rows = (
        row("tallyd-shop-1-1", "r1", ports),
        row("tallyd-shop-1-2", "r1"),
        row("tallyd-shop-1-3", "another", ports),
    )
    free = revision(replicas=3, publish_address="0.0.0.0")
    (block,) = blocks_of(deployment((free, 10_000), rows=rows), P)
    assert block["targets"] == [{"address": "127.0.0.1", "port": 49153}]
    fixed = revision(publish_address="10.0.0.1", publish_port=8080, strategy="recreate")
    (block,) = blocks_of(deployment((fixed, 10_000)), P)
    assert block["targets"] == [{"address": "10.0.0.1", "port": 8080}]
    (block,) = blocks_of(deployment((revision(port=None), 10_000)), P)
    assert block["targets"] == []


def test_targets_say_where_the_ports_of_faces_are_reached() -> None:
    """D1, S1: at the containers' own addresses every one; published, only the one that is."""
    faces = [{"host": "a.example"}, {"host": "b.example", "port": 9090}, {"host": "c.example", "port": 80}]
    row_of_one = row("tallyd-shop-1-1", "r1", extra='{"addresses": {"bridge": "172.17.0.2"}}')
    own = deployment((revision(), 10_000), rows=(row_of_one,))
    (block,) = blocks_of(replace(own, workload=replace(SHOP, public_faces=faces)), P)
    assert block["targets"] == [{"address": "172.17.0.2", "port": 80, "ports": {"80": 80, "9090": 9090}}]
    fixed = deployment((revision(publish_address="10.0.0.1", publish_port=8080, strategy="recreate"), 10_000))
    (block,) = blocks_of(replace(fixed, workload=replace(SHOP, public_faces=faces)), P)
    assert block["targets"] == [{"address": "10.0.0.1", "port": 8080, "ports": {"80": 8080}}]
