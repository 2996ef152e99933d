"""P1 and P2: a tick of a warm process against the bare listing of the same engine at the same moment."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from sqlalchemy import update

from controller.engine.client import EngineClient
from controller.loop.memory import Memory
from store.tables import CONTAINERS
from tests.bench.figures import Result, Target, milliseconds, percentile, ratios, summarised
from tests.bench.stage import Controller, Stage, controller_of, interleaved, timed

UNCHANGED = Target(1.10)
ALL_CHANGED = Target(1.35)


def measure_unchanged(stage: Stage) -> list[Result]:
    """P1: nothing changed; with all containers at rest, then with some of them running."""
    count = len(stage.containers)
    with _beside(stage) as (controller, floor):
        resting = _ratio("P1", f"tick ÷ floor, {count:,} created, nothing changed", stage, (controller.tick, floor))
        stage.run_some()
        controller.tick()
        running = _ratio("P1", f"the same with {len(stage.running)} of them running", stage, (controller.tick, floor))
    return [resting, replace(running, note=f"{running.note}; the engine words their status anew every second")]


def measure_changed(stage: Stage) -> list[Result]:
    """P2: every row is wrong before each tick, and nothing is remembered of the listing or of the rows.

    Once all of them alike, as after a restart of the engine, and once each in its own way.
    """
    count = len(stage.containers)
    name = f"tick ÷ floor, every one of {count:,} rows changed"
    with _beside(stage) as (controller, floor):
        return [
            _changed_ratio(f"{name} alike", stage, controller, floor, {"state": "x"}),
            _changed_ratio(f"{name} in its own way", stage, controller, floor, {"name": CONTAINERS.c.id}),
        ]


def _changed_ratio(
    name: str, stage: Stage, controller: Controller, floor: Callable[[], int], spoilt: dict[str, object]
) -> Result:
    floors: list[float] = []
    ticks: list[float] = []
    for _ in range(stage.scale.pairs):
        cold = _forgetful(controller)
        with controller.database.writing() as connection:
            connection.execute(update(CONTAINERS).values(spoilt))
        floors.append(timed(floor))
        ticks.append(timed(cold.tick))
        cold.activation.engine.close()  # type: ignore[attr-defined]  # it is the client made below
    note = _note(ticks, floors) + "; decoding and comparing from scratch"
    return summarised("P2", name, ratios(ticks, floors), "×", ALL_CHANGED, note)


@contextlib.contextmanager
def _beside(stage: Stage) -> Iterator[tuple[Controller, Callable[[], int]]]:
    floor = stage.floor()
    try:
        with controller_of(stage.engine.endpoint, stage.new_store()) as controller:
            controller.tick()
            yield controller, floor.get
    finally:
        floor.close()


def _ratio(row: str, name: str, stage: Stage, calls: tuple[Callable[[], object], Callable[[], object]]) -> Result:
    before = time.process_time()
    ticks, floors = interleaved(stage.scale.pairs, calls)
    cpu = (time.process_time() - before) / stage.scale.pairs * 1000
    note = f"{_note(ticks, floors)}, {cpu:.1f} ms of our own CPU a pair"
    return summarised(row, name, ratios(ticks, floors), "×", UNCHANGED, note)


def _note(ticks: list[float], floors: list[float]) -> str:
    tick, floor = (statistics.median(milliseconds(each)) for each in (ticks, floors))
    low, high = percentile(milliseconds(floors), 10), percentile(milliseconds(floors), 90)
    return f"tick {tick:.1f} ms, floor {floor:.1f} ms ({low:.1f} – {high:.1f}), {len(ticks)} pairs"


def _forgetful(controller: Controller) -> Controller:
    """The same controller with a new client on an open connection; it knows only which rows were bound."""
    client = EngineClient(controller.activation.engine.endpoint)  # type: ignore[attr-defined]  # it is a client
    client.list_containers(only=["0" * 64])
    memory = Memory(bound=controller.activation.memory.bound)
    return replace(controller, activation=replace(controller.activation, engine=client, memory=memory))
