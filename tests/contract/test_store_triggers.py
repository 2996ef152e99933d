"""`store.triggers`: what triggers have seen and owe, over both stores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.errors import NotFound, TriggerSuperseded
from store.database import Database
from store.triggers import Binding, Owed, TriggerState, get_binding, list_bindings, save_state
from store.workloads import apply_workloads, delete_workload
from tests.builders import HOST, NOW, later, workload

OWED = Owed(1, "saw two", key="two", reference="shop:2", digest="sha256:2", attempts=1, actor="trigger:told")


def declare(database: Database, workload_id: str, **more: object) -> None:
    """Declare a workload with a trigger."""
    apply_workloads(database, [replace(workload(workload_id), **{"trigger_kind": "told", **more})], NOW)


def test_what_is_stored_is_read_again(database: Database) -> None:
    """S1: all of it, with times and what is owed."""
    declare(database, "shop")
    state = TriggerState(
        "shop", "told", {"digest": "1"}, "one", 2, 1, later(9).isoformat(), OWED, 0, later(5), NOW, "errored", "why"
    )
    saved = save_state(database, state, NOW)
    assert saved == replace(state, generation=1, updated_at=NOW)
    assert get_binding(database, "shop").state == saved


def test_of_two_that_saw_the_same_one_wins(database: Database) -> None:
    """S1: also where there was nothing yet; nothing is written by the other."""
    declare(database, "shop")
    for _ in range(2):
        seen = get_binding(database, "shop").state
        won = save_state(database, replace(seen, answer="first"), NOW)
        with pytest.raises(TriggerSuperseded, match="shop"):
            save_state(database, replace(seen, answer="second"), NOW)
        assert get_binding(database, "shop").state == won


def test_the_state_goes_with_the_workload(database: Database) -> None:
    """S1: and who looked at it meanwhile stores nothing."""
    declare(database, "shop")
    seen = get_binding(database, "shop").state
    saved = save_state(database, seen, NOW)
    delete_workload(database, "shop")
    for stale in (seen, saved):
        with pytest.raises(TriggerSuperseded):
            save_state(database, stale, NOW)
    declare(database, "shop")
    assert get_binding(database, "shop").state == TriggerState("shop", "told")


def test_another_trigger_begins_anew(database: Database) -> None:
    """S1: what one kind has seen means nothing to another, but who is overtaken still is."""
    declare(database, "shop")
    saved = save_state(database, replace(get_binding(database, "shop").state, seen={"a": 1}, owed=OWED), NOW)
    declare(database, "shop", trigger_kind="other")
    found = get_binding(database, "shop").state
    assert found == TriggerState("shop", "other", generation=saved.generation)
    save_state(database, found, NOW)
    with pytest.raises(TriggerSuperseded):
        save_state(database, saved, NOW)


def test_whose_workloads_are_listed(database: Database) -> None:
    """R22, S1: a host's own, those its manifests declare, and those that were applied by hand for no host."""
    declare(database, "any")
    declare(database, "ours", host=HOST)
    declare(database, "theirs", host="host-b")
    declare(database, "their-manifest", declared_by="host-b")
    declare(database, "our-manifest", declared_by=HOST, trigger_kind="other")
    declare(database, "none", trigger_kind="")
    assert _ids(list_bindings(database, HOST)) == ["any", "our-manifest", "ours"]
    assert _ids(list_bindings(database, HOST, {"told"})) == ["any", "ours"]
    assert _ids(list_bindings(database)) == ["any", "our-manifest", "ours", "their-manifest", "theirs"]


def test_what_has_no_trigger_is_not_found(database: Database) -> None:
    """S1."""
    declare(database, "none", trigger_kind="")
    for workload_id, said in (("none", "has no trigger"), ("nobody", "not in the store")):
        with pytest.raises(NotFound, match=said):
            get_binding(database, workload_id)


def _ids(bindings: list[Binding]) -> list[str]:
    return [each.workload.id for each in bindings]
