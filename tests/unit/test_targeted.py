"""A targeted pass leaves the index as a full one would: the events only say where to look."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.clock import Clock
from controller.engine.client import EngineClient
from controller.engine.endpoint import Endpoint
from controller.labels import LabelNames
from controller.loop.converge import ConvergeLimits, Converger
from controller.loop.report import TickOutcome
from controller.loop.targeted import run_targeted
from controller.loop.tick import Activation, run_tick
from controller.plugins.contract import Outcome, ReconcileRequest, Result
from controller.plugins.registry import Registry
from store import hosts
from store.database import open_database
from store.index import list_containers
from store.leases import acquire_lease
from store.records import MISSING, Host
from store.schema import migrate
from store.workloads import apply_workloads
from tests.builders import HOST, NOW, workload
from tests.fakes import FakeDocker, Fault

CLOCK = Clock(now=lambda: NOW)
WORKLOADS = [workload("web", "stack"), workload("docs", "site", ref="docs.example"), workload("shop", "project")]
KINDS: list[dict[str, str]] = [
    {},
    {"tallyd.workload.id": "web"},
    {"tallyd.workload.id": "web", "tallyd.role": "app"},
    {"tallyd.static-site": "docs.example"},
    {"tallyd.workload.id": "shop"},
    {"com.docker.compose.project": "tallyd-web", "com.docker.compose.service": "db"},
]


class Side:
    """One store that follows one engine."""

    def __init__(self, fake: FakeDocker, url: str, registry: Registry | None = None) -> None:
        self.database = open_database(url)
        migrate(self.database)
        hosts.register(self.database, Host(HOST))
        apply_workloads(self.database, WORKLOADS, NOW)
        lease = acquire_lease(self.database, HOST, "me", 3600.0)
        self.engine = EngineClient(Endpoint(fake.endpoint), timeout_seconds=5)
        converger = Converger(registry or Registry(), ConvergeLimits(), chance=Random(1))
        self.activation = Activation(HOST, LabelNames(), self.database, self.engine, converger, lambda: lease)

    def rows(self) -> dict[str, Any]:
        return {row.id: (row.container_id, row.name, row.state, row.role) for row in list_containers(self.database)}

    def close(self) -> None:
        self.engine.close()
        self.database.close()


@pytest.fixture
def fake() -> Iterator[FakeDocker]:
    with FakeDocker() as started:
        yield started


def act(fake: FakeDocker, ids: list[str], step: tuple[str, int]) -> str:
    """One thing that happens on the engine; the id of the container that it happens to."""
    verb, number = step
    world = fake.world
    if verb == "create" or not ids:
        ids.append(world.run(labels=KINDS[number % len(KINDS)]))
        return ids[-1]
    container = ids[number % len(ids)]
    if verb == "rm":
        ids.remove(container)
        world.rm(container)
    elif verb == "rename":
        world.rename(container, f"renamed-{number}")
    else:
        world.set_state(container, verb)
    return container


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "create", "rm", "rename", "exited", "running", "paused"]), st.integers(0, 30)
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_targeted_passes_leave_what_full_ones_leave(fake: FakeDocker, steps: list[tuple[str, int]]) -> None:
    """R20, R16, R14: after any history both indexes are equal, and a last full pass finds nothing to do."""
    fake.world.clear()
    with contextlib.closing(Side(fake, "sqlite://")) as full, contextlib.closing(Side(fake, "sqlite://")) as targeted:
        for side in (full, targeted):
            assert run_tick(side.activation, CLOCK).complete
        ids: list[str] = []
        for step in steps:
            touched = act(fake, ids, step)
            report = run_targeted(targeted.activation, CLOCK, {touched})
            assert report.complete, report.errors
            assert run_tick(full.activation, CLOCK).complete
            assert targeted.rows() == full.rows()
        assert run_tick(targeted.activation, CLOCK).change.empty


@pytest.fixture
def side(fake: FakeDocker, tmp_path: Path) -> Iterator[Side]:
    with contextlib.closing(Side(fake, f"sqlite:///{tmp_path / 'x.db'}")) as made:
        yield made


def test_says_nothing_about_the_age_of_the_rest(side: Side, fake: FakeDocker) -> None:
    """R21: only a complete listing makes the host's truth young."""
    container = fake.world.run("a", KINDS[2])
    before: datetime | None = hosts.get_host(side.database, HOST).last_listed_at
    report = run_targeted(side.activation, CLOCK, {container})
    assert (report.targeted, report.listed, len(report.change.inserted)) == (True, 1, 1)
    assert hosts.get_host(side.database, HOST).last_listed_at is before is None


