"""`controller.rollout.walker`: verbs first, then what is stored; failures, and kills anywhere."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from controller.errors import VerbFailed
from controller.rollout.chain import Course
from controller.rollout.deployer import Deployment
from controller.rollout.walker import Gate, Verdict, Walk, Walked
from store.rollout_records import RevisionState, SplitEntry, TrafficSplit
from tests.unit.rollouts import Killed, MemoryDeployer, MemoryLedger, revision

S = RevisionState
CANARY = Course(weights=(100, 1_000, 5_000, 10_000))


def serving_one() -> tuple[MemoryLedger, MemoryDeployer]:
    """Revision 1 serves, revision 2 is new."""
    ledger = MemoryLedger({"shop-1": revision(1, S.READY), "shop-2": revision(2)})
    ledger.split = TrafficSplit("shop", (SplitEntry("shop-1", 10_000),))
    deployer = MemoryDeployer(images={"shop-1"}, running={"shop-1"}, weights={"shop-1": 10_000})
    return ledger, deployer


def walk(
    ledger: MemoryLedger, deployer: MemoryDeployer, course: Course | None = None, gate: Gate | None = None
) -> Walked:
    """Deploy revision 2."""
    told: list[object] = []
    walked = Walk(
        ledger, deployer, "shop-2", course, gate or (lambda _deployment, _id: Verdict(passed=True)), told.append
    ).walk()
    assert told == list(walked.steps)
    return walked


def test_the_second_revision_takes_over() -> None:
    """L2: at any time somebody serves, and traffic goes only to what runs."""
    ledger, deployer = serving_one()
    walked = walk(ledger, deployer)
    assert walked.arrived
    assert [type(step).__name__ for step in walked.steps] == ["Stage", "Warm", "Shift", "Drain"]
    assert ledger.states() == {"shop-1": "inactive", "shop-2": "ready"}
    assert (deployer.running, deployer.weights) == ({"shop-2"}, {"shop-2": 10_000})
    assert deployer.served == [{"shop-1"}, {"shop-2"}]
    again = walk(ledger, deployer)
    assert (again.arrived, again.steps) == (True, [])


def test_a_canary_goes_through_its_gates() -> None:
    """L2: the gate looks after each shift, at what is enforced."""
    ledger, deployer = serving_one()
    seen: list[int] = []

    def gate(deployment: Deployment, revision_id: str) -> Verdict:
        assert deployment.split is not None
        assert {each.revision_id: each.weight for each in deployment.split.entries} == deployer.weights
        seen.append(deployer.weights[revision_id])
        return Verdict(passed=True)

    assert walk(ledger, deployer, CANARY, gate).arrived
    assert seen == [100, 1_000, 5_000, 10_000]


@pytest.mark.parametrize("fails_at", [100, 1_000, 5_000, 10_000])
def test_a_gate_that_closes_sends_all_traffic_back(fails_at: int) -> None:
    """L2: whoever served before serves everything again, and the checks that failed are kept."""
    ledger, deployer = serving_one()
    checks = {"probe": "500 of /health"}
    walked = walk(
        ledger,
        deployer,
        CANARY,
        lambda _deployment, revision_id: Verdict(deployer.weights[revision_id] < fails_at, checks),
    )
    assert (walked.arrived, walked.checks) == (False, checks)
    assert walked.detail == "the gate was not passed: probe: 500 of /health"
    assert deployer.weights == {"shop-1": 10_000}
    assert ledger.states() == {"shop-1": "ready", "shop-2": "failed"}
    assert ledger.revisions["shop-2"].checks == checks
    assert ledger.split is not None
    assert ledger.split.entries == (SplitEntry("shop-1", 10_000),)


@pytest.mark.parametrize("verb", ["stage", "warm"])
@pytest.mark.parametrize("error", [VerbFailed("no such image", {"pull": "404"}), RuntimeError("a defect")])
def test_a_verb_that_fails_ends_the_chain(verb: str, error: Exception) -> None:
    """L2: nothing else is touched, the revision is failed with the checks that failed, and can be tried again."""
    ledger, deployer = serving_one()

    def at_call(called: str, _revision_id: str) -> None:
        if called == verb:
            raise error

    deployer.at_call = at_call
    with capture_logs() as logs:
        walked = walk(ledger, deployer)
    assert not walked.arrived
    assert walked.detail.startswith(f"{verb} failed: ")
    assert [each["exc_info"] for each in logs] == ([] if isinstance(error, VerbFailed) else [error])
    assert ledger.states() == {"shop-1": "ready", "shop-2": "failed"}
    assert ledger.revisions["shop-2"].checks == (error.checks if isinstance(error, VerbFailed) else {})
    assert deployer.weights == {"shop-1": 10_000}
    deployer.at_call = lambda _verb, _revision_id: None
    assert walk(ledger, deployer).arrived


@pytest.mark.parametrize("verb", ["drain", "archive"])
def test_clearing_away_that_fails_leaves_the_new_one_serving(verb: str) -> None:
    """L2: the old revision is not marked; the next walk goes on."""
    ledger, deployer = serving_one()
    ledger.revisions["shop-0"] = revision(0)

    def at_call(called: str, _revision_id: str) -> None:
        if called == verb:
            raise VerbFailed("the engine is away")

    deployer.at_call = at_call
    walked = walk(ledger, deployer)
    assert (walked.arrived, walked.detail) == (False, f"{verb} failed: the engine is away")
    assert ledger.states()["shop-2"] == "ready"
    assert deployer.weights == {"shop-2": 10_000}
    deployer.at_call = lambda _verb, _revision_id: None
    assert walk(ledger, deployer).arrived
    assert ledger.states() == {"shop-0": "archived", "shop-1": "inactive", "shop-2": "ready"}


def test_a_split_that_cannot_be_enforced_goes_back() -> None:
    """L2: what is stored goes back too, and is enforced by the next walk where it could not be now."""
    ledger, deployer = serving_one()

    def at_call(called: str, _revision_id: str) -> None:
        if called == "apply" and "shop-2" in deployer.running:
            raise VerbFailed("the router is away")

    deployer.at_call = at_call
    walked = walk(ledger, deployer)
    assert not walked.arrived
    assert "enforced by the next walk" in walked.detail
    assert ledger.split is not None
    assert ledger.split.entries == (SplitEntry("shop-1", 10_000),)
    assert ledger.states()["shop-2"] == "failed"


def test_a_walk_that_was_killed_before_its_gate_passes_it_first() -> None:
    """L2: traffic rises no further before somebody looked."""
    ledger, deployer = serving_one()

    def killed(_deployment: Deployment, _revision_id: str) -> Verdict:
        raise Killed

    with pytest.raises(Killed):
        walk(ledger, deployer, CANARY, killed)
    assert deployer.weights == {"shop-1": 9_900, "shop-2": 100}
    walked = walk(ledger, deployer, CANARY, lambda _deployment, _id: Verdict(passed=False, checks={"probe": "500"}))
    assert (walked.arrived, walked.steps) == (False, [])
    assert deployer.weights == {"shop-1": 10_000}
    assert ledger.states()["shop-2"] == "failed"


@pytest.mark.parametrize("when", range(40))
@pytest.mark.parametrize("course", [Course(), CANARY], ids=["at once", "canary"])
def test_a_walk_that_is_killed_is_resumed(when: int, course: Course) -> None:
    """L2: before any write and any call; somebody serves all the time, and the end is the same."""
    ledger, deployer = serving_one()
    ledger.revisions["shop-0"] = revision(0)
    moments = iter(range(1_000))

    def at_moment(*_: str) -> None:
        if next(moments) == when:
            raise Killed

    ledger.at_write = at_moment
    deployer.at_call = at_moment
    try:
        walk(ledger, deployer, course)
    except Killed:
        assert deployer.weights
        assert set(deployer.weights) <= deployer.running
        walk(ledger, deployer, course)
    assert ledger.states() == {"shop-0": "archived", "shop-1": "inactive", "shop-2": "ready"}
    assert (deployer.running, deployer.weights) == ({"shop-2"}, {"shop-2": 10_000})
