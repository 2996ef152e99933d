"""Deploys as all callers make them, over both stores: one at a time, resumed after a death, halted without a mark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from controller.errors import DeployInterrupted, DeployUnderWay, EngineRefused, SplitConflict, VerbFailed
from controller.plugins.registry import Registry
from controller.rollout.chain import Course, Shift, Step
from controller.rollout.deployer import Deployment, RuntimeConfig
from controller.rollout.rollouts import DeployRequest, Rollouts
from controller.rollout.runtime_file import RuntimeFile
from controller.rollout.turns import HeldTurn, is_dead, process_identity, turn_held
from controller.rollout.walker import Gate, Verdict, always_open
from store.database import Database
from store.revisions import list_revisions
from store.rollout_records import SplitEntry
from store.splits import get_split, rollback_split
from store.turns import find_turn, take_turn
from store.workloads import apply_workloads
from tests.builders import HOST, NOW
from tests.harness import wait_until
from tests.rollouts import any_engine
from tests.unit.rollouts import SHOP, MemoryDeployer

CANARY = Course(weights=(100, 5_000, 10_000))


@dataclass
class MemorySource(MemoryDeployer):
    """A source that deploys to memory; the declaration says which image."""

    kind: str = "memory"
    config: dict[str, Any] = field(default_factory=dict)

    def validate(self, config: Mapping[str, Any]) -> None:
        """See `Source`."""

    def config_schema(self) -> dict[str, Any]:
        """See `Source`."""
        return {}

    def reconcile(self, request: object) -> Any:
        """See `Source`."""

    def resolve(self, config: Mapping[str, Any]) -> tuple[str, str]:
        """See `Resolver`."""
        return config["image"], f"sha256:{config['image']}"


@pytest.fixture
def source() -> MemorySource:
    """What the shop is made of."""
    return MemorySource()


def declare(database: Database, image: str) -> None:
    """Declare the shop anew."""
    apply_workloads(database, [replace(SHOP, source_kind="memory", source_config={"image": image})], NOW)


def rollouts(
    database: Database, source: MemorySource, halt: threading.Event | None = None, gate: Gate | None = None
) -> Rollouts:
    """The place that deploys; ``gate`` is what it looks at, whatever is asked for."""
    registry = Registry({"memory": source})
    return Rollouts(database, registry, HOST, lambda: NOW, halt, lambda _gates, _pause: gate, check_engine=any_engine)


def states(database: Database) -> list[str]:
    """Of the revisions, in order."""
    return [str(each.state) for each in list_revisions(database, SHOP.id)]


def test_what_is_declared_is_deployed_and_the_turn_given_back(database: Database, source: MemorySource) -> None:
    """L2: a new revision for a new declaration, the known one again for the same, and back by its id."""
    declare(database, "shop:1")
    deploying = rollouts(database, source)
    told: list[Step] = []
    done = deploying.deploy(DeployRequest("shop", actor="test"), told.append)
    assert (done.workload_id, done.revision_id, done.made, done.walked.arrived) == ("shop", "shop-1", True, True)
    assert told == list(done.walked.steps)
    declare(database, "shop:2")
    assert deploying.deploy(DeployRequest("shop")).revision_id == "shop-2"
    again = deploying.deploy(DeployRequest("shop"))
    assert (again.revision_id, again.made, again.walked.steps) == ("shop-2", False, [])
    assert deploying.deploy(DeployRequest("shop", revision_id="shop-1")).walked.arrived
    assert source.weights == {"shop-1": 10_000}
    assert find_turn(database, "shop") is None


def test_a_second_deploy_is_told_of_the_first(database: Database, source: MemorySource) -> None:
    """L2: who deploys and what; while the first one goes on it keeps its turn, and the world is the first one's."""
    declare(database, "shop:1")
    entered, go_on = threading.Event(), threading.Event()

    def at_call(verb: str, _revision_id: str) -> None:
        if verb == "warm":
            entered.set()
            assert go_on.wait(30)

    source.at_call = at_call
    first = threading.Thread(target=lambda: rollouts(database, source).deploy(DeployRequest("shop", actor="ann")))
    first.start()
    assert entered.wait(30)
    try:
        with pytest.raises(DeployUnderWay, match="ann deploys shop-1: warm shop-1"):
            rollouts(database, source).deploy(DeployRequest("shop", actor="bob"))
    finally:
        go_on.set()
        first.join(30)
    assert states(database) == ["ready"]


def test_who_waits_gets_the_next_turn(database: Database, source: MemorySource) -> None:
    """L2: once the first one is over."""
    declare(database, "shop:1")
    with turn_held(database, "shop", "ann deploys") as held:
        second = threading.Thread(
            target=lambda: rollouts(database, source).deploy(DeployRequest("shop"), wait_seconds=30)
        )
        second.start()
        assert held.turn.token == 1
    second.join(30)
    assert states(database) == ["ready"]


def test_a_process_that_died_is_not_waited_for(database: Database, source: MemorySource) -> None:
    """L2, F: on one machine the kernel says so at once, whatever is left of the turn."""
    declare(database, "shop:1")
    died = _identity_of_a_dead_process()
    take_turn(database, "shop", f"{died}:1", "ann deploys", 3_600)
    assert rollouts(database, source).deploy(DeployRequest("shop")).walked.arrived


def test_a_holder_on_another_machine_that_shows_no_life_is_waited_for(
    database: Database, source: MemorySource
) -> None:
    """L2, F: until its turn runs out, also by who would not wait for one that lives."""
    declare(database, "shop:1")
    take_turn(database, "shop", "another-boot:1:2:3:4", "ann deploys", 1.0)
    assert rollouts(database, source).deploy(DeployRequest("shop")).walked.arrived


