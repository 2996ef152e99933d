"""The index on both stores: what one pass writes, and above all what it leaves alone."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import pytest

from store import hosts
from store.database import Database
from store.errors import Conflict, EngineRefused, NotFound, PassSuperseded
from store.index import create_row, list_containers, read_snapshot
from store.records import MISSING, Assignment, Change, ContainerRow, Host, RowUpdate
from store.tables import CONTAINERS, DEPLOYER_COLUMNS, OBSERVED_COLUMNS
from store.workloads import apply_workloads
from tests.builders import ENGINE_ID, HOST, NOW, assignment, id_of, later, workload
from tests.contract.ticks import as_deployer, change_for, rows_of, statements_of, tick, write_pass

WEB, DB = assignment("blog:web", "web"), assignment("blog:db", "db")
DEPLOYED = {name: f"deployer's {name}" for name in DEPLOYER_COLUMNS}


def observed(row: ContainerRow) -> Assignment:
    """The observed columns of a row."""
    return Assignment(**{field.name: getattr(row, field.name) for field in fields(Assignment)})


def test_columns_have_exactly_one_owner() -> None:
    """R12: each column of `containers` is the key, Docker-derived, or deployer-owned, and the records agree."""
    key = ("host", "id")
    owned = [*key, *OBSERVED_COLUMNS, *DEPLOYER_COLUMNS]
    assert sorted(owned) == sorted(CONTAINERS.columns.keys())
    assert len(owned) == len(set(owned))
    assert {field.name for field in fields(Assignment)} == {"id", *OBSERVED_COLUMNS} - {"last_seen_at"}
    assert {field.name for field in fields(ContainerRow)} == set(owned)
    assert set(DEPLOYER_COLUMNS) == {
        *("subdomain", "proxy_route_id", "npm_proxy_id", "image_tag", "stage_id", "extra_json")
    }


def test_statements_name_observed_columns_and_no_others(database: Database) -> None:
    """R12: the statements of a pass that inserts, updates, rebinds, sweeps and touches set the observed columns only.

    That of a row which keeps its container leaves out `container_id`, as its guard has just compared it.
    """
    tick(database, WEB, DB)
    with statements_of(database) as statements:
        rebound = replace(DB, container_id="another")
        tick(database, replace(WEB, state="stopped"), rebound, assignment("blog:new", "new"), at=later(30))
    ours = [each for each in statements if not each.startswith("SELECT")]
    assert not [each for each in ours if any(name in each for name in DEPLOYER_COLUMNS)]
    overwrite, rebind = (each for each in ours if each.startswith("UPDATE containers SET workload_id"))
    insert_ = next(each for each in ours if each.startswith("INSERT INTO containers"))
    assert _set_by(overwrite.partition(" WHERE ")[0]) == {*OBSERVED_COLUMNS} - {"container_id"}
    assert _set_by(rebind.partition(" WHERE ")[0]) == set(OBSERVED_COLUMNS)
    assert _set_by(insert_.partition(" DO UPDATE ")[2].partition(" WHERE ")[0]) == set(OBSERVED_COLUMNS)
    named = insert_.partition("(")[2].partition(")")[0]
    assert {name.strip() for name in named.split(",")} == {"host", "id", *OBSERVED_COLUMNS}


def _set_by(statement: str) -> set[str]:
    return set(re.findall(r"(?:SET |, )(\w+) ?= ?", statement))


def test_an_unregistered_host_has_an_empty_snapshot_and_cannot_be_written(database: Database) -> None:
    """O1: `plan` works before any controller ran; a write names what is missing."""
    seen = read_snapshot(database, "nobody")
    assert (seen.rows, seen.pass_number, seen.engine_id) == ({}, 0, "")
    with pytest.raises(NotFound, match="'nobody'"):
        write_pass(database, seen, Change(), ENGINE_ID, NOW)


def test_the_first_pass_fills_the_index(database: Database) -> None:
    """R5, R21: rows, their last-seen, the host's engine and the age of its truth appear together."""
    assert tick(database, WEB, DB).rejected == {}
    rows = rows_of(database)
    assert {row_id: observed(row) for row_id, row in rows.items()} == {WEB.id: WEB, DB.id: DB}
    assert {row.last_seen_at for row in rows.values()} == {NOW}
    assert {getattr(row, name) for row in rows.values() for name in DEPLOYER_COLUMNS} == {"", "{}"}
    host = hosts.get_host(database, HOST)
    assert (host.engine_id, host.pass_number, host.last_listed_at) == (ENGINE_ID, 1, NOW)
    seen = read_snapshot(database, HOST)
    assert (seen.pass_number, seen.engine_id, seen.rows) == (1, ENGINE_ID, {WEB.id: WEB, DB.id: DB})


