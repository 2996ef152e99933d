"""The index of a real engine's containers, on both stores, whatever is done to the containers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.errors import Conflict, NotFound
from controller.loop.report import TickReport
from store.records import MISSING
from store.tables import DEPLOYER_COLUMNS
from tests.harness import Engine, PrivateEngine, World, wait_until
from tests.integration.passes import Passes

ABSENT = "0" * 64


@pytest.fixture
def passes(engine: Engine, world: World, database_url: str) -> Iterator[Passes]:
    """Passes that see this test's containers only: its label prefix is its own."""
    with contextlib.closing(Passes(engine.endpoint, database_url, world.prefix)) as made:
        yield made


@pytest.fixture
def both(engine: Engine, world: World, sqlite_url: str, postgres_url: str) -> Iterator[list[Passes]]:
    """The same on both stores at once, where making the containers takes longest."""
    with contextlib.ExitStack() as opened:
        yield [
            opened.enter_context(contextlib.closing(Passes(engine.endpoint, url, world.prefix)))
            for url in (sqlite_url, postgres_url)
        ]


def tick_until(passes: Passes, row_id: str, state: str) -> None:
    """Pass after pass: a container in a restart loop runs for an instant now and then."""
    wait_until(lambda: passes.tick() and passes.states()[row_id] == state, 20, f"{row_id} is {state}")


def reasons(report: TickReport) -> dict[str, str]:
    """Why each container of ours was ignored, by container id."""
    return {each.container.id: str(each.reason) for each in report.ignored}


def test_the_first_label_decides_and_nothing_behind_it_is_tried(passes: Passes, world: World) -> None:
    """R7, R8, R10: precedence with all three labels, unknown and mismatching ones, and every row id."""
    passes.declare(web="site", blog="site", shop="stack", store="project")
    stack = {"project": f"{passes.prefix}-shop", "service": "db"}
    blog = f"{passes.prefix}-blog"

    def create(compose: dict[str, str] | None = None, **own: str) -> str:
        return world.create(labels=passes.labels(compose=compose, **own))

    filling = {
        create(id="web", site=blog, compose=stack, role="front"): "web:site",
        create(id="", site=blog, compose={**stack, "service": "x"}): "blog:site",
        create(id="", site="", compose={**stack, "container-number": "1"}): "shop:db",
        create(compose={**stack, "container-number": "3"}): "shop:db:3",
        create(id="shop", role="cache", kind=""): "shop:cache",
        create(id="shop", role="cache", kind="stack", compose={"container-number": "2"}): "shop:cache:2",
    }
    nameless = world.create("nameless-" + passes.prefix, passes.labels(compose={"project": stack["project"]}))
    roleless = create(id="shop", revision="r7")
    filling |= {nameless: f"shop:nameless-{passes.prefix}", roleless: f"shop:{roleless}"}
    ignored = {
        create(id="wed", site=blog, compose=stack): "unknown_workload",
        create(id="web", kind="stack", site=blog, compose=stack): "kind_mismatch",
        create(id="web", kind="Site"): "kind_mismatch",
        create(site="nobody", compose=stack): "unknown_site",
        create(compose={"project": f"{passes.prefix}-nobody"}): "unknown_stack",
        create(compose={"project": "shop"}): "unlabelled",
        create(compose={"project": f"{passes.prefix}"}): "unlabelled",
        create(kind="site", role="front"): "unlabelled",
        create(id="store"): "no_project_row",
        world.create(labels={"tallyd.workload.id": "web"}): "unlabelled",
    }

    report = passes.tick()

    assert {row.container_id: row_id for row_id, row in passes.rows().items()} == filling
    told = reasons(report)
    assert {container: told.get(container) for container in ignored} == ignored
    assert not filling.keys() & told.keys()
    assert report.matched == len(filling)
    assert report.as_dict()["inserted"] == len(filling)
    rows = passes.rows()
    assert {row_id: rows[row_id].role for row_id in ("web:site", "blog:site", "shop:db", "shop:cache:2")} == {
        "web:site": "front",
        "blog:site": "",
        "shop:db": "db",
        "shop:cache:2": "cache",
    }
    assert rows["shop:cache"].workload_kind == "stack"
    assert rows[f"shop:{roleless}"].revision == "r7"
    assert {row.state for row in rows.values()} == {"created"}
    for container, reason in ignored.items():
        assert reason in passes.explain(container).result


