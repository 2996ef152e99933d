"""The source `compose` brings a project up by the real Compose, in place of the revision before."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.errors import InvalidSplit, PluginConfigInvalid, VerbFailed
from controller.plugins.sources.compose import ComposeSource
from controller.rollout.deploy import revision_for
from controller.views import revision_view
from store.workloads import apply_workloads
from tests.builders import NOW
from tests.harness import World
from tests.integration.deploys import page
from tests.integration.stacks import DB, OPTIONS, WEB, Stack

CANARY = "canary-5f1c-of-the-secret"
ENDS = {"image": "busybox:local", "command": ["sh", "-c", "echo no database; exit 3"]}
JOB = {"image": "busybox:local", "command": ["true"]}


def _inline(**services: Mapping[str, Any]) -> dict[str, Any]:
    return {"services": {name: dict(each) for name, each in services.items()}}


def test_a_project_comes_up(stack: Stack) -> None:
    """S1: both services run, under the project's name, and have the rows that a pass would give them (R10)."""
    revision_id = stack.services(web=WEB, db=DB)
    assert stack.states() == {"web": "running", "db": "running"}
    rows = stack.rows()
    assert set(rows) == {"shop:web", "shop:db"}
    assert {each.stage_id for each in rows.values()} == {revision_id}


def test_a_new_revision_takes_the_place_of_the_old_one(stack: Stack) -> None:
    """S1, D8: what did not change is not touched; the old revision has nothing left to be stopped or removed."""
    first = stack.services(web=WEB, db=DB)
    db, web = stack.container("db"), stack.container("web")
    second = stack.services(web={**WEB, "environment": {"N": "2"}}, db=DB)
    assert stack.container("db") == db
    assert stack.container("web") != web
    assert {each.stage_id for each in stack.rows().values()} == {second}
    assert not stack.source.drain(stack.read(), first).changed
    assert not stack.source.archive(stack.read(), first).changed
    assert stack.states() == {"web": "running", "db": "running"}


def test_a_revision_with_equal_services_is_not_stopped_with_the_old_one(stack: Stack) -> None:
    """D8: two revisions that differ in an option only share every container; draining the old one leaves it."""
    first = stack.up(inline=_inline(db=DB))
    stack.up(inline=_inline(db=DB), start_timeout_seconds=61)
    assert not stack.source.drain(stack.read(), first).changed
    assert stack.states() == {"db": "running"}


def test_a_revision_that_does_not_come_up_gives_way_to_the_one_before(stack: Stack) -> None:
    """D4, L2: the failure has exit code and last lines; what served before serves again."""
    first = stack.services(web=WEB)
    second = stack.declare(inline=_inline(web={**WEB, **ENDS}))
    with pytest.raises(VerbFailed, match=r"exited with 3.*no database") as failed:
        stack.source.warm(stack.read(), second)
    assert "'shop'" in str(failed.value)
    assert stack.states() == {"web": "running"}
    assert {each.stage_id for each in stack.rows().values()} == {first}


def test_a_first_revision_that_does_not_come_up_is_stopped_and_kept(stack: Stack) -> None:
    """D4: there is nothing to go back to, and something to look at; a service that ends well ends, too."""
    revision_id = stack.declare(inline=_inline(web=WEB, job=JOB))
    with pytest.raises(VerbFailed, match=r"exited with 0; if it is to run once and end, name its service in `jobs`"):
        stack.source.warm(stack.read(), revision_id)
    assert stack.states() == {"web": "exited", "job": "exited"}


def test_a_job_runs_once(stack: Stack) -> None:
    """D7: a repeated warm does not run it again, one with another definition does; neither does a reconcile."""
    options = {"inline": _inline(web=WEB, job=JOB), "jobs": ["job"]}
    revision_id = stack.up(**options)
    ran = stack.client.inspect_container(stack.container("job"))["State"]["StartedAt"]
    assert not stack.source.warm(stack.read(), revision_id).changed
    stack.up(inline=_inline(web={**WEB, "environment": {"N": "2"}}, job=JOB), jobs=["job"])
    assert stack.reconcile().result == "in_sync"
    assert stack.client.inspect_container(stack.container("job"))["State"]["StartedAt"] == ran
    stack.up(inline=_inline(web=WEB, job={**JOB, "environment": {"N": "3"}}), jobs=["job"])
    assert stack.client.inspect_container(stack.container("job"))["State"]["StartedAt"] != ran


