"""A Compose project by the command line: declared in the manifests, deployed, looked after, followed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import World
from tests.harness.components import require
from tests.integration.console import Console, Tallyd, settings_of

MANIFEST = """\
workloads:
- id: shop
  kind: stack
  source: {kind: compose, config: {directory: shop, files: [compose.yaml], stop_grace_seconds: 0, drain_seconds: 0}}
  trigger: {kind: manual}
"""
FILE = """\
services:
  db:
    image: busybox:local
    command: [sleep, "86400"]
    environment: {N: "%s"}
    network_mode: none
"""


@pytest.fixture
def tallyd(world: World, sqlite_url: str, tmp_path: Path) -> Iterator[Tallyd]:
    """`tallyd` before the shared engine, with a folder of manifests that has a project in it."""
    require("compose")
    folder = tmp_path / "manifests"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop.yaml").write_text(MANIFEST)
    (folder / "shop" / "compose.yaml").write_text(FILE % 1)
    settings = settings_of(world.engine.endpoint, sqlite_url, tmp_path)
    settings |= {"TALLYD_LABEL_PREFIX": world.prefix, "TALLYD_MANIFESTS": str(folder)}
    with contextlib.closing(Console()) as console:
        yield Tallyd(console, tmp_path, settings)
    label = f"com.docker.compose.project={world.prefix}-shop"
    for each in world.client.containers(all=True, filters={"label": label}):
        world.client.remove_container(each["Id"], force=True)


def test_a_project_from_the_manifests(tallyd: Tallyd, world: World, tmp_path: Path) -> None:
    """S1, S3, O7: its row is the one that a pass gives it, before and after; what was removed comes back."""
    tallyd.ok("workload", "apply", "-f", str(tmp_path / "manifests" / "shop.yaml"))
    tallyd.ok("tick")
    assert tallyd.ok("deploy", "shop", "-o", "json").json["arrived"]
    report = tallyd.ok("tick", "-o", "json").json
    assert (report["inserted"], report["plugins"]) == (0, {"in_sync": 1})
    (row,) = tallyd.ok("ps", "-o", "json").json
    assert (row["id"], row["state"], row["workload_kind"]) == ("shop:db", "running", "stack")
    world.client.remove_container(row["container_id"], force=True)
    assert tallyd.ok("tick", "-o", "json").json["plugins"] == {"repaired": 1}
    (tmp_path / "manifests" / "shop" / "compose.yaml").write_text(FILE % 2)
    assert tallyd.ok("tick", "-o", "json").json["plugins"] == {"drift": 1}
    assert tallyd.ok("deploy", "shop", "-o", "json").json["revision_id"] != ""
    assert tallyd.ok("tick", "-o", "json").json["plugins"] == {"in_sync": 1}
    (row,) = tallyd.ok("ps", "-o", "json").json
    assert "N=2" in world.client.inspect_container(row["container_id"])["Config"]["Env"]
