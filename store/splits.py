"""Traffic splits: set under their own generation, and taken back by one step (T1).

Every writer locks the workload first, as those of :mod:`store.revisions` do. Two counters, never shared: the
*generation* rises with every change; the *stickiness epoch*, which makes the cookies of an epoch before void, only
when a revision leaves the split, and with a rollback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from store.database import Database
from store.errors import (
    ForeignRevision,
    NotFound,
    RevisionConflict,
    RevisionNotFound,
    SplitConflict,
    SplitGenerationConflict,
    SplitNotFound,
)
from store.records import Workload
from store.revisions import read_revisions
from store.rollout_records import Revision, RevisionState, SplitEntry, TrafficSplit, check_entries
from store.tables import REVISIONS, TRAFFIC_SPLITS
from store.turns import Turn, check_turn
from store.workloads import get_in

SERVING = (RevisionState.READY,)
"""States in which a revision may be given traffic."""

KNOWN = (*SERVING, RevisionState.DRAINING)
"""States in which it may stand in a split with a weight of 0: it gets no new session, and keeps those that it has."""

Entries = tuple[SplitEntry, ...]


def list_splits(database: Database) -> list[TrafficSplit]:
    """All splits, by workload."""
    with database.reading() as connection:
        found = connection.execute(select(TRAFFIC_SPLITS).order_by(TRAFFIC_SPLITS.c.workload_id))
        return [_split(row) for row in found]


def get_split(database: Database, workload_id: str) -> TrafficSplit:
    """The split of a workload.

    :raises NotFound: no such workload.
    :raises SplitNotFound: it has no split.
    """
    with database.reading() as connection:
        get_in(connection, workload_id)
        return _get(connection, workload_id)


def deployment_of(
    database: Database, workload_id: str, host: str
) -> tuple[Workload, dict[str, Revision], TrafficSplit | None]:
    """A workload, all its revisions by id, and its split, as they are at one moment.

    :raises NotFound: no such workload, or it is declared for another host.
    """
    with database.reading() as connection:
        workload = get_in(connection, workload_id)
        if workload.host not in (None, host):
            raise NotFound(f"workload {workload_id!r} is declared for host {workload.host!r}, not for {host!r}")
        return workload, read_revisions(connection, workload_id), _find(connection, workload_id)


def set_split(  # the split, and the three things that it may depend on
    database: Database,
    workload_id: str,
    entries: Sequence[SplitEntry],
    now: datetime,
    *,
    idempotency_key: str = "",
    expected_generation: int | None = None,
    turn: Turn | None = None,
) -> TrafficSplit:
    """Set the split of a workload. The first one has generation 0; nothing is stored when it is refused.

    What is wrong is told in the order of T1. The key goes before the expected generation: who repeats a request that
    was carried out expects the generation before it.

    :param idempotency_key: that of the last set is kept, a rollback notwithstanding. The same key with the same
        entries changes nothing, and returns what is stored; empty for none.
    :raises NotFound: no such workload.
    :raises RevisionNotFound: an entry names a revision that does not exist.
    :raises ForeignRevision: an entry names a revision of another workload (D3).
    :raises SplitConflict: the key was used for other entries, or what it set was rolled back.
    :raises SplitGenerationConflict: the current generation is not the expected one.
    :raises RevisionConflict: a revision that would get traffic is not ready, or one of weight 0 is neither ready nor
        draining.
    :raises InvalidSplit: see :func:`store.rollout_records.check_entries` (D3).
    :raises TurnLost: ``turn``, that of the deploy which sets it, is somebody else's.
    """
    wanted = tuple(entries)
    with database.writing() as connection:
        get_in(connection, workload_id, locked=True)
        check_turn(connection, turn)
        states = _states_of(connection, workload_id, wanted)
        stored = _find(connection, workload_id)
        if stored is not None and idempotency_key and stored.idempotency_key == idempotency_key:
            return _repeated(stored, wanted)
        _expect(workload_id, stored, expected_generation)
        _check(workload_id, wanted, states)
        if stored is None:
            made = TrafficSplit(workload_id, wanted, idempotency_key=idempotency_key, updated_at=now)
            connection.execute(insert(TRAFFIC_SPLITS).values(_values(made)))
            return made
        return _save(connection, _successor(stored, wanted, idempotency_key, now))


def rollback_split(
    database: Database, workload_id: str, now: datetime, *, expected_generation: int | None = None
) -> TrafficSplit:
    """Go back to the entries before, under a new generation, after all checks; once more goes forth again (T1).

    :raises NotFound: no such workload.
    :raises SplitNotFound: it has no split.
    :raises SplitGenerationConflict: the current generation is not the expected one.
    :raises SplitConflict: there are no entries before.
    :raises RevisionConflict: a revision is not in a state to be gone back to, see :func:`set_split`.
    """
    with database.writing() as connection:
        get_in(connection, workload_id, locked=True)
        stored = _get(connection, workload_id)
        _expect(workload_id, stored, expected_generation)
        if stored.previous is None:
            raise SplitConflict(f"split of workload {workload_id!r}: there are no entries before these to go back to")
        wanted = tuple(stored.previous)
        _check(workload_id, wanted, _states_of(connection, workload_id, wanted))
        epoch = stored.stickiness_epoch + 1
        made = replace(_successor(stored, wanted, stored.idempotency_key, now), stickiness_epoch=epoch)
        return _save(connection, made)


def remove_split(database: Database, workload_id: str) -> bool:
    """Take the split of a workload away: none of its revisions is routed to. Returns whether there was one.

    :raises NotFound: no such workload.
    """
    with database.writing() as connection:
        get_in(connection, workload_id, locked=True)
        its = TRAFFIC_SPLITS.c.workload_id == workload_id
        return connection.execute(delete(TRAFFIC_SPLITS).where(its)).rowcount > 0


def _successor(stored: TrafficSplit, wanted: Entries, idempotency_key: str, now: datetime) -> TrafficSplit:
    """The next generation. Setting what is set already leaves the entries before as they are. Pure."""
    left = {each.revision_id for each in stored.entries} - {each.revision_id for each in wanted}
    return replace(
        stored,
        entries=wanted,
        generation=stored.generation + 1,
        idempotency_key=idempotency_key,
        stickiness_epoch=stored.stickiness_epoch + bool(left),
        previous=stored.previous if wanted == stored.entries else stored.entries,
        updated_at=now,
    )


def _repeated(stored: TrafficSplit, wanted: Entries) -> TrafficSplit:
    if wanted != stored.entries:
        raise SplitConflict(
            f"split of workload {stored.workload_id!r}: idempotency key {stored.idempotency_key!r} was used for "
            "other entries, or what it set was rolled back; give another change another key"
        )
    return stored


def _expect(workload_id: str, stored: TrafficSplit | None, expected_generation: int | None) -> None:
    current = None if stored is None else stored.generation
    if expected_generation is not None and expected_generation != current:
        raise SplitGenerationConflict(workload_id, expected_generation, current)


def _states_of(connection: Connection, workload_id: str, entries: Entries) -> dict[str, RevisionState]:
    """The states of the workload's revisions, once all that the entries name are among them."""
    own = select(REVISIONS.c.id, REVISIONS.c.state).where(REVISIONS.c.workload_id == workload_id)
    states = {row.id: RevisionState(row.state) for row in connection.execute(own)}
    strangers = [each.revision_id for each in entries if each.revision_id not in states]
    for revision_id in strangers:
        if connection.execute(select(REVISIONS.c.id).where(REVISIONS.c.id == revision_id)).scalar() is None:
            raise RevisionNotFound(workload_id, revision_id)
    if strangers:
        raise ForeignRevision(workload_id, strangers[0])
    return states


