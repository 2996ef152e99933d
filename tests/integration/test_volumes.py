"""Volumes of the source `image` on a real engine: what each scope shares, and when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.errors import VerbFailed, VolumeRefused
from tests.harness import BUSYBOX, World
from tests.integration.deploys import Deploys
from tests.integration.workshop import Workshop

SCOPES = [
    {"scope": "ephemeral", "target": "/e"},
    {"scope": "instance", "name": "i", "target": "/i"},
    {"scope": "stage", "name": "s", "target": "/s"},
    {"scope": "project", "target": "/p"},
    {"scope": "project-named", "name": "n", "target": "/n"},
]


@pytest.fixture
def mounting(world: World, sqlite_url: str, tmp_path: Path) -> Iterator[Deploys]:
    """A workload that may mount what is under a folder."""
    (tmp_path / "srv").mkdir()
    made = Deploys(world, sqlite_url, volume_roots=[tmp_path / "srv"])
    try:
        yield made
    finally:
        made.close()


def mounts(deploys: Deploys, name: str) -> dict[str, str]:
    """What a container mounts, by its place in it."""
    return {each["Destination"]: each["Name"] for each in deploys.inspected(name)["Mounts"]}


def test_what_each_scope_shares_and_when_it_ends(deploys: Deploys) -> None:
    """S4, D8: by replica, by revision, by workload; an archived revision takes its own with it, not the rest."""
    p = deploys.prefix
    named = f"{p}-by-hand"
    volumes = [*SCOPES, {"name": named, "target": "/h", "read_only": True}]
    first = deploys.up(BUSYBOX, replicas=2, volumes=volumes)
    one, two = mounts(deploys, "shop-1-1"), mounts(deploys, "shop-1-2")
    assert (one["/i"], two["/i"]) == (f"{p}-shop-1-1-i", f"{p}-shop-1-2-i")
    assert one["/s"] == two["/s"] == f"{p}-shop-1-s"
    assert one["/p"] == two["/p"] == f"{p}-shop"
    assert one["/n"] == two["/n"] == f"{p}-shop-n"
    assert one["/h"] == two["/h"] == named
    assert one["/e"] != two["/e"]
    labels = deploys.volumes()
    assert labels[one["/s"]] == {
        f"{p}.workload.id": "shop",
        f"{p}.volume.scope": "stage",
        f"{p}.revision": first,
    }
    assert labels[one["/p"]] == {f"{p}.workload.id": "shop", f"{p}.volume.scope": "project"}
    assert labels[named] == {}

    deploys.client.remove_container(f"{p}-shop-1-1", force=True)
    assert str(deploys.reconcile().result) == "repaired"
    again = mounts(deploys, "shop-1-1")
    assert again["/i"] == one["/i"]
    assert again["/e"] != one["/e"]

    second = deploys.up(BUSYBOX, volumes=volumes)
    later = mounts(deploys, "shop-2-1")
    assert (later["/s"], later["/p"]) == (f"{p}-shop-2-s", f"{p}-shop")
    deploys.source.drain(deploys.read(), first)
    assert deploys.source.archive(deploys.read(), first).changed
    assert not deploys.source.archive(deploys.read(), first).changed
    kept = {f"{p}-shop", f"{p}-shop-n", named, f"{p}-shop-2-s", f"{p}-shop-2-1-i", later["/e"]}
    assert set(deploys.volumes()) == kept
    deploys.move(first, "archived")
    deploys.source.archive(deploys.read(), second)
    assert set(deploys.volumes()) == {f"{p}-shop", f"{p}-shop-n", named}


def test_a_teardown_asks_for_data_separately(deploys: Deploys) -> None:
    """S2, S4: without it the workload's data stays; what somebody else made stays in any case. Twice is once."""
    p = deploys.prefix
    named = f"{p}-by-hand"
    deploys.up(BUSYBOX, volumes=[*SCOPES, {"name": named, "target": "/h"}])
    removed = deploys.source.teardown(deploys.workload, data=False)
    assert f"container {p}-shop-1-1" in removed
    assert f"volume {p}-shop-1-s" in removed
    assert set(deploys.volumes()) == {f"{p}-shop", f"{p}-shop-n", named}
    assert (deploys.states(), deploys.rows()) == ({}, {})
    assert deploys.source.teardown(deploys.workload, data=False) == []
    assert deploys.source.teardown(deploys.workload, data=True) == [f"volume {p}-shop", f"volume {p}-shop-n"]
    assert set(deploys.volumes()) == {named}


