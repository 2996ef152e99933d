"""Containers that no sane person makes, on a real engine and both stores: nothing lost, the rest written."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.loop.observe import MAX_LABELS
from tests.harness import LABELLED, Engine, PrivateEngine, World
from tests.integration.console import Console, Tallyd, settings_of
from tests.integration.passes import Passes

ESCAPE = "\x1b[31m"


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


@pytest.fixture
def passes(engine: Engine, world: World, database_url: str) -> Iterator[Passes]:
    """Passes in this process, for this test's label prefix."""
    with contextlib.closing(Passes(engine.endpoint, database_url, world.prefix)) as made:
        yield made


@pytest.fixture
def tallyd(console: Console, engine: Engine, world: World, database_url: str, tmp_path: Path) -> Tallyd:
    """The command line on the same engine, store and label prefix."""
    settings = settings_of(engine.endpoint, database_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    return Tallyd(console, tmp_path, settings)


def test_hostile_labels_are_set_aside_alone(passes: Passes, world: World, tallyd: Tallyd) -> None:
    """R14, R17, F: NUL, 1 MB and 20,000 labels are counted, shown and protected; every other row is written."""
    passes.declare(app="stack", shop="project")

    def create(name: str, role: str, **more: str) -> str:
        return world.create(f"{world.prefix}-{name}", passes.labels(id="app", role=role) | more)

    many = {f"label.{number}": "x" for number in range(20_000)}
    broken = {
        create("nul", "nul\0"): "NUL",
        create("nul-other", "fine", **{"other": "a\0b"}): "NUL",
        create("nul-name", "fine", **{"oth\0er": "a"}): "NUL",
        create("big", "fine", **{"big": "x" * 1_000_000}): "1000000 characters",
        create("long", "r" * 513): "513 characters",
        create("many", "fine", **many): f"over the cap of {MAX_LABELS}",
    }
    owned = world.create(f"{world.prefix}-owned", passes.labels(id="shop") | {"other": "\0"})
    broken[owned] = "NUL"
    passes.insert_row("shop:owned", container_id=owned, state="running")
    readable = {
        create("plain", "plain"): "app:plain",
        create("emoji", "🚀 ünï"): "app:🚀 ünï",
        create("newline", f"two\nlines{ESCAPE}"): f"app:two\nlines{ESCAPE}",
        create("large", "large", **{"text": "x" * 60_000}): "app:large",
    }
    unlabelled = world.create(f"{world.prefix}-other", {"other": "\0", "big": "x" * 1_000_000})

    report = tallyd.tick()
    assert report["outcome"] == "complete"
    assert (report["inserted"], report["matched"]) == (len(readable), len(readable))
    assert report["unreadable"] == len(broken)
    told = {each["container_id"]: each["reason"] for each in report["unreadable_containers"]}
    assert told.keys() == broken.keys()
    for container, reason in broken.items():
        assert reason in told[container]

    rows = passes.rows()
    assert {row.container_id: row_id for row_id, row in rows.items()} == readable | {owned: "shop:owned"}
    assert rows["shop:owned"].state == "running"
    assert unlabelled not in told
    second = tallyd.tick()
    assert (second["missing"], second["updated"], second["unchanged"]) == (0, 0, len(readable))

    shown = {row["container_id"] for row in tallyd.ps()}
    assert shown == {*readable, owned}
    rows_shown = tallyd.ok("ps")
    assert r"two\nlines" in rows_shown.stdout
    assert "🚀 ünï" in rows_shown.stdout
    for table in (rows_shown, tallyd.ok("tick"), tallyd.ok("explain", f"{world.prefix}-newline")):
        assert "\x1b" not in table.stdout
        assert "\0" not in table.stdout
    for container, reason in broken.items():
        assert reason in passes.explain(container).result
    by_name = tallyd.ok("explain", f"{world.prefix}-nul", "--output", "json").json
    assert by_name["container_id"] in broken
    assert "NUL" in by_name["result"]


def test_unreadable_containers_are_in_the_metrics_and_the_log(
    console: Console, engine: Engine, world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """R17, O5, O6: a running controller counts them, tells each once, and forgets them when they are gone."""
    settings = settings_of(engine.endpoint, sqlite_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    tallyd = Tallyd(console, tmp_path, settings | {"TALLYD_INTERVAL_SECONDS": "0.2"})
    tallyd.apply({"id": "app", "kind": "stack", "source": {"kind": "report"}, "trigger": {"kind": "manual"}})
    label = f"{world.prefix}.workload.id"
    broken = world.create(labels={label: "app", "other": "\0\x1b[2J"})
    world.create(labels={label: "app", f"{world.prefix}.role": "\u202efine\x9b2J"})
    with tallyd.running() as controller:
        controller.wait_ready()
        assert controller.metric("tallyd_containers_unreadable") == 1
        assert controller.metric('tallyd_containers{state="created",workload_kind="stack"}') == 1
        world.rm(broken)
        done = controller.metric('tallyd_ticks_total{outcome="complete"}')
        controller.wait_for_metric('tallyd_ticks_total{outcome="complete"}', done + 2)
        assert controller.metric("tallyd_containers_unreadable") == 0
        told = controller.logged("container unreadable")
        assert [line["container_id"] for line in told] == [broken]
        (reconciled,) = controller.logged("workload reconciled")
        assert reconciled["detail"] == r"app:\u202efine\x9b2J is created"
        assert not {"\x1b", "\x9b", "\u202e"} & set(controller.text)


def test_an_image_with_baked_labels_claims_a_workload_and_doctor_tells(
    console: Console, own_engine: PrivateEngine, own_world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """R7, O1: image labels become container labels, so they dispatch; `doctor` warns of such images."""
    tallyd = Tallyd(console, tmp_path, settings_of(own_engine.endpoint, sqlite_url, tmp_path))
    before = {each["check"]: each for each in tallyd.ok("doctor", "--output", "json").json}
    assert before["image labels"]["status"] == "ok"
    container = own_world.create(image=LABELLED)
    tallyd.apply({"id": "from-image", "kind": "site"})
    tallyd.tick()
    assert {row["id"]: row["container_id"] for row in tallyd.ps()} == {"from-image:site": container}
    found = {each["check"]: each for each in tallyd.ok("doctor", "--output", "json").json}
    assert found["image labels"]["status"] == "warn"
    assert LABELLED in found["image labels"]["detail"]
    assert found["image labels"]["remedy"]


def test_a_container_stuck_in_removing_and_then_dead(
    own_engine: PrivateEngine, own_world: World, sqlite_url: str, postgres_url: str
) -> None:
    """R13, R14, R16: it is listed, so it is never missing; it has ended, so it holds no slot."""
    with contextlib.ExitStack() as opened:
        both = [
            opened.enter_context(contextlib.closing(Passes(own_engine.endpoint, url)))
            for url in (sqlite_url, postgres_url)
        ]
        for passes in both:
            passes.declare(app="stack", web="site")
        stuck = own_world.run(labels=both[0].labels(id="app", role="db"))
        slot = own_world.run(labels=both[0].labels(id="web"))
        for passes in both:
            passes.tick()
        deployed = [passes.deploy() for passes in both]
        for container in (stuck, slot):
            own_world.stick_in_removing(container)
        for passes in both:
            passes.tick()
            assert passes.states() == {"app:db": "removing", "web:site": "removing"}
        newcomer = own_world.create(labels=both[0].labels(id="web"))
        for passes in both:
            report = passes.tick()
            assert report.ignored_by_reason["superseded"] == 1
            assert passes.holders() == {"app:db": stuck, "web:site": newcomer}
        own_engine.restart()
        assert own_world.state(stuck) == "dead"
        for passes, owned in zip(both, deployed, strict=True):
            passes.tick()
            assert passes.states() == {"app:db": "stopped", "web:site": "created"}
            assert json.loads(passes.rows()["app:db"].ports) == []
            assert passes.deployed() == owned
        own_world.remove_all()
        for passes in both:
            assert len(passes.tick().change.missing) == 2
