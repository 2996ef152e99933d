"""Traffic splits on both stores: checked in a fixed order, under their own generation, and taken back by one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from store.database import Database
from store.errors import (
    ForeignRevision,
    InvalidSplit,
    NotFound,
    RevisionConflict,
    RevisionNotFound,
    SplitConflict,
    SplitGenerationConflict,
    SplitNotFound,
    StoreError,
)
from store.revisions import list_revisions, move_revision
from store.rollout_records import RevisionState, SplitEntry, TrafficSplit
from store.splits import deployment_of, get_split, list_splits, rollback_split, set_split
from store.workloads import apply_workloads, get_workload
from tests.builders import HOST, NOW, later, workload
from tests.rollouts import declare, entries, revision, shop

S = RevisionState


def shares(split: TrafficSplit) -> list[int]:
    """The weights, in the order of the entries."""
    return [each.weight for each in split.entries]


def test_a_split_comes_back_as_it_was_set(database: Database) -> None:
    """T1: in its order, zero weights kept; the first one has generation 0."""
    shop(database, S.READY, S.READY, S.READY)
    wanted = [SplitEntry("shop-3", 0), SplitEntry("shop-1", 9_999), SplitEntry("shop-2", 1)]
    made = set_split(database, "shop", wanted, NOW, idempotency_key="first")
    assert made == TrafficSplit("shop", tuple(wanted), 0, "first", 0, None, NOW)
    assert made.total == 10_000
    assert get_split(database, "shop") == made
    assert list_splits(database) == [made]


def test_generations_rise_with_every_change(database: Database) -> None:
    """T1: 0 first, then + 1; what was set before is kept, and equal entries do not take its place."""
    shop(database, S.READY, S.READY, split=(10_000,))
    second = set_split(database, "shop", entries(9_000, 1_000), later(60))
    assert (second.generation, second.previous, second.updated_at) == (1, tuple(entries(10_000)), later(60))
    again = set_split(database, "shop", entries(9_000, 1_000), NOW)
    assert (again.generation, again.previous) == (2, tuple(entries(10_000)))
    assert get_split(database, "shop") == again


def test_a_workload_without_a_split(database: Database) -> None:
    """T1, D3: no split is an error of its own, and so is no workload."""
    shop(database, S.READY)
    for ask in (get_split, lambda store, name: rollback_split(store, name, NOW)):
        with pytest.raises(SplitNotFound, match="'shop' has no traffic split"):
            ask(database, "shop")
        with pytest.raises(NotFound, match="'lost'"):
            ask(database, "lost")
    with pytest.raises(NotFound, match="'lost'"):
        set_split(database, "lost", entries(10_000), NOW)
    assert list_splits(database) == []


BAD: list[tuple[str, Sequence[SplitEntry], type[StoreError], str]] = [
    ("unknown revision", [SplitEntry("shop-9", 10_000)], RevisionNotFound, "'shop' has no revision 'shop-9'"),
    ("foreign revision", [SplitEntry("blog-1", 10_000)], ForeignRevision, "'blog-1' is not one of its own"),
    ("one of each", [SplitEntry("blog-1", 1), SplitEntry("x", 9_999)], RevisionNotFound, "'x'"),
    ("not ready", entries(9_000, 500, 500), RevisionConflict, "'shop-3' is warming; .* it has to be ready"),
    ("no traffic, but warming", entries(5_000, 5_000, 0), RevisionConflict, "'shop-3' is warming; .* or draining"),
    ("one short", entries(9_998, 1), InvalidSplit, "sum up to 9999 basis points"),
    ("one too many", entries(9_999, 2), InvalidSplit, "sum up to 10001 basis points"),
    ("empty", [], InvalidSplit, "no entries"),
    ("all zero", entries(0, 0), InvalidSplit, "sum up to 0 basis points"),
    ("over the top", entries(10_001), InvalidSplit, "weight 10001 of revision 'shop-1'"),
    ("negative", entries(10_001, -1), InvalidSplit, "weight 10001"),
    ("negative first", entries(-1, 10_000), InvalidSplit, "weight -1 of revision 'shop-1'"),
    ("a double", [*entries(5_000), *entries(5_000)], InvalidSplit, "'shop-1' stands twice"),
]


@pytest.mark.parametrize("before", [False, True], ids=["first", "second"])
def test_what_a_split_may_not_be(database: Database, before: bool) -> None:
    """T1, D3: each is a typed error that says what is wrong, and stores nothing."""
    shop(database, S.READY, S.READY, S.WARMING, split=(10_000,) if before else ())
    declare(database, "blog")
    revision(database, "blog")
    stored = list_splits(database)
    for what, wanted, kind, told in BAD:
        with pytest.raises(kind, match=told) as refused:
            set_split(database, "shop", wanted, NOW)
        assert type(refused.value) is kind, what
        if isinstance(refused.value, InvalidSplit):
            assert refused.value.actual == sum(each.weight for each in wanted), what
    assert list_splits(database) == stored


def test_checks_come_in_the_order_that_was_promised(database: Database) -> None:
    """T1: workload, revisions exist, belong, key, generation, ready, valid: with all wrong, the first one is told."""
    shop(database, S.READY, S.WARMING)
    declare(database, "blog")
    revision(database, "blog")
    set_split(database, "shop", entries(10_000), NOW, idempotency_key="used")
    lost, foreign = SplitEntry("lost", 1), SplitEntry("blog-1", 1)
    late, short = SplitEntry("shop-2", 1), SplitEntry("shop-1", 1)
    order: list[tuple[type[StoreError], str, list[SplitEntry], str, int | None]] = [
        (NotFound, "nowhere", [foreign, lost, late, short], "used", 7),
        (RevisionNotFound, "shop", [foreign, lost, late, short], "used", 7),
        (ForeignRevision, "shop", [foreign, late, short], "used", 7),
        (SplitConflict, "shop", [late, short], "used", 7),
        (SplitGenerationConflict, "shop", [late, short], "new", 7),
        (RevisionConflict, "shop", [late, short], "new", 0),
        (InvalidSplit, "shop", [short], "new", 0),
    ]
    for kind, workload_id, wanted, key, expected in order:
        with pytest.raises(kind) as refused:
            set_split(database, workload_id, wanted, NOW, idempotency_key=key, expected_generation=expected)
        assert type(refused.value) is kind
    assert get_split(database, "shop").generation == 0


def test_a_revision_without_traffic_may_be_draining(database: Database) -> None:
    """T1: it keeps the sessions that it has; traffic is for those that are ready."""
    shop(database, S.READY, S.DRAINING)
    assert shares(set_split(database, "shop", entries(10_000, 0), NOW)) == [10_000, 0]
    with pytest.raises(RevisionConflict, match="'shop-2' is draining; with a weight of 1 it has to be ready"):
        set_split(database, "shop", entries(9_999, 1), NOW)


@pytest.mark.parametrize("state", [each for each in RevisionState if each not in (S.READY, S.DRAINING)])
def test_no_other_state_stands_in_a_split(database: Database, state: RevisionState) -> None:
    """T1: whatever is neither ready nor draining is refused, with its state, at any weight."""
    shop(database, S.READY, state)
    for weight in (0, 1):
        with pytest.raises(RevisionConflict, match=f"'shop-2' is {state};"):
            set_split(database, "shop", entries(10_000 - weight, weight), NOW)


def test_a_request_that_is_repeated_changes_nothing(database: Database) -> None:
    """T1: same key and entries = no-op, also with the generation that it was made with, and when no longer ready."""
    shop(database, S.READY, S.READY, split=(10_000,))
    made = set_split(database, "shop", entries(1, 9_999), NOW, idempotency_key="k", expected_generation=0)
    move_revision(database, "shop", "shop-1", S.DRAINING, NOW)
    again = set_split(database, "shop", entries(1, 9_999), later(9), idempotency_key="k", expected_generation=0)
    assert again == made == get_split(database, "shop")


def test_a_key_that_was_used_for_other_entries(database: Database) -> None:
    """T1: same key, other entries = error; another order is other entries, another key another change."""
    shop(database, S.READY, S.READY)
    made = set_split(database, "shop", entries(5_000, 5_000), NOW, idempotency_key="k")
    for other in (entries(10_000), entries(5_001, 4_999), entries(5_000, 5_000)[::-1]):
        with pytest.raises(SplitConflict, match="'k' was used for other entries"):
            set_split(database, "shop", other, NOW, idempotency_key="k")
    assert get_split(database, "shop") == made
    assert set_split(database, "shop", entries(10_000), NOW, idempotency_key="k2").generation == 1
    assert set_split(database, "shop", entries(10_000), NOW).generation == 2


def test_an_expected_generation_that_is_not_the_current_one(database: Database) -> None:
    """T1: both numbers are told, or that there is no split yet; nothing is written."""
    shop(database, S.READY)
    with pytest.raises(SplitGenerationConflict, match="no split yet") as none_yet:
        set_split(database, "shop", entries(10_000), NOW, expected_generation=0)
    assert (none_yet.value.expected, none_yet.value.current) == (0, None)
    set_split(database, "shop", entries(10_000), NOW)
    made = set_split(database, "shop", entries(10_000), NOW, expected_generation=0)
    changes: list[Callable[[int], TrafficSplit]] = [
        lambda expected: set_split(database, "shop", entries(10_000), NOW, expected_generation=expected),
        lambda expected: rollback_split(database, "shop", NOW, expected_generation=expected),
    ]
    for change in changes:
        for expected in (0, 2):
            with pytest.raises(
                SplitGenerationConflict, match=f"expected generation {expected}, current is 1"
            ) as gone:
                change(expected)
            assert (gone.value.expected, gone.value.current) == (expected, 1)
    assert get_split(database, "shop") == made


def test_a_rollback_is_one_step(database: Database) -> None:
    """T1: back to the entries before, under a new generation; once more goes forth again, and never further back."""
    shop(database, S.READY, S.READY, S.READY, split=(10_000,))
    set_split(database, "shop", entries(5_000, 5_000), NOW, idempotency_key="k")
    third = set_split(database, "shop", entries(0, 1_000, 9_000), NOW, idempotency_key="k3")
    back = rollback_split(database, "shop", later(60), expected_generation=2)
    assert back == replace(
        third,
        entries=tuple(entries(5_000, 5_000)),
        previous=third.entries,
        generation=3,
        stickiness_epoch=back.stickiness_epoch,
        updated_at=later(60),
    )
    assert get_split(database, "shop") == back
    forth = rollback_split(database, "shop", NOW)
    assert (shares(forth), forth.generation) == ([0, 1_000, 9_000], 4)
    assert shares(rollback_split(database, "shop", NOW)) == [5_000, 5_000]


def test_there_is_nothing_to_go_back_to(database: Database) -> None:
    """T1: the first split, also when it was set twice."""
    shop(database, S.READY, split=(10_000,))
    for generation in (0, 1):
        with pytest.raises(SplitConflict, match="no entries before"):
            rollback_split(database, "shop", NOW)
        assert get_split(database, "shop").generation == generation
        set_split(database, "shop", entries(10_000), NOW)


@pytest.mark.parametrize("state", [S.DRAINING, S.FAILED, S.ARCHIVED])
def test_a_rollback_checks_everything_again(database: Database, state: RevisionState) -> None:
    """T1, L3: no way back to a revision that left; that there was one did not keep it from being archived."""
    shop(database, S.READY, S.READY, split=(10_000,))
    made = set_split(database, "shop", [SplitEntry("shop-2", 10_000)], NOW)
    move_revision(database, "shop", "shop-1", state, NOW)
    with pytest.raises(RevisionConflict, match=f"'shop-1' is {state}"):
        rollback_split(database, "shop", NOW)
    assert get_split(database, "shop") == made


def test_what_was_rolled_back_does_not_come_again_by_itself(database: Database) -> None:
    """T1: a late repetition of the request that was rolled back is refused."""
    shop(database, S.READY, S.READY, split=(10_000,))
    set_split(database, "shop", entries(0, 10_000), NOW, idempotency_key="k")
    rollback_split(database, "shop", NOW)
    with pytest.raises(SplitConflict, match="'k' was used for other entries, or what it set was rolled back"):
        set_split(database, "shop", entries(0, 10_000), NOW, idempotency_key="k")
    assert shares(get_split(database, "shop")) == [10_000]


def test_when_cookies_become_void(database: Database) -> None:
    """T1: the stickiness epoch rises when a revision leaves the split and with a rollback, and only then."""
    shop(database, S.READY, S.READY)
    epochs = []
    for weights in ([10_000], [9_000, 1_000], [0, 10_000], [5_000, 5_000], [10_000], [10_000]):
        epochs.append(set_split(database, "shop", entries(*weights), NOW).stickiness_epoch)
    assert epochs == [0, 0, 0, 0, 1, 1]
    assert rollback_split(database, "shop", NOW).stickiness_epoch == 2
    assert rollback_split(database, "shop", NOW).stickiness_epoch == 3
    assert (get_split(database, "shop").generation, get_split(database, "shop").stickiness_epoch) == (7, 3)


def test_splits_are_of_their_workloads(database: Database) -> None:
    """T1: one is set and taken back, the other stays as it is."""
    shop(database, S.READY, S.READY, split=(10_000,))
    declare(database, "blog")
    revision(database, "blog")
    blog = set_split(database, "blog", entries(10_000, of="blog"), NOW)
    set_split(database, "shop", entries(1, 9_999), NOW)
    rollback_split(database, "shop", NOW)
    assert list_splits(database) == [blog, get_split(database, "shop")]


def test_a_deployment_is_read_at_one_moment(database: Database) -> None:
    """T1: the workload, all its revisions by id, and its split; a workload of another host is not there."""
    declare(database, "blog", "shop")
    assert deployment_of(database, "shop", HOST) == (get_workload(database, "shop"), {}, None)
    revision(database, "blog")
    for state in (S.READY, S.FAILED):
        revision(database, state=state)
    split = set_split(database, "shop", entries(10_000), NOW)
    found = {each.id: each for each in list_revisions(database, "shop")}
    assert list(found) == ["shop-1", "shop-2"]
    assert deployment_of(database, "shop", HOST) == (get_workload(database, "shop"), found, split)
    with pytest.raises(NotFound, match="'lost'"):
        deployment_of(database, "lost", HOST)
    apply_workloads(database, [workload("shop", host="other")], NOW)
    with pytest.raises(NotFound, match=f"for host 'other', not for '{HOST}'"):
        deployment_of(database, "shop", HOST)
    assert deployment_of(database, "shop", "other")[2] == split


def test_of_writers_with_the_same_generation_one_wins(database: Database) -> None:
    """T1: the others are told, nothing of theirs is left, and no change is lost."""
    shop(database, S.READY, S.READY, split=(10_000,))
    for generation in range(10):

        def write(number: int, expected: int = generation) -> list[int]:
            weights = [10 * expected + number, 10_000 - 10 * expected - number]
            try:
                return shares(set_split(database, "shop", entries(*weights), NOW, expected_generation=expected))
            except SplitGenerationConflict:
                return []

        with ThreadPoolExecutor(4) as pool:
            winners = [each for each in pool.map(write, range(1, 5)) if each]
        found = get_split(database, "shop")
        assert (winners, found.generation) == ([shares(found)], generation + 1)


def test_of_first_splits_with_one_key_all_are_one(database: Database) -> None:
    """T1: a request that is sent four times at once is carried out once."""
    for name in ("a", "b", "c", "d", "e", "f"):
        declare(database, name)
        revision(database, name)

        def write(_number: int, workload_id: str = name) -> TrafficSplit:
            wanted = entries(10_000, of=workload_id)
            return set_split(database, workload_id, wanted, NOW, idempotency_key="k")

        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(write, range(4)))
        assert made == [get_split(database, name)] * 4
        assert made[0].generation == 0


def test_no_split_outruns_a_revision_that_leaves(database: Database) -> None:
    """T1: ready is still ready when the split is stored: who comes second sees what the first one did."""
    declare(database, "shop")
    revision(database)
    for _ in range(10):
        set_split(database, "shop", entries(10_000), NOW)
        made = revision(database)

        def drain(revision_id: str = made.id) -> list[str]:
            move_revision(database, "shop", revision_id, S.DRAINING, NOW)
            return [each.revision_id for each in get_split(database, "shop").entries]

        def refer(revision_id: str = made.id) -> bool:
            try:
                set_split(database, "shop", [SplitEntry(revision_id, 10_000)], NOW)
            except RevisionConflict:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            drained, referred = pool.submit(drain), pool.submit(refer)
        assert (made.id in drained.result()) == referred.result()