def test_a_second_pass_over_the_same_world_changes_nothing(passes: Passes, world: World) -> None:
    """R11, R12: on an unchanged world only last-seen moves."""
    passes.declare(web="site")
    world.run(labels=passes.labels(id="web"))
    first = passes.tick()
    before = passes.rows()["web:site"]
    second = passes.tick()
    after = passes.rows()["web:site"]
    assert (len(first.change.inserted), first.change.empty) == (1, False)
    assert second.change.empty
    assert second.as_dict()["unchanged"] == 1
    assert before.last_seen_at is not None
    assert after.last_seen_at is not None
    assert after.last_seen_at > before.last_seen_at
    seen = {name: getattr(before, name) for name in type(before).__slots__ if name != "last_seen_at"}
    assert {name: getattr(after, name) for name in seen} == seen
    assert (after.image_ref, after.image_id[:7]) == ("busybox:local", "sha256:")


def test_a_newcomer_does_not_take_the_slot_of_a_living_container(passes: Passes, world: World) -> None:
    """R16: the slot stays with the recorded container while it is alive, and goes to an alive one after that."""
    passes.declare(web="site")
    labels = passes.labels(id="web")
    first = world.run(labels=labels)
    passes.tick()
    deployed = passes.deploy()
    forged = world.run(labels=labels)
    report = passes.tick()
    assert reasons(report)[forged] == "slot_taken"
    assert report.ignored_by_reason["slot_taken"] == 1
    assert passes.holders() == {"web:site": first}
    told = passes.explain(forged)
    assert "slot_taken" in told.result
    assert world.client.inspect_container(first)["Name"].removeprefix("/") in told.result

    world.pause(first)
    passes.tick()
    assert (passes.holders(), passes.states()) == ({"web:site": first}, {"web:site": "paused"})
    world.unpause(first)

    world.stop(first)
    report = passes.tick()
    assert (passes.holders(), passes.states()) == ({"web:site": forged}, {"web:site": "running"})
    assert reasons(report)[first] == "superseded"

    world.start(first)
    assert reasons(passes.tick())[first] == "slot_taken"
    assert passes.holders() == {"web:site": forged}

    world.rm(forged)
    passes.tick()
    assert (passes.holders(), passes.states()) == ({"web:site": first}, {"web:site": "running"})
    assert passes.deployed() == deployed


def test_an_empty_slot_goes_to_the_newest_living_claimant(passes: Passes, world: World) -> None:
    """R16: newest created first, dead ones last, the same on every pass; an ended one keeps it if it is alone."""
    passes.declare(web="site")
    claimants = [world.create(labels=passes.labels(id="web")) for _ in range(3)]
    created = {item["Id"]: item["Created"] for item in world.listing() if item["Id"] in claimants}
    by_age = sorted(claimants, key=lambda container: (created[container], container))
    report = passes.tick()
    assert passes.holders() == {"web:site": by_age[2]}
    assert report.ignored_by_reason["slot_taken"] == 2
    for _ in range(2):
        assert passes.tick().change.empty
    ended = by_age[2]
    world.start(ended)
    world.kill(ended)
    passes.tick()
    assert passes.holders() == {"web:site": by_age[1]}
    for container in by_age[:2]:
        world.rm(container)
    passes.tick()
    assert (passes.holders(), passes.states()) == ({"web:site": ended}, {"web:site": "stopped"})


def test_a_project_has_rows_only_where_a_deployer_made_them(passes: Passes, world: World) -> None:
    """R9: an unknown id of kind project never invents a row; many instances, each bound by its container."""
    passes.declare(shop="project", other="project", web="site")
    labels = passes.labels(id="shop", role="worker")
    one, two = (world.run(labels=labels) for _ in range(2))
    assert reasons(passes.tick())[one] == "no_project_row"
    assert passes.rows() == {}

    names = [world.client.inspect_container(each)["Name"].removeprefix("/") for each in (one, two)]
    adopted = [passes.adopt("shop", names[0]), passes.adopt("shop", two[:12])]
    assert adopted == [f"shop:{name}" for name in names]
    assert {row.last_seen_at for row in passes.rows().values()} == {None}
    for workload, container, complaint in (
        ("shop", one, Conflict),
        ("other", one, Conflict),
        ("web", one, Conflict),
        ("nobody", one, NotFound),
        ("shop", ABSENT, NotFound),
    ):
        with pytest.raises(complaint):
            passes.adopt(workload, container)
    passes.insert_row("shop:planned")
    deployed = passes.deploy()

    passes.tick()
    assert passes.holders() == {adopted[0]: one, adopted[1]: two, "shop:planned": None}
    assert passes.states() == {adopted[0]: "running", adopted[1]: "running", "shop:planned": ""}
    assert passes.rows()[adopted[1]].role == "worker"

    world.rm(one)
    again = world.run(names[0], labels)
    report = passes.tick()
    assert passes.states()[adopted[0]] == MISSING
    assert passes.holders()[adopted[0]] == one
    assert reasons(report)[again] == "no_project_row"
    passes.update_row(adopted[0], container_id=again)
    assert passes.tick().change.recovered == 1
    assert passes.states()[adopted[0]] == "running"
    assert passes.deployed() == deployed


