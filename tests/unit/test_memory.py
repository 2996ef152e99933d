"""Memory of a pass: with it or without it, a pass decides the same."""

from __future__ import annotations

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.engine.listing import ListingDecoder, decode_whole
from controller.labels import LabelNames
from controller.loop.memory import Memory
from controller.loop.tick import bound_by, rows_after
from store.records import MISSING, Snapshot
from tests.builders import assignment, id_of, listed, snapshot, workload

NAMES = LabelNames()
WORKLOADS = [workload("web", "stack"), workload("docs", "site", ref="docs.example"), workload("shop", "project")]
LABELS = st.sampled_from(
    [
        {},
        {"tallyd.workload.id": "web"},
        {"tallyd.workload.id": "web", "tallyd.role": "app"},
        {"tallyd.workload.id": "nobody"},
        {"tallyd.static-site": "docs.example"},
        {"com.docker.compose.project": "tallyd-web", "com.docker.compose.service": "db"},
        {"tallyd.workload.id": "web", "bad": "\0"},
    ]
)
WORLD = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(LABELS, st.sampled_from(["running", "exited", "created"])), max_size=6
)


def listing_of(world: dict[str, tuple[dict[str, str], str]]) -> bytes:
    items = [listed(name, labels, state=state) for name, (labels, state) in world.items()]
    return orjson.dumps(items)


@settings(max_examples=500)
@given(worlds=st.lists(WORLD, min_size=1, max_size=5))
def test_a_memory_changes_no_decision(worlds: list[dict[str, tuple[dict[str, str], str]]]) -> None:
    """R11, P1: over any history of listings the passes with a memory do what those without one do."""
    decoder, memory = ListingDecoder(), Memory()
    state = snapshot((), WORKLOADS)
    for world in [worlds[number // 2] for number in range(2 * len(worlds))]:
        body, horizon = listing_of(world), bound_by(state.rows)
        seen = memory.observe(decoder.decode(body), NAMES)
        dispatched, change = memory.decide(seen, state, NAMES, horizon)
        plain = Memory()
        fresh = plain.observe(decode_whole(body), NAMES)
        assert (fresh, *plain.decide(fresh, state, NAMES, horizon)) == (seen, dispatched, change)
        state = snapshot(rows_after(state, change, {}).values(), WORKLOADS)


def test_a_row_that_was_spared_by_the_horizon_is_swept_by_the_next_pass() -> None:
    """R14: a row bound after the listing began is kept once; a memory of that decision must not keep it for ever."""
    memory = Memory()
    state = snapshot([assignment("web:app", "late")], WORKLOADS)
    seen = memory.observe([], NAMES)
    _, first = memory.decide(seen, state, NAMES, {})
    assert first.missing == ()
    _, second = memory.decide(memory.observe([], NAMES), state, NAMES, bound_by(state.rows))
    assert second.missing == (("web:app", id_of("late")),)


def test_a_changed_workload_is_noticed() -> None:
    """R7: the same containers over other workloads are decided anew."""
    memory = Memory()
    body = decode_whole(listing_of({"a": ({"tallyd.workload.id": "web", "tallyd.role": "app"}, "running")}))
    state = snapshot([assignment("web:app", "a")], [workload("web", "stack")])
    dispatched, change = memory.decide(memory.observe(body, NAMES), state, NAMES, bound_by(state.rows))
    assert change.empty
    assert len(dispatched.assignments) == 1
    without = snapshot(state.rows.values(), [])
    dispatched, change = memory.decide(memory.observe(body, NAMES), without, NAMES, bound_by(state.rows))
    assert dispatched.assignments == ()
    assert change.missing == ()  # it is listed, so it is never swept


def test_a_missing_row_is_not_missed_again() -> None:
    """R14: a settled index stays settled."""
    memory = Memory()
    state: Snapshot = snapshot([assignment("web:app", "gone", state=MISSING)], WORKLOADS)
    for _ in range(3):
        _, change = memory.decide(memory.observe([], NAMES), state, NAMES, bound_by(state.rows))
        assert change.empty
