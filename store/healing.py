"""Budgets of healing and holds, as the store keeps them: each spent or set in one transaction (S5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, or_, select, update

from store.activity_tables import HEALING, HOLDS
from store.database import Database, insert_into
from store.healing_records import Budget, Hold
from store.history import write_events
from store.history_records import Event
from store.records import Assignment
from store.rollout_records import RevisionState
from store.rows import ASSIGNMENT_FIELDS
from store.tables import CONTAINERS, REVISIONS

KEPT_DAYS = 7
"""How long a hold that is over, and a budget that nothing was spent of, are remembered."""

Spend = Callable[[Budget], tuple[Budget, Sequence[Event]]]
"""What is kept of a slot → what is to be kept, and what history is told."""


def spend(database: Database, fresh: Budget, decide: Spend) -> Budget:
    """Have ``decide`` look at a slot's budget and write what it makes of it, before anything is done.

    Of two that come at once, the second sees what the first has spent.

    :param fresh: the budget of a slot that has none yet.
    :raises StoreError: the store failed; nothing was spent.
    """
    key = and_(HEALING.c.host == fresh.host, HEALING.c.slot == fresh.slot)
    with database.writing() as connection:
        made = insert_into(HEALING, database.dialect).values(asdict(fresh))
        connection.execute(made.on_conflict_do_nothing())
        row = connection.execute(select(HEALING).where(key).with_for_update()).one()
        after, events = decide(Budget(**row._mapping))
        connection.execute(update(HEALING).where(key).values(asdict(after)))
        write_events(connection, events)
    return after


def list_budgets(database: Database, workload_id: str | None = None, host: str | None = None) -> list[Budget]:
    """Budgets by host and slot.

    :raises StoreError: the store cannot be read.
    """
    statement = select(HEALING).order_by(HEALING.c.host, HEALING.c.slot)
    for column, value in ((HEALING.c.workload_id, workload_id), (HEALING.c.host, host)):
        if value is not None:
            statement = statement.where(column == value)
    with database.reading() as connection:
        return [Budget(**row._mapping) for row in connection.execute(statement)]


def put_hold(database: Database, hold: Hold, events: Sequence[Event] = (), *, only_new: bool = False) -> bool:
    """Set a hold, in place of the one of the same scope; returns whether it was set.

    :param only_new: leave one that is there, and in force at the new one's time, as it is.
    :raises StoreError: the store failed; nothing is set.
    """
    values = asdict(hold)
    statement = insert_into(HOLDS, database.dialect).values(values)
    over = HOLDS.c.expires_at <= hold.created_at
    put = statement.on_conflict_do_update(
        index_elements=["host", "workload_id", "slot"], set_=values, where=over if only_new else None
    )
    with database.writing() as connection:
        changed = connection.execute(put.returning(HOLDS.c.host)).first() is not None
        if changed:
            write_events(connection, events)
    return changed


def release_holds(
    database: Database,
    holds: Sequence[Hold],
    now: datetime,
    events: Sequence[Event] = (),
) -> None:
    """End holds now; they are kept as what is over.

    :raises StoreError: the store failed; none is ended.
    """
    with database.writing() as connection:
        for each in holds:
            key = and_(HOLDS.c.host == each.host, HOLDS.c.workload_id == each.workload_id, HOLDS.c.slot == each.slot)
            connection.execute(update(HOLDS).where(key).values(expires_at=now))
        write_events(connection, events)


def list_holds(
    database: Database, *, host: str | None = None, workload_id: str | None = None, over: bool = False, now: datetime
) -> list[Hold]:
    """Holds by host, workload and slot; of a host or a workload, also those of what they are part of.

    :param over: also those that are over.
    :raises StoreError: the store cannot be read.
    """
    statement = select(HOLDS).order_by(HOLDS.c.host, HOLDS.c.workload_id, HOLDS.c.slot)
    if host is not None:
        statement = statement.where(HOLDS.c.host.in_(("", host)))
    if workload_id is not None:
        statement = statement.where(HOLDS.c.workload_id.in_(("", workload_id)))
    if not over:
        statement = statement.where(or_(HOLDS.c.expires_at.is_(None), HOLDS.c.expires_at > now))
    with database.reading() as connection:
        return [Hold(**row._mapping) for row in connection.execute(statement)]


def prune_healing(database: Database, now: datetime) -> None:
    """Forget holds that are long over, and budgets that are long unused.

    :raises StoreError: the store failed.
    """
    before = now - timedelta(days=KEPT_DAYS)
    with database.writing() as connection:
        connection.execute(delete(HOLDS).where(HOLDS.c.expires_at < before))
        connection.execute(delete(HEALING).where(HEALING.c.asked_at < before))


def row_of_container(database: Database, host: str, container_id: str) -> Assignment | None:
    """The row that records a container.

    :raises StoreError: the store cannot be read.
    """
    columns = [CONTAINERS.c[name] for name in ASSIGNMENT_FIELDS]
    statement = select(*columns).where(CONTAINERS.c.host == host, CONTAINERS.c.container_id == container_id)
    with database.reading() as connection:
        row = connection.execute(statement).one_or_none()
    return None if row is None else Assignment(*row)


def rows_that_serve(database: Database, host: str) -> dict[str, str]:
    """Row id → state, of a host's containers that are meant to run: not those of a revision that comes or goes.

    :raises StoreError: the store cannot be read.
    """
    other = select(REVISIONS.c.id).where(REVISIONS.c.state != str(RevisionState.READY))
    statement = select(CONTAINERS.c.id, CONTAINERS.c.state).where(
        CONTAINERS.c.host == host, CONTAINERS.c.revision.not_in(other)
    )
    with database.reading() as connection:
        return {row.id: row.state for row in connection.execute(statement)}
