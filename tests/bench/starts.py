"""P6: many starts a second. How far the index lags behind, and whether it loses one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.bench.daemons import Told, Watched, watched_daemon
from tests.bench.figures import Result, Target, milliseconds, percentile, summarised
from tests.bench.stage import Stage
from tests.bench.standin import Group, Started, stand_in
from tests.bench.starter import start_really

P99 = Target(250.0)
NONE = Target(0.0)
_LAST_REPORTS_SECONDS = 5.0


def measure_steady_starts(stage: Stage) -> list[Result]:
    """A fixed rate, by a stand-in: few machines start as many real containers."""
    scale = stage.scale
    with (
        stand_in(Group(fakes=1, containers=scale.containers)) as served,
        watched_daemon(served.endpoints[0], stage.new_store()) as watched,
    ):
        started = served.run_starts(scale.starts_per_second, scale.starts_seconds)
        _await_rows(started, watched)
        rate = f"{scale.starts_per_second} starts a second for {scale.starts_seconds:g} s"
        name = f"{rate}, stand-in of {scale.containers:,}"
        return _results(name, started, watched)


def measure_real_starts(stage: Stage) -> list[Result]:
    """As many real starts as this machine holds."""
    resting = [each for each in stage.containers if each not in set(stage.running)]
    with watched_daemon(stage.engine.endpoint, stage.new_store()) as watched:
        started = start_really(stage.engine.endpoint, stage.scale.real_starts_seconds, resting)
        _await_rows(started, watched)
        took = max(each.at for each in started) - min(each.at for each in started)
        rate = f"{(len(started) - 1) / took:.1f} a second" if took > 0 else "one"
        return _results(f"{len(started)} real starts, {rate}, as many as held", started, watched)


def _await_rows(started: Sequence[Started], watched: Watched) -> None:
    """Give the index a while to catch up; what is not there by then is lost."""
    ends = time.monotonic() + _LAST_REPORTS_SECONDS
    while time.monotonic() < ends and lags_of(started, list(watched.told))[1]:
        time.sleep(0.1)


def _results(name: str, started: Sequence[Started], watched: Watched) -> list[Result]:
    lags, lost = lags_of(started, list(watched.told))
    whole = milliseconds(lags)
    targeted = sum(each.report.targeted for each in watched.told)
    note = f"{targeted} targeted and {len(watched.told) - targeted} full passes"
    return [
        summarised("P6", f"{name}: lag p50", whole, "ms", note=note),
        Result(
            "P6", "its lag p99", percentile(whole, 99), "ms", min(whole), max(whole), P99, "spread: fastest, slowest"
        ),
        Result("P6", "its rows lost", lost, "rows", target=NONE, note=f"of {len(started):,} starts"),
    ]


def lags_of(started: Sequence[Started], told: Sequence[Told]) -> tuple[list[float], int]:
    """Seconds from each start to the first report after it by which the row runs; and how many never did."""
    running: dict[str, list[float]] = {}
    for each in told:
        for row in each.written:
            if row.state == "running" and row.container_id is not None:
                running.setdefault(row.container_id, []).append(each.at)
    lags = [_next_after(start.at, running.get(start.container, [])) for start in started]
    found = [at - start.at for at, start in zip(lags, started, strict=True) if at is not None]
    return found, len(started) - len(found)


def _next_after(began: float, times: Sequence[float]) -> float | None:
    return next((at for at in times if at >= began), None)
