"""Manifests of one host, applied to the store: a plan first, then all of it or nothing, on both stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from store import hosts
from store.database import Database
from store.declared import Plan, apply_declared, read_plan
from store.errors import Conflict, NotFound, StoreError
from store.index import create_row
from store.records import Host, Workload
from store.workloads import apply_workloads, delete_workload, get_workload, list_workloads
from tests.builders import HOST, NOW, assignment, later, workload
from tests.contract.ticks import rows_of, tick

OTHER = "host-b"
A, B, C = workload("a"), workload("b", "stack"), workload("c", "site")


def bring(database: Database, *declared: Workload, owner: str = HOST, prune: bool = True, **at: float) -> Plan:
    """Apply manifests; what :func:`read_plan` said before must be what was done."""
    asked = [database, list(declared), owner]
    planned = read_plan(*asked, prune=prune)  # type: ignore[arg-type]
    before = list_workloads(database)
    assert read_plan(*asked, prune=prune) == planned  # type: ignore[arg-type]
    assert list_workloads(database) == before, "a plan writes nothing"
    done = apply_declared(*asked, later(at.get("seconds", 0)), prune=prune)  # type: ignore[arg-type]
    assert done == planned
    return done


def stored(database: Database) -> dict[str, str]:
    """Id → the host whose manifests declared it."""
    return {each.id: each.declared_by for each in list_workloads(database)}


def ids(plan: Plan) -> Sequence[Sequence[str]]:
    """What is added, changed, unchanged and removed."""
    return plan.added, plan.changed, plan.unchanged, plan.removed


def test_what_is_new_changed_and_as_it_was(database: Database) -> None:
    """W5, O1: each is counted; equal content leaves generation and time as they are."""
    plan = bring(database, A, B)
    assert (ids(plan), plan.summary, plan.empty) == ((("a", "b"), (), (), ()), "2 added", False)
    changed = replace(B, name="Changed")
    plan = bring(database, A, changed, C, seconds=60)
    assert (ids(plan), plan.summary) == ((("c",), ("b",), ("a",), ()), "1 added, 1 changed")
    assert get_workload(database, "a") == replace(A, generation=1, updated_at=NOW, declared_by=HOST)
    assert get_workload(database, "b") == replace(changed, generation=2, updated_at=later(60), declared_by=HOST)
    again = bring(database, A, changed, C, seconds=120)
    assert (again.empty, again.summary, again.unchanged) == (True, "nothing to change", ("a", "b", "c"))
    assert get_workload(database, "b").generation == 2


def test_a_manifest_that_is_gone_removes_nothing_unless_asked_to(database: Database) -> None:
    """W7: without pruning it is kept, and the plan says why."""
    bring(database, A, B)
    plan = bring(database, A, prune=False)
    assert (plan.removed, plan.empty, plan.summary) == ((), True, "1 kept")
    assert "manifests_prune" in plan.kept["b"]
    assert stored(database) == {"a": HOST, "b": HOST}
    plan = bring(database, A)
    assert (plan.removed, plan.kept, plan.summary) == (("b",), {}, "1 removed")
    assert stored(database) == {"a": HOST}


def test_no_manifest_at_all(database: Database) -> None:
    """W7: an empty folder prunes as any other set does, and tears no container down."""
    bring(database, A, B)
    tick(database, assignment("b:web", "web"))
    plan = bring(database)
    assert (plan.removed, list(plan.kept)) == (("a",), ["b"])
    assert rows_of(database).keys() == {"b:web"}


def test_a_workload_with_a_container_is_kept(database: Database) -> None:
    """W7: until the last one is missing; its rows go with it."""
    bring(database, B)
    tick(database, assignment("b:web", "web"), assignment("b:db", "db"))
    assert bring(database).kept == {"b": "its manifest is gone, but it has 2 container(s)"}
    tick(database, assignment("b:db", "db"))
    assert bring(database).kept == {"b": "its manifest is gone, but it has 1 container(s)"}
    tick(database)
    assert bring(database).removed == ("b",)
    assert (stored(database), rows_of(database)) == ({}, {})


def test_a_row_that_waits_for_its_container_keeps_a_workload(database: Database) -> None:
    """R9, W7: a deployer is about to start it."""
    bring(database, A)
    create_row(database, HOST, assignment("a:web", "web", state=""))
    assert bring(database).removed == ()


def test_a_container_on_another_host_keeps_a_workload(database: Database) -> None:
    """W7: the index of every host counts."""
    bring(database, B)
    hosts.register(database, Host(OTHER))
    tick(database, assignment("b:web", "web"), host=OTHER)
    assert list(bring(database).kept) == ["b"]


def test_what_others_declared_is_not_ours_to_remove(database: Database) -> None:
    """W7: neither what a person applied, nor what another host's manifests hold; nor is ours theirs."""
    apply_workloads(database, [A], NOW)
    bring(database, B, owner=OTHER)
    bring(database, C)
    plan = bring(database)
    assert (plan.removed, plan.kept) == (("c",), {})
    assert stored(database) == {"a": "", "b": OTHER}
    assert bring(database, owner=OTHER).removed == ("b",)


def test_what_nobody_owned_and_is_declared_equally_is_taken_over(database: Database) -> None:
    """W7: without a new generation; from then on it goes with its manifest."""
    apply_workloads(database, [A, B], NOW)
    plan = bring(database, A, seconds=60)
    assert (plan.unchanged, plan.empty) == (("a",), True)
    assert get_workload(database, "a") == replace(A, generation=1, updated_at=NOW, declared_by=HOST)
    assert bring(database).removed == ("a",)
    assert stored(database) == {"b": ""}


