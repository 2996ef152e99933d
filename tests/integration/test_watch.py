"""The watch: an event becomes a row long before the next tick, and whatever the stream loses, a tick finds."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.records import MISSING
from tests.fakes import FakeDocker
from tests.harness import Engine, PrivateEngine, World, wait_until
from tests.integration.console import Console, Controller, Tallyd, settings_of
from tests.integration.proxies import StreamProxy

CONNECTED = "tallyd_event_stream_connected"
COMPLETE = 'tallyd_ticks_total{outcome="complete"}'
TARGETED = 'tallyd_targeted_passes_total{outcome="complete"}'


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


def patient(console: Console, endpoint: str, url: str, folder: Path, **settings: str) -> Tallyd:
    """`tallyd` whose ticks are so far apart that only events can explain what it knows."""
    return Tallyd(
        console, folder, settings_of(endpoint, url, folder, **{"TALLYD_INTERVAL_SECONDS": "300"} | settings)
    )


def watching(tallyd: Tallyd, controller: Controller) -> Controller:
    """Wait until its stream is connected, and until what it asked for at the connection is listed.

    That may be the boot pass or one after it; a forced one comes after both.
    """
    controller.wait_ready()
    controller.wait_for_metric(CONNECTED, 1)
    tallyd.tick()
    return controller


def state_is(controller: Controller, row_id: str, state: str) -> None:
    wait_until(lambda: controller.rows().get(row_id, {}).get("state") == state, 20, f"{row_id} is {state}")


def test_events_become_rows_without_a_tick(
    console: Console, engine: Engine, world: World, database_url: str, tmp_path: Path
) -> None:
    """R20, R12: create, start, pause, rename, health, kill and removal are seen while no tick runs."""
    tallyd = patient(console, engine.endpoint, database_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    tallyd.apply({"id": "app", "kind": "stack", "source": {"kind": "report"}, "trigger": {"kind": "manual"}})
    label = {f"{world.prefix}.workload.id": "app", f"{world.prefix}.role": "web"}
    with tallyd.running() as controller:
        watching(tallyd, controller)
        ticks = controller.metric(COMPLETE)
        container = world.run(labels=label, healthcheck=["true"])
        state_is(controller, "app:web", "running")
        wait_until(lambda: controller.rows()["app:web"]["health"] == "healthy", 20, "its health is seen")
        world.pause(container)
        state_is(controller, "app:web", "paused")
        world.unpause(container)
        world.rename(container, f"{world.prefix}-renamed")
        wait_until(lambda: controller.rows()["app:web"]["name"].endswith("-renamed"), 20, "the new name is seen")
        world.kill(container)
        state_is(controller, "app:web", "stopped")
        world.rm(container)
        state_is(controller, "app:web", MISSING)
        assert controller.metric(COMPLETE) == ticks
        assert controller.metric('tallyd_events_total{action="destroy"}') == 1
        assert controller.metric('tallyd_plugin_reconciles_total{kind="report",result="drift"}') >= 1
        assert controller.metric('tallyd_containers{state="missing",workload_kind="stack"}') == 1
        assert controller.metric('tallyd_containers{state="running",workload_kind="stack"}') == 0


def test_health_checks_make_no_noise(
    console: Console, engine: Engine, world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """R20, pitfall 4: the three exec events of every run of a health check wake nobody."""
    tallyd = patient(console, engine.endpoint, sqlite_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    with tallyd.running() as controller:
        watching(tallyd, controller)
        noisy = world.run(healthcheck=["true"])
        world.wait_health(noisy, "healthy")
        quiet = world.create()
        controller.wait_for_metric('tallyd_events_total{action="create"}', 2)
        actions = [line for line in controller.get("/metrics").body.decode().splitlines() if "events_total{" in line]
        assert not any("exec" in line for line in actions), actions
        world.rm(quiet)


def test_an_engine_that_dies_and_comes_back_is_watched_again(
    console: Console, own_engine: PrivateEngine, own_world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """R20, F: SIGKILL ends the stream, a new socket inode gets a new one, and what was missed is listed."""
    tallyd = patient(console, own_engine.endpoint, sqlite_url, tmp_path)
    tallyd.apply({"id": "app", "kind": "stack"})
    labels = {"tallyd.workload.id": "app"}
    first = own_world.run(labels=labels | {"tallyd.role": "a"})
    with tallyd.running() as controller:
        watching(tallyd, controller)
        state_is(controller, "app:a", "running")
        own_engine.kill()
        wait_until(lambda: controller.metric(CONNECTED) == 0, 20, "the loss is seen")
        assert controller.rows()["app:a"]["state"] == "running"
        own_engine.start()
        controller.wait_for_metric(CONNECTED, 1, 40)
        state_is(controller, "app:a", "stopped")
        own_world.rm(first)
        state_is(controller, "app:a", MISSING)
        assert len(controller.logged("event stream lost; ticks go on")) == 1
        assert len(controller.logged("event stream connected again")) == 1


def test_a_frozen_engine_is_watched_again(
    console: Console, own_engine: PrivateEngine, own_world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """R20, R3, F: SIGSTOP holds the events up; SIGCONT brings them, and nothing false appears between."""
    tallyd = patient(console, own_engine.endpoint, sqlite_url, tmp_path, TALLYD_ENGINE_TIMEOUT_SECONDS="2")
    tallyd.apply({"id": "app", "kind": "stack"})
    labels = {"tallyd.workload.id": "app", "tallyd.role": "a"}
    with tallyd.running() as controller:
        watching(tallyd, controller)
        own_world.run(labels=labels)
        state_is(controller, "app:a", "running")
        own_engine.pause()
        assert controller.rows()["app:a"]["state"] == "running"
        assert controller.healthy
        own_engine.resume()
        own_world.run(labels=labels | {"tallyd.role": "b"})
        state_is(controller, "app:b", "running")
        own_engine.pause()
        code, _seconds = controller.terminate()
        assert code == 0


def test_a_stream_whose_bytes_are_swallowed_costs_latency_only(
    console: Console, engine: Engine, world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """R20, F: a proxy that swallows the stream leaves it connected and silent; the next tick has the truth."""
    upstream = Path(engine.endpoint.removeprefix("unix://"))
    with contextlib.closing(StreamProxy(upstream, tmp_path / "proxy.sock")) as proxy:
        settings = {"TALLYD_LABEL_PREFIX": world.prefix, "TALLYD_INTERVAL_SECONDS": "2"}
        tallyd = patient(console, proxy.endpoint, sqlite_url, tmp_path, **settings)
        tallyd.apply({"id": "app", "kind": "stack"})
        with tallyd.running() as controller:
            watching(tallyd, controller)
            proxy.swallowing.set()
            seen = controller.metric(TARGETED)
            world.run(labels={f"{world.prefix}.workload.id": "app", f"{world.prefix}.role": "a"})
            state_is(controller, "app:a", "running")
            assert controller.metric(TARGETED) == seen
            assert controller.metric(CONNECTED) == 1


def test_a_reconnection_after_more_events_than_the_engine_remembers(
    console: Console, sqlite_url: str, tmp_path: Path
) -> None:
    """R20, pitfall 4: 400 events while the stream was away, of which the engine replays 256; none is missed."""
    with FakeDocker() as fake:
        tallyd = patient(console, fake.endpoint, sqlite_url, tmp_path)
        tallyd.apply({"id": "app", "kind": "stack"})
        label = "tallyd.workload.id"
        made = [fake.world.run(labels={label: "app", "tallyd.role": f"r{number}"}) for number in range(200)]
        with tallyd.running() as controller:
            watching(tallyd, controller)
            assert len(controller.rows()) == 200
            fake.world.events_muted = True
            fake.world.end_event_streams()
            for container in made:
                fake.world.rm(container)
            fake.world.events_muted = False
            wait_until(lambda: {row["state"] for row in controller.rows().values()} == {MISSING}, 30, "all missing")


def test_churn_ends_in_the_truth(
    console: Console, engine: Engine, world: World, sqlite_url: str, tmp_path: Path
) -> None:
    """R20, P6, F: containers come and go as fast as the engine can; afterwards the index is what is there."""
    tallyd = patient(console, engine.endpoint, sqlite_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
    tallyd.apply({"id": "app", "kind": "stack"})
    label = f"{world.prefix}.workload.id"
    with tallyd.running() as controller:
        watching(tallyd, controller)
        ticks = controller.metric(COMPLETE)
        kept: list[str] = []
        for _ in range(4):
            made = world.many(25, {label: "app"})
            for container in made[:20]:
                world.rm(container)
            kept += made[20:]
        expected = {f"app:{container}" for container in kept}
        wait_until(
            lambda: {row_id for row_id, row in controller.rows().items() if row["state"] != MISSING} == expected,
            30,
            "the index is what is there",
        )
        assert controller.metric(COMPLETE) == ticks


def test_stop_does_not_wait_for_the_stream(
    console: Console, own_engine: PrivateEngine, sqlite_url: str, tmp_path: Path
) -> None:
    """R3, R20: a stream of a frozen engine cannot hold the end up."""
    tallyd = patient(console, own_engine.endpoint, sqlite_url, tmp_path)
    with tallyd.running() as controller:
        watching(tallyd, controller)
        own_engine.pause()
        code, _seconds = controller.terminate(signal.SIGINT)
        assert code == 0
        assert not Path(f"/proc/{controller.process.pid}").exists() or os.getpgid(0) != controller.process.pid
