"""What the suites of the store have in common: one pass over an index, and looking at what it left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import event, update

from controller.loop.compare import compare
from store.database import Database
from store.index import apply_tick, list_containers, read_snapshot
from store.leases import Lease, acquire_lease, find_leader
from store.records import Applied, Assignment, Change, ContainerRow, Listed, Snapshot
from store.tables import CONTAINERS
from tests.builders import ENGINE_ID, HOST, NOW

SUITE = "the-suite"
LEASE_SECONDS = 3600.0
_LED: set[tuple[object, str]] = set()


def change_for(
    snapshot: Snapshot, rows: Iterable[Assignment], *, also_listed: Iterable[str] = (), may_sweep: bool = True
) -> Change:
    """The change of a listing that fills exactly these rows."""
    filled = list(rows)
    listed = frozenset({row.container_id for row in filled if row.container_id} | set(also_listed))
    return compare(snapshot, filled, listed, may_sweep=may_sweep)


def tick(
    database: Database, *rows: Assignment, at: datetime = NOW, host: str = HOST, also_listed: Iterable[str] = ()
) -> Applied:
    """One pass whose listing fills exactly these rows."""
    snapshot = read_snapshot(database, host)
    change = change_for(snapshot, rows, also_listed=also_listed)
    return write_pass(database, snapshot, change, ENGINE_ID, at)


def write_pass(
    database: Database, snapshot: Snapshot, change: Change, engine_id: str = ENGINE_ID, at: datetime = NOW
) -> Applied:
    """Write a change as the one controller that these suites play; it leads from its first pass on."""
    lead(database, snapshot.host)
    return apply_tick(database, snapshot, change, Listed(engine_id, at), lease_of(snapshot.host))


def lease_of(host: str = HOST) -> Lease:
    """The lease of the one controller that these suites play: the first that was ever taken of this host."""
    return Lease(host, SUITE, 1, LEASE_SECONDS)


def lead(database: Database, host: str = HOST) -> None:
    """Take that lease, unless this process knows that it has it."""
    if (database.url, host) in _LED:
        return
    if find_leader(database, host).owner != SUITE:
        assert acquire_lease(database, host, SUITE, LEASE_SECONDS) == lease_of(host)
    _LED.add((database.url, host))


def rows_of(database: Database, host: str = HOST) -> dict[str, ContainerRow]:
    """The whole index of one host by row id."""
    return {row.id: row for row in list_containers(database, host=host)}


def as_deployer(database: Database, row_id: str, **values: Any) -> None:
    """Write columns of one row as a deployer does, with plain SQL."""
    statement = update(CONTAINERS).where(CONTAINERS.c.host == HOST, CONTAINERS.c.id == row_id)
    with database.writing() as connection:
        assert connection.execute(statement.values(values)).rowcount == 1


@contextmanager
def statements_of(database: Database) -> Iterator[list[str]]:
    """Every statement that is sent to the store inside the block, without BEGIN, COMMIT and savepoints."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("BEGIN", "SAVEPOINT", "RELEASE")):
            seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
