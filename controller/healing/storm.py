"""When so much of a host ends at once that healing would make it worse. Pure (S5)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from store.history_records import Event

_ALIVE = frozenset({"running", "paused", "restarting"})

FEWEST = 4
"""Fewer than these are an accident of one workload, not of a host."""

WINDOW_SECONDS = 15.0
"""What ends within this is taken for one event."""

ENGINE_BACK_SECONDS = 120.0
"""How long after the engine came back, or we did, an end is its doing: it stops everything when it goes."""


@dataclass(frozen=True, slots=True)
class Storm:
    """How many of a host's containers ended at once."""

    ended: int
    of: int

    @property
    def message(self) -> str:
        """For people."""
        return f"{self.ended} of {self.of} containers of this host ended within {WINDOW_SECONDS:g} s"


def storm_in(states: Mapping[str, str], ended: Collection[str]) -> Storm | None:
    """Whether more than half of what lived on the host ended.

    :param states: row id → state, of all that is meant to run.
    :param ended: ids of rows that ended within the window.
    """
    gone = states.keys() & set(ended)
    lived = gone | {row_id for row_id, state in states.items() if state in _ALIVE}
    return Storm(len(gone), len(lived)) if len(gone) >= FEWEST and 2 * len(gone) > len(lived) else None


def ended_of(
    events: Iterable[Event], now: datetime, *, engine_back_at: datetime | None, since: datetime | None
) -> set[str]:
    """The ids of rows that ended, of the events that count.

    What merely stopped just after the engine came back was stopped by the engine's own end; what is gone was taken
    away by somebody.

    :param since: what ended before this has been answered for.
    """
    window = timedelta(seconds=WINDOW_SECONDS)
    found: set[str] = set()
    for each in events:
        gone = each.reason == "missing"
        if each.reason not in ("missing", "ended") or not now - window <= each.at:
            continue
        if since is not None and each.at <= since:
            continue
        just_back = engine_back_at is None or each.at - engine_back_at <= timedelta(seconds=ENGINE_BACK_SECONDS)
        if just_back and not gone:
            continue
        found.update(each.subjects)
    return found