def test_the_snapshot_holds_the_workloads_of_this_host(database: Database) -> None:
    """R8: workloads of every host and of this one, not those that are restricted to another."""
    declared = [workload("everywhere"), workload("here", host=HOST), workload("there", host="host-b")]
    apply_workloads(database, declared, NOW)
    assert set(read_snapshot(database, HOST).workloads) == {"everywhere", "here"}


def test_an_identical_pass_changes_last_seen_alone(database: Database) -> None:
    """R12, R19: idempotence; the second pass moves last-seen and the host's times, nothing else."""
    tick(database, WEB, DB)
    before = rows_of(database)
    tick(database, WEB, DB, at=later(30))
    assert rows_of(database) == {key: replace(row, last_seen_at=later(30)) for key, row in before.items()}


def test_a_gone_container_is_missing_and_keeps_the_rest(database: Database) -> None:
    """R14: the sweep changes the state; what was last known, and when it was last seen, stays."""
    tick(database, WEB, DB)
    tick(database, WEB, at=later(30))
    gone = rows_of(database)[DB.id]
    assert observed(gone) == replace(DB, state=MISSING)
    assert gone.last_seen_at == NOW


def test_a_row_recovers(database: Database) -> None:
    """R14: a container that is listed again gets its row back."""
    tick(database, WEB)
    tick(database, at=later(30))
    tick(database, WEB, at=later(60))
    row = rows_of(database)[WEB.id]
    assert (observed(row), row.last_seen_at) == (WEB, later(60))


def test_deployer_owned_columns_never_change(database: Database) -> None:
    """R12: update, sweep, recovery, release and a new container leave them as the deployer wrote them."""
    tick(database, WEB, DB)
    for row_id in (WEB.id, DB.id):
        as_deployer(database, row_id, **DEPLOYED)
    moved = assignment("other:web", "web")
    passes = [
        (replace(WEB, state="stopped", image_ref="busybox:2", port=80), DB),
        (DB,),
        (WEB, DB),
        (moved, DB),
        (moved, assignment("blog:web", "newer"), DB),
    ]
    for number, rows in enumerate(passes, start=1):
        tick(database, *rows, at=later(number))
        for row_id in (WEB.id, DB.id):
            assert {name: getattr(rows_of(database)[row_id], name) for name in DEPLOYED} == DEPLOYED


def test_a_superseded_pass_writes_nothing(database: Database) -> None:
    """R4: a listing that is older than what the store holds is not written over it."""
    stale = read_snapshot(database, HOST)
    tick(database, WEB)
    before = rows_of(database), hosts.get_host(database, HOST)
    with pytest.raises(PassSuperseded, match="newer pass"):
        write_pass(database, stale, change_for(stale, [DB]), ENGINE_ID, later(30))
    assert (rows_of(database), hosts.get_host(database, HOST)) == before


def test_another_engine_is_refused_until_it_is_accepted(database: Database) -> None:
    """R18: nothing is written for an engine that this host is not bound to; both ids are told."""
    tick(database, WEB)
    seen = read_snapshot(database, HOST)
    before = rows_of(database), hosts.get_host(database, HOST)
    with pytest.raises(EngineRefused, match="tallyd host accept") as refused:
        write_pass(database, seen, change_for(seen, []), "OTHER", later(30))
    assert (refused.value.expected, refused.value.actual) == (ENGINE_ID, "OTHER")
    assert (rows_of(database), hosts.get_host(database, HOST)) == before
    assert hosts.accept_engine(database, HOST, "OTHER") == ENGINE_ID
    seen = read_snapshot(database, HOST)
    write_pass(database, seen, change_for(seen, []), "OTHER", later(60))
    assert rows_of(database)[WEB.id].state == MISSING


def test_a_row_that_was_rebound_meanwhile_is_left_alone(database: Database) -> None:
    """R14: what a deployer bound after the snapshot is neither overwritten nor swept by it."""
    tick(database, WEB, DB)
    seen = read_snapshot(database, HOST)
    as_deployer(database, WEB.id, container_id=id_of("web-2"))
    as_deployer(database, DB.id, container_id=id_of("db-2"))
    change = change_for(seen, [replace(WEB, state="paused")])
    assert change.missing == ((DB.id, DB.container_id),)
    write_pass(database, seen, change, ENGINE_ID, later(30))
    rows = rows_of(database)
    assert (rows[WEB.id].container_id, rows[WEB.id].state) == (id_of("web-2"), "running")
    assert (rows[DB.id].container_id, rows[DB.id].state) == (id_of("db-2"), "running")
    assert rows[DB.id].last_seen_at == NOW


