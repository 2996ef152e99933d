"""`controller.activator`: what a reload changes in a running process, and what it leaves as it is."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import structlog

from controller.activator import Activator, Running
from controller.declared.declaration import Declared
from controller.declared.reload_status import ReloadStatus
from controller.declared.reloaded import Prepared
from controller.errors import Conflict
from controller.loop.activations import Activations
from controller.loop.converge import ConvergeLimits, Converger
from controller.loop.lease import Candidate, LeaseKeeper, lease_seconds
from controller.loop.schedule import Loop
from controller.loop.status import LoopStatus
from controller.loop.tick import Activation
from controller.plugins.contract import ReconcileRequest
from controller.settings import Settings
from store import hosts
from store.database import Database
from store.records import ConfigDocument, Workload
from store.workloads import list_workloads
from tests.builders import HOST, NOW, workload
from tests.fakes import FakeDocker
from tests.harness import wait_until
from tests.unit.loops import LONG, SHORT
from tests.unit.loops import Running as Loops
from tests.unit.passes import OF_STACK, Passes, Times
from tests.unit.plugins import Zoo, request_for
from tests.unit.reports import report

HOSTED = {"host": HOST, "interval_seconds": LONG}


@dataclass
class House:
    """A process at the seams of an activator."""

    database: Database
    loop: Loop
    activations: Activations
    keeper: LeaseKeeper
    times: Times = field(default_factory=Times)

    def __post_init__(self) -> None:
        self.status = LoopStatus(LONG, lambda: self.times.monotonic)
        self.reloads = ReloadStatus(lambda: NOW)
        running = Running(self.activations, self.loop, self.status, self.keeper, "unix:///docker.sock")
        self.activator = Activator(running, self.database, self.reloads, lambda: NOW, Settings(**HOSTED))

    def build(self, workloads: tuple[Workload, ...] | None = None, **settings: Any) -> Prepared:
        """Build an activation of these settings."""
        return self.activator.build(Declared(Settings(**HOSTED | settings), ConfigDocument(), workloads))

    def activate(self, workloads: tuple[Workload, ...] | None = None, **settings: Any) -> Prepared:
        """Build one, and swap it in."""
        prepared = self.build(workloads, **settings)
        prepared.swap()
        return prepared

    @property
    def current(self) -> Activation:
        """The one in force."""
        return self.activations.current()


@pytest.fixture
def house(passes: Passes, database: Database, running: Loops) -> Iterator[House]:
    """A process whose loop does not run yet."""
    keeper = LeaseKeeper(database, Candidate(HOST, "me", lease_seconds(LONG)), lambda: 0.0)
    made = House(database, running.loop(), Activations(passes.activation, lambda: 0.0), keeper)
    yield made
    keeper.stop()


@pytest.fixture
def log_settings() -> Iterator[None]:
    """Puts back what logging was."""
    root = logging.getLogger()
    handlers, levels = root.handlers, {name: logging.getLogger(name).level for name in ("", "controller", "store")}
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_nothing_is_in_force_before_the_swap(house: House) -> None:
    """W7, H6: all is built aside; the old one stays as it is, whoever works with it."""
    before = house.current
    prepared = house.build(label_prefix="acme", interval_seconds=7)
    assert house.current is before
    prepared.swap()
    assert (before.names.prefix, house.current.names.prefix) == ("tallyd", "acme")
    assert prepared.summary == "interval_seconds 300.0 -> 7.0; label_prefix tallyd -> acme"


def test_an_interval_reaches_the_loop(house: House, running: Loops) -> None:
    """W5, R1: the timer goes at the new pace at once, without a restart."""
    house.activate(interval_seconds=SHORT)
    house.loop.start()
    wait_until(lambda: len(running.reports) >= 4, what="ticks at the new interval")
    house.activate(interval_seconds=LONG)
    house.activate(interval_seconds=SHORT)
    seen = len(running.reports)
    wait_until(lambda: len(running.reports) >= seen + 4, what="ticks after two more reloads")


def test_an_interval_reaches_readiness_lease_and_store(house: House) -> None:
    """W5, R21, R22: clamped as ever (R1)."""
    house.status.record(report())
    house.times.go_on(100)
    assert house.status.not_ready_because() == []
    house.activate(interval_seconds=20)
    assert "100 s old" in house.status.not_ready_because()[0]
    assert house.keeper.current().ttl_seconds == lease_seconds(20)
    assert hosts.get_host(house.database, HOST).interval_seconds == 20
    house.activate(interval_seconds=900)
    assert house.status.not_ready_because() == []
    assert house.keeper.current().ttl_seconds == lease_seconds(300)
    assert hosts.get_host(house.database, HOST).interval_seconds == 300


def test_a_reload_asks_for_a_pass(house: House, running: Loops) -> None:
    """W5: what was declared anew is acted on now, not an interval later."""
    house.loop.start()
    wait_until(lambda: running.reports, what="the boot pass")
    house.activate(plugin_workers=2)
    wait_until(lambda: len(running.reports) >= 2, what="another pass")


def test_the_memory_is_of_one_label_prefix(house: House) -> None:
    """W7: what was worked out from other labels is forgotten; else nothing is."""
    memory = house.current.memory
    house.activate(plugin_workers=2)
    assert house.current.memory is memory
    house.activate(label_prefix="acme")
    assert house.current.memory is not memory


def test_calls_in_flight_and_back_offs_outlive_a_reload(house: House, zoo: Zoo) -> None:
    """R15, W8: no second call while one is in flight, and none before its time; the new deadline counts."""
    times, chance = house.times, random.Random(7)
    converger = Converger(zoo.registry, ConvergeLimits(), chance=chance, monotonic=lambda: times.monotonic)
    house.activations.swap(replace(house.current, converger=converger), 0.0)
    hanging, failing = request_for("blog", "hangs"), request_for("www", "raises")
    assert _results(house, failing) == {"www": "failed"}
    assert _results(house, hanging, interrupted=lambda: True) == {"blog": "in_flight"}
    house.activate(plugin_workers=1)
    assert house.current.converger is not converger
    both = {"blog": "in_flight", "www": "backoff"}
    assert _results(house, hanging, failing, interrupted=lambda: True) == both
    times.go_on(2)
    house.activate(plugin_deadline_seconds=1)
    assert _results(house, failing) == {"blog": "timeout", "www": "backoff"}
    assert zoo.calls == {"blog": 1, "www": 1}
    house.activate(plugin_workers=3)
    house.current.converger.stop()
    assert _results(house, request_for("new", "hangs")) == {"new": "in_flight"}, (
        "a stop reaches those of every reload"
    )


def _results(
    house: House, *requests: ReconcileRequest, interrupted: Callable[[], bool] = lambda: False
) -> dict[str, str]:
    done = house.current.converger.run_pass(requests, of_all=False, interrupted=interrupted)
    return {each.workload_id: each.result for each in done}


def test_what_the_log_tells_is_changed_by_a_reload_of_its_level_alone(house: House, log_settings: None) -> None:
    """O6: another setting leaves the log's handlers as they are."""
    logging.getLogger("controller").setLevel(logging.INFO)
    handlers = logging.getLogger().handlers
    house.activate(plugin_workers=3)
    assert logging.getLogger().handlers is handlers
    assert house.activate(log_level="debug").summary == "log_level info -> debug; plugin_workers 3 -> 8"
    assert logging.getLogger("controller").level == logging.DEBUG


