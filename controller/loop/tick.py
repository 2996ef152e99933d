"""One pass, from the engine to the report: list → observe → dispatch → compare → write → converge (R5).

`preview` is the same line, stopped before the write. Nothing is decided here: what looks like a decision
belongs in a stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from controller.clock import Clock
from controller.engine.client import Listing
from controller.errors import (
    EngineCallCancelled,
    EngineError,
    EngineRefused,
    LeaseHeld,
    LeaseLost,
    PassSuperseded,
    StoreError,
    TallydError,
)
from controller.labels import LabelNames
from controller.loop.converge import Converger, malformed_faces, requests_for
from controller.loop.dispatch import Dispatched
from controller.loop.memory import Memory
from controller.loop.observe import Observation
from controller.loop.report import TickOutcome, TickReport
from controller.loop.transitions import transitions_of
from store.database import Database
from store.index import apply_tick, read_snapshot
from store.leases import Lease
from store.records import MISSING, Assignment, Change, Listed, Snapshot


class Lister(Protocol):
    """The one thing that a pass wants of an engine."""

    def begin_listing(self, only: Collection[str] | None = None) -> Callable[[], Listing]:
        """All containers, or those with these ids, in two steps: what is returned waits for them, or raises an
        :class:`~controller.errors.EngineError`.
        """


@dataclass(frozen=True, slots=True)
class Activation:
    """A ready-to-use set of what a pass works with; bound once per pass, never changed.

    ``lease`` gives the lease that the pass writes under, or raises. ``interrupted`` says that somebody waits for
    another pass, so that this one need not wait for its plugins.
    """

    host: str
    names: LabelNames
    database: Database
    engine: Lister
    converger: Converger
    lease: Callable[[], Lease]
    interrupted: Callable[[], bool] = lambda: False
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True, slots=True)
class Preview:
    """A pass up to the write: what would be done, and by what it was decided."""

    snapshot: Snapshot
    listing: Listing
    observation: Observation
    dispatched: Dispatched
    change: Change
    listed_at: datetime


@dataclass(slots=True)
class Phases:
    """Seconds by phase, summed up."""

    monotonic: Callable[[], float]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time that the block takes."""
        began = self.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + self.monotonic() - began


def preview(activation: Activation, clock: Clock, phases: Phases | None = None) -> Preview:
    """List, and work out the change. Writes nothing.

    The store is read while the engine works. Only rows that were bound when the pass before was committed can be
    swept (R14): a row that is bound later is not in the horizon, and none of that depends on a clock.

    :raises EngineError: no complete listing.
    :raises EngineRefused: another engine than the one this host is bound to.
    :raises StoreError: the store cannot be read.
    """
    phases = phases or Phases(clock.monotonic)
    memory = activation.memory
    if memory.bound is None:
        _remember(activation, phases)
    horizon = memory.bound or {}
    listed_at = clock.now()
    finish_listing = activation.engine.begin_listing()
    with phases.timed("read"):
        snapshot = memory.snapshot = read_snapshot(activation.database, activation.host, memory.snapshot)
    with phases.timed("list"):
        listing = finish_listing()
    if snapshot.engine_id not in ("", listing.engine_id):
        raise EngineRefused(activation.host, snapshot.engine_id, listing.engine_id)
    with phases.timed("dispatch"):
        observation = memory.observe(listing.parts, activation.names)
        dispatched, change = memory.decide(observation, snapshot, activation.names, horizon)
    return Preview(snapshot, listing, observation, dispatched, change, listed_at)


def _remember(activation: Activation, phases: Phases) -> None:
    """The first pass of a process has no pass before it: the horizon is what is bound before it lists."""
    with phases.timed("read"):
        snapshot = read_snapshot(activation.database, activation.host)
    activation.memory.snapshot = snapshot
    activation.memory.bound = bound_by(snapshot.rows)


def bound_by(rows: Mapping[str, Assignment]) -> dict[str, str | None]:
    """Row id → the container that it records."""
    return {row.id: row.container_id for row in rows.values()}


def run_tick(activation: Activation, clock: Clock) -> TickReport:
    """One whole pass. What goes wrong is in the report; only a defect of ours is raised."""
    began_at, began = clock.now(), clock.monotonic()
    phases = Phases(clock.monotonic)
    try:
        report = _pass(activation, clock, phases, began_at)
    except TallydError as error:
        report = failed_report(activation.host, began_at, error)
    return replace(report, duration_seconds=clock.monotonic() - began, phases=dict(phases.seconds))


def _pass(activation: Activation, clock: Clock, phases: Phases, began_at: datetime) -> TickReport:
    lease = activation.lease()
    seen = preview(activation, clock, phases)
    with phases.timed("write"):
        listed = Listed(seen.listing.engine_id, seen.listed_at)
        tell = partial(transitions_of, seen.change, seen.snapshot, seen.listed_at)
        applied = apply_tick(activation.database, seen.snapshot, seen.change, listed, lease, tell)
    rows = rows_after(seen.snapshot, seen.change, applied.rejected)
    activation.memory.bound = bound_by(rows)
    activation.memory.rivals = {}
    activation.memory.note_rivals(seen.dispatched.ignored)
    workloads = seen.snapshot.workloads.values()
    with phases.timed("plugins"):
        requests = requests_for(workloads, rows.values(), activation.host)
        reconciled = activation.converger.run_pass(requests, interrupted=activation.interrupted)
    rejected = [f"row {row_id!r} was refused by the store: {why}" for row_id, why in applied.rejected.items()]
    return TickReport(
        host=activation.host,
        outcome=TickOutcome.COMPLETE,
        began_at=began_at,
        engine_id=seen.listing.engine_id,
        config_generation=seen.snapshot.config_generation,
        listed=len(seen.listing.parts),
        matched=len(seen.dispatched.assignments),
        change=seen.change,
        ignored=seen.dispatched.ignored,
        unreadable=seen.observation.unreadable,
        reconciled=tuple(reconciled),
        states=Counter((row.workload_kind, row.state) for row in rows.values()),
        errors=(*rejected, *malformed_faces(workloads)),
        triggers=tuple((each.id, each.trigger_kind, each.generation) for each in workloads if each.trigger_kind),
    )


def rows_after(snapshot: Snapshot, change: Change, rejected: Mapping[str, str]) -> Mapping[str, Assignment]:
    """This host's rows once the change is written; no second look at the store is needed."""
    if change.empty:
        return snapshot.rows
    rows = dict(snapshot.rows)
    written = [*change.inserted, *(each.row for each in change.updated)]
    rows |= {row.id: row for row in written if row.id not in rejected}
    rows |= {row_id: replace(rows[row_id], state=MISSING) for row_id, _ in change.missing}
    return rows


def failed_report(host: str, began_at: datetime, error: TallydError) -> TickReport:
    """The report of a pass that wrote nothing."""
    return TickReport(host, _outcome_of(error), began_at, errors=(str(error),))


def _outcome_of(error: TallydError) -> TickOutcome:
    if isinstance(error, EngineCallCancelled):
        return TickOutcome.CANCELLED
    if isinstance(error, EngineError):
        return TickOutcome.LISTING_FAILED
    if isinstance(error, EngineRefused):
        return TickOutcome.ENGINE_REFUSED
    if isinstance(error, LeaseHeld | LeaseLost):
        return TickOutcome.STANDBY
    if isinstance(error, PassSuperseded):
        return TickOutcome.SUPERSEDED
    return TickOutcome.STORE_FAILED if isinstance(error, StoreError) else TickOutcome.FAILED