def test_a_row_that_was_made_meanwhile_is_left_alone(database: Database) -> None:
    """R9, R14: a row that a deployer made after the snapshot keeps the container that the deployer gave it."""
    seen = read_snapshot(database, HOST)
    create_row(database, HOST, assignment("blog:web", "deployed", state=""))
    write_pass(database, seen, change_for(seen, [WEB, DB]), ENGINE_ID, NOW)
    rows = rows_of(database)
    assert (rows[WEB.id].container_id, rows[WEB.id].state) == (id_of("deployed"), "")
    assert rows[WEB.id].last_seen_at is None
    assert observed(rows[DB.id]) == DB


def test_a_row_that_was_made_meanwhile_for_the_same_container_is_filled(database: Database) -> None:
    """R9: where deployer and pass agree on the container, the pass fills the row."""
    seen = read_snapshot(database, HOST)
    create_row(database, HOST, assignment("blog:web", "web", state=""))
    write_pass(database, seen, change_for(seen, [WEB]), ENGINE_ID, NOW)
    assert observed(rows_of(database)[WEB.id]) == WEB


@pytest.mark.parametrize("text", ["lone \ud800 surrogate", "NUL \0 byte"])
def test_a_row_that_the_store_refuses_is_refused_alone(database: Database, text: str) -> None:
    """R14, R17: one hostile value stops neither inserts nor updates of the others, and the reason is told."""
    refused = "\ud800" in text or database.dialect == "postgresql"
    tick(database, WEB, DB)
    hostile = replace(WEB, name=text), assignment("blog:bad", "bad", revision=text)
    changed, new = replace(DB, state="paused"), assignment("blog:new", "new")
    applied = tick(database, hostile[0], changed, hostile[1], new, at=later(30))
    assert set(applied.rejected) == ({WEB.id, "blog:bad"} if refused else set())
    assert all(applied.rejected.values())
    rows = rows_of(database)
    assert (observed(rows[DB.id]), observed(rows["blog:new"])) == (changed, new)
    assert observed(rows[WEB.id]) == (WEB if refused else hostile[0])
    assert ("blog:bad" in rows) is not refused
    tick(database, WEB, changed, new, at=later(60))
    assert rows_of(database)[WEB.id].last_seen_at == later(60)


def test_last_seen_is_when_the_container_was_listed(database: Database) -> None:
    """R12, R14: rows that no listed container fills keep theirs; a row that no pass filled has none."""
    unlisted, ignored = assignment("blog:gone", "gone"), assignment("blog:ignored", "ignored")
    emptied = assignment("blog:emptied", "emptied")
    tick(database, WEB, unlisted, ignored, emptied)
    create_row(database, HOST, assignment("shop:deployed", "deployed", state=""))
    as_deployer(database, emptied.id, container_id=None)
    listed = [id_of("ignored"), id_of("deployed")]
    tick(database, WEB, at=later(30), also_listed=listed)
    seen = {row_id: row.last_seen_at for row_id, row in rows_of(database).items()}
    assert seen == {
        WEB.id: later(30),
        unlisted.id: NOW,
        ignored.id: NOW,
        emptied.id: NOW,
        "shop:deployed": None,
    }


def test_a_pre_created_row_gets_its_first_last_seen_when_it_is_filled(database: Database) -> None:
    """R9: a project row that a deployer made is filled by the pass that lists its container."""
    create_row(database, HOST, assignment("shop:web", "web", state="", workload_kind="project"))
    filled = assignment("shop:web", "web", workload_kind="project")
    tick(database, filled)
    row = rows_of(database)["shop:web"]
    assert (observed(row), row.last_seen_at) == (filled, NOW)


def test_an_unreadable_id_in_the_listing_stops_the_sweep(database: Database) -> None:
    """R17: where absence cannot be concluded, nothing goes missing and last-seen stays."""
    tick(database, WEB, DB)
    seen = read_snapshot(database, HOST)
    change = change_for(seen, [WEB], may_sweep=False)
    write_pass(database, seen, change, ENGINE_ID, later(30))
    rows = rows_of(database)
    assert (rows[DB.id].state, rows[DB.id].last_seen_at) == ("running", NOW)
    assert rows[WEB.id].last_seen_at == later(30)


