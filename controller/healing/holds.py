"""Holds: which one counts for a slot, what history is told of them, and how long one lasts. Pure (S5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from controller.errors import UsageError
from store.healing_records import Hold
from store.history_records import Event, EventKind

CONTROLLER, ENGINE, OPERATOR = "controller", "engine", "operator"
"""Authors: who decided so."""

LONGEST = timedelta(days=3650)
_SPAN = re.compile(r"^(\d+(?:\.\d+)?)(s|m|h|d)$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _concerns(hold: Hold, slot: str) -> bool:
    return hold.slot in ("", slot)


def held_by(holds: Iterable[Hold], slot: str, now: datetime) -> Hold | None:
    """The hold that counts for a slot of a workload, of those of its host and workload; the widest first."""
    counting = [each for each in holds if _concerns(each, slot) and each.in_force(now)]
    order = ("host", "workload", "slot")
    return min(counting, key=lambda each: order.index(each.scope), default=None)


def over_since(holds: Iterable[Hold], slot: str, now: datetime) -> datetime | None:
    """When the last hold of a slot ended: what a person did before that was heeded long enough."""
    return max(
        (
            each.expires_at
            for each in holds
            if _concerns(each, slot) and each.expires_at is not None and not each.in_force(now)
        ),
        default=None,
    )


def ends_at(span: str | None, now: datetime) -> datetime | None:
    """``2h`` → when a hold that begins now ends; ``None``: never.

    :raises UsageError: it is no span of time.
    """
    if span is None:
        return None
    found = _SPAN.match(span.strip())
    length = timedelta(seconds=float(found[1]) * _SECONDS[found[2]]) if found and len(span) < 20 else timedelta(0)
    if not timedelta(0) < length <= LONGEST:
        raise UsageError(
            f"{span!r} is no span of time; allowed: a number above 0 and s, m, h or d, such as 90m or 2h"
        )
    return now + length


def to_release(holds: Iterable[Hold], workload_id: str | None, slot: str | None) -> list[Hold]:
    """Which of a host's holds a release ends: of a slot, of a workload with all its slots, or of the host itself.

    Releasing the host does not end what was held for a workload.
    """
    if workload_id is None:
        return [each for each in holds if each.scope == "host"]
    mine = [each for each in holds if each.workload_id == workload_id]
    return [each for each in mine if slot is None or each.slot == slot]


def hold_event(hold: Hold) -> Event:
    """What history is told of a new hold."""
    until = f" until {hold.expires_at:%Y-%m-%d %H:%M:%S} UTC" if hold.expires_at else ""
    message = f"{hold.place} is left alone{until}: {hold.reason or 'no reason given'}"
    return _event(hold, hold.created_at, "held", message, hold.author)


def release_events(holds: Sequence[Hold], now: datetime, author: str, reason: str = "") -> list[Event]:
    """What history is told of holds that end."""
    why = f": {reason}" if reason else ""
    return [
        _event(each, now, "released", f"{each.place} is looked after again{why}", author)
        for each in (replace(hold, expires_at=now) for hold in holds)
    ]


def words_of(hold: Hold) -> str:
    """A hold in one sentence."""
    until = f" until {hold.expires_at:%Y-%m-%d %H:%M:%S} UTC" if hold.expires_at else ""
    return f"{hold.scope} held by {hold.author}{until}: {hold.reason or 'no reason given'}"


def _event(hold: Hold, at: datetime, reason: str, message: str, author: str) -> Event:
    until = hold.expires_at.isoformat() if hold.expires_at else ""
    return Event(
        at,
        EventKind.HOLD,
        hold.host,
        hold.workload_id,
        hold.slot,
        reason,
        message,
        author,
        details={"scope": hold.scope, "expires_at": until, "author": hold.author},
    )
