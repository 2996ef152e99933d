"""Why a workload is as it is, told as a person would: what happened, in order, then how it stands. Pure (S5)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from controller.healing.budget import BACKOFF, HealingLimits, attempts_in_window, span_of
from controller.healing.holds import words_of
from controller.healing.keeping import Standing
from store.history_records import Event, EventKind

_FINE = frozenset({"in_sync", "repaired"})


def line_of(event: Event, now: datetime) -> str:
    """One event as a line, with its date where that is not today's."""
    when = f"{event.at:%H:%M:%S}" if event.at.date() == now.date() else f"{event.at:%Y-%m-%d %H:%M:%S}"
    by = f" [{event.actor}]" if event.actor and event.kind not in (EventKind.CAUSE, EventKind.PLUGIN) else ""
    lines = event.details.get("last_lines") or ()
    last = f"; last lines: {' | '.join(str(each) for each in lines)}" if lines else ""
    return f"{when} {event.kind}: {event.message}{by}{last}"


def story_of(standing: Standing, now: datetime) -> list[str]:
    """The events, the oldest first."""
    return [line_of(each, now) for each in standing.events]


def standing_lines(standing: Standing, now: datetime, limits: HealingLimits) -> list[str]:
    """How it stands: containers, holds, budgets, a source that fails, and what comes next."""
    return [*_now(standing), *_holds(standing), *_budgets(standing, now, limits), *_source(standing)]


def _now(standing: Standing) -> Iterator[str]:
    if not standing.rows:
        yield "now: no container of it is known"
    for row in standing.rows:
        health = f", {row.health}" if row.health else ""
        yield f"now: {row.name or row.id} is {row.state or 'not seen yet'}{health} on {row.host}"


def _holds(standing: Standing) -> Iterator[str]:
    for each in standing.holds:
        if each.scope == "host":
            release = f"tallyd release --host {each.host}"
        else:
            release = f"tallyd release {each.workload_id}{f' --slot {each.slot}' if each.slot else ''}"
        yield f"held: {each.place}: {words_of(each)}; to go on now: {release}"


def _budgets(standing: Standing, now: datetime, limits: HealingLimits) -> Iterator[str]:
    for each in standing.budgets:
        made = attempts_in_window(each, limits, now)
        spent = f"{len(made)} of {limits.attempts} attempts in {span_of(limits.window_seconds)}"
        if len(made) >= limits.attempts:
            again = made[-limits.attempts] + timedelta(seconds=limits.window_seconds) if limits.attempts else None
            until = f"before {again:%H:%M:%S}" if again else "while healing_attempts is 0"
            yield f"budget: {each.slot}: all spent, {spent}; it is not healed {until}"
        elif each.reason == BACKOFF and each.not_before is not None and each.not_before > now:
            yield f"budget: {each.slot}: {spent}; next attempt not before {each.not_before:%H:%M:%S}"
        elif each.attempts_at:
            yield f"budget: {each.slot}: {spent}; last healed at {each.attempts_at[-1]:%Y-%m-%d %H:%M:%S}"


def _source(standing: Standing) -> Iterator[str]:
    told = [each for each in standing.events if each.kind == EventKind.PLUGIN]
    if told and told[-1].reason not in _FINE:
        yield f"source: {told[-1].message}"
    elif not standing.workload.source_kind:
        yield "source: none is declared, so nothing is healed"
