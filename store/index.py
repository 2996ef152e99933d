"""The index: read once before the listing, written in one transaction after it (R19).

Rows are written by :mod:`store.rows`. Nothing here decides what a row should be; that is `controller.loop`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, NoReturn

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Float,
    Select,
    Update,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from store.database import Database
from store.errors import Conflict, EngineRefused, LeaseLost, NotFound, PassSuperseded
from store.history import write_events
from store.history_records import Event
from store.leases import FENCE, Lease, fence_of, store_clock
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
from store.tables import CONFIG_GENERATIONS, CONTAINERS, HOSTS
from store.workloads import Refs, read_catalog

Params = dict[str, Any]


def read_snapshot(database: Database, host: str, before: Snapshot | None = None) -> Snapshot:
    """Read all that one pass needs: two statements, whatever the number of containers (P9).

    A host that no controller has registered yet has no rows and pass number 0.

    :param before: an earlier snapshot; where nothing changed since, its records are given again.

    :raises StoreError: the store cannot be read.
    """
    with database.reading() as connection:
        snapshot = _read_rows(connection, _ALL_ROWS, {"host": host}, before)
        return replace(snapshot, workloads=read_catalog(connection, host))


def read_bound(database: Database, host: str, container_ids: Collection[str]) -> Snapshot:
    """The part of a snapshot that records these containers, with the workloads of these rows.

    :raises StoreError: the store cannot be read.
    """
    with database.reading() as connection:
        snapshot = _read_rows(connection, _BOUND_ROWS, {"host": host, "wanted": list(container_ids)})
        named = Refs(frozenset(row.workload_id for row in snapshot.rows.values()), frozenset())
        return replace(snapshot, workloads=read_catalog(connection, host, named) if named.ids else {})


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
        claimed = {"host": snapshot.host, "wanted": list(wanted)}
        rows = _read_rows(connection, _NAMED_ROWS, claimed).rows if wanted else {}
    return replace(snapshot, workloads=workloads, rows={**rows, **snapshot.rows})


def read_workload_rows(database: Database, host: str, workload_ids: Collection[str]) -> list[Assignment]:
    """All rows of these workloads on this host.

    :raises StoreError: the store cannot be read.
    """
    of_them = {"host": host, "wanted": list(workload_ids)}
    with database.reading() as connection:
        return list(_read_rows(connection, _WORKLOAD_ROWS, of_them).rows.values())


def _rows_where(*wanted: ColumnElement[bool]) -> Select[Any]:
    columns = [CONTAINERS.c[name] for name in ASSIGNMENT_FIELDS]
    joined = HOSTS.outerjoin(CONTAINERS, and_(CONTAINERS.c.host == HOSTS.c.id, *wanted))
    newest = select(func.max(CONFIG_GENERATIONS.c.generation)).scalar_subquery()
    chosen = select(HOSTS.c.pass_number, HOSTS.c.engine_id, newest, *columns).select_from(joined)
    return chosen.where(HOSTS.c.id == bindparam("host"))


# Built once: building them anew took longer than the store takes to answer.
_WANTED: BindParameter[Any] = bindparam("wanted", expanding=True)
_ALL_ROWS = _rows_where()
_BOUND_ROWS = _rows_where(CONTAINERS.c.container_id.in_(_WANTED))
_NAMED_ROWS = _rows_where(CONTAINERS.c.id.in_(_WANTED))
_WORKLOAD_ROWS = _rows_where(CONTAINERS.c.workload_id.in_(_WANTED))


def _read_rows(
    connection: Connection, statement: Select[Any], wanted: Params, before: Snapshot | None = None
) -> Snapshot:
    host: str = wanted["host"]
    found = connection.execute(statement, wanted).all()
    if not found:
        return Snapshot(host, 0, "", {}, {})
    pass_number, engine_id, config_generation = found[0][:3]
    read = [row[3:] for row in found if row[3] is not None]
    if before is not None and before.read == read:
        rows, read = before.rows, before.read  # and not the new one: its texts would be kept beside equal ones
    else:
        rows = {row[0]: Assignment(*row) for row in read}
    return Snapshot(host, pass_number, engine_id, rows, {}, config_generation or 0, read)


def apply_tick(
    database: Database,
    snapshot: Snapshot,
    change: Change,
    listed: Listed,
    lease: Lease,
    tell: Callable[[Collection[str]], Sequence[Event]] = lambda _rejected: (),
) -> Applied:
    """Write one pass: the host's fence and freshness, what changed, the sweep, last-seen. One transaction.

    A row whose container was rebound by a deployer since the snapshot is left alone; the next pass sees it. The
    fence also prolongs the lease.

    :param tell: ids of the rows that the store refused → what history is told of the others.
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
        write_events(connection, tell(writer.rejected))
    return Applied(rejected=writer.rejected)


def _take_pass(connection: Connection, snapshot: Snapshot, listed: Listed, lease: Lease) -> None:
    given: Params = {
        **fence_of(lease),
        "ttl_seconds": lease.ttl_seconds,
        "expected_pass": snapshot.pass_number,
        "listed_engine": listed.engine_id,
        "listed_at": listed.at,
    }
    statement = _fenced_pass(connection.dialect.name, listed.completely)
    if connection.execute(statement, given).rowcount != 1:
        _explain_refusal(connection, snapshot, listed, lease)


@cache
def _fenced_pass(dialect: str, completely: bool) -> Update:
    engine = bindparam("listed_engine", type_=HOSTS.c.engine_id.type)
    values: Params = {
        "pass_number": HOSTS.c.pass_number + 1,
        "engine_id": engine,
        "lease_expires": store_clock(dialect) + bindparam("ttl_seconds", type_=Float),
    }
    if completely:
        values["last_listed_at"] = bindparam("listed_at")
    fence = and_(*FENCE, HOSTS.c.pass_number == bindparam("expected_pass"))
    return update(HOSTS).where(fence, or_(HOSTS.c.engine_id == "", HOSTS.c.engine_id == engine)).values(values)


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
    seen = {"seen_host": host, "listed_at": listed_at}
    if unseen:
        connection.execute(_TOUCH_ALL.where(CONTAINERS.c.id.not_in(unseen)), seen)
    else:
        connection.execute(_TOUCH_ALL, seen)


_TOUCH_ALL = (
    update(CONTAINERS)
    .where(CONTAINERS.c.host == bindparam("seen_host"))
    .where(CONTAINERS.c.state != MISSING, CONTAINERS.c.container_id.is_not(None))
    # A row that no pass ever saw has no last-seen, it gets its first one with its first update; and one that this
    # pass wrote has its new one already.
    .where(CONTAINERS.c.last_seen_at != bindparam("listed_at"))
    .values(last_seen_at=bindparam("listed_at"))
)


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
