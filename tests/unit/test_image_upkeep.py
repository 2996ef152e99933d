"""`controller.plugins.sources.image_upkeep`: whom `reconcile` looks after, and what it says. No engine."""

from __future__ import annotations

import pytest

from controller.plugins.answering import outcome_of
from controller.plugins.contract import ContainerSeen, Deployment, Outcome, Result, Revision, RevisionState
from controller.plugins.sources.image_upkeep import serving, unwell, waiting
from tests.builders import HOST
from tests.unit.rollouts import SHOP


def looked_after(*states: str, strategy: str = "blue-green") -> list[int]:
    """Sequence numbers of the revisions that are looked after, of revisions in these states."""
    config = {"image": "shop:1", "strategy": strategy}
    revisions = [
        Revision(f"r{number}", "shop", number, "shop:1", "", "", config, state=RevisionState(state))
        for number, state in enumerate(states, 1)
    ]
    found = serving(Deployment(SHOP, {each.id: each for each in revisions}, None, HOST))
    return [each.sequence for each in found]


def test_the_revisions_that_are_ready_are_looked_after() -> None:
    """S3: all of them."""
    assert looked_after("inactive", "ready", "failed", "ready", "archived") == [2, 4]
    assert looked_after("inactive", "ready", strategy="recreate") == [2]
    assert looked_after() == []


@pytest.mark.parametrize("state", ["staged", "warming", "draining"])
def test_a_deploy_that_was_cut_short_is_told(state: str) -> None:
    """S3, L2: who serves is looked after all the same, and a person is told how to go on."""
    assert looked_after("ready", state) == [1]
    left = Revision("r2", "shop", 2, "shop:1", "", "", state=RevisionState(state))
    answer = waiting(Deployment(SHOP, {"r2": left}, None, HOST))
    told = f"the deploy was cut short, revision 2 is {state}; go on with: tallyd deploy shop"
    assert answer == Outcome(Result.DRIFT, told)
    assert waiting(Deployment(SHOP, {}, None, HOST)).result is Result.IN_SYNC


def test_two_that_cannot_run_side_by_side_are_left_alone() -> None:
    """S3: with `recreate` two are ready only until the older one is drained."""
    assert looked_after("ready", "ready", strategy="recreate") == []


def test_what_is_told_and_not_touched() -> None:
    """S3: of containers that serve, and of no others."""
    ready = Revision("r1", "shop", 1, "shop:1", "", "", {"image": "shop:1"}, state=RevisionState.READY)
    mine, other = {"tallyd.revision": "r1"}, {"tallyd.revision": "r2"}
    there = [
        ContainerSeen("1", "a", state="running", health="healthy", labels=mine),
        ContainerSeen("2", "b", state="running", health="unhealthy", labels=mine),
        ContainerSeen("3", "c", state="paused", labels=mine),
        ContainerSeen("4", "d", state="paused", labels=other),
    ]
    assert unwell(there, [ready], "tallyd") == ["c is paused", "b is unhealthy"]


def test_answers() -> None:
    """S3: repaired wins, and still tells what is left."""
    assert outcome_of([], []) == Outcome(Result.IN_SYNC)
    assert outcome_of([], ["x"]) == Outcome(Result.DRIFT, "x")
    assert outcome_of(["y"], ["x"]) == Outcome(Result.REPAIRED, "y; x")
