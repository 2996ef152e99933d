"""The source `compose` looks after what was deployed, and does not touch an unchanged world."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.plugins.contract import Result
from tests.harness import World
from tests.integration.deploys import writes
from tests.integration.stacks import DB, WEB, Stack

FILE = """\
services:
  web:
    image: busybox:local
    command: ["httpd", "-f", "-p", "8080", "-h", "/site"]
    stop_signal: SIGKILL
    environment: {N: "%s"}
    volumes: ["./site:/site:ro"]
  db:
    image: busybox:local
    command: ["sleep", "86400"]
    stop_signal: SIGKILL
    volumes: ["./data:/data"]
"""
OPTIONS: Mapping[str, Any] = {"directory": "shop", "files": ["compose.yaml"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a project among the manifests."""
    made = tmp_path / "manifests" / "shop"
    for each in (made, made / "site", made / "data"):
        each.mkdir(parents=True)
    (made / "compose.yaml").write_text(FILE % 1)
    (made / "site" / "index.html").write_text("one")
    return made


def test_an_unchanged_world_is_not_written_to(stack: Stack, world: World, folder: Path) -> None:
    """S3: no event of the engine, no run of Compose against it, no row written; also after a service wrote data."""
    stack.up(**OPTIONS)
    stack.weigh((next(iter(stack.revisions)), 10_000))
    stack.reconcile()
    rows = stack.rows()
    stack.requests.clear()
    since = time.time()
    for number in range(3):
        (folder / "data" / f"{number}").write_text("written by the service")
        assert stack.reconcile().result is Result.IN_SYNC
    assert writes(world.engine, since, time.time()) == []
    assert set(stack.requests) == {"list_labelled", "inspect"}
    assert stack.rows() == rows
    assert stack.asked == []


def _remove(stack: Stack) -> None:
    stack.client.remove_container(stack.container("web"), force=True)


def _stop(stack: Stack) -> None:
    stack.client.stop(stack.container("web"), timeout=0)


def _another_label(stack: Stack) -> None:
    _made_by_hand(stack, {f"{stack.prefix}.spec": "of another time", "com.docker.compose.config-hash": "0"})


def _another_image(stack: Stack) -> None:
    stack.client.tag("busybox:local", "other", "local")
    _made_by_hand(stack, {}, "other:local")


def _made_by_hand(stack: Stack, labels: Mapping[str, str], image: str = "busybox:local") -> None:
    """The web container again, with the labels that it had, as somebody would forge it."""
    seen = stack.client.inspect_container(stack.container("web"))
    _remove(stack)
    worn = {**seen["Config"]["Labels"], **labels}
    made = stack.client.create_container(image, ["sleep", "86400"], name=seen["Name"][1:], labels=worn)
    stack.client.start(made["Id"])


@pytest.mark.parametrize("drift", [_remove, _stop, _another_label, _another_image])
def test_drift_is_repaired(stack: Stack, drift: Callable[[Stack], None]) -> None:
    """S3: gone, stopped, wrong labels, wrong image; the other service is left alone, and then all is well."""
    stack.services(web=WEB, db=DB)
    db = stack.container("db")
    drift(stack)
    assert stack.reconcile().result is Result.REPAIRED
    assert stack.states() == {"web": "running", "db": "running"}
    seen = stack.client.inspect_container(stack.container("web"))["Config"]
    assert (seen["Image"], seen["Cmd"][0]) == ("busybox:local", "httpd")
    assert stack.container("db") == db
    assert stack.rows()["shop:web"].container_id == stack.container("web")
    assert stack.reconcile().result is Result.IN_SYNC


def test_a_whole_project_that_is_gone_comes_back(stack: Stack) -> None:
    """S3: with its network."""
    stack.services(web=WEB, db=DB)
    for each in stack.listed():
        stack.client.remove_container(each["Id"], force=True)
    for each in stack.client.networks(filters={"label": f"com.docker.compose.project={stack.workload.ref}"}):
        stack.client.remove_network(each["Id"])
    assert stack.reconcile().result is Result.REPAIRED
    assert stack.states() == {"web": "running", "db": "running"}
    assert stack.reconcile().result is Result.IN_SYNC


def test_a_replica_that_is_gone_comes_back(stack: Stack) -> None:
    """S3: the rows say how many there were, whoever decided that."""
    stack.services(web={**WEB, "scale": 3})
    assert stack.states() == {"web": "running, running, running"}
    stack.client.remove_container(stack.listed()[1]["Id"], force=True)
    assert stack.reconcile().result is Result.REPAIRED
    assert stack.states() == {"web": "running, running, running"}
    assert stack.reconcile().result is Result.IN_SYNC