def test_whoever_changes_a_workload_by_manifest_owns_it(database: Database) -> None:
    """W7: hosts that follow the same repository agree; one that only repeats it takes nothing over."""
    bring(database, A, owner=OTHER)
    assert bring(database, A).unchanged == ("a",)
    assert stored(database) == {"a": OTHER}
    assert bring(database).removed == ()
    bring(database, replace(A, name="Changed"))
    assert stored(database) == {"a": HOST}
    assert bring(database, owner=OTHER).removed == ()


def test_a_change_by_hand_stays_ours_and_is_brought_back(database: Database) -> None:
    """O1, W7: `workload apply` does not take a workload out of its manifest."""
    bring(database, A)
    apply_workloads(database, [replace(A, name="By hand")], NOW)
    assert stored(database) == {"a": HOST}
    assert bring(database, A).changed == ("a",)
    delete_workload(database, "a")
    assert bring(database, A).added == ("a",)


def test_children_go_before_their_parents(database: Database) -> None:
    """S4, W7: whatever their names."""
    family = [workload("a"), workload("b", parent="a"), workload("c", parent="b"), workload("0", parent="c")]
    bring(database, *family)
    assert sorted(bring(database).removed) == ["0", "a", "b", "c"]
    assert stored(database) == {}


def test_a_parent_outlives_what_stays(database: Database) -> None:
    """S4, W7: a child with a container, one of a person, or one that is still declared keeps all above it."""
    top, middle = workload("top"), workload("middle", parent="top")
    bring(database, top, middle, workload("bottom", "stack", parent="middle"))
    tick(database, assignment("bottom:web", "web"))
    plan = bring(database)
    assert plan.kept == {
        "bottom": "its manifest is gone, but it has 1 container(s)",
        "middle": "its manifest is gone, but it is the parent of 'bottom'",
        "top": "its manifest is gone, but it is the parent of 'middle'",
    }
    tick(database)
    assert len(bring(database).removed) == 3
    bring(database, top)
    apply_workloads(database, [workload("by-hand", parent="top")], NOW)
    assert list(bring(database).kept) == ["top"]


def test_a_parent_outlives_a_child_that_only_now_names_it(database: Database) -> None:
    """S4, W7: the plan is made for what will be declared, not for what was."""
    bring(database, A, B)
    plan = bring(database, replace(B, parent="a"), workload("new", parent="a"))
    assert (plan.removed, list(plan.kept)) == ((), ["a"])
    assert get_workload(database, "new").parent == "a"


def test_a_parent_goes_once_its_child_has_moved(database: Database) -> None:
    """S4, W7: to another parent, or to none."""
    bring(database, A, workload("b", parent="a"), workload("c", parent="a"))
    plan = bring(database, workload("b"), workload("c", parent="b"))
    assert (plan.changed, plan.removed) == (("b", "c"), ("a",))
    assert {each.id: each.parent for each in list_workloads(database)} == {"b": None, "c": "b"}


@pytest.mark.parametrize(
    ("declared", "error", "said"),
    [
        (workload("x", "site", ref="tallyd-c"), Conflict, "'tallyd-c' belongs to workload 'c'"),
        (workload("a", "site"), Conflict, "a kind never changes"),
        (workload("x", parent="lost"), NotFound, "'lost' does not exist"),
        (workload("a", parent="a"), StoreError, "its own"),
    ],
)
def test_all_of_it_or_nothing(database: Database, declared: Workload, error: type[StoreError], said: str) -> None:
    """W7, H6: a set that the store refuses changes, adds, removes and takes over nothing."""
    bring(database, A, B)
    apply_workloads(database, [C], NOW)
    before = list_workloads(database)
    asked = [C, workload("new"), replace(B, name="Changed"), declared]
    with pytest.raises(error, match=said):
        apply_declared(database, asked, HOST, later(60), prune=True)
    assert list_workloads(database) == before


def test_a_circle_of_parents_is_refused(database: Database) -> None:
    """S4: also one that is made of workloads that are there; planning it comes to an end."""
    bring(database, A, workload("b", parent="a"), C)
    before = list_workloads(database)
    for circle in (
        [replace(A, parent="b"), workload("b", parent="a")],
        [workload("x", parent="y"), workload("y", parent="x")],
    ):
        with pytest.raises(StoreError, match="its own"):
            apply_declared(database, circle, HOST, later(60), prune=True)
        assert list_workloads(database) == before


def test_a_ref_moves_from_a_workload_that_goes(database: Database) -> None:
    """W7: renaming a workload in its manifest is one change, not a conflict with its own past."""
    bring(database, workload("old", "site", ref="www.example"))
    plan = bring(database, workload("new", "site", ref="www.example"))
    assert (plan.added, plan.removed) == (("new",), ("old",))
    assert stored(database) == {"new": HOST}


def test_a_ref_of_a_workload_that_stays_is_taken(database: Database) -> None:
    """W7: where pruning is off, or a container is left, the conflict is told and nothing is done."""
    bring(database, workload("old", "site", ref="www.example"))
    tick(database, assignment("old:site", "web", workload_kind="site"))
    for prune in (True, False):
        with pytest.raises(Conflict, match=r"'www\.example' belongs to workload 'old'"):
            apply_declared(database, [workload("new", "site", ref="www.example")], HOST, NOW, prune=prune)
    assert stored(database) == {"old": HOST}


def test_a_hundred_workloads(database: Database) -> None:
    """W7: added, changed and removed in one transaction each."""
    many = [workload(f"w{number:03}", "stack") for number in range(100)]
    assert len(bring(database, *many).added) == 100
    assert bring(database, *many).empty
    assert len(bring(database, *(replace(each, name="Changed") for each in many)).changed) == 100
    assert len(bring(database).removed) == 100
    assert stored(database) == {}
