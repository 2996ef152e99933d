"""Workloads: what was declared, each under its own generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, or_, select, update

from store.database import Database
from store.errors import Conflict, NotFound, WorkloadConflict
from store.records import MISSING, Workload, WorkloadKind
from store.tables import CONTAINERS, REVISIONS, TRAFFIC_SPLITS, WORKLOADS

_DECLARED = tuple(
    name for name in Workload.__slots__ if name not in ("id", "generation", "updated_at", "declared_by")
)


@dataclass(frozen=True, slots=True)
class AppliedWorkload:
    """One workload after an apply. ``result`` is ``created``, ``updated`` or ``unchanged``."""

    workload: Workload
    result: str


@dataclass(frozen=True, slots=True)
class Refs:
    """What names workloads: their ids, and the refs of sites and stacks."""

    ids: frozenset[str]
    refs: frozenset[str]


_OF_HOST = select(WORKLOADS).where(or_(WORKLOADS.c.host.is_(None), WORKLOADS.c.host == bindparam("host")))
_NAMED = _OF_HOST.where(
    or_(
        WORKLOADS.c.id.in_(bindparam("ids", expanding=True)),
        WORKLOADS.c.ref.in_(bindparam("refs", expanding=True)),
    )
)


def read_catalog(connection: Connection, host: str, only: Refs | None = None) -> dict[str, Workload]:
    """The workloads that this host may index, by id; all of them, or those that are named."""
    if only is None:
        found = connection.execute(_OF_HOST, {"host": host})
    else:
        found = connection.execute(_NAMED, {"host": host, "ids": list(only.ids), "refs": list(only.refs)})
    return {row.id: _workload(row) for row in found}


def read_workloads(connection: Connection) -> dict[str, Workload]:
    """All workloads by id, in a transaction of the caller."""
    return {row.id: _workload(row) for row in connection.execute(select(WORKLOADS).order_by(WORKLOADS.c.id))}


def same_declaration(one: Workload, other: Workload) -> bool:
    """Whether both declare the same, whatever their generations."""
    return all(getattr(one, name) == getattr(other, name) for name in _DECLARED)


def list_workloads(database: Database) -> list[Workload]:
    """All workloads by id."""
    with database.reading() as connection:
        return list(read_workloads(connection).values())


def get_workload(database: Database, workload_id: str) -> Workload:
    """One workload.

    :raises NotFound: no such workload.
    """
    with database.reading() as connection:
        return get_in(connection, workload_id)


def apply_workloads(
    database: Database,
    declared: Sequence[Workload],
    now: datetime,
    *,
    expected_generation: int | None = None,
) -> list[AppliedWorkload]:
    """Create or overwrite all of ``declared``, or none of them.

    Equal content leaves the generation as it is. Parents may be declared in any order.

    :param expected_generation: of every workload given; 0 means "must not exist yet".
    :raises WorkloadConflict: a current generation is another one.
    :raises Conflict: a ref that another workload of the same kind has, a kind that would change, or a workload
        that would become its own ancestor.
    :raises NotFound: a parent that does not exist.
    """
    with database.writing() as connection:
        return apply_in(connection, declared, now, expected_generation)


def apply_in(
    connection: Connection, declared: Sequence[Workload], now: datetime, expected_generation: int | None = None
) -> list[AppliedWorkload]:
    """As :func:`apply_workloads`, in a transaction of the caller."""
    ordered = _parents_first(connection, declared)
    applied = [_apply(connection, each, now, expected_generation) for each in ordered]
    _check_ancestors(connection, declared)
    return applied


def _apply(connection: Connection, declared: Workload, now: datetime, expected: int | None) -> AppliedWorkload:
    # Locked: on PostgreSQL two writers would otherwise both find the generation that they expect.
    statement = select(WORKLOADS).where(WORKLOADS.c.id == declared.id).with_for_update()
    row = connection.execute(statement).one_or_none()
    current = _workload(row) if row is not None else None
    generation = current.generation if current else 0
    if expected is not None and expected != generation:
        raise WorkloadConflict(declared.id, expected, generation)
    _check_ref(connection, declared)
    applied = replace(declared, generation=generation + 1, updated_at=now)
    if declared.declared_by == "" and current is not None:
        applied = replace(applied, declared_by=current.declared_by)
    if current is None:
        connection.execute(insert(WORKLOADS).values(_values(applied)))
        return AppliedWorkload(applied, "created")
    if same_declaration(current, declared):
        return AppliedWorkload(current, "unchanged")
    if current.kind != declared.kind:
        raise Conflict(
            f"workload {declared.id!r} is of kind {current.kind}, not {declared.kind}; a kind never changes: "
            f"delete the workload first, or choose another id"
        )
    connection.execute(update(WORKLOADS).where(WORKLOADS.c.id == declared.id).values(_values(applied)))
    return AppliedWorkload(applied, "updated")


def _check_ref(connection: Connection, declared: Workload) -> None:
    statement = select(WORKLOADS.c.id).where(
        WORKLOADS.c.kind == declared.kind, WORKLOADS.c.ref == declared.ref, WORKLOADS.c.id != declared.id
    )
    owner = connection.execute(statement).scalar()
    if owner is not None:
        raise Conflict(f"workload {declared.id!r}: ref {declared.ref!r} belongs to workload {owner!r}")


def _parents_first(connection: Connection, declared: Sequence[Workload]) -> list[Workload]:
    known = set(connection.execute(select(WORKLOADS.c.id)).scalars())
    ordered: list[Workload] = []
    waiting = list(declared)
    while waiting:
        ready = [each for each in waiting if each.parent is None or each.parent in known]
        if not ready:
            lost = waiting[0]
            raise NotFound(f"workload {lost.id!r}: parent {lost.parent!r} does not exist, or is its own descendant")
        ordered += ready
        known.update(each.id for each in ready)
        waiting = [each for each in waiting if each not in ready]
    return ordered


def _check_ancestors(connection: Connection, declared: Sequence[Workload]) -> None:
    parents = {row.id: row.parent for row in connection.execute(select(WORKLOADS.c.id, WORKLOADS.c.parent))}
    for each in declared:
        seen, above = {each.id}, parents[each.id]
        while above is not None:
            if above in seen:
                raise Conflict(f"workload {each.id!r}: parent {each.parent!r} makes {above!r} its own ancestor")
            seen.add(above)
            above = parents[above]


def delete_workload(
    database: Database, workload_id: str, *, force: bool = False, expected_generation: int | None = None
) -> int:
    """Delete a workload with its rows of the index; its containers are not touched. Returns the rows deleted.

    :param force: also while rows say that its containers are there.
    :raises NotFound: no such workload.
    :raises WorkloadConflict: its current generation is not the expected one.
    :raises Conflict: it has children, or containers that are not missing.
    """
    with database.writing() as connection:
        current = get_in(connection, workload_id, locked=True).generation
        if expected_generation not in (None, current):
            raise WorkloadConflict(workload_id, expected_generation or 0, current)
        child = connection.execute(select(WORKLOADS.c.id).where(WORKLOADS.c.parent == workload_id)).scalar()
        if child is not None:
            raise Conflict(f"workload {workload_id!r} is the parent of {child!r}; delete or move the child first")
        rows = CONTAINERS.c.workload_id == workload_id
        present = connection.execute(select(CONTAINERS.c.id).where(rows, CONTAINERS.c.state != MISSING)).all()
        if present and not force:
            raise Conflict(
                f"workload {workload_id!r} has {len(present)} container(s) in the index, {present[0].id!r} among "
                "them; remove them first, or use --force to forget them (the containers go on running)"
            )
        return delete_in(connection, workload_id)


def delete_in(connection: Connection, workload_id: str) -> int:
    """Delete a workload and all that hangs on it, in a transaction of the caller; returns the rows deleted."""
    # Locked first, as every writer of revisions and splits does: two orders of locks would be a deadlock.
    connection.execute(select(WORKLOADS.c.id).where(WORKLOADS.c.id == workload_id).with_for_update())
    deleted = connection.execute(delete(CONTAINERS).where(CONTAINERS.c.workload_id == workload_id)).rowcount
    for table in (TRAFFIC_SPLITS, REVISIONS):
        connection.execute(delete(table).where(table.c.workload_id == workload_id))
    connection.execute(delete(WORKLOADS).where(WORKLOADS.c.id == workload_id))
    return deleted


def get_in(connection: Connection, workload_id: str, *, locked: bool = False) -> Workload:
    """As :func:`get_workload`, in a transaction of the caller.

    :param locked: nobody else changes the workload, its revisions or its split before this transaction ends.
    """
    statement = select(WORKLOADS).where(WORKLOADS.c.id == workload_id)
    row = connection.execute(statement.with_for_update() if locked else statement).one_or_none()
    if row is None:
        raise NotFound(f"workload {workload_id!r} is not in the store; `tallyd workload list` shows those that are")
    return _workload(row)


def _values(workload: Workload) -> dict[str, Any]:
    return {name: getattr(workload, name) for name in Workload.__slots__} | {"kind": str(workload.kind)}


def _workload(row: Row[Any]) -> Workload:
    values = dict(row._mapping)
    return Workload(**values | {"kind": WorkloadKind(values["kind"])})
