"""`controller.rollout.chain`: what comes next, from nothing but what is stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import IllegalTransition, RevisionNotFound
from controller.rollout.chain import Archive, Arrived, Course, Drain, Shift, Stage, Stuck, Warm, next_step, without
from controller.rollout.deployer import BASIS_POINTS, Deployment
from store.rollout_records import EDGES, RevisionState, SplitEntry, TrafficSplit, check_edge
from tests.builders import HOST
from tests.unit.rollouts import SHOP, revision

S = RevisionState


def deployment(states: dict[int, RevisionState], weights: dict[int, int] | None = None) -> Deployment:
    """The shop with revisions in these states, and a split."""
    entries = tuple(SplitEntry(f"shop-{number}", weight) for number, weight in (weights or {}).items())
    split = TrafficSplit("shop", entries) if weights is not None else None
    return Deployment(
        SHOP, {f"shop-{number}": revision(number, state) for number, state in states.items()}, split, HOST
    )


ALLOWED = {
    "inactive": "staged failed archived",
    "staged": "warming failed archived",
    "warming": "ready failed archived",
    "ready": "draining failed archived",
    "draining": "inactive",
    "failed": "staged archived",
    "archived": "",
}


@pytest.mark.parametrize("current", S)
@pytest.mark.parametrize("wanted", S)
def test_every_edge_of_the_lifecycle(current: RevisionState, wanted: RevisionState) -> None:
    """Those of the table, and no other."""
    if str(wanted) in ALLOWED[current].split():
        check_edge("shop-1", current, wanted)
        return
    with pytest.raises(IllegalTransition, match=f"'shop-1' is {current} and cannot become {wanted}") as refused:
        check_edge("shop-1", current, wanted)
    assert (refused.value.current, refused.value.wanted) == (current, wanted)
    assert set(EDGES) == set(S)


@pytest.mark.parametrize(
    ("states", "weights", "step"),
    [
        ({1: S.INACTIVE}, None, Stage(revision(1))),
        ({1: S.FAILED}, None, Stage(revision(1, S.FAILED))),
        ({1: S.STAGED}, None, Warm(revision(1, S.STAGED))),
        ({1: S.WARMING}, None, Warm(revision(1, S.WARMING))),
        ({1: S.DRAINING}, None, Drain(revision(1, S.DRAINING))),
        ({1: S.READY}, None, Shift([SplitEntry("shop-1", 10_000)])),
        ({1: S.READY}, {1: 10_000}, Arrived()),
        ({1: S.ARCHIVED}, None, Stuck("revision 'shop-1' is archived; deploy another one")),
    ],
)
def test_the_way_of_a_first_revision(
    states: dict[int, RevisionState], weights: dict[int, int] | None, step: object
) -> None:
    """L2: each state has one next step, so a chain is resumed by asking again."""
    assert next_step(deployment(states, weights), "shop-1", Course()) == step


@pytest.mark.parametrize("state", [S.STAGED, S.WARMING])
def test_what_a_deploy_left_in_the_middle_is_archived(state: RevisionState) -> None:
    """L2: by the next deploy, if that is of another revision."""
    found = deployment({1: S.READY, 2: state, 3: S.READY}, {3: 10_000})
    assert next_step(found, "shop-3", Course()) == Drain(revision(1, S.READY))
    found = deployment({1: S.INACTIVE, 2: state, 3: S.READY}, {3: 10_000})
    assert next_step(found, "shop-3", Course()) == Archive(revision(2, state))


@pytest.mark.parametrize(
    ("states", "weights", "step"),
    [
        ({1: S.READY, 2: S.READY}, {1: 10_000}, Shift([SplitEntry("shop-2", 10_000)])),
        ({1: S.READY, 2: S.READY}, {1: 0, 2: 10_000}, Shift([SplitEntry("shop-2", 10_000)])),
        ({1: S.READY, 2: S.READY}, {2: 10_000}, Drain(revision(1, S.READY))),
        ({1: S.DRAINING, 2: S.READY}, {2: 10_000}, Drain(revision(1, S.DRAINING))),
        ({1: S.INACTIVE, 2: S.READY}, {2: 10_000}, Arrived()),
        ({1: S.INACTIVE, 2: S.INACTIVE, 3: S.READY}, {3: 10_000}, Archive(revision(1))),
        ({1: S.ARCHIVED, 2: S.INACTIVE, 3: S.READY}, {3: 10_000}, Arrived()),
        ({2: S.READY, 3: S.INACTIVE}, {2: 10_000}, Arrived()),
        ({1: S.FAILED, 2: S.READY}, {2: 10_000}, Arrived()),
    ],
)
def test_the_second_takes_over_from_the_first(
    states: dict[int, RevisionState], weights: dict[int, int], step: object
) -> None:
    """L2: brought up, then traffic, then drained, then archived but for the one to go back to."""
    target = max(number for number, state in states.items() if state is S.READY)
    assert next_step(deployment(states, weights), f"shop-{target}", Course()) == step


@pytest.mark.parametrize(
    ("now", "after"),
    [
        ({1: 10_000}, {1: 9_900, 2: 100}),
        ({1: 9_900, 2: 100}, {1: 9_000, 2: 1_000}),
        ({1: 9_500, 2: 500}, {1: 9_000, 2: 1_000}),
        ({1: 5_000, 2: 5_000}, {2: 10_000}),
        ({1: 3_333, 3: 6_667}, {1: 3_300, 3: 6_600, 2: 100}),
    ],
)
def test_a_canary_rises_step_by_step(now: dict[int, int], after: dict[int, int]) -> None:
    """L2: the others share the rest in proportion, exact to a basis point."""
    course = Course(weights=(100, 1_000, 5_000, 10_000))
    step = next_step(deployment({1: S.READY, 2: S.READY, 3: S.READY}, now), "shop-2", course)
    assert step == Shift([SplitEntry(f"shop-{number}", weight) for number, weight in after.items()])


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=8), st.integers(0, 10_000))
def test_giving_a_share_back_is_exact(weights: list[int], own: int) -> None:
    """L2: whatever the weights, they sum up to 10,000, and nobody loses a basis point to rounding unfairly."""
    entries = [SplitEntry(f"r{number}", weight) for number, weight in enumerate(weights)]
    back = without([*entries, SplitEntry("new", own)], "new")
    assert sum(each.weight for each in back) == BASIS_POINTS
    assert [each.revision_id for each in back] == [each.revision_id for each in entries]
    exact = {each.revision_id: each.weight * BASIS_POINTS / sum(weights) for each in entries}
    assert all(abs(each.weight - exact[each.revision_id]) < 1 for each in back)


def test_nobody_to_give_back_to() -> None:
    """L2: a first revision leaves nothing behind."""
    assert without([SplitEntry("new", 10_000), SplitEntry("old", 0)], "new") == []


def test_a_stranger_is_no_target() -> None:
    """An unknown revision, and one of another workload."""
    with pytest.raises(RevisionNotFound, match="workload 'shop' has no revision 'shop-9'"):
        next_step(deployment({1: S.READY}), "shop-9", Course())


@pytest.mark.parametrize(
    "weights", [(), (10_001,), (5_000,), (5_000, 5_000, 10_000), (0, 10_000), (9_000, 100, 10_000)]
)
def test_a_course_that_leads_nowhere(weights: tuple[int, ...]) -> None:
    """L2: the weights rise to 10,000."""
    with pytest.raises(ValueError, match="allowed: rising"):
        Course(weights=weights)
