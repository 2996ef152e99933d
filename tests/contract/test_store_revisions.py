"""Revisions on both stores: numbered without gaps, and moved along the edges of their life by one at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert

from store.database import Database
from store.errors import IllegalTransition, NotFound, RevisionConflict, RevisionNotFound, StoreError
from store.revisions import (
    config_digest_of,
    count_revisions,
    create_revision,
    get_revision,
    list_revisions,
    move_revision,
)
from store.rollout_records import Revision, RevisionState, SplitEntry
from store.splits import set_split
from store.tables import TRAFFIC_SPLITS
from store.workloads import delete_workload
from tests.builders import NOW, later
from tests.rollouts import DIGEST, IMAGE_REF, declare, entries, revision, shop

S = RevisionState

# The promise, written down a second time: a table that is derived from the code proves nothing about it.
ALLOWED = {
    (S.INACTIVE, S.STAGED),
    (S.INACTIVE, S.FAILED),
    (S.INACTIVE, S.ARCHIVED),
    (S.STAGED, S.WARMING),
    (S.STAGED, S.FAILED),
    (S.STAGED, S.ARCHIVED),
    (S.WARMING, S.READY),
    (S.WARMING, S.FAILED),
    (S.WARMING, S.ARCHIVED),
    (S.READY, S.DRAINING),
    (S.READY, S.FAILED),
    (S.READY, S.ARCHIVED),
    (S.DRAINING, S.INACTIVE),
    (S.FAILED, S.STAGED),
    (S.FAILED, S.ARCHIVED),
}


def test_a_revision_comes_back_as_it_was_made(database: Database) -> None:
    """L1, L3: inactive, numbered from 1, and with all that it is made of."""
    declare(database, "shop")
    config = {"port": 80, "nested": {"a": [1, None, "ü"]}}
    made = create_revision(database, "shop", IMAGE_REF, DIGEST, config, NOW)
    assert made == Revision(
        id="shop-1",
        workload_id="shop",
        sequence=1,
        image_ref=IMAGE_REF,
        image_digest=DIGEST,
        config_digest=config_digest_of(config),
        config=config,
        created_at=NOW,
        updated_at=NOW,
    )
    assert get_revision(database, "shop", "shop-1") == made
    assert list_revisions(database, "shop") == [made]
    assert isinstance(get_revision(database, "shop", "shop-1").state, RevisionState)


def test_the_digest_of_a_config_is_of_its_content() -> None:
    """L3: the order of its keys is none of it, every value is."""
    one = config_digest_of({"a": 1, "b": {"c": 2, "d": "ü"}})
    assert one == config_digest_of({"b": {"d": "ü", "c": 2}, "a": 1})
    assert one != config_digest_of({"a": 1, "b": {"c": 2, "d": "u"}})
    assert config_digest_of({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_sequences_rise_for_each_workload_on_its_own(database: Database) -> None:
    """L3: from 1, also past ten, and whatever became of the ones before; listed in their order."""
    declare(database, "shop", "shop-1")
    revision(database, state=S.ARCHIVED)
    for _ in range(10):
        revision(database, state=S.INACTIVE)
    assert revision(database, "shop-1", S.INACTIVE).id == "shop-1-1"
    assert [each.id for each in list_revisions(database, "shop")] == [f"shop-{number}" for number in range(1, 12)]
    assert count_revisions(database) == {"archived": 1, "inactive": 11}


def test_what_does_not_exist(database: Database) -> None:
    """L1: a workload, a revision, and a revision of another workload."""
    declare(database, "shop", "blog")
    revision(database, "blog")
    with pytest.raises(NotFound, match="'lost'"):
        create_revision(database, "lost", IMAGE_REF, DIGEST, {}, NOW)
    with pytest.raises(NotFound, match="'lost'"):
        list_revisions(database, "lost")
    assert list_revisions(database, "shop") == []
    for workload_id, revision_id in (("shop", "shop-1"), ("shop", "blog-1"), ("lost", "blog-1")):
        with pytest.raises(RevisionNotFound, match=f"'{workload_id}' has no revision '{revision_id}'"):
            get_revision(database, workload_id, revision_id)
        with pytest.raises(RevisionNotFound, match=f"'{workload_id}' has no revision '{revision_id}'"):
            move_revision(database, workload_id, revision_id, S.DRAINING, NOW)
    assert get_revision(database, "blog", "blog-1").state is S.READY


def test_every_edge_that_is_allowed_and_every_one_that_is_not(database: Database) -> None:
    """L1: all pairs of states; what is refused is a typed error that saves nothing."""
    declare(database, "shop")
    wrong = []
    for current in RevisionState:
        for wanted in RevisionState:
            before = revision(database, state=current)
            try:
                moved = move_revision(database, "shop", before.id, wanted, later(60), detail="why", checks={"a": "b"})
            except IllegalTransition as error:
                allowed = False
                saved = get_revision(database, "shop", before.id) != before
                told = (error.revision_id, error.current, error.wanted) == (before.id, current, wanted)
            else:
                allowed = True
                saved = get_revision(database, "shop", before.id) == moved
                told = (moved.state, moved.detail, moved.checks, moved.updated_at, moved.created_at) == (
                    *(wanted, "why", {"a": "b"}),
                    *(later(60), NOW),
                )
            if not (told and allowed == saved == ((current, wanted) in ALLOWED)):
                wrong.append((current, wanted, allowed, saved, told))
    assert wrong == []


def test_a_step_forgets_what_was_told_of_the_one_before(database: Database) -> None:
    """L1: why it failed stands there while it is failed."""
    declare(database, "shop")
    revision(database, state=S.WARMING)
    failed = move_revision(database, "shop", "shop-1", S.FAILED, NOW, detail="no answer", checks={"http": "refused"})
    assert (failed.detail, failed.checks) == ("no answer", {"http": "refused"})
    again = move_revision(database, "shop", "shop-1", S.STAGED, NOW)
    assert (again.detail, again.checks) == ("", {})
    assert get_revision(database, "shop", "shop-1") == again


def test_a_state_that_is_not_the_one_that_was_seen(database: Database) -> None:
    """L3: warming carries the state that its caller saw; a stale one is a conflict, before any look at the edges."""
    shop(database, S.STAGED)
    for stale in (S.INACTIVE, S.WARMING, S.FAILED):
        with pytest.raises(RevisionConflict, match=f"is staged, not {stale} any more"):
            move_revision(database, "shop", "shop-1", S.WARMING, NOW, seen=stale)
    with pytest.raises(RevisionConflict):
        move_revision(database, "shop", "shop-1", S.READY, NOW, seen=S.WARMING)
    assert get_revision(database, "shop", "shop-1").state is S.STAGED
    assert move_revision(database, "shop", "shop-1", S.WARMING, NOW, seen=S.STAGED).state is S.WARMING


@pytest.mark.parametrize("weight", [1, 0])
def test_a_revision_that_a_split_names_is_not_archived(database: Database, weight: int) -> None:
    """L3: at any weight, 0 included; the refusal names the split and saves nothing."""
    shop(database, S.READY, S.READY, split=(weight, 10_000 - weight))
    before = get_revision(database, "shop", "shop-1")
    with pytest.raises(RevisionConflict, match=f"split of workload 'shop' names it, with a weight of {weight}"):
        move_revision(database, "shop", "shop-1", S.ARCHIVED, later(60), detail="old")
    assert get_revision(database, "shop", "shop-1") == before
    set_split(database, "shop", [SplitEntry("shop-2", 10_000)], NOW)
    assert move_revision(database, "shop", "shop-1", S.ARCHIVED, later(60)).state is S.ARCHIVED


def test_the_split_of_another_workload_counts_as_well(database: Database) -> None:
    """L3: any split, also one that should not name it."""
    shop(database, S.READY)
    declare(database, "blog")
    foreign = {"workload_id": "blog", "generation": 0, "idempotency_key": "", "stickiness_epoch": 0}
    foreign |= {"entries": [{"revision_id": "shop-1", "weight": 10_000}], "updated_at": NOW}
    with database.writing() as connection:
        connection.execute(insert(TRAFFIC_SPLITS), foreign)
    with pytest.raises(RevisionConflict, match="split of workload 'blog'"):
        move_revision(database, "shop", "shop-1", S.ARCHIVED, NOW)


def test_revisions_and_split_go_with_their_workload(database: Database) -> None:
    """O1: nothing of a deleted workload is left, and another one of its name begins at 1."""
    shop(database, S.READY, S.READY, split=(10_000,))
    delete_workload(database, "shop")
    assert count_revisions(database) == {}
    declare(database, "shop")
    assert revision(database).id == "shop-1"


def test_of_many_makers_each_gets_a_number_of_its_own(database: Database) -> None:
    """L3: sequences rise without a gap and without a double, also where eight make revisions at once."""
    declare(database, "shop", "blog")

    def make(number: int) -> str:
        return create_revision(database, ("shop", "blog")[number % 2], IMAGE_REF, DIGEST, {}, NOW).id

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(40)))
    assert sorted(made) == sorted(f"{each}-{number}" for each in ("shop", "blog") for number in range(1, 21))


def test_of_movers_that_saw_the_same_state_one_wins(database: Database) -> None:
    """L3: the others are told, and nothing of theirs is left."""
    declare(database, "shop")
    for _ in range(10):
        made = revision(database, state=S.STAGED)

        def move(number: int, revision_id: str = made.id) -> str:
            wanted = (S.WARMING, S.FAILED)[number % 2]
            try:
                move_revision(database, "shop", revision_id, wanted, NOW, seen=S.STAGED, detail=str(number))
            except RevisionConflict:
                return ""
            return f"{wanted} {number}"

        with ThreadPoolExecutor(4) as pool:
            winners = [each for each in pool.map(move, range(4)) if each]
        found = get_revision(database, "shop", made.id)
        assert winners == [f"{found.state} {found.detail}"]


def test_a_revision_is_never_both_archived_and_in_a_split(database: Database) -> None:
    """L3, T1: whoever comes second is refused, whichever that is."""
    declare(database, "shop")
    revision(database)
    set_split(database, "shop", entries(10_000), NOW)
    for _ in range(10):
        made = revision(database)

        def archive(revision_id: str = made.id) -> None:
            move_revision(database, "shop", revision_id, S.ARCHIVED, NOW)

        def refer(revision_id: str = made.id) -> None:
            set_split(database, "shop", [SplitEntry("shop-1", 1), SplitEntry(revision_id, 9_999)], NOW)

        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(archive), pool.submit(refer)]
        refused = [each.exception() for each in asked if each.exception() is not None]
        assert len(refused) == 1, refused
        assert isinstance(refused[0], RevisionConflict)


def test_deleting_a_workload_races_with_its_rollout(database: Database) -> None:
    """O1, L3: no deadlock, and nothing of it is left behind; who comes too late is told that it is gone."""
    for _ in range(5):
        shop(database, S.READY, split=(10_000,))

        def roll(number: int) -> None:
            for _ in range(500):
                try:
                    revision(database)
                    set_split(database, "shop", entries(10_000), NOW)
                except NotFound:
                    return
            raise AssertionError(f"{number}: the workload is there for ever")

        with ThreadPoolExecutor(3) as pool:
            rolling = [pool.submit(roll, number) for number in range(2)]
            pool.submit(delete_workload, database, "shop").result()
        assert [each.exception() for each in rolling] == [None, None]
        assert count_revisions(database) == {}


def test_text_that_no_store_holds_is_refused(database: Database) -> None:
    """L1: whatever a caller asks for is a typed error."""
    shop(database, S.READY)
    for strange in ("shop-\x00", "\ud800"):
        with pytest.raises(StoreError):
            get_revision(database, "shop", strange)
        with pytest.raises(StoreError):
            set_split(database, "shop", [SplitEntry(strange, 10_000)], NOW)