def test_a_container_moves_from_one_row_to_another(database: Database) -> None:
    """R14: the row that it leaves is empty and missing; at no time does it fill two."""
    tick(database, WEB)
    tick(database, assignment("other:web", "web"), at=later(30))
    rows = rows_of(database)
    assert (rows[WEB.id].container_id, rows[WEB.id].state) == (None, MISSING)
    assert rows["other:web"].container_id == id_of("web")


def test_two_rows_exchange_their_containers(database: Database) -> None:
    """R14: when the refs of two stacks were exchanged, so are the containers of their rows, in one pass."""
    one, two, three = (assignment(f"{name}:web", name) for name in ("one", "two", "three"))
    tick(database, one, two, three)
    ring = [
        replace(one, container_id=two.container_id),
        replace(two, container_id=three.container_id),
        replace(three, container_id=one.container_id),
    ]
    assert tick(database, *ring, at=later(30)).rejected == {}
    assert {row_id: observed(row) for row_id, row in rows_of(database).items()} == {row.id: row for row in ring}


def test_hosts_do_not_touch_each_other(database: Database) -> None:
    """R14: the same rows on two hosts; the sweep of one leaves the other's alone."""
    hosts.register(database, Host("host-b"))
    tick(database, WEB)
    tick(database, WEB, host="host-b")
    tick(database, host="host-b", at=later(30))
    assert rows_of(database, HOST)[WEB.id].state == "running"
    assert rows_of(database, "host-b")[WEB.id].state == MISSING
    assert {row.host for row in list_containers(database)} == {HOST, "host-b"}


def test_rows_are_found_by_host_workload_and_state(database: Database) -> None:
    """O1: what `ps --workload --state --missing` asks for; each argument narrows."""
    tick(database, WEB, DB, assignment("shop:web", "shop"))
    tick(database, WEB, assignment("shop:web", "shop", state="paused"))

    def ids(**wanted: str) -> list[str]:
        return [row.id for row in list_containers(database, **wanted)]

    assert ids() == ids(host=HOST) == ["blog:db", "blog:web", "shop:web"]
    assert ids(workload_id="blog") == ["blog:db", "blog:web"]
    assert ids(state=MISSING) == ["blog:db"]
    assert ids(workload_id="blog", state="running") == ["blog:web"]
    assert ids(host="host-b") == []


def test_a_pre_created_row_is_unique(database: Database) -> None:
    """R9: neither a row id nor a container can be taken twice, and the host must be known."""
    create_row(database, HOST, assignment("shop:web", "web"))
    with pytest.raises(Conflict, match="'shop:web'"):
        create_row(database, HOST, assignment("shop:web", "other"))
    with pytest.raises(Conflict, match="'shop:web'"):
        create_row(database, HOST, assignment("shop:other", "web"))
    with pytest.raises(NotFound, match="'nobody'"):
        create_row(database, "nobody", assignment("shop:web", "web"))
    assert set(rows_of(database)) == {"shop:web"}


def test_an_update_of_a_row_that_is_gone_makes_none(database: Database) -> None:
    """R9: a row whose workload was deleted meanwhile does not come back."""
    seen = read_snapshot(database, HOST)
    change = Change(updated=(RowUpdate(WEB, WEB.container_id),))
    write_pass(database, seen, change, ENGINE_ID, NOW)
    assert rows_of(database) == {}


@pytest.mark.parametrize("count", [1, 400])
def test_a_steady_pass_takes_four_statements(database: Database, count: int) -> None:
    """P9: two reads and two writes, whatever the number of containers."""
    rows = [assignment(f"blog:{number}", f"container-{number}") for number in range(count)]
    tick(database, *rows)
    with statements_of(database) as statements:
        tick(database, *rows, at=later(30))
    assert len(statements) == 4, statements
    assert {row.last_seen_at for row in rows_of(database).values()} == {later(30)}


def test_passes_of_four_threads_lose_nothing(database: Database) -> None:
    """R4, pitfall 13: of passes that race each one is either committed on top of the others or superseded."""

    def work(number: int) -> int:
        superseded = 0
        for turn in range(15):
            while True:
                seen = read_snapshot(database, HOST)
                mine = assignment(f"blog:{number}-{turn}", f"{number}-{turn}")
                try:
                    write_pass(database, seen, change_for(seen, [*seen.rows.values(), mine]), ENGINE_ID, NOW)
                except PassSuperseded:
                    superseded += 1
                    continue
                break
        return superseded

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert hosts.get_host(database, HOST).pass_number == 60
    assert set(rows_of(database)) == {f"blog:{number}-{turn}" for number in range(4) for turn in range(15)}
