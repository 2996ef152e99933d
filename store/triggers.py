"""What triggers have seen, and what they owe: one row a workload, under compare-and-swap.

Who acts on what a trigger found stores that first, on top of the generation that it read: so of two dispatchers one
wins, and what is stored survives a kill between that and the deploy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, or_, select, update

from store.activity_tables import TRIGGER_STATES
from store.database import Database, insert_into
from store.errors import NotFound, TriggerSuperseded
from store.records import Workload, WorkloadKind
from store.tables import WORKLOADS


@dataclass(frozen=True, slots=True)
class Owed:
    """A deploy that was decided on and is not known to have ended. ``claim`` is the generation that it was stored in.

    ``attempts`` is how often it failed, ``again_at`` (ISO 8601) when it is tried again; ``reference`` and ``digest``
    are what the revision is to record where the source would find another one.
    """

    claim: int
    reason: str
    key: str = ""
    reference: str = ""
    digest: str = ""
    attempts: int = 0
    again_at: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class TriggerState:
    """What one workload's trigger has seen, and what became of it.

    ``seen`` is the trigger's own. ``key`` is that of the last intent. ``failures`` counts looks that failed in a row.
    ``declared`` is the workload's generation that was looked at last, ``next_at`` (ISO 8601) when the next look was
    to be, as it was then; ``not_before``: the other side wants to be left alone until then. ``generation`` 0: nothing
    is stored.
    """

    workload_id: str
    trigger_kind: str
    seen: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    failures: int = 0
    declared: int = 0
    next_at: str = ""
    owed: Owed | None = None
    generation: int = 0
    not_before: datetime | None = None
    fired_at: datetime | None = None
    answer: str = ""
    message: str = ""
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """A workload with its trigger, and where that one stands."""

    workload: Workload
    state: TriggerState


def list_bindings(database: Database, host: str | None = None, kinds: Collection[str] | None = None) -> list[Binding]:
    """The workloads with a trigger, by id; of one host where it is given, and of these kinds of trigger.

    A workload that is declared for no host in particular is dispatched by the host whose manifests declare it, or,
    where it was applied by hand, by any.
    """
    statement = _joined().where(WORKLOADS.c.trigger_kind != "").order_by(WORKLOADS.c.id)
    if host is not None:
        unbound = and_(WORKLOADS.c.host.is_(None), WORKLOADS.c.declared_by.in_(("", host)))
        statement = statement.where(or_(WORKLOADS.c.host == host, unbound))
    if kinds is not None:
        statement = statement.where(WORKLOADS.c.trigger_kind.in_(sorted(kinds)))
    with database.reading() as connection:
        return [_binding(row._asdict()) for row in connection.execute(statement)]


def get_binding(database: Database, workload_id: str) -> Binding:
    """One workload with its trigger.

    :raises NotFound: no such workload, or it has no trigger.
    """
    with database.reading() as connection:
        row = connection.execute(_joined().where(WORKLOADS.c.id == workload_id)).one_or_none()
    if row is None:
        raise NotFound(f"workload {workload_id!r} is not in the store; `tallyd workload list` shows those that are")
    found = _binding(row._asdict())
    if not found.workload.trigger_kind:
        raise NotFound(f"workload {workload_id!r} has no trigger; declare one, such as `manual`")
    return found


def save_state(database: Database, state: TriggerState, now: datetime) -> TriggerState:
    """Store a state in place of the one of its generation; returns it under the next one.

    :raises TriggerSuperseded: somebody else stored one since, or the workload is gone; nothing is written.
    """
    values = {
        "trigger_kind": state.trigger_kind,
        "state": _document_of(state),
        "generation": state.generation + 1,
        "not_before": state.not_before,
        "fired_at": state.fired_at,
        "answer": state.answer,
        "message": state.message,
        "updated_at": now,
    }
    with database.writing() as connection:
        if state.generation == 0:
            there = select(WORKLOADS.c.id).where(WORKLOADS.c.id == state.workload_id).with_for_update()
            known = connection.execute(there).one_or_none() is not None
            made = insert_into(TRIGGER_STATES, database.dialect).values(values | {"workload_id": state.workload_id})
            # (The number of rows is not told by every driver for an insert that may do nothing.)
            inserted = made.on_conflict_do_nothing().returning(TRIGGER_STATES.c.workload_id)
            written = len(connection.execute(inserted).all()) if known else 0
        else:
            its = (
                TRIGGER_STATES.c.workload_id == state.workload_id,
                TRIGGER_STATES.c.generation == state.generation,
            )
            written = connection.execute(update(TRIGGER_STATES).where(*its).values(values)).rowcount
    if written != 1:
        raise TriggerSuperseded(state.workload_id)
    return replace(state, generation=state.generation + 1, updated_at=now)


_OF_STATE = ("trigger_kind", "state", "generation", "not_before", "fired_at", "answer", "message", "updated_at")
_IN_DOCUMENT = ("seen", "key", "failures", "declared", "next_at")


def _joined() -> Select[Any]:
    own = [TRIGGER_STATES.c[name].label(f"state_{name}") for name in _OF_STATE]
    joined = WORKLOADS.outerjoin(TRIGGER_STATES, TRIGGER_STATES.c.workload_id == WORKLOADS.c.id)
    return select(*(WORKLOADS.c[name] for name in Workload.__slots__), *own).select_from(joined)


def _document_of(state: TriggerState) -> dict[str, Any]:
    document = {name: getattr(state, name) for name in _IN_DOCUMENT}
    return document | {"owed": None if state.owed is None else asdict(state.owed)}


def _binding(row: Mapping[str, Any]) -> Binding:
    values = {name: row[name] for name in Workload.__slots__}
    workload = Workload(**values | {"kind": WorkloadKind(values["kind"])})
    return Binding(workload, _state(workload, {name: row[f"state_{name}"] for name in _OF_STATE}))


def _state(workload: Workload, stored: Mapping[str, Any]) -> TriggerState:
    """As stored; of another kind of trigger than the workload has now, nothing but the generation counts."""
    generation = stored["generation"] or 0
    if stored["trigger_kind"] != workload.trigger_kind:
        return TriggerState(workload.id, workload.trigger_kind, generation=generation)
    document = dict(stored["state"])
    owed = document.get("owed")
    return TriggerState(
        workload.id,
        workload.trigger_kind,
        **{name: document[name] for name in _IN_DOCUMENT if name in document},
        owed=Owed(**owed) if owed else None,
        generation=generation,
        **{name: stored[name] for name in ("not_before", "fired_at", "answer", "message", "updated_at")},
    )
