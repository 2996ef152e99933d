"""Declared workloads on both stores: each under its own generation, and never half of a set."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from store.database import Database
from store.errors import Conflict, NotFound, StoreError, WorkloadConflict
from store.index import create_row
from store.records import MISSING, Workload, WorkloadKind
from store.workloads import apply_workloads, delete_workload, get_workload, list_workloads
from tests.builders import HOST, NOW, assignment, later, workload
from tests.contract.ticks import rows_of, tick

FULL = workload(
    "blog",
    "stack",
    source_kind="report",
    source_config={"containers": 2, "nested": {"a": [1, None, "ü"]}},
    trigger_kind="manual",
    trigger_config={"x": True},
    public_faces=[{"host": "blog.example", "path": "/"}],
    host=HOST,
)


def apply(database: Database, *declared: Workload, expected: int | None = None) -> list[tuple[str, int]]:
    """Apply, and return the result and generation of each."""
    applied = apply_workloads(database, declared, NOW, expected_generation=expected)
    return [(each.result, each.workload.generation) for each in applied]


def test_a_workload_comes_back_as_it_was_declared(database: Database) -> None:
    """O7: every field, the JSON ones included, with generation and time."""
    assert apply(database, FULL) == [("created", 1)]
    stored = get_workload(database, "blog")
    assert stored == replace(FULL, generation=1, updated_at=NOW)
    assert isinstance(stored.kind, WorkloadKind)
    assert list_workloads(database) == [stored]


def test_generations_rise_with_every_change_and_only_then(database: Database) -> None:
    """O4: the generation is what If-Match compares."""
    assert apply(database, FULL) == [("created", 1)]
    assert apply(database, FULL) == [("unchanged", 1)]
    changed = replace(FULL, source_config={})
    assert [(each.result, each.workload.generation) for each in apply_workloads(database, [changed], later(60))] == [
        ("updated", 2)
    ]
    assert apply(database, changed) == [("unchanged", 2)]
    assert get_workload(database, "blog").updated_at == later(60)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Other"},
        {"ref": "tallyd-other"},
        {"source_kind": "image"},
        {"source_config": {"a": 1}},
        {"trigger_kind": "git"},
        {"trigger_config": {"a": 1}},
        {"public_faces": [{"host": "other.example"}]},
        {"host": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_declared_field_counts_as_a_change(database: Database, change: dict[str, object]) -> None:
    """O4: no field can be changed without a new generation."""
    apply(database, FULL)
    changed = replace(FULL, **change)  # type: ignore[arg-type]
    assert apply(database, changed) == [("updated", 2)]
    assert get_workload(database, "blog") == replace(changed, generation=2, updated_at=NOW)


def test_an_expected_generation_that_is_not_the_current_one(database: Database) -> None:
    """O4: both numbers are told, and nothing is written; 0 means "must not exist yet"."""
    assert apply(database, FULL, expected=0) == [("created", 1)]
    assert apply(database, replace(FULL, name="Two"), expected=1) == [("updated", 2)]
    for expected in (0, 1, 3):
        with pytest.raises(WorkloadConflict) as conflict:
            apply(database, replace(FULL, name="Three"), expected=expected)
        assert (conflict.value.expected, conflict.value.current) == (expected, 2)
        assert (str(expected) in str(conflict.value), "2" in str(conflict.value)) == (True, True)
    with pytest.raises(WorkloadConflict) as conflict:
        apply(database, workload("new"), expected=7)
    assert (conflict.value.expected, conflict.value.current) == (7, 0)
    assert [each.name for each in list_workloads(database)] == ["Two"]


def test_all_or_none(database: Database) -> None:
    """O1: when one of a set cannot be applied, none of it is."""
    apply(database, workload("site", "site", ref="www"))
    with pytest.raises(Conflict, match="'www' belongs to workload 'site'"):
        apply(database, workload("first"), workload("second", "site", ref="www"))
    assert [each.id for each in list_workloads(database)] == ["site"]


def test_a_ref_is_unique_within_its_kind(database: Database) -> None:
    """R11: sites and stacks are looked up by it; another kind may use the same text."""
    apply(database, workload("one", "site", ref="www"), workload("two", "stack", ref="www"))
    with pytest.raises(Conflict, match="belongs to workload 'one'"):
        apply(database, workload("three", "site", ref="www"))
    with pytest.raises(Conflict, match="belongs to workload 'one'"):
        apply(database, workload("three", "site"), workload("three", "site", ref="www"))
    assert apply(database, workload("one", "site", ref="moved"), workload("three", "site", ref="www")) == [
        ("updated", 2),
        ("created", 1),
    ]


def test_a_kind_never_changes(database: Database) -> None:
    """R8: rows carry the kind; changing it takes a deletion."""
    apply(database, workload("shop", "project"))
    with pytest.raises(Conflict, match="a kind never changes"):
        apply(database, workload("shop", "site"))
    assert get_workload(database, "shop").kind is WorkloadKind.PROJECT


def test_parents_come_in_any_order(database: Database) -> None:
    """S4: a set may name the child first; a parent that does not exist is an error."""
    child, parent = workload("child", parent="parent"), workload("parent")
    assert apply(database, child, parent) == [("created", 1), ("created", 1)]
    with pytest.raises(NotFound, match="'lost' does not exist"):
        apply(database, workload("orphan", parent="lost"))
    assert {each.id for each in list_workloads(database)} == {"child", "parent"}


def test_nobody_is_their_own_ancestor(database: Database) -> None:
    """S4: neither a new circle of parents nor one that is closed by a change."""
    a, b, c = workload("a"), workload("b", parent="a"), workload("c", parent="b")
    apply(database, a, b, c)
    for circle in (replace(a, parent="c"), replace(a, parent="a")):
        with pytest.raises(StoreError, match="its own"):
            apply(database, circle)
    with pytest.raises(StoreError, match="its own"):
        apply(database, workload("x", parent="y"), workload("y", parent="x"))
    assert get_workload(database, "a") == replace(a, generation=1, updated_at=NOW)
    assert apply(database, replace(c, parent=None), replace(b, parent="c")) == [("updated", 2), ("updated", 2)]


def test_deleting_forgets_the_rows_but_not_by_mistake(database: Database) -> None:
    """O1: a workload with containers that are there is deleted with `force` only."""
    apply(database, workload("blog", "stack"), workload("shop"))
    tick(database, assignment("blog:web", "web"), assignment("blog:db", "db"))
    with pytest.raises(Conflict, match=r"2 container\(s\).*--force"):
        delete_workload(database, "blog")
    assert set(rows_of(database)) == {"blog:web", "blog:db"}
    assert delete_workload(database, "blog", force=True) == 2
    assert rows_of(database) == {}
    assert [each.id for each in list_workloads(database)] == ["shop"]
    assert delete_workload(database, "shop") == 0


def test_rows_that_are_missing_do_not_keep_a_workload(database: Database) -> None:
    """O1: what is gone needs no force."""
    apply(database, workload("blog", "stack"))
    tick(database, assignment("blog:web", "web"))
    tick(database)
    assert rows_of(database)["blog:web"].state == MISSING
    assert delete_workload(database, "blog") == 1


def test_a_row_that_waits_for_its_container_keeps_a_workload(database: Database) -> None:
    """R9: a row that a deployer made is not forgotten by mistake either."""
    apply(database, workload("shop"))
    create_row(database, HOST, assignment("shop:web", "web", state=""))
    with pytest.raises(Conflict, match="'shop:web'"):
        delete_workload(database, "shop")


def test_a_parent_outlives_its_children(database: Database) -> None:
    """S4: deleting a parent names the child that is in the way, also with force."""
    apply(database, workload("parent"), workload("child", parent="parent"))
    with pytest.raises(Conflict, match="'child'"):
        delete_workload(database, "parent", force=True)
    delete_workload(database, "child")
    assert delete_workload(database, "parent") == 0


def test_deleting_checks_the_generation(database: Database) -> None:
    """O4: as a change does."""
    apply(database, FULL)
    with pytest.raises(WorkloadConflict) as conflict:
        delete_workload(database, "blog", expected_generation=2)
    assert (conflict.value.expected, conflict.value.current) == (2, 1)
    with pytest.raises(WorkloadConflict) as conflict:
        delete_workload(database, "blog", expected_generation=0)
    assert (conflict.value.expected, conflict.value.current) == (0, 1)
    assert delete_workload(database, "blog", expected_generation=1) == 0
    with pytest.raises(NotFound, match="tallyd workload list"):
        delete_workload(database, "blog")
    with pytest.raises(NotFound, match="'blog'"):
        get_workload(database, "blog")


def test_read_modify_writes_of_four_threads_lose_nothing(database: Database) -> None:
    """O4, pitfall 13: of writers with the same expected generation exactly one wins, on both stores."""
    apply(database, replace(FULL, source_config={"count": 0}))

    def work(_number: int) -> None:
        for _ in range(25):
            while True:
                current = get_workload(database, "blog")
                more = replace(current, source_config={"count": current.source_config["count"] + 1})
                try:
                    apply(database, more, expected=current.generation)
                except WorkloadConflict:
                    continue
                break

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    final = get_workload(database, "blog")
    assert (final.source_config, final.generation) == ({"count": 100}, 101)


def test_of_writers_with_the_same_generation_one_wins(database: Database) -> None:
    """O4: the others are told, and nothing of theirs is left."""
    for round_number in range(1, 11):
        declared = [replace(FULL, name=f"{round_number}-{number}") for number in range(4)]

        def write(each: Workload, generation: int = round_number - 1) -> str:
            try:
                return apply(database, each, expected=generation)[0][0]
            except Conflict:
                return "conflict"

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(write, declared))
        assert sorted(results)[:3] == ["conflict"] * 3, results
        assert get_workload(database, "blog").generation == round_number