def test_the_index_follows_all_that_is_done_to_containers(both: list[Passes], world: World) -> None:
    """R12, R13, R14: kill, rm, rename, pause, restart loop, health; deployer-owned columns never change."""
    roles = ("killed", "removed", "renamed", "paused", "restarted", "created", "looping", "healthy", "sick")
    labels = {role: both[0].labels(id="app", role=role) for role in roles}
    plain = ("killed", "removed", "renamed", "paused", "restarted")
    made = {role: world.run(labels=labels[role]) for role in plain}
    made["created"] = world.create(labels=labels["created"])
    made["looping"] = world.run(labels=labels["looping"], command=["false"], restart_policy="always")
    made["healthy"] = world.run(labels=labels["healthy"], healthcheck=["true"])
    made["sick"] = world.run(labels=labels["sick"], healthcheck=["false"])
    for passes in both:
        passes.declare(app="stack")
        passes.tick()
    deployed = [passes.deploy() for passes in both]
    assert len(deployed[0]) == len(roles)
    assert len(deployed[0]["app:killed"]) == len(DEPLOYER_COLUMNS) == 6

    world.kill(made["killed"])
    world.rm(made["removed"])
    world.rename(made["renamed"], f"{world.prefix}-another")
    world.pause(made["paused"])
    world.restart(made["restarted"])
    for role, health in (("healthy", "healthy"), ("sick", "unhealthy")):
        world.wait_health(made[role], health)
    states = dict.fromkeys((f"app:{role}" for role in roles), "running") | {
        "app:killed": "stopped",
        "app:removed": MISSING,
        "app:paused": "paused",
        "app:created": "created",
        "app:looping": "restarting",
    }
    for passes, owned in zip(both, deployed, strict=True):
        tick_until(passes, "app:looping", "restarting")
        assert passes.states() == states
        rows = passes.rows()
        assert rows["app:renamed"].name == f"{world.prefix}-another"
        assert {role: rows[f"app:{role}"].health for role in ("healthy", "sick", "killed")} == {
            "healthy": "healthy",
            "sick": "unhealthy",
            "killed": "none",
        }
        assert passes.holders() == {f"app:{role}": container for role, container in made.items()}
        assert passes.deployed() == owned

    world.unpause(made["paused"])
    world.start(made["killed"])
    again = world.run(labels=labels["removed"])
    for passes, owned in zip(both, deployed, strict=True):
        assert passes.tick().change.recovered == 1
        assert passes.holders()["app:removed"] == again
        assert {passes.states()[f"app:{role}"] for role in ("paused", "killed", "removed")} == {"running"}
        assert passes.deployed() == owned


def test_a_row_that_was_wrongly_missing_recovers(passes: Passes, world: World) -> None:
    """R14: a row whose container is listed again recovers, with all that is its deployer's."""
    passes.declare(web="site")
    container = world.run(labels=passes.labels(id="web"))
    passes.tick()
    deployed = passes.deploy()
    passes.update_row("web:site", state=MISSING)
    assert passes.tick().change.recovered == 1
    assert (passes.holders(), passes.states()) == ({"web:site": container}, {"web:site": "running"})
    assert passes.deployed() == deployed


def test_the_port_is_the_first_in_a_stable_order(both: list[Passes], world: World) -> None:
    """R13: by private port, then protocol, in whatever order they were given; exposed is enough; else 0."""
    given: dict[str, dict[str, object]] = {
        "up": {"exposed": [(53, "tcp"), (53, "udp"), 8080]},
        "down": {"exposed": [8080, (53, "udp"), (53, "tcp")]},
        "published": {"exposed": [9000], "published": {8080: None}},
        "none": {},
    }
    made = {role: world.run(labels=both[0].labels(id="app", role=role), **ports) for role, ports in given.items()}
    listed = next(item for item in world.listing() if item["Id"] == made["published"])
    public = {each["PrivatePort"]: each.get("PublicPort", 0) for each in listed["Ports"]}
    for passes in both:
        passes.declare(app="stack")
        passes.tick()
        rows = passes.rows()
        ports = {role: rows[f"app:{role}"].port for role in given}
        assert ports == {"up": 53, "down": 53, "published": 8080, "none": 0}
        assert rows["app:up"].ports == rows["app:down"].ports
        assert [(each["private"], each["type"]) for each in json.loads(rows["app:up"].ports)] == [
            (53, "tcp"),
            (53, "udp"),
            (8080, "tcp"),
        ]
        told = {each["private"]: each["public"] for each in json.loads(rows["app:published"].ports)}
        assert told == public
        assert told[8080] > 0
    world.kill(made["up"])
    for passes in both:
        passes.tick()
        assert (passes.rows()["app:up"].port, passes.states()["app:up"]) == (0, "stopped")