def test_a_process_that_stops_marks_nothing(database: Database, source: MemorySource) -> None:
    """L2, R3: a verb that is cut off is not a failure of the revision; the same revision is gone on with."""
    declare(database, "shop:1")
    halt = threading.Event()

    def at_call(verb: str, _revision_id: str) -> None:
        if verb == "warm" and not halt.is_set():
            halt.set()
            raise ConnectionError("cut off")

    source.at_call = at_call
    with pytest.raises(DeployInterrupted, match="deploy again"):
        rollouts(database, source, halt).deploy(DeployRequest("shop"))
    assert states(database) == ["warming"]
    done = rollouts(database, source).deploy(DeployRequest("shop"))
    assert (done.revision_id, done.made, done.walked.arrived) == ("shop-1", False, True)


def test_a_process_that_stops_waits_for_no_turn(database: Database, source: MemorySource) -> None:
    """R3: the wait is cut off."""
    declare(database, "shop:1")
    halt = threading.Event()
    halt.set()
    with turn_held(database, "shop", "ann deploys"), pytest.raises(DeployInterrupted):
        rollouts(database, source, halt).deploy(DeployRequest("shop"), wait_seconds=3_600)


def test_a_rollback_in_the_middle_ends_the_deploy(database: Database, source: MemorySource) -> None:
    """T1, L2: traffic stays where the person put it; the deploy says who was faster."""
    declare(database, "shop:1")
    deploying = rollouts(database, source)
    deploying.deploy(DeployRequest("shop"))
    declare(database, "shop:2")
    shifts: list[Step] = []

    def told(step: Step) -> None:
        if isinstance(step, Shift):
            shifts.append(step)

    def gate(deployment: Deployment, revision_id: str) -> Verdict:
        if len(shifts) == 2:
            rollback_split(database, "shop", NOW)
            rollback_split(database, "shop", NOW)
            rollback_split(database, "shop", NOW)
        return always_open(deployment, revision_id)

    with pytest.raises(SplitConflict, match="somebody else set generation 5"):
        rollouts(database, source, gate=gate).deploy(DeployRequest("shop", course=CANARY), told)
    assert get_split(database, "shop").entries == (SplitEntry("shop-1", 9_900), SplitEntry("shop-2", 100))


def test_another_engine_is_not_acted_on(database: Database, source: MemorySource) -> None:
    """R18: no revision, no turn, no verb; a split that was stored is not enforced by it."""
    declare(database, "shop:1")
    rollouts(database, source).deploy(DeployRequest("shop"))
    declare(database, "shop:2")
    called: list[str] = []
    source.at_call = lambda verb, _revision_id: called.append(verb)

    def refuse() -> None:
        raise EngineRefused(HOST, "A", "B")

    deploying = Rollouts(database, Registry({"memory": source}), HOST, lambda: NOW, check_engine=refuse)
    with pytest.raises(EngineRefused, match="bound to engine A, but the engine that answers is B"):
        deploying.deploy(DeployRequest("shop"))
    with pytest.raises(VerbFailed, match=r"routers do not follow it yet: host .* is bound to engine A"):
        deploying.enforce_split(get_split(database, "shop"))
    assert (called, states(database), find_turn(database, "shop")) == ([], ["ready"], None)


def test_routers_are_never_told_of_an_older_split(database: Database, source: MemorySource, tmp_path: Path) -> None:
    """T2, T6: a report that was made before another process set a split comes too late; what is stored is told."""
    declare(database, "shop:1")
    deploying = rollouts(database, source)
    deploying.deploy(DeployRequest("shop"))
    target = [{"address": "10.0.0.1", "port": 80}]
    older = RuntimeConfig("shop", [{"revision_id": "shop-1", "weight": 10_000, "targets": target}])
    declare(database, "shop:2")
    deploying.deploy(DeployRequest("shop"))
    path = tmp_path / "runtime.json"
    RuntimeFile(path, database, HOST, Registry({"memory": source})).follow(older)
    (told,) = json.loads(path.read_text())["workloads"]
    assert (told["split_generation"], told["blocks"]) == (get_split(database, "shop").generation, [])
    newer = RuntimeConfig("shop", [{"revision_id": "shop-2", "weight": 10_000, "targets": target}])
    assert RuntimeFile(path, database, HOST, Registry({"memory": source})).follow(newer)
    assert json.loads(path.read_text())["workloads"][0]["blocks"] == newer.blocks


def test_a_turn_that_is_lost_is_noticed(database: Database, source: MemorySource) -> None:
    """L2: at the next renewal, so that the deploy ends before its next step."""
    declare(database, "shop:1")
    with turn_held(database, "shop", "ann deploys", ttl_seconds=0.5) as held:
        take_turn(database, "shop", "thief", "bob deploys", 60, dead=held.turn.owner)
        wait_until(lambda: held.lost, 10, "the renewal says so")
        assert "another deploy took the turn" in held.lost
    assert isinstance(held, HeldTurn)


def test_only_the_dead_are_taken_for_dead() -> None:
    """L2: not this process, not one of another boot, not a name that says nothing."""
    ours = process_identity(os.getpid())
    assert not is_dead(f"{ours}:abc")
    assert is_dead(f"{_identity_of_a_dead_process()}:abc")
    boot, space, pid, start = ours.split(":")
    assert is_dead(f"{boot}:{space}:{pid}:{int(start) + 1}:abc")
    for other in (f"x:{space}:4194304:1", f"{boot}:x:4194304:1", "::1:", "random", "", f"{boot}:{space}:{pid}:"):
        assert not is_dead(other)


def _identity_of_a_dead_process() -> str:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = process_identity(process.pid)
        assert not is_dead(identity)
        process.kill()
    assert is_dead(identity)
    return identity
