"""P5: what a tick and its floor cost as the number of containers grows."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from tests.bench.figures import Result, Target, milliseconds, percentile, ratios
from tests.bench.floor import Floor
from tests.bench.stage import Stage, controller_of, interleaved
from tests.bench.standin import Group, stand_in


@dataclass(frozen=True, slots=True)
class Point:
    """One size. Milliseconds; ``ratio`` with p10 and p90."""

    containers: int
    tick: float
    floor: float
    ratio: tuple[float, float, float]
    stand_in: bool = False


def measure_size(stage: Stage) -> Point:
    """The engine as it is now."""
    pairs = stage.scale.pairs if len(stage.containers) <= stage.scale.containers else stage.scale.pairs_of_many
    floor = stage.floor()
    try:
        return _point(stage, stage.engine.endpoint, floor, (len(stage.containers), pairs))
    finally:
        floor.close()


def measure_stand_in(stage: Stage) -> Point:
    """More containers than a machine can have for real, by a stand-in for the engine."""
    count = stage.scale.stand_in
    with stand_in(Group(fakes=1, containers=count)) as served:
        endpoint = served.endpoints[0]
        floor = Floor(endpoint.removeprefix("unix://"))
        try:
            point = _point(stage, endpoint, floor, (count, stage.scale.pairs_of_many))
        finally:
            floor.close()
    return Point(point.containers, point.tick, point.floor, point.ratio, stand_in=True)


def _point(stage: Stage, endpoint: str, floor: Floor, size: tuple[int, int]) -> Point:
    containers, pairs = size
    with controller_of(endpoint, stage.new_store()) as controller:
        controller.tick()
        ticks, floors = interleaved(pairs, (controller.tick, floor.get))
    each = ratios(ticks, floors)
    spread = (statistics.median(each), percentile(each, 10), percentile(each, 90))
    return Point(containers, *(statistics.median(milliseconds(them)) for them in (ticks, floors)), spread)


def grown(points: list[Point], stage: Stage) -> list[Result]:
    """The lines of P5. The target is what the same run measured at the usual size."""
    usual = next((each for each in points if each.containers == stage.scale.containers and not each.stand_in), None)
    return [_line(each, usual, stage.scale.many) for each in sorted(points, key=lambda each: each.containers)]


def _line(point: Point, usual: Point | None, many: int) -> Result:
    median, low, high = point.ratio
    kind = "stand-in" if point.stand_in else "created"
    compared = usual is not None and point.containers == many and not point.stand_in
    target = Target(round(usual.ratio[0], 3)) if compared and usual is not None else None
    note = f"tick {point.tick:.1f} ms, floor {point.floor:.1f} ms"
    if compared and usual is not None:
        note += (
            f"; target: the median at {usual.containers:,} (p10 – p90 {usual.ratio[1]:.3f} – {usual.ratio[2]:.3f})"
        )
    if point.stand_in:
        note += "; the stand-in has its answer ready, so its floor is lower than an engine's"
    return Result("P5", f"tick ÷ floor, {point.containers:,} {kind}", median, "×", low, high, target, note)