def test_what_was_not_asked_for_is_not_swept(side: Side, fake: FakeDocker) -> None:
    """R14, R20: a pass over one container says nothing of another that is gone; the next tick does."""
    first, second = fake.world.run("a", KINDS[2]), fake.world.run("b", KINDS[3])
    run_tick(side.activation, CLOCK)
    fake.world.rm(second)
    fake.world.pause(first)
    run_targeted(side.activation, CLOCK, {first})
    assert {row_id: row[2] for row_id, row in side.rows().items()} == {"web:app": "paused", "docs:site": "running"}
    run_tick(side.activation, CLOCK)
    assert side.rows()["docs:site"][2] == MISSING


def test_a_newcomer_to_a_held_row_asks_for_its_holder(side: Side, fake: FakeDocker) -> None:
    """R16: a forged label cannot use the narrow view of a targeted pass to take a living container's row."""
    holder = fake.world.run("holder", KINDS[3])
    run_tick(side.activation, CLOCK)
    newcomer = fake.world.run("newcomer", KINDS[3])
    report = run_targeted(side.activation, CLOCK, {newcomer})
    assert report.ignored_by_reason == {"slot_taken": 1}
    assert side.rows()["docs:site"][0] == holder
    fake.world.stop(holder)
    run_targeted(side.activation, CLOCK, {holder})
    assert side.rows()["docs:site"][0] == newcomer


@pytest.mark.parametrize("fault", [Fault.NULL, Fault.HTML, Fault.ERROR])
def test_a_failed_listing_writes_nothing(side: Side, fake: FakeDocker, fault: Fault) -> None:
    """R6, R20: an answer that is none marks nothing missing, in a targeted pass either."""
    container = fake.world.run("a", KINDS[2])
    run_tick(side.activation, CLOCK)
    before = side.rows()
    with fake.answering("/containers/json", fault):
        report = run_targeted(side.activation, CLOCK, {container})
    assert report.outcome is TickOutcome.LISTING_FAILED
    assert side.rows() == before


class Recorder:
    """A source that keeps the rows it was shown."""

    kind = "recorder"

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []

    def validate(self, config: Any) -> None: ...

    def config_schema(self) -> dict[str, Any]:
        return {}

    def reconcile(self, request: ReconcileRequest) -> Outcome:
        self.seen.append({row.id: row.state for row in request.rows})
        return Outcome(Result.IN_SYNC)


def test_the_plugin_of_a_touched_workload_sees_all_its_rows(fake: FakeDocker, sqlite_url: str) -> None:
    """R15, S3: a targeted pass reconciles the workload that changed, with every row of it."""
    recorder = Recorder()
    with contextlib.closing(Side(fake, sqlite_url, Registry(sources={"recorder": recorder}))) as side:
        declared = workload("web", "stack", source_kind="recorder", trigger_kind="manual")
        apply_workloads(side.database, [declared], NOW)
        first, _second = fake.world.run("a", KINDS[2]), fake.world.run("b", KINDS[5])
        run_tick(side.activation, CLOCK)
        fake.world.pause(first)
        run_targeted(side.activation, CLOCK, {first})
        run_tick(side.activation, CLOCK)
        assert {"web:app": "paused", "web:db": "running"} in recorder.seen