@pytest.mark.parametrize("published", [False, True], ids=["own address", "published"])
def test_routers_are_led_to_the_web_service(stack: Stack, published: bool) -> None:
    """S1, T2: the targets are where the web service is published, else its containers' own addresses."""
    web = {**WEB, "ports": ["127.0.0.1::8080"]} if published else dict(WEB)
    revision_id = stack.up(inline=_inline(web=web, db=DB), web={"service": "web", "port": 8080})
    stack.weigh((revision_id, 10_000))
    assert stack.source.apply_traffic_split(stack.read()).changed
    ((target,),) = [each["targets"] for each in stack.enforced[-1].blocks]
    assert (target["address"] == "127.0.0.1") is published
    assert b"busybox:local" in page(target["address"], target["port"])


def test_a_split_over_two_revisions_is_refused(stack: Stack) -> None:
    """D3, D4: a project exists once; refused before anything is called. One that is not up gets no traffic either."""
    web = {"web": {"service": "web", "port": 8080}}
    first = stack.up(inline=_inline(web=WEB), **web)
    second = stack.up(inline=_inline(web={**WEB, "environment": {"N": "2"}}), **web)
    stack.requests.clear()
    stack.weigh((first, 1), (second, 9_999))
    with pytest.raises(InvalidSplit, match="only one is there at a time"):
        stack.source.apply_traffic_split(stack.read())
    assert stack.requests == []
    assert stack.enforced == []
    stack.weigh((first, 10_000), (second, 0))
    with pytest.raises(VerbFailed, match=f"'{first}' is not up; warm it first"):
        stack.source.apply_traffic_split(stack.read())


def test_blue_green_is_refused(stack: Stack) -> None:
    """S1: with the reason, and what to do instead."""
    with pytest.raises(PluginConfigInvalid, match=r"strategy: .*a Compose project exists once; write recreate"):
        stack.source.validate({"inline": _inline(web=WEB), "strategy": "blue-green"})


def test_compose_itself_checks_the_file(stack: Stack) -> None:
    """S2: what is wrong is told in Compose's own words, also by a source without an engine."""
    config = {"inline": _inline(web={"imagee": "busybox:local"})}
    for source in (stack.source, ComposeSource()):
        with pytest.raises(PluginConfigInvalid, match=r"Compose says: .*imagee"):
            source.validate(config)
    assert not [each for each in stack.requests if not each.startswith("compose")]


def test_an_image_that_is_not_to_be_had(stack: Stack) -> None:
    """D4: stage fails, names workload and revision, and has Compose's words; with `never` it does not try."""
    inline = _inline(web={**WEB, "image": "127.0.0.1:1/nothing:here"})
    revision_id = stack.declare(inline=inline)
    with pytest.raises(VerbFailed, match=rf"'shop', revision '{revision_id}': compose pull: .*connection refused"):
        stack.source.stage(stack.read(), revision_id)
    never = stack.declare(inline=inline, pull="never")
    with pytest.raises(VerbFailed, match="not on the engine, and pull is never"):
        stack.source.stage(stack.read(), never)


def test_a_secret_is_nowhere_but_in_the_container(stack: Stack) -> None:
    """S4: not in an argument of any process, nor in a label, a revision, an error or a message of ours."""
    stack.secrets["token"] = CANARY
    seen: set[str] = set()
    done = threading.Event()
    watcher = threading.Thread(target=_watch_arguments, args=(seen, done))
    watcher.start()
    web = {**WEB, "environment": {"TOKEN": "${TOKEN}", "BOTH": "x${TOKEN}$$y"}}
    try:
        revision_id = stack.up(inline=_inline(web=web), env={"TOKEN": {"secret": "token"}})
    finally:
        done.set()
        watcher.join()
    inspected = stack.client.inspect_container(stack.container("web"))
    assert {f"TOKEN={CANARY}", f"BOTH=x{CANARY}$y"} <= set(inspected["Config"]["Env"])
    assert any(stack.workload.ref in each for each in seen)
    assert not [each for each in seen if CANARY in each]
    assert CANARY not in str(inspected["Config"]["Labels"])
    assert CANARY not in str(revision_view(stack.revisions[revision_id]))
    assert CANARY not in str(stack.rows())


