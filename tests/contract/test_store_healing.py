"""`store.healing` on both stores: budgets that processes race for, holds, and which rows are meant to run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

from store.database import Database
from store.healing import (
    KEPT_DAYS,
    list_budgets,
    list_holds,
    prune_healing,
    put_hold,
    release_holds,
    row_of_container,
    rows_that_serve,
    spend,
)
from store.healing_records import Budget, Hold
from store.history import read_events
from store.history_records import Event, EventFilter, EventKind
from tests.builders import HOST, NOW, assignment, later
from tests.contract.healing_racer import LIMITS
from tests.contract.ticks import tick

SLOT = Hold(HOST, "shop", "shop-1", "engine", "somebody stopped it", NOW, later(60))
TOLD = Event(NOW, EventKind.HOLD, HOST, "shop", "shop-1", "held")


def test_two_processes_cannot_overrun_a_budget(database: Database, database_url: str) -> None:
    """S5: of all that ask at once, so many are granted as the budget has; each is told once."""
    command = [sys.executable, "-m", "tests.contract.healing_racer", database_url, "20"]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    granted = [int(each.communicate(timeout=60)[0]) for each in racers]
    assert sum(granted) == LIMITS.attempts
    assert [len(each.attempts_at) for each in list_budgets(database)] == [LIMITS.attempts]
    assert len(read_events(database, EventFilter(kinds=("healing",), limit=1_000))) == LIMITS.attempts


def test_a_budget_is_what_was_left_of_it(database: Database) -> None:
    """S5: it survives who spent it; a failure in between spends nothing."""
    fresh = Budget(HOST, "shop-1", "shop", NOW)
    after = replace(fresh, attempts_at=(NOW, later(0.25)), failures=1, not_before=later(5), reason="attempted")
    assert spend(database, fresh, lambda seen: (replace(after, asked_at=seen.asked_at), [])) == after
    seen: list[Budget] = []
    spend(database, Budget(HOST, "shop-1", "shop", later(9)), lambda found: (seen.append(found) or found, []))
    assert seen == [after]
    assert list_budgets(database, "shop", HOST) == [after]
    assert list_budgets(database, "other") == []


def test_holds_are_set_released_and_remembered(database: Database) -> None:
    """S5: one that is in force is not replaced by what the controller concludes; one that is over is."""
    assert put_hold(database, SLOT, [TOLD], only_new=True)
    assert not put_hold(database, replace(SLOT, reason="again"), [TOLD], only_new=True)
    assert list_holds(database, now=NOW) == [SLOT]
    assert list_holds(database, now=later(60)) == []
    assert list_holds(database, now=later(60), over=True) == [SLOT]
    release_holds(database, [SLOT], later(10), [replace(TOLD, reason="released")])
    assert list_holds(database, now=later(10)) == []
    assert list_holds(database, now=later(10), over=True) == [replace(SLOT, expires_at=later(10))]
    again = replace(SLOT, created_at=later(20), expires_at=None)
    assert put_hold(database, again, only_new=True)
    assert list_holds(database, now=later(99)) == [again]
    assert [each.reason for each in read_events(database)] == ["held", "released"]


def test_a_workload_is_held_with_its_host(database: Database) -> None:
    """S5: what concerns a workload are its own holds, and those of its host and of all hosts."""
    everywhere = Hold("", "shop", "", "operator", "", NOW)
    whole = Hold(HOST, "", "", "controller", "", NOW)
    for each in (
        everywhere,
        whole,
        Hold("elsewhere", "", "", "operator", "", NOW),
        Hold(HOST, "b", "", "x", "", NOW),
    ):
        put_hold(database, each)
    assert list_holds(database, host=HOST, workload_id="shop", now=NOW) == [everywhere, whole]


def test_what_is_long_over_is_forgotten(database: Database) -> None:
    """S5: holds and budgets do not pile up."""
    put_hold(database, SLOT)
    put_hold(database, replace(SLOT, slot="shop-2", expires_at=None))
    spend(database, Budget(HOST, "shop-1", "shop", NOW), lambda seen: (seen, []))
    prune_healing(database, NOW + timedelta(days=KEPT_DAYS + 1))
    assert [each.slot for each in list_holds(database, now=NOW, over=True)] == ["shop-2"]
    assert list_budgets(database) == []


def test_rows_are_found_by_their_container(database: Database) -> None:
    """S5: who ended is who has the row; and those that belong to no revision are meant to run."""
    web, gone = assignment("shop:web", "web"), assignment("shop:db", "db", state="exited")
    tick(database, web, gone)
    found = row_of_container(database, HOST, web.container_id or "")
    assert found is not None
    assert found.id == web.id
    assert row_of_container(database, HOST, "f" * 64) is None
    assert rows_that_serve(database, HOST) == {"shop:web": "running", "shop:db": "exited"}