def test_a_volume_of_somebody_else_is_not_taken(deploys: Deploys) -> None:
    """S4: a name that is another workload's, or nobody's, is refused before anything is created."""
    p = deploys.prefix
    deploys.client.create_volume(f"{p}-shop-n", labels={f"{p}.workload.id": "blog", f"{p}.volume.scope": "project"})
    revision = deploys.declare(BUSYBOX, volumes=[{"scope": "project-named", "name": "n", "target": "/n"}])
    deploys.source.stage(deploys.read(), revision)
    with pytest.raises(VerbFailed, match=r"its label .*\.workload\.id says 'blog'; choose another name"):
        deploys.source.warm(deploys.read(), revision)
    deploys.client.create_volume(f"{p}-shop")
    revision = deploys.declare(BUSYBOX, volumes=[{"scope": "project", "target": "/n"}])
    with pytest.raises(VerbFailed, match="is not there; choose another name, or mount it with scope named"):
        deploys.source.warm(deploys.read(), revision)
    assert deploys.states() == {}


def test_paths_of_the_machine_are_under_a_list(mounting: Deploys, tmp_path: Path) -> None:
    """S4: what is under a root is mounted where its links lead; all else is refused by the first verb, in words."""
    (tmp_path / "srv" / "site").mkdir()
    (tmp_path / "srv" / "site" / "page").write_text("from the machine")
    (tmp_path / "srv" / "link").symlink_to(tmp_path / "srv" / "site")
    (tmp_path / "srv" / "out").symlink_to("/etc")
    volume = {"scope": "absolute", "path": f"{tmp_path}/srv/link", "target": "/site", "read_only": True}
    mounting.up(BUSYBOX, volumes=[volume])
    (mounted,) = mounting.inspected("shop-1-1")["Mounts"]
    assert (mounted["Type"], mounted["Source"], mounted["RW"]) == ("bind", f"{tmp_path}/srv/site", False)
    before = len(mounting.requests)
    assert str(mounting.reconcile().result) == "in_sync"
    assert "create" not in mounting.requests[before:]
    for path in ("/etc", f"{tmp_path}/srv/out", f"{tmp_path}/srv/absent"):
        revision = mounting.declare(BUSYBOX, volumes=[{"scope": "absolute", "path": path, "target": "/x"}])
        before = len(mounting.requests)
        with pytest.raises(VerbFailed, match=r"TALLYD_VOLUME_ROOTS|looked at from here"):
            mounting.source.stage(mounting.read(), revision)
        assert "create" not in mounting.requests[before:]
    with pytest.raises(VolumeRefused):
        mounting.source._at_hand().host_path("/etc")


def test_a_chain_from_the_command_line(workshop: Workshop) -> None:
    """S4, S2: promote, deploy, and take both away; it asks, and data stays unless it is asked for by name."""
    volumes = [{"scope": "project-named", "name": "data", "target": "/data"}]
    workshop.declare("staging", env={"WHERE": "staging", "KEY": "of staging"}, volumes=volumes)
    workshop.declare("shop", parent="staging", env={"WHERE": "production"})
    assert "nothing of" not in workshop.tallyd("promote", "staging", "--to", "shop").expect(1).stderr
    workshop.deploy("staging")
    done = workshop.tallyd.ok("promote", "staging", "--to", "shop", "--deploy")
    assert "shop-1 serves" in done.stdout
    environment = workshop.environment("shop-1-1")
    assert (environment["WHERE"], "KEY" in environment) == ("production", False)
    assert workshop.routed() == ["shop", "staging"]

    refused = workshop.tallyd("teardown", "staging", "--with-data").expect(2)
    assert "stdin is no terminal" in refused.stderr
    assert "WITH ITS DATA" in refused.stderr
    assert len(workshop.containers()) == 2
    done = workshop.tallyd.ok("teardown", "staging", "--yes", "--keep-declaration")
    assert workshop.containers() == []
    assert workshop.routed() == []
    assert workshop.states("staging") == {"staging-1": "archived"}
    data = [f"{workshop.prefix}-{each}-data" for each in ("shop", "staging")]
    assert workshop.volumes() == data
    assert f"(volume {data[0]} stays)" in done.stderr
    assert workshop.tallyd.tick()["plugins"] == {"in_sync": 2}
    workshop.tallyd.ok("teardown", "staging", "--yes", "--with-data")
    assert workshop.volumes() == []
    assert workshop.tallyd.ok("workload", "list", "-o", "json").json == []
