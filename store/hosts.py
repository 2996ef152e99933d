"""Hosts: one engine each, bound to its engine id (R18), with the age of our truth about it (R21)."""

from __future__ import annotations

from sqlalchemy import Connection, Row, select, update

from store.database import Database, insert_into
from store.errors import NotFound
from store.records import Host
from store.tables import HOSTS

_COLUMNS = tuple(HOSTS.c[name] for name in Host.__slots__)


def register(database: Database, host: Host, *, single_pass: bool = False) -> None:
    """Make the host's row, or bring its endpoint and interval up to date.

    Never touches the engine id, the pass number, the time of the last listing, or the lease with its address.

    :param single_pass: by a command, which keeps no interval: it leaves what a controller has registered.
    """
    values = {"id": host.id, "endpoint": host.endpoint, "interval_seconds": host.interval_seconds}
    with database.writing() as connection:
        _upsert(connection, database.dialect, values, only_unled=single_pass)


def _upsert(connection: Connection, dialect: str, values: dict[str, object], *, only_unled: bool) -> None:
    unled = {"address": "", "lease_owner": "", "lease_token": 0, "lease_expires": 0.0, "control_token": ""}
    row = {"engine_id": "", "pass_number": 0} | unled | values
    changed = {name: value for name, value in values.items() if name != "id"}
    statement = insert_into(HOSTS, dialect).values(row)
    where = HOSTS.c.address == "" if only_unled else None
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changed, where=where))


def list_hosts(database: Database) -> list[Host]:
    """All hosts by id."""
    with database.reading() as connection:
        return [_host(row) for row in connection.execute(select(*_COLUMNS).order_by(HOSTS.c.id))]


def get_host(database: Database, host_id: str) -> Host:
    """One host.

    :raises NotFound: no controller has registered this host yet.
    """
    with database.reading() as connection:
        row = connection.execute(select(*_COLUMNS).where(HOSTS.c.id == host_id)).one_or_none()
    if row is None:
        raise NotFound(f"host {host_id!r} is not in the store; a controller registers it at its first tick")
    return _host(row)


def accept_engine(database: Database, host_id: str, engine_id: str) -> str:
    """Bind the host to another engine (R18) and return the id of the one before it.

    :raises NotFound: no such host.
    """
    before = get_host(database, host_id)
    with database.writing() as connection:
        connection.execute(update(HOSTS).where(HOSTS.c.id == host_id).values(engine_id=engine_id))
    return before.engine_id


def _host(row: Row[tuple[object, ...]]) -> Host:
    return Host(**row._mapping)