def test_the_first_activation_changes_what_was_changed_since_the_start(house: House, log_settings: None) -> None:
    """W7: such as after a boot whose manifests were malformed: nothing of it waits for a second reload."""
    house.activate(log_level="error", interval_seconds=20)
    assert logging.getLogger("controller").level == logging.ERROR
    assert hosts.get_host(house.database, HOST).interval_seconds == 20


def test_what_takes_a_restart_is_named(house: House) -> None:
    """W5: the log says which settings a running process does not take up."""
    asked = Declared(Settings(**HOSTED), ConfigDocument(), None, ("git_sync_seconds", "listen"))
    assert house.activator.build(asked).summary == "after a restart: git_sync_seconds, listen"
    assert house.build().summary == "nothing to change"


def test_manifests_are_written_with_the_build(house: House) -> None:
    """W5, W7: counts in the summary; what another host declared, or a person, is not ours to remove."""
    before = list_workloads(house.database)
    prepared = house.build((workload("new"), workload("blog", "stack", name="Changed")), manifests_prune=True)
    assert (prepared.changed, prepared.unfinished) == (True, False)
    assert prepared.summary == "manifests_prune False -> True; workloads: 1 added, 1 changed"
    ids = {each.id: (each.name, each.declared_by) for each in list_workloads(house.database)}
    assert ids == {each.id: (each.name, "") for each in before} | {"new": ("New", HOST), "blog": ("Changed", HOST)}
    again = house.build((workload("new"), workload("blog", "stack", name="Changed")))
    assert (again.changed, again.unfinished) == (False, False)


def test_a_prune_that_waits_for_a_container_is_unfinished(house: House, passes: Passes, docker: FakeDocker) -> None:
    """W7: it is told why it stays, and it goes with its last container."""
    stack = workload("blog", "stack")
    container = docker.world.run("web", OF_STACK)
    house.activate((stack,))
    passes.tick()
    kept = house.activate(())
    assert (kept.changed, kept.unfinished) == (False, False)
    assert "pruning is off" in house.reloads.as_dict()["workloads_kept"]["blog"]
    waiting = house.activate((), manifests_prune=True)
    assert (waiting.changed, waiting.unfinished) == (False, True)
    assert house.reloads.as_dict()["workloads_kept"] == {"blog": "its manifest is gone, but it has 1 container(s)"}
    docker.world.rm(container)
    passes.tick()
    done = house.activate((), manifests_prune=True)
    assert (done.changed, done.unfinished, done.summary) == (True, False, "workloads: 1 removed")
    assert "blog" not in {each.id for each in list_workloads(house.database)}


def test_a_store_that_refuses_leaves_everything_as_it_was(house: House) -> None:
    """H6: nothing of the manifests is written, and nothing is swapped."""
    before, stored = house.current, list_workloads(house.database)
    with pytest.raises(Conflict, match="'site-1' belongs to workload 'www'"):
        house.build((workload("first"), workload("second", "site", ref="site-1")), interval_seconds=7)
    assert (house.current, list_workloads(house.database)) == (before, stored)
    assert hosts.get_host(house.database, HOST).interval_seconds != 7
