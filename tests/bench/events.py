"""P4: from the engine's own time of an event to the committed row, and where that time goes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from tests.bench.daemons import Told, Watched, watched_daemon
from tests.bench.figures import Result, Target, milliseconds, percentile, summarised
from tests.bench.stage import Stage

MEDIAN = Target(8.0)
P99 = Target(25.0)


@dataclass(frozen=True, slots=True)
class Lag:
    """One event, in seconds: all of it, and its parts. ``before`` is delivery, waking up and coalescing."""

    whole: float
    before: float
    listing: float
    store: float

    @property
    def rest(self) -> float:
        """Decisions, report, metrics."""
        return self.whole - self.before - self.listing - self.store


def measure_events(stage: Stage) -> tuple[list[Result], list[float]]:
    """Renames, one after the other; returns the lines, and all lags in milliseconds."""
    began = time.time()
    with watched_daemon(stage.engine.endpoint, stage.new_store()) as watched:
        told = [_rename(stage, watched, number) for number in range(stage.scale.events)]
        happened = _times_of_renames(stage, began)
    lags = [_lag(happened[name], each) for name, each in told]
    return _results(stage, lags), milliseconds([each.whole for each in lags])


def _rename(stage: Stage, watched: Watched, number: int) -> tuple[str, Told]:
    container = stage.containers[-1 - number % (len(stage.containers) - stage.scale.running)]
    name, since = f"{stage.world.prefix}-renamed-{number}", len(watched.told)
    stage.world.rename(container, name)
    told = watched.wait_for(
        lambda each: any(row.name == name for row in each.written), since, f"the row says {name!r}"
    )
    return name, told


def _times_of_renames(stage: Stage, since: float) -> dict[str, float]:
    """New name → the engine's time; from its memory, which holds 256 events."""
    events = stage.world.client.events(since=int(since), until=int(time.time()) + 1, filters={"event": "rename"})
    said = [orjson.loads(line) for piece in events for line in piece.splitlines() if line.strip()]
    return {each["Actor"]["Attributes"]["name"]: each["timeNano"] / 1e9 for each in said}


def _lag(happened: float, told: Told) -> Lag:
    report, phases = told.report, told.report.phases
    before = told.at - report.duration_seconds - happened
    return Lag(
        told.at - happened, before, phases.get("list", 0.0), phases.get("read", 0.0) + phases.get("write", 0.0)
    )


def _results(stage: Stage, lags: Sequence[Lag]) -> list[Result]:
    whole = milliseconds([each.whole for each in lags])
    note = "medians: " + ", ".join(
        f"{name} {statistics.median(milliseconds(part)):.1f} ms"
        for name, part in (
            ("delivery and coalescing", [each.before for each in lags]),
            ("list by id", [each.listing for each in lags]),
            ("store", [each.store for each in lags]),
            ("rest", [each.rest for each in lags]),
        )
    )
    present = f"{len(stage.containers):,} present"
    name = f"event → committed row, {present}, {len(whole)} renames"
    worst = percentile(whole, 99)
    return [
        summarised("P4", f"{name}: p50", whole, "ms", MEDIAN, note),
        Result("P4", f"{name}: p99", worst, "ms", min(whole), max(whole), P99, "spread: fastest and slowest"),
    ]
