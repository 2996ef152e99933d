"""The order of one run: the engine only ever grows, and each row is measured when it has the right size."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from controller.logs import configure_logs
from tests.bench.events import measure_events
from tests.bench.figures import Result
from tests.bench.fleet import measure_fleet
from tests.bench.footprint import measure_first_index, measure_footprint
from tests.bench.growth import Point, grown, measure_size, measure_stand_in
from tests.bench.peers import measure_peers
from tests.bench.rollouts import measure_rollouts
from tests.bench.scale import Scale
from tests.bench.stage import Stage
from tests.bench.starts import measure_real_starts, measure_steady_starts
from tests.bench.ticks import measure_changed, measure_unchanged

ROWS = ("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "T6")


@dataclass(slots=True)
class Measured:
    """All that one run found."""

    results: list[Result] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def in_order(self) -> list[Result]:
        """By row; within a row as measured."""
        return sorted(self.results, key=lambda each: each.row)


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the run. ``size`` is the number of real containers that it needs, 0 for none."""

    row: str
    size: int
    told: str
    measure: Callable[[Stage, Measured], None]


def steps_of(scale: Scale) -> list[Step]:
    """All steps, the smallest size first."""
    usual = scale.containers
    steps = [
        Step("T6", 0, "deploys under load", _adding(measure_rollouts)),
        Step("P9", 0, "statements on PostgreSQL, many hosts", _adding(measure_fleet)),
        Step("P6", 0, "a steady rate of starts", _adding(measure_steady_starts)),
        Step("P5", 0, f"growth: stand-in of {scale.stand_in:,}", lambda s, m: m.points.append(measure_stand_in(s))),
        *(Step("P5", each, "growth", lambda s, m: m.points.append(measure_size(s))) for each in scale.sizes),
        Step("P8", usual, "start to first index", _adding(measure_first_index)),
        Step("P7", usual, "memory and idle CPU", _adding(measure_footprint)),
        Step("P1", usual, "a tick, nothing changed", _adding(measure_unchanged)),
        Step("P2", usual, "a tick, every row changed", _adding(measure_changed)),
        Step("P3", usual, "the peers", _adding(measure_peers)),
        Step("P4", usual, "event to row", _events),
        Step("P6", usual, "real starts", _adding(measure_real_starts)),
        Step("P7", scale.many, "memory and idle CPU", _adding(measure_footprint)),
    ]
    return sorted(steps, key=lambda step: step.size)  # stable: within a size in this order


def run(scale: Scale, rows: Collection[str], tell: Callable[[str], None]) -> Measured:
    """Measure these rows.

    :param tell: is told what is being done.
    """
    configure_logs("error", "json")
    measured, stage = Measured(), Stage(scale)
    try:
        for step in steps_of(scale):
            if step.row in rows:
                measure_step(step, stage, measured, tell)
        measured.results += grown(measured.points, stage)
    finally:
        tell("removing the containers")
        stage.close()
    return measured


def measure_step(step: Step, stage: Stage, measured: Measured, tell: Callable[[str], None]) -> None:
    """One step. What goes wrong in it costs its rows, not those of a quarter of an hour before it."""
    name = f"{step.row}  {step.told}{f', {step.size:,} containers' if step.size else ''}"
    tell(name)
    stage.grow_to(step.size)
    try:
        step.measure(stage, measured)
    except Exception:  # noqa: BLE001  # a step ends here: it is told, and the run is not whole
        tell(f"{name}: failed\n{traceback.format_exc()}")
        measured.failed.append(name)


def _adding(measure: Callable[[Stage], list[Result]]) -> Callable[[Stage, Measured], None]:
    def step(stage: Stage, measured: Measured) -> None:
        measured.results += measure(stage)

    return step


def _events(stage: Stage, measured: Measured) -> None:
    results, measured.lags = measure_events(stage)
    measured.results += results