def test_a_paused_container_is_told_and_left_alone(stack: Stack) -> None:
    """S5: a person paused it."""
    stack.services(web=WEB, db=DB)
    stack.client.pause(stack.container("web"))
    outcome = stack.reconcile()
    assert outcome.result is Result.DRIFT
    assert outcome.message.endswith("is paused")
    assert stack.states() == {"web": "paused", "db": "running"}
    stack.client.unpause(stack.container("web"))


def test_an_orphan_stays_unless_it_was_declared_away(stack: Stack) -> None:
    """S3: a service that is not declared any more runs on; with `remove_orphans` it goes."""
    inline = {"services": {"web": dict(WEB)}}
    stack.services(web=WEB, old=DB)
    stack.up(inline=inline)
    assert stack.reconcile().result is Result.IN_SYNC
    assert stack.states() == {"web": "running", "old": "running"}
    stack.up(inline=inline, remove_orphans=True)
    assert stack.reconcile().result is not Result.DRIFT
    assert stack.states() == {"web": "running"}


def test_a_stranger_with_the_projects_labels_is_not_taken_for_ours(stack: Stack) -> None:
    """S3, R16: it neither counts as the service nor is it removed for being one too many."""
    stack.services(web=WEB)
    ours = stack.container("web")
    labels = {"com.docker.compose.project": stack.workload.ref, "com.docker.compose.service": "web"}
    forged = stack.client.create_container("busybox:local", ["sleep", "86400"], labels=labels)["Id"]
    stack.client.start(forged)
    outcome = stack.reconcile()
    assert outcome.result is Result.DRIFT
    assert "claims service web and was not made by tallyd" in outcome.message
    assert {each["Id"] for each in stack.listed()} == {ours, forged}


def test_a_changed_file_is_a_new_revision(stack: Stack, folder: Path) -> None:
    """S3: a deploy is asked for; until then a repair brings back what was deployed; then only its reader is new."""
    stack.up(**OPTIONS)
    db = stack.container("db")
    (folder / "compose.yaml").write_text(FILE % 2)
    _remove(stack)
    outcome = stack.reconcile()
    assert outcome.result is Result.REPAIRED
    assert "its files changed; they are being deployed" in outcome.message
    assert stack.asked == ["its files changed"]
    assert "N=1" in stack.client.inspect_container(stack.container("web"))["Config"]["Env"]
    stack.up(**OPTIONS)
    assert "N=2" in stack.client.inspect_container(stack.container("web"))["Config"]["Env"]
    assert stack.container("db") == db
    assert stack.reconcile().result is Result.IN_SYNC


def test_a_changed_file_that_is_mounted_is_a_new_revision(stack: Stack, folder: Path) -> None:
    """S3: Compose itself would not look into it; who reads it is made anew, and nobody else."""
    stack.up(**OPTIONS)
    web, db = stack.container("web"), stack.container("db")
    (folder / "site" / "index.html").write_text("two")
    assert stack.reconcile().message == "its files changed; they are being deployed"
    stack.up(**OPTIONS)
    assert stack.container("web") != web
    assert stack.container("db") == db
    assert stack.reconcile().result is Result.IN_SYNC


def test_files_that_are_not_followed_wait_for_a_deploy(stack: Stack, folder: Path) -> None:
    """S3: with `follow: false` nobody is asked, and it is told."""
    stack.up(**OPTIONS, follow=False)
    (folder / "compose.yaml").write_text(FILE % 2)
    outcome = stack.reconcile()
    assert (outcome.result, outcome.message) == (Result.DRIFT, "its files changed; deploy the declaration")
    assert stack.asked == []


def test_a_malformed_file_is_told_and_repairs_go_on(stack: Stack, folder: Path) -> None:
    """S3, R15: an edit that Compose refuses does not keep what was deployed from being looked after."""
    stack.up(**OPTIONS)
    (folder / "compose.yaml").write_text("services: {web: {imagee: x}}")
    _remove(stack)
    outcome = stack.reconcile()
    assert outcome.result is Result.REPAIRED
    assert "cannot be deployed: Compose says:" in outcome.message
    assert stack.states() == {"web": "running", "db": "running"}
    assert stack.reconcile().result is Result.DRIFT
