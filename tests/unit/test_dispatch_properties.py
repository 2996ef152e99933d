"""What holds for dispatch and compare in every world, however its labels collide."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.labels import LabelNames
from controller.loop.compare import compare
from controller.loop.dispatch import Dispatched, Ignored, IgnoreReason, catalog_of, deciding_rule, dispatch, match
from controller.loop.tick import rows_after
from store.records import MISSING, Assignment, Change, WorkloadKind
from tests.unit.worlds import SCENES, WORKLOADS, Scene

NAMES = LabelNames()
KINDS = {each.id: each.kind for each in WORKLOADS}


def dispatched_in(scene: Scene) -> Dispatched:
    """Dispatch a scene."""
    return dispatch(scene.containers, scene.snapshot, NAMES, scene.unreadable)


def change_in(scene: Scene, *, may_sweep: bool = True) -> Change:
    """The change of a scene."""
    return compare(scene.snapshot, dispatched_in(scene).assignments, scene.listed, may_sweep=may_sweep)


@pytest.mark.parametrize("reason", list(IgnoreReason))
def test_the_worlds_have_every_reason_in_them(reason: IgnoreReason) -> None:
    """R7-R16: the properties below are not empty; each reason occurs beside a filled row."""
    hypothesis.find(
        SCENES,
        lambda scene: (
            reason in {each.reason for each in dispatched_in(scene).ignored}
            and bool(dispatched_in(scene).assignments)
        ),
        settings=settings(max_examples=20_000, database=None),
    )


@settings(max_examples=4000)
@given(scene=SCENES)
def test_every_container_has_one_fate(scene: Scene) -> None:
    """R7, R9, R16: it fills one row or is ignored once; a row has one container; projects' rows are not invented."""
    result = dispatched_in(scene)
    filled = [row.container_id for row in result.assignments]
    ignored = [each.container.id for each in result.ignored]
    assert Counter(filled + ignored) == Counter(each.id for each in scene.containers)
    assert len({row.id for row in result.assignments}) == len(result.assignments)
    by_id = {each.id: each for each in scene.containers}
    for row in result.assignments:
        assert deciding_rule(by_id[str(row.container_id)], NAMES) is not None
        assert row.workload_kind == KINDS[row.workload_id]
        assert not (by_id[str(row.container_id)].workload_id not in ("", row.workload_id))
        if KINDS[row.workload_id] is WorkloadKind.PROJECT:
            assert scene.snapshot.rows[row.id].container_id == row.container_id
        else:
            _assert_rightful(row, scene)


def _assert_rightful(row: Assignment, scene: Scene) -> None:
    """R16: a row whose recorded container is listed, alive and claims no other row was not moved."""
    before = scene.snapshot.rows.get(row.id)
    if before is None or before.container_id in (None, row.container_id):
        return
    assert before.container_id not in scene.unreadable
    holder = next((each for each in scene.containers if each.id == before.container_id), None)
    if holder is not None and holder.alive:
        claim = match(holder, catalog_of(scene.snapshot), NAMES)
        assert not isinstance(claim, Ignored)
        assert claim.row_id != row.id


@settings(max_examples=2000)
@given(scene=SCENES, chance=st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(scene: Scene, chance: object) -> None:
    """R10, R16: deterministic, whatever order the engine lists in."""
    shuffled = list(scene.containers)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = dispatched_in(scene), dispatched_in(replace(scene, containers=tuple(shuffled)))
    assert set(one.assignments) == set(other.assignments)
    assert set(one.ignored) == set(other.ignored)


@settings(max_examples=4000)
@given(scene=SCENES, may_sweep=st.booleans())
def test_a_change_is_true_and_done_once(scene: Scene, may_sweep: bool) -> None:
    """R6, R12, R14: what it makes of the index, and that the same listing then changes nothing."""
    assignments = dispatched_in(scene).assignments
    change = change_in(scene, may_sweep=may_sweep)
    before = scene.snapshot.rows
    after = rows_after(scene.snapshot, change, {})

    assert {row.id: after[row.id] for row in assignments} == {row.id: row for row in assignments}
    held = Counter(row.container_id for row in after.values() if row.container_id)
    assert set(held.values()) <= {1}
    swept = {row_id for row_id, _ in change.missing}
    assert may_sweep or not swept
    for row_id, row in before.items():
        gone = bool(row.container_id) and row.container_id not in scene.listed
        assert (row_id in swept) == (gone and may_sweep and row.state != MISSING and row_id not in _ids(assignments))
    assert change.unchanged + len(change.inserted) + len(change.updated) >= len(assignments)
    newly_held = {row.id for row in assignments}
    assert not newly_held & set(change.unseen)

    again = change_in(replace(scene, snapshot=replace(scene.snapshot, rows=after)), may_sweep=may_sweep)
    assert again.empty, again
    assert again.unchanged == len(assignments)


def _ids(rows: tuple[Assignment, ...]) -> set[str]:
    return {row.id for row in rows}
