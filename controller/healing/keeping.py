"""Setting and ending holds, as an operator does, and reading what stands: the same for the CLI and the API (S5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controller.errors import NotFound, UsageError
from controller.healing.holds import OPERATOR, ends_at, hold_event, release_events, to_release
from store.database import Database
from store.healing import list_budgets, list_holds, put_hold, release_holds
from store.healing_records import Budget, Hold
from store.history import read_events
from store.history_records import Event, EventFilter
from store.index import list_containers
from store.records import ContainerRow, Workload
from store.workloads import get_workload

LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Place:
    """What is held: a slot of a workload, a workload, or, without either, a whole host."""

    host: str
    workload_id: str = ""
    slot: str = ""


def hold_place(
    database: Database, place: Place, now: datetime, *, reason: str = "", lasts: str | None = None
) -> Hold:
    """Have something left alone from now on; in place of a hold that it has.

    :param lasts: such as ``2h``; without it, until it is released.
    :raises NotFound: there is no such workload.
    :raises UsageError: a slot without a workload, a name that is too long, or no span of time.
    :raises StoreError: the store failed.
    """
    if place.slot and not place.workload_id:
        raise UsageError(f"slot {place.slot!r} needs its workload; a slot is a place within one")
    if len(place.slot) > LONGEST_NAME or len(place.host) > LONGEST_NAME:
        raise UsageError(f"a name of a slot or host has {LONGEST_NAME} characters at most")
    if place.workload_id:
        get_workload(database, place.workload_id)
    hold = Hold(place.host, place.workload_id, place.slot, OPERATOR, reason[:1_000], now, ends_at(lasts, now))
    put_hold(database, hold, [hold_event(hold)])
    return hold


def release_place(database: Database, place: Place, now: datetime) -> list[Hold]:
    """End the holds of a slot, of a workload with its slots, or of a host; returns which.

    :raises NotFound: nothing is held there.
    :raises StoreError: the store failed.
    """
    held = list_holds(database, host=place.host, now=now)
    ended = to_release(held, place.workload_id or None, place.slot or None)
    if not ended:
        what = place.slot or place.workload_id or "the host as a whole"
        raise NotFound(f"nothing is held on host {place.host!r} for {what!r}; see: tallyd holds")
    release_holds(database, ended, now, release_events(ended, now, OPERATOR))
    return ended


@dataclass(frozen=True, slots=True)
class Standing:
    """All that is known of a workload for who asks why it is as it is."""

    workload: Workload
    rows: list[ContainerRow]
    events: list[Event]
    holds: list[Hold]
    budgets: list[Budget]


def standing_of(database: Database, workload_id: str, host: str, now: datetime, limit: int = 100) -> Standing:
    """What is stored of a workload now, and its newest events.

    :raises NotFound: there is no such workload.
    :raises StoreError: the store cannot be read.
    """
    return Standing(
        get_workload(database, workload_id),
        list_containers(database, workload_id=workload_id),
        read_events(database, EventFilter(workload_id=workload_id, limit=limit)),
        list_holds(database, host=host, workload_id=workload_id, now=now),
        list_budgets(database, workload_id),
    )
