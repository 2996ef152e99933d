"""A deploy over the real stores: the chain walks on what they hold, and resumes after a kill (L2)."""

from __future__ import annotations

import pytest

from controller.errors import IllegalTransition, RevisionConflict, SplitConflict
from controller.rollout.chain import Course, Shift, Step
from controller.rollout.ledger import StoreLedger
from controller.rollout.walker import Walk
from store.database import Database
from store.revisions import create_revision, list_revisions
from store.rollout_records import RevisionState, SplitEntry
from store.splits import get_split, set_split
from store.workloads import apply_workloads
from tests.builders import HOST, NOW
from tests.unit.rollouts import SHOP, Killed, MemoryDeployer

CANARY = Course(weights=(100, 5_000, 10_000))


@pytest.fixture
def ledger(database: Database) -> StoreLedger:
    """The shop with three revisions, of which none was ever deployed."""
    apply_workloads(database, [SHOP], NOW)
    for number in range(1, 4):
        create_revision(database, SHOP.id, f"shop:{number}", f"sha256:{number}", {"image": f"shop:{number}"}, NOW)
    return StoreLedger(database, SHOP.id, HOST, lambda: NOW)


def states(database: Database) -> list[str]:
    """Of the revisions, in order."""
    return [str(each.state) for each in list_revisions(database, SHOP.id)]


def test_three_deploys_one_after_the_other(database: Database, ledger: StoreLedger) -> None:
    """L2: on both stores; the one before is kept to go back to, the one before that is archived."""
    deployer = MemoryDeployer()
    for number in range(1, 4):
        assert Walk(ledger, deployer, f"shop-{number}", CANARY).walk().arrived
    assert states(database) == ["archived", "inactive", "ready"]
    split = get_split(database, SHOP.id)
    assert tuple(split.entries) == (SplitEntry("shop-3", 10_000),)
    assert (deployer.running, deployer.weights) == ({"shop-3"}, {"shop-3": 10_000})
    assert Walk(ledger, deployer, "shop-2").walk().arrived
    assert states(database) == ["archived", "ready", "inactive"]


@pytest.mark.parametrize("when", range(0, 12))
def test_a_deploy_that_is_killed_is_resumed(database: Database, ledger: StoreLedger, when: int) -> None:
    """L2: before any call of the deployer; what is stored is enough to go on from."""
    deployer = MemoryDeployer()
    assert Walk(ledger, deployer, "shop-1").walk().arrived
    calls = iter(range(1_000))

    def at_call(_verb: str, _revision_id: str) -> None:
        if next(calls) == when:
            raise Killed

    deployer.at_call = at_call
    try:
        Walk(ledger, deployer, "shop-2", CANARY).walk()
    except Killed:
        assert Walk(ledger, deployer, "shop-2", CANARY).walk().arrived
    assert states(database)[:2] == ["inactive", "ready"]
    assert deployer.weights == {"shop-2": 10_000}


def test_the_ledger_refuses_what_the_store_refuses(ledger: StoreLedger) -> None:
    """L1, L3: an edge that is none, and a state that somebody else has left."""
    seen = ledger.read().revisions["shop-1"]
    with pytest.raises(IllegalTransition):
        ledger.move(seen, RevisionState.READY)
    ledger.move(seen, RevisionState.STAGED)
    with pytest.raises(RevisionConflict):
        ledger.move(seen, RevisionState.STAGED)
    with pytest.raises(RevisionConflict):
        ledger.set_split([SplitEntry("shop-1", 10_000)], None)


def test_a_split_that_somebody_else_set_is_not_overwritten(database: Database, ledger: StoreLedger) -> None:
    """L2, T1: an operator's change in the middle of a walk ends it, and the next walk goes on from there."""
    deployer = MemoryDeployer()
    assert Walk(ledger, deployer, "shop-1").walk().arrived
    rivals = iter([True, False, False, False, False])

    def told(step: Step) -> None:
        if isinstance(step, Shift) and next(rivals):
            set_split(database, SHOP.id, [SplitEntry("shop-1", 10_000)], NOW)

    with pytest.raises(SplitConflict, match="expected generation 0, current is 1"):
        Walk(ledger, deployer, "shop-2", CANARY, told=told).walk()
    assert deployer.weights == {"shop-1": 10_000}
    assert Walk(ledger, deployer, "shop-2", CANARY, told=told).walk().arrived
    assert deployer.weights == {"shop-2": 10_000}
