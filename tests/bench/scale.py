"""How much is measured: the whole, a quick look, or just enough to see that the benchmark works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers of containers, repetitions and seconds of one run.

    ``containers`` is the size that most rows are measured at, ``many`` the size of "no worse at ten times as
    many". ``sizes`` are real ones; ``stand_in`` is served by a stand-in for the engine.
    """

    name: str
    containers: int
    running: int
    many: int
    sizes: tuple[int, ...]
    stand_in: int
    pairs: int
    pairs_of_many: int
    slow_repetitions: int
    events: int
    starts_per_second: int
    starts_seconds: float
    real_starts_seconds: float
    idle_seconds: float
    cold_starts: int
    hosts: int
    containers_of_a_host: int
    prometheus_refreshes: int
    timed_deploys: int
    deploys: int
    deploys_killed: int


WHOLE = Scale(
    name="whole",
    containers=1_000,
    running=50,
    many=10_000,
    sizes=(100, 300, 1_000, 3_000, 10_000),
    stand_in=100_000,
    pairs=40,
    pairs_of_many=15,
    slow_repetitions=5,
    events=200,
    starts_per_second=50,
    starts_seconds=60,
    real_starts_seconds=20,
    idle_seconds=60,
    cold_starts=7,
    hosts=100,
    containers_of_a_host=1_000,
    prometheus_refreshes=10,
    timed_deploys=7,
    deploys=50,
    deploys_killed=50,
)

QUICK = Scale(
    name="quick",
    containers=1_000,
    running=20,
    many=2_000,
    sizes=(100, 300, 1_000, 2_000),
    stand_in=20_000,
    pairs=15,
    pairs_of_many=8,
    slow_repetitions=2,
    events=60,
    starts_per_second=50,
    starts_seconds=5,
    real_starts_seconds=5,
    idle_seconds=30,
    cold_starts=3,
    hosts=10,
    containers_of_a_host=200,
    prometheus_refreshes=4,
    timed_deploys=3,
    deploys=6,
    deploys_killed=6,
)

SMOKE = Scale(
    name="smoke",
    containers=20,
    running=2,
    many=24,
    sizes=(20, 24),
    stand_in=50,
    pairs=2,
    pairs_of_many=2,
    slow_repetitions=1,
    events=3,
    starts_per_second=20,
    starts_seconds=1,
    real_starts_seconds=1,
    idle_seconds=1,
    cold_starts=1,
    hosts=2,
    containers_of_a_host=10,
    prometheus_refreshes=1,
    timed_deploys=1,
    deploys=2,
    deploys_killed=1,
)