def test_a_secret_is_not_in_what_compose_is_quoted_with(stack: Stack) -> None:
    """S4: where Compose names the value itself, the variable's name stands in its place."""
    stack.secrets["token"] = CANARY
    web = {**WEB, "network_mode": "container:${TOKEN}"}
    revision_id = stack.declare(inline=_inline(web=web), env={"TOKEN": {"secret": "token"}})
    with pytest.raises(VerbFailed) as failed:
        stack.source.warm(stack.read(), revision_id)
    assert "[TOKEN]" in str(failed.value)
    assert CANARY not in f"{failed.value} {failed.value.checks}"


def _watch_arguments(seen: set[str], done: threading.Event) -> None:
    while not done.wait(0.002):
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.add(each.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
            except OSError:
                continue


def test_two_workloads_are_independent(stack: Stack, world: World, tmp_path: Path) -> None:
    """D6: one is taken down whole, and the other does not notice, with the same services and volumes."""
    inline = _inline(db={**DB, "volumes": ["data:/data"]}) | {"volumes": {"data": {}}}
    other = Stack(world, f"sqlite:///{tmp_path / 'other.db'}", "blog")
    try:
        stack.up(inline=inline)
        other.up(inline=inline)
        kept = other.container("db")
        told = stack.source.teardown(stack.workload, data=True)
        assert [each.partition(" ")[0] for each in told] == ["container", "volume"]
        assert stack.states() == {}
        assert other.container("db") == kept
        assert other.states() == {"db": "running"}
        assert other.reconcile().result == "in_sync"
    finally:
        other.close()


def test_teardown_leaves_the_data(stack: Stack) -> None:
    """S2: without `data` the volumes stay; it may be repeated, and rows go."""
    inline = _inline(db={**DB, "volumes": ["data:/data"]}) | {"volumes": {"data": {}}}
    stack.up(inline=inline)
    assert [each.partition(" ")[0] for each in stack.source.teardown(stack.workload, data=False)] == ["container"]
    assert stack.rows() == {}
    assert stack.source.teardown(stack.workload, data=False) == []
    label = {"label": f"com.docker.compose.project={stack.workload.ref}"}
    assert len(stack.client.volumes(filters=label)["Volumes"]) == 1
    assert stack.client.networks(filters=label) == []


@pytest.mark.parametrize("ref", ["Shop", "t.shop", "--help", "t-shop;x", "t-shop/../x", "t shop"])
def test_a_project_name_that_compose_would_bend_is_refused(stack: Stack, ref: str) -> None:
    """R7: docker-compose drops what it does not like from a name, and so would meet another workload's project."""
    revision_id = stack.declare(inline=_inline(db=DB))
    stack.workload = replace(stack.workload, ref=ref)
    stack.requests.clear()
    with pytest.raises(PluginConfigInvalid, match="no name of a Compose project"):
        stack.source.warm(stack.read(), revision_id)
    assert stack.requests == []


def test_only_stacks_are_deployed(stack: Stack) -> None:
    """S2: a project's rows are another matter (R9)."""
    revision_id = stack.declare(inline=_inline(db=DB))
    stack.workload = replace(stack.workload, kind="project")  # type: ignore[arg-type]
    with pytest.raises(PluginConfigInvalid, match="`compose` deploys stacks"):
        stack.source.stage(stack.read(), revision_id)


def test_the_controllers_own_project_is_not_acted_on(stack: Stack, world: World, tmp_path: Path) -> None:
    """S5: where the controller's own container is one of the project's, nothing is done to any of them."""
    first = stack.services(web=WEB, db=DB)
    inside = Stack(world, f"sqlite:///{tmp_path / 'own.db'}", own=frozenset({stack.container("db")}))
    try:
        inside.revisions, inside.workload = stack.revisions, stack.workload
        for verb in (inside.source.warm, inside.source.drain, inside.source.archive):
            with pytest.raises(VerbFailed, match="which the controller itself runs in"):
                verb(inside.read(), first)
        with pytest.raises(VerbFailed, match="which the controller itself runs in"):
            inside.source.teardown(inside.workload, data=True)
        assert stack.states() == {"web": "running", "db": "running"}
    finally:
        inside.verbs.cancel()
        inside.client.close()
        inside.database.close()


def test_drain_and_archive(stack: Stack) -> None:
    """D8: drained, it is stopped; archived, it is gone with its network and its rows. A volume stays."""
    revision_id = stack.services(web=WEB, db=DB)
    assert stack.source.drain(stack.read(), revision_id).changed
    assert stack.states() == {"web": "exited", "db": "exited"}
    assert stack.source.archive(stack.read(), revision_id).changed
    assert stack.states() == {}
    assert stack.rows() == {}
    assert not stack.source.archive(stack.read(), revision_id).changed


def test_the_revision_that_a_deploy_makes_keeps_the_files(stack: Stack, tmp_path: Path) -> None:
    """L2, S3: it holds what Compose made of the files; the same files are the same revision, others are another."""
    folder = tmp_path / "manifests" / "shop"
    folder.mkdir()
    file = folder / "compose.yaml"
    file.write_text("services: {web: {image: 'busybox:${TAG}'}}\n")
    config = {**OPTIONS, "directory": "shop", "files": ["compose.yaml"], "env": {"TAG": "local"}}
    workload = replace(stack.workload, source_config=config)
    apply_workloads(stack.database, [workload], NOW)
    first, made = revision_for(stack.database, stack.source, workload, lambda: NOW)
    assert made
    assert first.config["frozen"]["document"]["services"]["web"]["image"] == "busybox:local"
    assert revision_for(stack.database, stack.source, workload, lambda: NOW) == (first, False)
    file.write_text("services: {web: {image: 'busybox:${TAG}', tty: true}}\n")
    second, made = revision_for(stack.database, stack.source, workload, lambda: NOW)
    assert made
    assert second.image_digest != first.image_digest


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"directory": "../outside", "files": ["compose.yaml"]}, "has `..` in it"),
        ({"directory": "linked", "files": ["compose.yaml"]}, "leads out of the folder of the manifests"),
        ({"directory": "shop", "files": ["../compose.yaml"]}, "leads out of `directory`"),
        ({"directory": "shop", "files": ["linked.yaml"]}, "leads out of"),
        ({"directory": "shop", "files": ["absent.yaml"]}, "there is no 'absent.yaml'"),
        ({"directory": "absent", "files": ["compose.yaml"]}, "is no folder"),
        ({"inline": {"services": {"web": {**WEB, "volumes": ["./x:/x"]}}}}, "relative path"),
        ({"inline": {"services": {"web": {"build": "/usr"}}}}, "tallyd builds nothing"),
        ({"inline": {"services": {"web": {**WEB, "profiles": ["later"]}}}}, "there is no service"),
        ({"inline": {"services": {"web": dict(WEB)}}, "jobs": ["migrate"]}, "there is no service 'migrate'"),
    ],
)
def test_a_declaration_that_cannot_be(stack: Stack, tmp_path: Path, options: Mapping[str, Any], told: str) -> None:
    """S2, S4: with what is wrong; no path leads out of the folder of the manifests, nor out of the project's."""
    outside, folder = tmp_path / "outside", tmp_path / "manifests" / "shop"
    for each in (outside, folder):
        each.mkdir()
        (each / "compose.yaml").write_text("services: {web: {image: 'busybox:local'}}\n")
    (tmp_path / "manifests" / "linked").symlink_to(outside)
    (folder / "linked.yaml").symlink_to(outside / "compose.yaml")
    with pytest.raises(PluginConfigInvalid, match=told):
        stack.source.validate(options)
