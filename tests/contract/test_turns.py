"""Turns to deploy a workload, in both stores: one at a time, by the store's clock, and fenced."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from controller.errors import DeployUnderWay, NotFound, TurnLost
from store.database import Database
from store.revisions import get_revision, move_revision
from store.rollout_records import RevisionState
from store.splits import set_split
from store.turns import Turn, find_turn, release_turn, renew_turn, take_turn
from tests.builders import NOW
from tests.harness import wait_until
from tests.rollouts import declare, entries, revision

LONG, SHORT = 300.0, 0.2


@pytest.fixture(autouse=True)
def shop(database: Database) -> None:
    """A shop with one revision, and another workload."""
    declare(database, "shop", "blog")
    revision(database)


def test_one_of_two_deploys(database: Database) -> None:
    """L2: the turn is one's until it is given back; the other hears who has it, what for, and for how long."""
    mine = take_turn(database, "shop", "one", "cli:root deploys", LONG)
    with pytest.raises(DeployUnderWay, match="cli:root deploys; that turn runs out in 300 s") as refusal:
        take_turn(database, "shop", "two", "api deploys", LONG)
    assert 0 < refusal.value.seconds_left <= LONG
    renew_turn(database, mine, "cli:root deploys shop-2: warm shop-2")
    held = find_turn(database, "shop")
    assert held is not None
    assert (held.owner, held.doing) == ("one", "cli:root deploys shop-2: warm shop-2")
    assert take_turn(database, "blog", "two", "", LONG).token == 1
    release_turn(database, mine)
    assert find_turn(database, "shop") is None
    assert take_turn(database, "shop", "two", "", LONG).token == mine.token + 1


def test_a_turn_that_ran_out_is_taken(database: Database) -> None:
    """L2: by the store's clock; who held it hears so at its next renewal, and giving it back takes nobody's away."""
    former = take_turn(database, "shop", "one", "", SHORT)
    current = wait_until(lambda: _taken(database, "two"), 5, "the turn runs out")
    with pytest.raises(TurnLost, match="another deploy took the turn"):
        renew_turn(database, former, "")
    release_turn(database, former)
    renew_turn(database, current, "")


def test_a_dead_owner_is_not_waited_for(database: Database) -> None:
    """L2: whoever knows that it is dead says so; a name that is not the owner's frees nothing."""
    take_turn(database, "shop", "one", "", LONG)
    with pytest.raises(DeployUnderWay):
        take_turn(database, "shop", "two", "", LONG, dead="three")
    assert take_turn(database, "shop", "two", "", LONG, dead="one").owner == "two"


def test_a_late_write_is_refused(database: Database) -> None:
    """L2, L3: neither a state nor a split is stored under a turn that is somebody else's by now."""
    former = take_turn(database, "shop", "one", "", LONG)
    move_revision(database, "shop", "shop-1", RevisionState.DRAINING, NOW, turn=former)
    current = take_turn(database, "shop", "two", "", LONG, dead="one")
    with pytest.raises(TurnLost):
        move_revision(database, "shop", "shop-1", RevisionState.INACTIVE, NOW, turn=former)
    assert get_revision(database, "shop", "shop-1").state is RevisionState.DRAINING
    revision(database)
    with pytest.raises(TurnLost):
        set_split(database, "shop", entries(0, 10_000), NOW, turn=former)
    assert set_split(database, "shop", entries(0, 10_000), NOW, turn=current).generation == 0


def test_of_many_at_once_one_gets_it(database: Database) -> None:
    """L2: however close they come."""

    def attempt(number: int) -> Turn | None:
        return _taken(database, f"owner-{number}", LONG)

    with ThreadPoolExecutor(8) as pool:
        taken = [each for each in pool.map(attempt, range(24)) if each is not None]
    assert len(taken) == 1


def test_a_workload_that_does_not_exist(database: Database) -> None:
    """L2: nobody's turn."""
    with pytest.raises(NotFound):
        take_turn(database, "lost", "one", "", LONG)
    assert find_turn(database, "lost") is None


def _taken(database: Database, owner: str, ttl_seconds: float = LONG) -> Turn | None:
    try:
        return take_turn(database, "shop", owner, "", ttl_seconds)
    except DeployUnderWay:
        return None
