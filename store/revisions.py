"""Revisions of workloads. For now only counted; the rollout fills them."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import func, select

from store.database import Database
from store.tables import REVISIONS


def count_revisions(database: Database) -> Counter[str]:
    """How many revisions are in each lifecycle state."""
    statement = select(REVISIONS.c.state, func.count().label("number")).group_by(REVISIONS.c.state)
    with database.reading() as connection:
        return Counter({row.state: row.number for row in connection.execute(statement)})
