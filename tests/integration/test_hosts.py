"""Many controllers, one store: who leads, who stands by, and what a database that hangs or is gone does."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.records import MISSING
from tests.fakes import FakeDocker
from tests.harness import Engine, PrivatePostgres, World, wait_until
from tests.integration.console import Console, Controller, Tallyd, settings_of

HELD = "tallyd_lease_held"
STANDBY = 'tallyd_ticks_total{outcome="standby"}'
STORE_FAILED = 'tallyd_ticks_total{outcome="store_failed"}'


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


def hasty(console: Console, endpoint: str, url: str, folder: Path, **settings: str) -> Tallyd:
    """`tallyd` with short intervals, and so with short leases."""
    return Tallyd(console, folder, settings_of(endpoint, url, folder, **{"TALLYD_INTERVAL_SECONDS": "1"} | settings))


def test_a_leader_that_is_frozen_past_its_lease(
    console: Console, engine: Engine, world: World, database_url: str, tmp_path: Path
) -> None:
    """R22: the standby takes over, no row is lost, and the late leader writes nothing and stands by."""
    tallyd = hasty(console, engine.endpoint, database_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    tallyd.apply({"id": "app", "kind": "stack"})
    labels = {f"{world.prefix}.workload.id": "app"}
    first = world.run(labels=labels | {f"{world.prefix}.role": "a"})
    with tallyd.running() as leader:
        leader.wait_ready()
        leader.wait_for_metric(HELD, 1)
        with tallyd.running() as standby:
            wait_until(standby.serving, 30, "the standby serves")
            standby.wait_for_metric(STANDBY, 1)
            assert "led by another controller" in " ".join(standby.wait_not_ready())
            assert standby.metric(HELD) == 0
            assert standby.metric('tallyd_docker_requests_total{operation="list",result="ok"}') == 0
            os.kill(leader.process.pid, signal.SIGSTOP)
            try:
                standby.wait_for_metric(HELD, 1)
                standby.wait_ready()
                world.run(labels=labels | {f"{world.prefix}.role": "b"})
                wait_until(lambda: set(running(standby)) == {"app:a", "app:b"}, 20, "the new leader sees both")
            finally:
                os.kill(leader.process.pid, signal.SIGCONT)
            leader.wait_for_metric(STANDBY, 1)
            leader.wait_not_ready()
            assert leader.metric(HELD) == 0
            world.rm(first)
            wait_until(lambda: rows(standby)["app:a"] == MISSING, 20, "the new leader goes on")
            assert standby.terminate()[0] == 0
        leader.wait_for_metric(HELD, 1)  # given back, so it need not wait
        leader.wait_ready()
        assert rows(leader) == {"app:a": MISSING, "app:b": "running"}


def rows(controller: Controller) -> dict[str, str]:
    return {row_id: row["state"] for row_id, row in controller.rows().items()}


def running(controller: Controller) -> list[str]:
    return [row_id for row_id, state in rows(controller).items() if state == "running"]


def test_a_pass_is_asked_of_whoever_leads(
    console: Console, engine: Engine, world: World, database_url: str, tmp_path: Path
) -> None:
    """R4, R22: `tallyd tick` beside a running controller has that one run the pass; without one it runs it itself."""
    settings = {"TALLYD_LABEL_PREFIX": world.prefix, "TALLYD_INTERVAL_SECONDS": "300"}
    tallyd = hasty(console, engine.endpoint, database_url, tmp_path, **settings)
    with tallyd.running() as controller:
        controller.wait_ready()
        controller.wait_for_metric("tallyd_event_stream_connected", 1)
        tallyd.tick()  # comes after what the connected stream asks for
        done = controller.metric('tallyd_ticks_total{outcome="complete"}')
        assert tallyd.tick()["outcome"] == "complete"
        assert controller.metric('tallyd_ticks_total{outcome="complete"}') == done + 1
        assert controller.terminate()[0] == 0
    assert tallyd.tick()["outcome"] == "complete"


def test_a_killed_leader_is_followed_at_once_on_sqlite(
    console: Console, engine: Engine, world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """R22, F: the kernel tells that the holder of the lease is dead; nobody waits the 450 seconds of it out."""
    settings = {"TALLYD_LABEL_PREFIX": world.prefix, "TALLYD_INTERVAL_SECONDS": "300"}
    tallyd = hasty(console, engine.endpoint, sqlite_url, tmp_path, **settings)
    with tallyd.running() as controller:
        controller.wait_ready()
        controller.kill()
    assert tallyd.tick()["outcome"] == "complete"
    with tallyd.running() as controller:
        controller.wait_ready()
        controller.kill()
    with tallyd.running() as successor:
        successor.wait_ready()


def test_hosts_do_not_see_each_other(console: Console, postgres_url: str, tmp_path: Path) -> None:
    """O3, R14: two engines, one stack, one store; each host sweeps its own rows, `--all-hosts` shows both."""
    with FakeDocker(engine_id="ONE") as one, FakeDocker(engine_id="TWO") as two:
        here = hasty(console, one.endpoint, postgres_url, tmp_path, TALLYD_HOST="one")
        there = hasty(console, two.endpoint, postgres_url, tmp_path, TALLYD_HOST="two")
        here.apply({"id": "app", "kind": "stack"}, {"id": "only-two", "kind": "stack", "host": "two"})
        labels = {"tallyd.workload.id": "app", "tallyd.role": "web"}
        for fake in (one, two):
            fake.world.run("web", labels)
            fake.world.run("extra", {"tallyd.workload.id": "only-two", "tallyd.role": "x"})
        assert here.tick()["ignored"] == {"unknown_workload": 1}
        assert there.tick()["ignored"] == {}
        one.world.clear()
        assert here.tick()["missing"] == 1
        assert {row["id"]: row["state"] for row in here.ps()} == {"app:web": MISSING}
        assert {row["id"]: row["state"] for row in there.ps()} == {"app:web": "running", "only-two:x": "running"}
        everything = here.ps("--all-hosts")
        assert sorted((row["host"], row["id"]) for row in everything) == [
            ("one", "app:web"),
            ("two", "app:web"),
            ("two", "only-two:x"),
        ]
        assert {host["id"] for host in here.ok("host", "list", "--output", "json").json} == {"one", "two"}
        assert here.ok("ps", "--all-hosts").stdout.count("last complete listing") == 2


def test_five_controllers_start_on_an_empty_database(console: Console, postgres_url: str, tmp_path: Path) -> None:
    """O3, F: five first starts at the same moment make one schema, and all of them lead their hosts."""
    with FakeDocker() as fake, contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                hasty(console, fake.endpoint, postgres_url, tmp_path, TALLYD_HOST=f"host-{number}").running()
            )
            for number in range(5)
        ]
        for controller in started:
            controller.wait_ready(60)
            assert controller.metric(HELD) == 1
        assert sum(len(controller.logged("store migrated")) for controller in started) == 1


def test_a_database_that_hangs_is_noticed_and_survived(
    console: Console, own_postgres: PrivatePostgres, tmp_path: Path
) -> None:
    """F: a stopped backend acknowledges packets and never answers; the watchdog frees the loop, and it heals."""
    with FakeDocker() as fake:
        url = own_postgres.fresh_database()
        tallyd = hasty(console, fake.endpoint, url, tmp_path)
        tallyd.apply({"id": "app", "kind": "stack"})
        fake.world.run("web", {"tallyd.workload.id": "app", "tallyd.role": "web"})
        with tallyd.running() as controller:
            controller.wait_ready()
            own_postgres.pause()
            try:
                controller.wait_for_metric(STORE_FAILED, 1, 60)
                controller.wait_not_ready()
                assert controller.healthy
            finally:
                own_postgres.resume()
            controller.wait_ready(60)
            assert rows(controller) == {"app:web": "running"}
