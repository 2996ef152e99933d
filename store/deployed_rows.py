"""The rows that a deployer makes for the containers of a project (R9), and takes away with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, delete, insert, select, update

from store.database import Database
from store.errors import Conflict, NotFound
from store.records import Assignment
from store.rows import as_values
from store.tables import CONTAINERS, DEPLOYER_COLUMNS, HOSTS


def bind_row(
    database: Database, host: str, row: Assignment, owned: Mapping[str, str], extra: Mapping[str, Any]
) -> None:
    """Make or rebind the row of a container. Repeating it changes nothing.

    State, health and last-seen of a row that holds this container already stay as the last pass found them.

    :param owned: deployer-owned columns and what they are to hold; the others stay.
    :param extra: what ``extra_json`` is to hold, by key; its other keys stay.
    :raises NotFound: the host is not registered.
    :raises Conflict: another row holds this container.
    :raises ValueError: ``owned`` names another column.
    """
    if unknown := set(owned) - set(DEPLOYER_COLUMNS):
        raise ValueError(f"{sorted(unknown)} are not deployer-owned columns")
    key = and_(CONTAINERS.c.host == host, CONTAINERS.c.id == row.id)
    values = as_values(row) | dict(owned)
    with database.writing() as connection:
        if connection.execute(select(HOSTS.c.id).where(HOSTS.c.id == host)).one_or_none() is None:
            raise NotFound(f"host {host!r} is not in the store; a controller registers it at its first tick")
        kept = connection.execute(select(CONTAINERS.c.extra_json).where(key)).scalar_one_or_none()
        values["extra_json"] = json.dumps({**_object(kept), **extra}, sort_keys=True)
        holders = (CONTAINERS.c.host == host) & (CONTAINERS.c.container_id == row.container_id)
        holder = connection.execute(select(CONTAINERS.c.id).where(holders)).scalar_one_or_none()
        if holder not in (None, row.id):
            raise Conflict(f"row {holder!r} of host {host!r} holds this container already")
        if holder == row.id:
            values = {name: value for name, value in values.items() if name not in ("state", "health")}
            connection.execute(update(CONTAINERS).where(key).values(values))
            return
        changed = connection.execute(update(CONTAINERS).where(key).values(values | {"last_seen_at": None}))
        if not changed.rowcount:
            connection.execute(insert(CONTAINERS).values(values | {"host": host}))


def _object(text: str | None) -> dict[str, Any]:
    try:
        said = json.loads(text or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def drop_rows(database: Database, host: str, workload_id: str, revision_id: str) -> int:
    """Delete the rows that a deployer made for a revision; returns how many there were.

    :raises StoreError: the store failed.
    """
    mine = and_(
        CONTAINERS.c.host == host,
        CONTAINERS.c.workload_id == workload_id,
        CONTAINERS.c.stage_id == revision_id,
    )
    with database.writing() as connection:
        return connection.execute(delete(CONTAINERS).where(mine)).rowcount
