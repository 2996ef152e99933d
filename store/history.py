"""History: appended in bulk, read in the order it was written, dropped by age. Nothing here changes an event.

Ids rise in the order in which events become visible, so whoever read up to one misses none by asking for later ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, bindparam, delete, func, insert, or_, select, text

from store.activity_tables import EVENTS
from store.database import Database
from store.history_records import LONGEST_TEXT, MOST_READ, Event, EventFilter

PRUNED_AT_ONCE = 2_000
"""Events that one transaction drops: few enough to hold up no tick."""

_FIELDS = ("at", "host", "workload_id", "subject", "kind", "reason", "message", "actor", "tick", "details")
_APPENDING = 0x7A11_0E77
"""The advisory lock of PostgreSQL that appenders take."""


def append_events(database: Database, events: Iterable[Event]) -> None:
    """Write events, in a transaction of their own; none costs nothing.

    :raises StoreError: the store failed; none is written.
    """
    given = list(events)
    if given:
        with database.writing() as connection:
            write_events(connection, given)


def write_events(connection: Connection, events: Sequence[Event]) -> None:
    """Write events as the last thing of a transaction: one bulk statement.

    On PostgreSQL appenders queue up, since else a lower id could become visible after a higher one. That is why it
    has to be the last thing: nobody who waits for its turn here may hold up who has it.
    """
    if not events:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _APPENDING})
    sql, names, positional = _appending(connection.dialect)
    bind = EVENTS.c.at.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    moments: dict[datetime, Any] = {}
    rows = []
    for each in events:
        if each.at not in moments:
            moments[each.at] = each.at if bind is None else bind(each.at)
        given = _given(each, moments[each.at])
        rows.append(tuple(given[name] for name in names) if positional else given)
    connection.exec_driver_sql(sql, rows)


def _given(event: Event, at: Any) -> dict[str, Any]:
    return {
        "at": at,
        "host": event.host,
        "workload_id": event.workload_id,
        "subject": event.subject,
        "kind": event.kind,
        "reason": _fitting(event.reason),
        "message": _fitting(event.message),
        "actor": event.actor,
        "tick": event.tick,
        "details": json.dumps(event.details).replace("\\u0000", "\\ufffd") if event.details else "{}",
    }


def _fitting(said: str) -> str:
    """What PostgreSQL can hold, at a length that a reader can bear."""
    return said[:LONGEST_TEXT].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


@lru_cache(maxsize=2)
def _appending(dialect: Dialect) -> tuple[str, Sequence[str], bool]:
    # Compiled once and given tuples: a thousand rows through SQLAlchemy's own parameters cost several times as much.
    compiled = insert(EVENTS).values({name: bindparam(name) for name in _FIELDS}).compile(dialect=dialect)
    return str(compiled), compiled.positiontup or _FIELDS, bool(compiled.positiontup)


def read_events(database: Database, wanted: EventFilter | None = None) -> list[Event]:
    """Events in the order in which they were written, the oldest first.

    :raises StoreError: the store cannot be read.
    """
    wanted = wanted or EventFilter()
    statement = select(EVENTS)
    for column, value in ((EVENTS.c.workload_id, wanted.workload_id), (EVENTS.c.host, wanted.host)):
        if value is not None:
            statement = statement.where(column == value)
    if wanted.kinds:
        statement = statement.where(EVENTS.c.kind.in_(wanted.kinds))
    if wanted.since is not None:
        statement = statement.where(EVENTS.c.at >= wanted.since)
    if wanted.after_id:
        statement = statement.where(EVENTS.c.id > wanted.after_id)
    order = EVENTS.c.id.desc() if wanted.newest else EVENTS.c.id
    statement = statement.order_by(order).limit(max(1, min(wanted.limit, MOST_READ)))
    with database.reading() as connection:
        found = [Event(**row._mapping) for row in connection.execute(statement)]
    return found[::-1] if wanted.newest else found


def last_event_id(database: Database) -> int:
    """The id of the newest event; 0 where there is none.

    :raises StoreError: the store cannot be read.
    """
    with database.reading() as connection:
        return connection.execute(select(func.max(EVENTS.c.id))).scalar() or 0


def prune_events(database: Database, before: datetime, keep: int, most: int = PRUNED_AT_ONCE) -> int:
    """Drop some of the events that are older than ``before``, or more than ``keep`` ids behind the newest.

    :returns: how many were dropped; ``most`` where there may be more.
    :raises StoreError: the store failed.
    """
    newest = select(func.max(EVENTS.c.id)).scalar_subquery()
    outlived = or_(EVENTS.c.at < before, EVENTS.c.id <= newest - keep)
    chosen = select(EVENTS.c.id).where(outlived).order_by(EVENTS.c.id).limit(most)
    with database.reading() as connection:
        ids = list(connection.execute(chosen).scalars())
    if ids:
        with database.writing() as connection:
            connection.execute(delete(EVENTS).where(EVENTS.c.id >= ids[0], EVENTS.c.id <= ids[-1], outlived))
    return len(ids)
