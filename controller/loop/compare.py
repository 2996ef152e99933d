"""What the world has that the index has not, and the other way round. Pure; `plan` shows it, `tick` writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from store.records import MISSING, Assignment, Change, RowUpdate, Snapshot


def compare(
    snapshot: Snapshot,
    assignments: Sequence[Assignment],
    listed_ids: frozenset[str],
    *,
    may_sweep: bool,
    horizon: Mapping[str, str | None] | None = None,
) -> Change:
    """The change that makes the index true.

    :param listed_ids: every container that was listed; none of them is ever swept (R14).
    :param may_sweep: whether absence may be concluded from this listing at all.
    :param horizon: row id → container id as it was before the listing began; only such rows are swept. Without
        it the snapshot was read before the listing, and is the horizon itself.
    """
    inserted: list[Assignment] = []
    updated: list[RowUpdate] = []
    recovered = unchanged = 0
    for row in assignments:
        before = snapshot.rows.get(row.id)
        if before is None:
            inserted.append(row)
        elif before == row:
            unchanged += 1
        else:
            updated.append(RowUpdate(row, before.container_id, before))
            recovered += before.state == MISSING
    filled = {row.id for row in assignments}
    rest = [row for row in snapshot.rows.values() if row.id not in filled and row.container_id]
    moved = {row.container_id for row in assignments}
    released = [row for row in rest if row.container_id in moved]
    unlisted = [row for row in rest if row.container_id not in listed_ids and row.state != MISSING]
    gone = [row for row in unlisted if may_sweep and _bound_before(row, horizon)]
    unseen = [row.id for row in rest if row.container_id not in moved and row.state != MISSING]
    return Change(
        inserted=tuple(inserted),
        updated=tuple(_release(row) for row in released) + tuple(updated),
        missing=tuple((row.id, row.container_id or "") for row in gone),
        unseen=tuple(unseen),
        unchanged=unchanged,
        recovered=recovered,
    )


def _bound_before(row: Assignment, horizon: Mapping[str, str | None] | None) -> bool:
    return horizon is None or horizon.get(row.id) == row.container_id


def _release(row: Assignment) -> RowUpdate:
    """The row of a container that another workload's row now holds: its slot is empty."""
    return RowUpdate(replace(row, container_id=None, state=MISSING), row.container_id)
