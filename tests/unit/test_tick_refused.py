"""`controller.loop.tick`: passes that must not write, and rows that the store does not take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.engine.client import EngineClient
from controller.loop.memory import Memory
from controller.loop.report import TickOutcome
from controller.loop.schedule import run_pass
from controller.loop.tick import preview, run_tick
from store import hosts
from store.database import Database
from store.errors import EngineRefused, LeaseLost
from store.records import MISSING
from store.workloads import apply_workloads
from tests.builders import HOST, NOW
from tests.fakes import FakeDocker, FakeWorld, Fault
from tests.unit.passes import OF_SITE, OF_STACK, Meanwhile, Passes, activation_for
from tests.unit.plugins import Zoo, declared

LISTING = "/containers/json"


@pytest.mark.parametrize(
    "fault",
    [Fault.NULL, Fault.HTML, Fault.ERROR, Fault.EMPTY, Fault.TRUNCATED, Fault.CUT, Fault.CLOSE, b"{}", b"[", b"7"],
    ids=str,
)
def test_a_failed_listing_writes_nothing(passes: Passes, docker: FakeDocker, zoo: Zoo, fault: Fault | bytes) -> None:
    """R6: it sweeps nothing, runs no plugin, and leaves the age of the truth as it was; then all goes on."""
    apply_workloads(passes.activation.database, [declared("w", "fine")], NOW)
    gone = docker.world.run("web", OF_STACK)
    docker.world.run("site", OF_SITE)
    passes.tick()
    docker.world.rm(gone)
    before = passes.rows, hosts.get_host(passes.activation.database, HOST), zoo.calls.total()
    with docker.answering(LISTING, fault):
        report = passes.tick()
    assert report.outcome is TickOutcome.LISTING_FAILED
    assert report.errors
    assert (passes.rows, hosts.get_host(passes.activation.database, HOST), zoo.calls.total()) == before
    assert passes.tick().complete
    assert passes.states == {"blog:web": MISSING, "www:site": "running"}


def test_another_engine_is_refused(passes: Passes, docker: FakeDocker, database: Database) -> None:
    """R18: nothing is written until it is accepted; then it is, and its listing counts."""
    docker.world.run("web", OF_STACK)
    passes.tick()
    docker.world.clear()
    docker.become("ANOTHER")
    _until_answered(passes)
    before = passes.rows
    report = passes.tick()
    assert report.outcome is TickOutcome.ENGINE_REFUSED
    assert "tallyd host accept" in report.errors[0]
    assert passes.rows == before
    with pytest.raises(EngineRefused):
        preview(passes.activation, passes.times.clock)
    hosts.accept_engine(database, HOST, "ANOTHER")
    assert passes.tick().complete
    assert passes.states == {"blog:web": MISSING}


def _until_answered(passes: Passes) -> None:
    """The connection that was open when the engine went is found broken once."""
    passes.tick()


def test_a_pass_without_the_lease_writes_nothing(passes: Passes, world: FakeWorld) -> None:
    """R22: whoever does not lead does not even list."""

    def lost() -> Any:
        raise LeaseLost("somebody else leads")

    world.run("web", OF_STACK)
    report = run_tick(replace(passes.activation, lease=lost), passes.times.clock)
    assert (report.outcome, report.errors) == (TickOutcome.STANDBY, ("somebody else leads",))
    assert passes.rows == {}


def test_a_pass_whose_lease_was_taken_over_writes_nothing(
    passes: Passes, world: FakeWorld, database: Database, client: EngineClient
) -> None:
    """R22: every write is fenced; the former leader finds out by it."""
    world.run("web", OF_STACK)
    passes.tick()
    activation_for(database, client)
    world.clear()
    report = passes.tick()
    assert report.outcome is TickOutcome.STANDBY
    assert passes.states == {"blog:web": "running"}


def test_a_superseded_pass_writes_nothing(passes: Passes, world: FakeWorld, client: EngineClient) -> None:
    """R4: another pass was committed while this one listed, so what this one knows is older."""
    web = world.run("web", OF_STACK)

    def other_pass() -> None:
        world.pause(web)
        assert passes.tick().complete

    late = replace(passes.activation, engine=Meanwhile(client, other_pass), memory=Memory())
    report = run_tick(late, passes.times.clock)
    assert report.outcome is TickOutcome.SUPERSEDED
    assert passes.states == {"blog:web": "paused"}


def test_a_superseded_pass_is_repeated(passes: Passes, world: FakeWorld, client: EngineClient) -> None:
    """R4: on what the other one left, a few times at most."""
    web = world.run("web", OF_STACK)
    others = iter([True, False])

    def other_pass_once() -> None:
        if next(others):
            world.pause(web)
            assert passes.tick().complete

    late = replace(passes.activation, engine=Meanwhile(client, other_pass_once), memory=Memory())
    report = run_pass(late, passes.times.clock)
    assert report.complete
    assert report.change.unchanged == 1
    always = replace(passes.activation, engine=Meanwhile(client, passes.tick), memory=Memory())
    assert run_pass(always, passes.times.clock).outcome is TickOutcome.SUPERSEDED


def test_a_store_that_fails_is_in_the_report(passes: Passes, world: FakeWorld) -> None:
    """R2: a failing pass raises nothing that the loop has to know."""
    database = passes.activation.database
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE containers RENAME TO moved")
    report = passes.tick()
    assert report.outcome is TickOutcome.STORE_FAILED
    assert "tallyd migrate" in report.errors[0]


def test_a_cancelled_pass_says_so(passes: Passes, client: EngineClient) -> None:
    """R3: it is no failure of the engine's."""
    client.cancel()
    assert passes.tick().outcome is TickOutcome.CANCELLED


def test_a_refused_row_is_reported(passes: Passes, database: Database, world: FakeWorld) -> None:
    """R14: by row and reason; the others are written, and its container is not swept."""
    web = world.run("web", OF_STACK)
    passes.tick()
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE UPDATE OF state ON containers WHEN new.state = 'paused'"
            " BEGIN SELECT raise(ABORT, 'not this one'); END"
        )
    site = world.run("site", OF_SITE)
    world.pause(web)
    report = passes.tick()
    assert report.complete
    assert report.errors == ("row 'blog:web' was refused by the store: not this one",)
    assert passes.states == {"blog:web": "running", "www:site": "running"}
    assert passes.rows["www:site"].container_id == site