def test_another_host_of_the_store_is_never_swept(
    passes: Passes, world: World, engine: Engine, database_url: str
) -> None:
    """R14: the sweep covers this host's rows only; a workload of one host is indexed by that host only."""
    passes.declare(web="site")
    container = world.run(labels=passes.labels(id="web"))
    with contextlib.closing(Passes(engine.endpoint, database_url, world.prefix, host="elsewhere")) as other:
        other.tick()
        passes.tick()
        assert other.holders() == passes.holders() == {"web:site": container}
        world.rm(container)
        passes.tick()
        assert (passes.states(), other.states()) == ({"web:site": MISSING}, {"web:site": "running"})


def test_last_seen_is_when_a_container_was_last_listed(passes: Passes, world: World) -> None:
    """R12, R21: it moves with every pass while the container is listed, and stands still once it is not."""
    passes.declare(app="stack")
    labels = {role: passes.labels(id="app", role=role) for role in "ab"}
    gone = world.create(labels=labels["a"])
    world.create(labels=labels["b"])
    passes.tick()
    world.rm(gone)
    before = {row_id: row.last_seen_at for row_id, row in passes.rows().items()}
    for _ in range(2):
        passes.tick()
        after = {row_id: row.last_seen_at for row_id, row in passes.rows().items()}
        assert after["app:a"] == before["app:a"]
        assert before["app:b"] is not None
        assert after["app:b"] is not None
        assert after["app:b"] > before["app:b"]
        before = after


def test_compose_scales_recreates_and_runs_one_offs(both: list[Passes], world: World, tmp_path: Path) -> None:
    """R10: replicas get their number, a one-off never takes a service's slot; with real Compose."""
    (tmp_path / "docker-compose.yml").write_text(
        'version: "3"\n'
        "services:\n"
        "  web: {image: 'busybox:local', command: sleep 86400, stop_signal: SIGKILL}\n"
        "  db: {image: 'busybox:local', command: sleep 86400, stop_signal: SIGKILL}\n"
    )
    stack = world.compose_up(tmp_path, f"{world.prefix}-shop", scale={"web": 3})
    for passes in both:
        passes.declare(shop="stack")
        passes.tick()
        assert passes.states() == dict.fromkeys(("shop:web", "shop:web:2", "shop:web:3", "shop:db"), "running")
        assert {row.role for row in passes.rows().values()} == {"web", "db"}
    deployed = both[0].deploy()
    holders = both[0].holders()

    stack.compose("up", "--detach", "--no-recreate", "--scale", "web=2")
    oneoff = stack.compose("run", "--detach", "web", "sleep", "86400").strip().splitlines()[-1]
    stack.compose("stop", "--timeout", "5", "db")
    for passes in both:
        report = passes.tick()
        assert passes.states() == {
            "shop:web": "running",
            "shop:web:2": "running",
            "shop:web:3": MISSING,
            "shop:db": "stopped",
        }
        assert report.ignored_by_reason["one_off"] == 1
        assert passes.holders() == holders
        assert "one_off" in passes.explain(oneoff).result

    stack.compose("up", "--detach", "--force-recreate", "--timeout", "5", "--scale", "web=3")
    for passes in both:
        assert passes.tick().change.recovered == 1
        assert set(passes.states().values()) == {"running"}
        assert not set(passes.holders().values()) & set(holders.values())
    assert both[0].deployed() == deployed


def test_an_empty_listing_of_a_healthy_engine_empties_the_index(
    own_engine: PrivateEngine, own_world: World, sqlite_url: str, postgres_url: str
) -> None:
    """R6, R14: complete, successful and empty marks every bound row missing; rows without a container stay."""
    for url in (sqlite_url, postgres_url):
        with contextlib.closing(Passes(own_engine.endpoint, url)) as passes:
            passes.declare(web="site", app="stack", shop="project")
            own_world.many(5, lambda number: passes.labels(id="app", role=f"r{number}"))
            own_world.create(labels=passes.labels(id="web"))
            passes.insert_row("shop:planned", state="created")
            assert len(passes.tick().change.inserted) == 6
            deployed = passes.deploy()
            own_world.remove_all()
            report = passes.tick()
            assert (report.listed, len(report.change.missing)) == (0, 6)
            states = dict.fromkeys(deployed, MISSING) | {"shop:planned": "created"}
            assert passes.states() == states
            assert passes.deployed() == deployed
            assert passes.tick().change.empty
            again = own_world.create(labels=passes.labels(id="web"))
            assert passes.tick().change.recovered == 1
            assert (passes.holders()["web:site"], passes.states()["web:site"]) == (again, "created")
            own_world.remove_all()
