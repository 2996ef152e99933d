"""A pass over the containers that events named: the line of `tick` over fewer ids (R20).

Everything is looked at that these containers could concern: the rows that record them, the rows that they
claim, and whoever holds those. What is not asked for is not listed, and so is never swept. As in a full pass, the
store is read while the engine works, and what is swept was bound when the pass before was committed (R14).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from controller.clock import Clock
from controller.errors import EngineRefused, TallydError
from controller.loop.compare import compare
from controller.loop.converge import Reconciled, requests_for
from controller.loop.dispatch import Claim, catalog_of, dispatch, match
from controller.loop.observe import Observation, observe
from controller.loop.report import TickOutcome, TickReport
from controller.loop.tick import Activation, Phases, bound_by, failed_report, rows_after
from controller.loop.transitions import transitions_of
from store.index import apply_tick, read_bound, read_claimed, read_workload_rows
from store.records import Change, Listed, Snapshot, Workload
from store.workloads import Refs

MOST_CONTAINERS = 200
"""More than this many at once are as well served by a full pass."""

_MOST_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class _Sight:
    snapshot: Snapshot
    observation: Observation
    engine_id: str
    listed_at: datetime


def run_targeted(activation: Activation, clock: Clock, container_ids: Collection[str]) -> TickReport:
    """One targeted pass. What goes wrong is in the report; only a defect of ours is raised."""
    began_at, began = clock.now(), clock.monotonic()
    phases = Phases(clock.monotonic)
    try:
        report = _pass(activation, clock, phases, container_ids)
    except TallydError as error:
        report = failed_report(activation.host, began_at, error)
    took = clock.monotonic() - began
    return replace(report, duration_seconds=took, phases=dict(phases.seconds), targeted=True)


def _pass(activation: Activation, clock: Clock, phases: Phases, container_ids: Collection[str]) -> TickReport:
    lease = activation.lease()
    seen = _look(activation, clock, phases, frozenset(container_ids))
    with phases.timed("dispatch"):
        unreadable = seen.observation.unreadable_ids
        dispatched = dispatch(seen.observation.containers, seen.snapshot, activation.names, unreadable)
        listed_ids = seen.observation.listed_ids
        horizon = activation.memory.bound or {}
        change = compare(seen.snapshot, dispatched.assignments, listed_ids, may_sweep=True, horizon=horizon)
    if not change.empty:
        with phases.timed("write"):
            listed = Listed(seen.engine_id, seen.listed_at, completely=False)
            tell = partial(transitions_of, change, seen.snapshot, seen.listed_at)
            apply_tick(activation.database, seen.snapshot, change, listed, lease, tell)
    activation.memory.note_rivals(dispatched.ignored)
    after = rows_after(seen.snapshot, change, {})
    activation.memory.bound = {**(activation.memory.bound or {}), **bound_by(after)}
    states = Counter((row.workload_kind, row.state) for row in after.values())
    states.subtract(Counter((row.workload_kind, row.state) for row in seen.snapshot.rows.values()))
    with phases.timed("plugins"):
        reconciled = _converge(activation, change, seen.snapshot)
    return TickReport(
        host=activation.host,
        outcome=TickOutcome.COMPLETE,
        began_at=seen.listed_at,
        engine_id=seen.engine_id,
        listed=len(listed_ids),
        matched=len(dispatched.assignments),
        change=change,
        ignored=dispatched.ignored,
        unreadable=seen.observation.unreadable,
        reconciled=tuple(reconciled),
        states={key: count for key, count in states.items() if count},
    )


def _look(activation: Activation, clock: Clock, phases: Phases, wanted: frozenset[str]) -> _Sight:
    """Ask for these containers, for who holds a row that one of them claims, and for who would take one of theirs."""
    for _ in range(_MOST_ROUNDS):
        listed_at = clock.now()
        finish_listing = activation.engine.begin_listing(wanted)
        with phases.timed("read"):
            bound = read_bound(activation.database, activation.host, wanted)
        with phases.timed("list"):
            listing = finish_listing()
        if bound.engine_id not in ("", listing.engine_id):
            raise EngineRefused(activation.host, bound.engine_id, listing.engine_id)
        observation = observe(listing.items, activation.names)
        with phases.timed("read"):
            snapshot = _with_claims(activation, bound, observation)
        concerned = {row.container_id for row in snapshot.rows.values() if row.container_id}
        concerned |= {each for row_id in snapshot.rows for each in activation.memory.rivals.get(row_id, ())}
        if concerned <= wanted:
            break
        wanted |= concerned
    return _Sight(snapshot, observation, listing.engine_id, listed_at)


def _with_claims(activation: Activation, bound: Snapshot, observation: Observation) -> Snapshot:
    """What these containers claim. Nothing is read where they claim only rows that record them already."""
    containers = observation.containers
    ids = {each.workload_id for each in containers if each.workload_id}
    sites = {each.static_site for each in containers if each.static_site}
    stacks = {each.compose_project for each in containers if each.compose_project}

    def claimed_rows(workloads: Mapping[str, Workload]) -> set[str]:
        catalog = catalog_of(replace(bound, workloads=workloads))
        claims = (match(each, catalog, activation.names) for each in containers)
        return {claim.row_id for claim in claims if isinstance(claim, Claim)}

    known = catalog_of(bound)
    all_known = ids <= known.workloads.keys() and sites <= known.sites.keys() and stacks <= known.stacks.keys()
    if all_known and claimed_rows(known.workloads) <= known.rows.keys():
        return bound
    wanted = Refs(frozenset(ids | known.workloads.keys()), frozenset(sites | stacks))
    return read_claimed(activation.database, bound, claimed_rows, wanted)


def _converge(activation: Activation, change: Change, snapshot: Snapshot) -> list[Reconciled]:
    """Start the plugins of the workloads that changed; the next pass takes up what they answer."""
    rows = [*change.inserted, *(each.row for each in change.updated)]
    rows += [snapshot.rows[row_id] for row_id, _ in change.missing]
    touched = {row.workload_id for row in rows}
    workloads = [snapshot.workloads[each] for each in touched if each in snapshot.workloads]
    if not any(each.source_kind and each.trigger_kind for each in workloads):
        return []
    present = read_workload_rows(activation.database, activation.host, touched)
    requests = requests_for(workloads, present, activation.host)
    return activation.converger.run_pass(requests, of_all=False, interrupted=lambda: True)
