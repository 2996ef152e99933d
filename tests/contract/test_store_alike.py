"""Rows that change alike, on both stores: one statement for all, under the same guards as a statement for each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from store import hosts
from store.database import Database
from store.index import read_snapshot
from store.records import Assignment, Host
from store.rows import MANY_ALIKE
from store.tables import DEPLOYER_COLUMNS
from tests.builders import ENGINE_ID, HOST, NOW, assignment, id_of, later
from tests.contract.ticks import as_deployer, change_for, rows_of, statements_of, tick, write_pass

ROWS = [assignment(f"blog:{number}", f"c{number}", state="running") for number in range(2 * MANY_ALIKE)]


def changed(rows: list[Assignment], **values: object) -> list[Assignment]:
    """These rows, all of them changed alike."""
    return [replace(row, **values) for row in rows]  # type: ignore[arg-type]


def test_rows_that_change_alike_are_one_statement(database: Database) -> None:
    """P2, R12: it sets what changed and last-seen, and nothing that is a deployer's."""
    tick(database, *ROWS)
    for row in ROWS:
        as_deployer(database, row.id, **dict.fromkeys(DEPLOYER_COLUMNS, row.id))
    one, other = changed(ROWS[:MANY_ALIKE], state="stopped", port=0), changed(ROWS[MANY_ALIKE:], health="healthy")
    with statements_of(database) as statements:
        tick(database, *one, *other, at=later(30))
    assert sum(each.startswith("UPDATE containers") for each in statements) == 3, "two changes, and last-seen"
    rows = rows_of(database)
    for row in (*one, *other):
        assert (rows[row.id].state, rows[row.id].health, rows[row.id].port) == (row.state, row.health, row.port)
        assert rows[row.id].last_seen_at == later(30)
        assert all(getattr(rows[row.id], name) == row.id for name in DEPLOYER_COLUMNS)


def test_one_of_them_that_was_rebound_meanwhile_is_left_alone(database: Database) -> None:
    """R14: each row is guarded by its own container."""
    tick(database, *ROWS)
    seen = read_snapshot(database, HOST)
    as_deployer(database, ROWS[3].id, container_id=id_of("another"))
    write_pass(database, seen, change_for(seen, changed(ROWS, state="paused")), ENGINE_ID, later(30))
    rows = rows_of(database)
    assert (rows[ROWS[3].id].container_id, rows[ROWS[3].id].state) == (id_of("another"), "running")
    assert {rows[row.id].state for row in ROWS if row is not ROWS[3]} == {"paused"}


@pytest.mark.parametrize("text", ["lone \ud800 surrogate", "NUL \0 byte"])
def test_a_change_that_the_store_refuses_stops_no_other(database: Database, text: str) -> None:
    """R14, R17: it is refused for each of its rows, with the reason; the other rows are written."""
    refused = "\ud800" in text or database.dialect == "postgresql"
    tick(database, *ROWS)
    hostile, others = changed(ROWS[:MANY_ALIKE], revision=text), changed(ROWS[MANY_ALIKE:], state="paused")
    applied = tick(database, *hostile, *others, at=later(30))
    assert set(applied.rejected) == ({row.id for row in hostile} if refused else set())
    rows = rows_of(database)
    assert {rows[row.id].state for row in others} == {"paused"}
    assert {rows[row.id].last_seen_at for row in others} == {later(30)}
    assert {rows[row.id].revision for row in hostile} == ({""} if refused else {text})


def test_the_same_rows_of_another_host_are_left_alone(database: Database) -> None:
    """R12, R14: the same row and container ids on another host are other rows."""
    hosts.register(database, Host("host-b"))
    for host in (HOST, "host-b"):
        tick(database, *ROWS, host=host)
    tick(database, *changed(ROWS, state="paused"), at=later(30))
    assert {(row.state, row.last_seen_at) for row in rows_of(database).values()} == {("paused", later(30))}
    assert {(row.state, row.last_seen_at) for row in rows_of(database, "host-b").values()} == {("running", NOW)}
