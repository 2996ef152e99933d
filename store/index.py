"""The index: read once before the listing, written in one transaction after it (R19).

Rows are written by :mod:`store.rows`. Nothing here decides what a row should be; that is `controller.loop`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn

from sqlalchemy import ColumnElement, Connection, and_, bindparam, insert, select, update

from store.database import Database
from store.errors import Conflict, EngineRefused, LeaseLost, NotFound, PassSuperseded
from store.leases import Lease, holds, store_clock
from store.records import (
    MISSING,
    Applied,
    Assignment,
    Change,
    ContainerRow,
    Listed,
    Snapshot,
    Workload,
)
from store.rows import ASSIGNMENT_FIELDS, RowWriter, as_values
from store.tables import CONTAINERS, HOSTS
from store.workloads import Refs, read_catalog

Params = dict[str, Any]


def read_snapshot(database: Database, host: str, before: Snapshot | None = None) -> Snapshot:
    """Read all that one pass needs: two statements, whatever the number of containers (P9).

    A host that no controller has registered yet has no rows and pass number 0.

    :param before: an earlier snapshot; where nothing changed since, its records are given again.

    :raises StoreError: the store cannot be read.
    """
    with database.reading() as connection:
        snapshot = _read_rows(connection, host, CONTAINERS.c.host == HOSTS.c.id, before)
        return replace(snapshot, workloads=read_catalog(connection, host))


def read_bound(database: Database, host: str, container_ids: Collection[str]) -> Snapshot:
    """The part of a snapshot that records these containers; without workloads.

    :raises StoreError: the store cannot be read.
    """
    bound = and_(CONTAINERS.c.host == HOSTS.c.id, CONTAINERS.c.container_id.in_(container_ids))
    with database.reading() as connection:
        return _read_rows(connection, host, bound)


def read_claimed(
    database: Database, snapshot: Snapshot, claims_of: Callable[[Mapping[str, Workload]], Collection[str]], refs: Refs
) -> Snapshot:
    """The snapshot with the workloads that ``refs`` names, and with the rows that are claimed from them.

    :param claims_of: workloads by id → ids of the rows that are claimed.
    :raises StoreError: the store cannot be read.
    """
    with database.reading() as connection:
        workloads = read_catalog(connection, snapshot.host, refs)
        wanted = claims_of(workloads)
        claimed = and_(CONTAINERS.c.host == HOSTS.c.id, CONTAINERS.c.id.in_(wanted))
        rows = _read_rows(connection, snapshot.host, claimed).rows if wanted else {}
    return replace(snapshot, workloads=workloads, rows={**rows, **snapshot.rows})


def read_workload_rows(database: Database, host: str, workload_ids: Collection[str]) -> list[Assignment]:
    """All rows of these workloads on this host.

    :raises StoreError: the store cannot be read.
    """
    of_them = and_(CONTAINERS.c.host == HOSTS.c.id, CONTAINERS.c.workload_id.in_(workload_ids))
    with database.reading() as connection:
        return list(_read_rows(connection, host, of_them).rows.values())


def _read_rows(
    connection: Connection, host: str, wanted: ColumnElement[bool], before: Snapshot | None = None
) -> Snapshot:
    columns = [CONTAINERS.c[name] for name in ASSIGNMENT_FIELDS]
    statement = select(HOSTS.c.pass_number, HOSTS.c.engine_id, *columns).select_from(
        HOSTS.outerjoin(CONTAINERS, wanted)
    )
    found = connection.execute(statement.where(HOSTS.c.id == host)).all()
    if not found:
        return Snapshot(host, 0, "", {}, {})
    read = [row[2:] for row in found if row[2] is not None]
    same = before is not None and before.read == read
    rows = before.rows if before is not None and same else {row[0]: Assignment(*row) for row in read}
    return Snapshot(host, found[0][0], found[0][1], rows, {}, read)


def apply_tick(database: Database, snapshot: Snapshot, change: Change, listed: Listed, lease: Lease) -> Applied:
    """Write one pass: the host's fence and freshness, what changed, the sweep, last-seen. One transaction.

    A row whose container was rebound by a deployer since the snapshot is left alone; the next pass sees it. The
    fence also prolongs the lease.

    :raises PassSuperseded: another pass was committed since the snapshot was read; nothing is written.
    :raises LeaseLost: another controller leads the host now; nothing is written (R22).
    :raises EngineRefused: the host is bound to another engine; nothing is written (R18).
    :raises NotFound: the host is not registered.
    :raises StoreError: the store failed; nothing is written.
    """
    with database.writing() as connection:
        _take_pass(connection, snapshot, listed, lease)
        writer = RowWriter(connection, snapshot.host, listed.at)
        # Updates first: they free the containers that inserted rows bind.
        writer.update(change.updated)
        writer.insert(change.inserted)
        _sweep(connection, snapshot.host, change.missing)
        if listed.completely:
            _touch(connection, snapshot.host, change.unseen, listed.at)
    return Applied(rejected=writer.rejected)


def _take_pass(connection: Connection, snapshot: Snapshot, listed: Listed, lease: Lease) -> None:
    expires = store_clock(connection.dialect.name) + lease.ttl_seconds
    values: Params = {
        "pass_number": snapshot.pass_number + 1,
        "engine_id": listed.engine_id,
        "lease_expires": expires,
    }
    if listed.completely:
        values["last_listed_at"] = listed.at
    statement = (
        update(HOSTS)
        .where(*holds(lease), HOSTS.c.pass_number == snapshot.pass_number)
        .where(HOSTS.c.engine_id.in_(["", listed.engine_id]))
        .values(values)
    )
    if connection.execute(statement).rowcount != 1:
        _explain_refusal(connection, snapshot, listed, lease)


def _explain_refusal(connection: Connection, snapshot: Snapshot, listed: Listed, lease: Lease) -> NoReturn:
    columns = (HOSTS.c.engine_id, HOSTS.c.lease_owner, HOSTS.c.lease_token)
    host = connection.execute(select(*columns).where(HOSTS.c.id == snapshot.host)).one_or_none()
    if host is None:
        raise NotFound(f"host {snapshot.host!r} is not in the store; a controller registers it when it starts")
    if (host.lease_owner, host.lease_token) != (lease.owner, lease.token):
        raise LeaseLost(f"host {snapshot.host!r}: another controller took the lease; nothing was written")
    if host.engine_id not in ("", listed.engine_id):
        raise EngineRefused(snapshot.host, host.engine_id, listed.engine_id)
    raise PassSuperseded(f"host {snapshot.host!r}: a newer pass than {snapshot.pass_number} is in the store")


def _sweep(connection: Connection, host: str, missing: Iterable[tuple[str, str]]) -> None:
    params = [{"row_id": row_id, "gone": container_id} for row_id, container_id in missing]
    if params:
        key = and_(CONTAINERS.c.host == host, CONTAINERS.c.id == bindparam("row_id"))
        still_bound = CONTAINERS.c.container_id == bindparam("gone")
        connection.execute(update(CONTAINERS).where(key, still_bound).values(state=MISSING), params)


def _touch(connection: Connection, host: str, unseen: Sequence[str], listed_at: datetime) -> None:
    # A row that no pass ever saw has no last-seen; it gets its first one with its first update.
    present = and_(CONTAINERS.c.state != MISSING, CONTAINERS.c.container_id.is_not(None))
    # One that this pass wrote has its new last-seen already.
    seen = and_(CONTAINERS.c.host == host, present, CONTAINERS.c.last_seen_at != listed_at)
    statement = update(CONTAINERS).where(seen).values(last_seen_at=listed_at)
    connection.execute(statement.where(CONTAINERS.c.id.not_in(unseen)) if unseen else statement)


def list_containers(
    database: Database,
    *,
    host: str | None = None,
    workload_id: str | None = None,
    state: str | None = None,
) -> list[ContainerRow]:
    """Rows of the index by host and id; each given argument narrows the answer."""
    statement = select(CONTAINERS).order_by(CONTAINERS.c.host, CONTAINERS.c.id)
    wanted: Mapping[str, str | None] = {"host": host, "workload_id": workload_id, "state": state}
    for column, value in wanted.items():
        if value is not None:
            statement = statement.where(CONTAINERS.c[column] == value)
    with database.reading() as connection:
        return [ContainerRow(**row._mapping) for row in connection.execute(statement)]


def create_row(database: Database, host: str, row: Assignment) -> None:
    """Pre-create the row of a container, as a deployer does for kind ``project`` (R9).

    State and last-seen stay empty until a pass has listed the container.

    :raises NotFound: the host is not registered.
    :raises Conflict: the row id or the container id is taken.
    """
    with database.writing() as connection:
        if connection.execute(select(HOSTS.c.id).where(HOSTS.c.id == host)).one_or_none() is None:
            raise NotFound(f"host {host!r} is not in the store; a controller registers it at its first tick")
        taken = connection.execute(
            select(CONTAINERS.c.id).where(
                CONTAINERS.c.host == host,
                (CONTAINERS.c.id == row.id) | (CONTAINERS.c.container_id == row.container_id),
            )
        ).first()
        if taken is not None:
            raise Conflict(f"row {taken.id!r} of host {host!r} already holds this container or this id")
        connection.execute(insert(CONTAINERS).values(as_values(row) | {"host": host}))