def _check(workload_id: str, entries: Entries, states: Mapping[str, RevisionState]) -> None:
    """Readiness first, then the weights. Pure."""
    for each in entries:
        allowed = SERVING if each.weight > 0 else KNOWN
        if (state := states[each.revision_id]) not in allowed:
            raise RevisionConflict(
                f"split of workload {workload_id!r}: revision {each.revision_id!r} is {state}; with a weight of "
                f"{each.weight} it has to be {' or '.join(allowed)}"
            )
    check_entries(workload_id, entries)


def _save(connection: Connection, split: TrafficSplit) -> TrafficSplit:
    its = TRAFFIC_SPLITS.c.workload_id == split.workload_id
    connection.execute(update(TRAFFIC_SPLITS).where(its).values(_values(split)))
    return split


def _get(connection: Connection, workload_id: str) -> TrafficSplit:
    found = _find(connection, workload_id)
    if found is None:
        raise SplitNotFound(workload_id)
    return found


def _find(connection: Connection, workload_id: str) -> TrafficSplit | None:
    its = select(TRAFFIC_SPLITS).where(TRAFFIC_SPLITS.c.workload_id == workload_id)
    row = connection.execute(its).one_or_none()
    return None if row is None else _split(row)


def _values(split: TrafficSplit) -> dict[str, Any]:
    plain = {name: getattr(split, name) for name in TrafficSplit.__slots__}
    previous = None if split.previous is None else [asdict(each) for each in split.previous]
    return plain | {"entries": [asdict(each) for each in split.entries], "previous": previous}


def _split(row: Row[Any]) -> TrafficSplit:
    values = dict(row._mapping)
    previous = None if values["previous"] is None else _entries(values["previous"])
    return TrafficSplit(**values | {"entries": _entries(values["entries"]), "previous": previous})


def _entries(stored: Sequence[Mapping[str, Any]]) -> Entries:
    return tuple(SplitEntry(each["revision_id"], each["weight"]) for each in stored)
