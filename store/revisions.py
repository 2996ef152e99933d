"""Revisions of workloads: made once, moved along the edges of their life, never removed but with their workload.

Every writer locks the workload first, those of :mod:`store.splits` too: so what a split was checked against is still
so when it is stored, and of two movers that saw the same state one wins.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from store.database import Database
from store.errors import RevisionConflict, RevisionNotFound
from store.rollout_records import Revision, RevisionState, check_edge, secrets_in
from store.secrets import read_generations
from store.tables import REVISIONS, TRAFFIC_SPLITS, WORKLOADS
from store.turns import Turn, check_turn
from store.workloads import get_in


def count_revisions(database: Database) -> Counter[str]:
    """How many revisions are in each lifecycle state."""
    statement = select(REVISIONS.c.state, func.count().label("number")).group_by(REVISIONS.c.state)
    with database.reading() as connection:
        return Counter({row.state: row.number for row in connection.execute(statement)})


def config_digest_of(config: Mapping[str, Any], secrets: Mapping[str, int] | None = None) -> str:
    """``sha256:…`` of a source config: the same for equal configs, in whatever order their keys stand.

    :param secrets: generations of the secrets that it names: a new value is another config (S4). No value goes in,
        for a short one could be guessed from the digest.
    """
    said = {"config": config, "secrets": secrets} if secrets else config
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def declared_digest(database: Database, workload_id: str, config: Mapping[str, Any]) -> str:
    """The config digest of the revision that would be made of a config now."""
    with database.reading() as connection:
        return _digest_now(connection, workload_id, config)


def _digest_now(connection: Connection, workload_id: str, config: Mapping[str, Any]) -> str:
    return config_digest_of(config, read_generations(connection, workload_id, secrets_in(config)))


def create_revision(
    database: Database, workload_id: str, image_ref: str, image_digest: str, config: Mapping[str, Any], now: datetime
) -> Revision:
    """Make the next revision of a workload, ``inactive`` and under the id ``<workload id>-<sequence>`` (L3).

    :raises NotFound: no such workload.
    """
    with database.writing() as connection:
        get_in(connection, workload_id, locked=True)
        newest = select(func.max(REVISIONS.c.sequence)).where(REVISIONS.c.workload_id == workload_id)
        sequence = (connection.execute(newest).scalar() or 0) + 1
        made = Revision(
            id=f"{workload_id}-{sequence}",
            workload_id=workload_id,
            sequence=sequence,
            image_ref=image_ref,
            image_digest=image_digest,
            config_digest=_digest_now(connection, workload_id, config),
            config=dict(config),
            created_at=now,
            updated_at=now,
        )
        values = {name: getattr(made, name) for name in Revision.__slots__} | {"state": str(made.state)}
        connection.execute(insert(REVISIONS).values(values))
    return made


def list_revisions(database: Database, workload_id: str) -> list[Revision]:
    """All revisions of a workload, the oldest first.

    :raises NotFound: no such workload.
    """
    with database.reading() as connection:
        get_in(connection, workload_id)
        return list(read_revisions(connection, workload_id).values())


def read_revisions(connection: Connection, workload_id: str) -> dict[str, Revision]:
    """All revisions of a workload by id, the oldest first, in a transaction of the caller."""
    of_it = select(REVISIONS).where(REVISIONS.c.workload_id == workload_id).order_by(REVISIONS.c.sequence)
    return {row.id: _revision(row) for row in connection.execute(of_it)}


def get_revision(database: Database, workload_id: str, revision_id: str) -> Revision:
    """One revision.

    :raises RevisionNotFound: the workload has no such revision, or does not exist.
    """
    with database.reading() as connection:
        return _get(connection, workload_id, revision_id)


def move_revision(  # noqa: PLR0913  # the step, whether it may still be made, and what is told of it
    database: Database,
    workload_id: str,
    revision_id: str,
    wanted: RevisionState,
    now: datetime,
    *,
    seen: RevisionState | None = None,
    detail: str = "",
    checks: Mapping[str, str] | None = None,
    turn: Turn | None = None,
) -> Revision:
    """Take one step of a revision's life; when it is refused, nothing is saved (L1, L3).

    :param seen: the state that the caller acted on; ``None`` for whatever it is.
    :param detail: why, with ``checks``; both take the place of what the step before told.
    :raises RevisionNotFound: the workload has no such revision, or does not exist.
    :raises RevisionConflict: its state is not ``seen`` any more, or it would be archived while a split names it.
    :raises IllegalTransition: no edge leads from its state to ``wanted``.
    :raises TurnLost: ``turn``, that of the deploy which makes this step, is somebody else's.
    """
    with database.writing() as connection:
        connection.execute(select(WORKLOADS.c.id).where(WORKLOADS.c.id == workload_id).with_for_update())
        check_turn(connection, turn)
        current = _get(connection, workload_id, revision_id)
        if seen is not None and seen != current.state:
            raise RevisionConflict(f"revision {revision_id!r} is {current.state}, not {seen} any more")
        check_edge(revision_id, current.state, wanted)
        if wanted == RevisionState.ARCHIVED:
            _check_unreferenced(connection, revision_id)
        moved = replace(current, state=wanted, detail=detail, checks=dict(checks or {}), updated_at=now)
        values = {name: getattr(moved, name) for name in ("detail", "checks", "updated_at")} | {"state": str(wanted)}
        connection.execute(update(REVISIONS).where(REVISIONS.c.id == revision_id).values(values))
    return moved


def _check_unreferenced(connection: Connection, revision_id: str) -> None:
    """A split names it until it is set without it; what a rollback would go back to does not count (L3)."""
    splits = select(TRAFFIC_SPLITS.c.workload_id, TRAFFIC_SPLITS.c.entries).order_by(TRAFFIC_SPLITS.c.workload_id)
    for split in connection.execute(splits):
        for entry in split.entries:
            if entry["revision_id"] == revision_id:
                raise RevisionConflict(
                    f"revision {revision_id!r} cannot be archived: the split of workload {split.workload_id!r} names "
                    f"it, with a weight of {entry['weight']}; set the split without it first"
                )


def _get(connection: Connection, workload_id: str, revision_id: str) -> Revision:
    its = (REVISIONS.c.id == revision_id, REVISIONS.c.workload_id == workload_id)
    row = connection.execute(select(REVISIONS).where(*its)).one_or_none()
    if row is None:
        raise RevisionNotFound(workload_id, revision_id)
    return _revision(row)


def _revision(row: Row[Any]) -> Revision:
    values = dict(row._mapping)
    return Revision(**values | {"state": RevisionState(values["state"])})
