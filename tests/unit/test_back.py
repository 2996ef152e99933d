"""`controller.rollout.back`: where a rollback leads."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from controller.errors import RevisionConflict, SplitNotFound
from controller.rollout.back import one_before, split_is_ready
from controller.rollout.deployer import Deployment
from store.rollout_records import RevisionState, SplitEntry, TrafficSplit
from tests.builders import HOST
from tests.unit.rollouts import SHOP, revision

S = RevisionState
Shares = Sequence[tuple[int, int]]


def entries(shares: Shares) -> list[SplitEntry]:
    """Revision number and weight."""
    return [SplitEntry(f"shop-{number}", weight) for number, weight in shares]


def shop(states: Sequence[RevisionState], now: Shares, before: Shares | None = None) -> Deployment:
    """A shop with revisions in these states."""
    revisions = {each.id: each for each in (revision(number, state) for number, state in enumerate(states, start=1))}
    previous = None if before is None else entries(before)
    return Deployment(SHOP, revisions, TrafficSplit("shop", entries(now), previous=previous), HOST)


@pytest.mark.parametrize(
    ("states", "before", "ready"),
    [
        ([S.READY, S.READY], [(1, 10_000)], True),
        ([S.INACTIVE, S.READY], [(1, 10_000)], False),
        ([S.READY, S.READY], [(1, 5_000), (2, 5_000)], True),
        ([S.READY, S.READY], [(1, 5_000), (3, 5_000)], False),
        ([S.READY, S.READY], None, False),
    ],
)
def test_the_split_before_is_set_where_it_is_up(
    states: Sequence[RevisionState], before: Shares | None, ready: bool
) -> None:
    """T1: all of it, or it takes a deploy."""
    assert split_is_ready(shop(states, [(2, 10_000)], before)) is ready


@pytest.mark.parametrize(
    ("states", "before", "wanted"),
    [
        ([S.INACTIVE, S.READY], [(1, 10_000)], "shop-1"),
        ([S.INACTIVE, S.INACTIVE, S.READY], [(1, 9_000), (2, 1_000)], "shop-1"),
        ([S.INACTIVE, S.INACTIVE, S.READY], [(3, 5_000), (2, 5_000)], "shop-2"),
        ([S.INACTIVE, S.FAILED, S.READY], [(2, 10_000)], "shop-1"),
        ([S.INACTIVE, S.INACTIVE, S.READY], None, "shop-2"),
        ([S.ARCHIVED, S.INACTIVE, S.READY, S.INACTIVE], [(1, 10_000)], "shop-2"),
    ],
)
def test_the_one_before(states: Sequence[RevisionState], before: Shares | None, wanted: str) -> None:
    """T1, L2: that of the split before, else the newest of those before; never one that failed or is archived."""
    serving = 3 if len(states) > 2 else 2
    assert one_before(shop(states, [(serving, 10_000)], before)).id == wanted


def test_nothing_to_go_back_to() -> None:
    """T1: said so, with what to do."""
    with pytest.raises(RevisionConflict, match="no revision is left to go back to"):
        one_before(shop([S.ARCHIVED, S.FAILED, S.READY], [(3, 10_000)], [(1, 10_000)]))
    nothing = Deployment(SHOP, {}, None, HOST)
    for ask in (split_is_ready, one_before):
        with pytest.raises(SplitNotFound):
            ask(nothing)
