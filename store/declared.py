"""Bringing the workloads of the store to what one host's manifests declare: a plan first, then one transaction.

A workload whose manifest is gone is deleted only when pruning was asked for, and never while it has a container.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from store.database import Database
from store.records import MISSING, Workload
from store.tables import CONTAINERS, WORKLOADS
from store.workloads import apply_in, delete_in, read_workloads, same_declaration

_LEAVING = " leaves"


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying manifests does, by workload id. ``kept``: those that stay without a manifest → why."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.added or self.changed or self.removed)

    @property
    def summary(self) -> str:
        """``1 added, 2 changed``, or ``nothing to change``."""
        counts = (("added", self.added), ("changed", self.changed), ("removed", self.removed), ("kept", self.kept))
        return ", ".join(f"{len(ids)} {what}" for what, ids in counts if ids) or "nothing to change"


def plan_declared(
    stored: Mapping[str, Workload],
    declared: Sequence[Workload],
    owner: str,
    containers: Mapping[str, int],
    *,
    prune: bool,
) -> Plan:
    """Compare. Pure.

    :param stored: all workloads of the store by id.
    :param owner: the host whose manifests these are; only workloads that they declared before can be removed.
    :param containers: workload id → rows of the index that are not missing, on all hosts.
    """
    wanted = {each.id: each for each in declared}
    orphans = [each for each in stored.values() if each.declared_by == owner and each.id not in wanted]
    kept: dict[str, str] = {}
    for each in orphans:
        if not prune:
            kept[each.id] = "its manifest is gone; pruning is off (manifests_prune)"
        elif count := containers.get(each.id, 0):
            kept[each.id] = f"its manifest is gone, but it has {count} container(s)"
    _keep_parents({**stored, **wanted}, {each.id for each in orphans}, kept)
    differs = {key for key, each in wanted.items() if key in stored and not same_declaration(stored[key], each)}
    return Plan(
        added=tuple(key for key in wanted if key not in stored),
        changed=tuple(key for key in wanted if key in differs),
        unchanged=tuple(key for key in wanted if key in stored and key not in differs),
        removed=tuple(each.id for each in orphans if each.id not in kept),
        kept=kept,
    )


def _keep_parents(known: Mapping[str, Workload], orphans: set[str], kept: dict[str, str]) -> None:
    """A workload that stays keeps its ancestors, as they will be."""
    staying = [each for each in known.values() if each.id not in orphans or each.id in kept]
    while staying:
        child = staying.pop()
        above = known.get(child.parent or "")
        if above is not None and above.id in orphans and above.id not in kept:
            kept[above.id] = f"its manifest is gone, but it is the parent of {child.id!r}"
            staying.append(above)


def read_plan(database: Database, declared: Sequence[Workload], owner: str, *, prune: bool) -> Plan:
    """What :func:`apply_declared` would do now; writes nothing.

    :raises StoreError: the store cannot be read.
    """
    with database.reading() as connection:
        return _plan(connection, declared, owner, prune=prune)


def apply_declared(
    database: Database, declared: Sequence[Workload], owner: str, now: datetime, *, prune: bool
) -> Plan:
    """Add, change and remove, all in one transaction; returns what was done.

    :raises Conflict: see :func:`store.workloads.apply_workloads`; nothing is written.
    :raises NotFound: a parent that does not exist; nothing is written.
    :raises StoreError: the store failed; nothing is written.
    """
    with database.writing() as connection:
        plan = _plan(connection, declared, owner, prune=prune)
        touched = {*plan.added, *plan.changed}
        leaving = update(WORKLOADS).where(WORKLOADS.c.id.in_(plan.removed))
        connection.execute(leaving.values(ref=WORKLOADS.c.id + _LEAVING))  # what is declared may have their refs
        apply_in(connection, [replace(each, declared_by=owner) for each in declared if each.id in touched], now)
        unowned = (WORKLOADS.c.id.in_(plan.unchanged), WORKLOADS.c.declared_by == "")
        if plan.unchanged:
            connection.execute(update(WORKLOADS).where(*unowned).values(declared_by=owner))
        for workload_id in _children_first(connection, plan.removed):
            delete_in(connection, workload_id)
    return plan


def _plan(connection: Connection, declared: Sequence[Workload], owner: str, *, prune: bool) -> Plan:
    present = CONTAINERS.c.state != MISSING
    counted = select(CONTAINERS.c.workload_id, func.count()).where(present).group_by(CONTAINERS.c.workload_id)
    containers = {row[0]: row[1] for row in connection.execute(counted)}
    return plan_declared(read_workloads(connection), declared, owner, containers, prune=prune)


def _children_first(connection: Connection, removed: Sequence[str]) -> list[str]:
    parents = {each.id: each.parent for each in read_workloads(connection).values()}

    def depth(workload_id: str) -> int:
        above = parents.get(workload_id)
        return 0 if above is None else 1 + depth(above)

    return sorted(removed, key=depth, reverse=True)
