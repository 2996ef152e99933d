"""A pass's change as history: which rows got another state, health or container. Pure.

Written in the transaction of the pass, so that the index and its history never disagree. Rows of one workload that
change alike in one pass are one event once they are many: an engine that stops a thousand containers would else
double what the pass has to write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from store.history_records import Event, EventKind
from store.records import ENDED_STATES, MISSING, Assignment, Change, RowUpdate, Snapshot

APPEARED, STARTED, ENDED, GONE, BACK, REPLACED, HEALTH, STATE = (
    "appeared",
    "started",
    "ended",
    "missing",
    "recovered",
    "replaced",
    "health",
    "state",
)
"""Reasons of these events."""

TOGETHER = 4
"""So many rows of a workload that change alike are told of in one event."""

NOT_ALIVE = ENDED_STATES | {MISSING}

_Said = tuple[str, str]


def transitions_of(change: Change, snapshot: Snapshot, at: datetime, but: Collection[str] = ()) -> tuple[Event, ...]:
    """What is told of a change; nothing where it is empty. A row that only got other ports is not told of.

    :param but: ids of rows that were not written.
    """
    if change.empty:
        return ()
    alike: dict[tuple[str, str, str], list[Assignment]] = {}
    for row, (reason, words) in _told(change, snapshot):
        if row.id not in but:
            alike.setdefault((row.workload_id, reason, words), []).append(row)
    tick = f"{snapshot.host}/{snapshot.pass_number + 1}"
    told: list[Event] = []
    for (workload_id, reason, words), rows in alike.items():
        bunches = [rows] if len(rows) >= TOGETHER else [[row] for row in rows]
        for bunch in bunches:
            subject, message, details = _words(bunch, words)
            told.append(
                Event(at, _KIND, snapshot.host, workload_id, subject, reason, message, tick=tick, details=details)
            )
    return tuple(told)


_KIND = EventKind.STATE.value


def _words(rows: list[Assignment], words: str) -> tuple[str, str, dict[str, object]]:
    if len(rows) == 1:
        row = rows[0]
        return row.id, f"{row.name or row.id} {words}", {"container_id": row.container_id or "", "name": row.name}
    return "", f"{len(rows)} containers: each {words}", {"rows": [row.id for row in rows]}


def _told(change: Change, snapshot: Snapshot) -> Iterator[tuple[Assignment, _Said]]:
    for row in change.inserted:
        yield row, (APPEARED, f"is {row.state}")
    for each in change.updated:
        said = _updated(each)
        if said is not None:
            yield each.row, said
    for row_id, _ in change.missing:
        row = snapshot.rows[row_id]
        yield row, (GONE, f"is gone; it was {row.state}")


def _updated(update: RowUpdate) -> _Said | None:
    """Reason and words; ``None`` where nothing happened that is history."""
    row, before = update.row, update.before
    if before is None:
        return STATE, f"is {row.state}"
    if before.container_id != row.container_id:
        return REPLACED, f"is another container now, {row.state}; it was {before.state or 'new'}"
    if before.state != row.state:
        return _reason(before.state, row.state), f"is {row.state}; it was {before.state or 'new'}"
    if before.health != row.health:
        return HEALTH, f"is {_health(row)}; it was {_health(before)}"
    return None


def _health(row: Assignment) -> str:
    return "not checked" if row.health in ("", "none") else row.health


def _reason(before: str, now: str) -> str:
    if now in NOT_ALIVE:
        return STATE if before in NOT_ALIVE else ENDED
    if before == MISSING:
        return BACK
    if not before:
        return APPEARED
    return STARTED if now == "running" and before != "paused" else STATE
