"""Where the measuring takes place: a private engine that grows, and controllers beside it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from controller.activator import first_activation
from controller.clock import CLOCK
from controller.collector import settle_memory
from controller.engine.client import EngineClient
from controller.engine.endpoint import endpoint_from
from controller.loop.lease import Candidate, LeaseKeeper
from controller.loop.report import TickReport
from controller.loop.tick import Activation, run_tick
from controller.opening import open_store, register_host
from controller.plugins.registry import load_registry
from controller.settings import Settings
from store.database import Database
from store.workloads import apply_workloads
from tests.bench.floor import Floor
from tests.bench.scale import Scale
from tests.bench.stacks import labels_of, stacks
from tests.harness import PrivateEngine, World

HOST = "bench"
STARTERS = 4
_LEASE_SECONDS = 600.0
# A disk, unlike /tmp on some machines: what a transaction costs is to be measured with its fsync.
PARENT = "/var/tmp"


class Stage:
    """A private engine with as many containers as were asked for, and a folder. Started when first needed."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.engine = PrivateEngine()
        self.containers: list[str] = []
        self.running: list[str] = []
        self._folder = tempfile.TemporaryDirectory(prefix="tallyd-bench-", dir=PARENT)
        self._world: World | None = None
        self._stores = 0

    @property
    def world(self) -> World:
        """Makes and changes the containers."""
        if self._world is None:
            self.engine.start()
            self._world = World(self.engine)
        return self._world

    def grow_to(self, count: int) -> None:
        """Create containers, all of them in state `created`, until there are so many."""
        offset = len(self.containers)
        if count > offset:
            self.containers += self.world.many(count - offset, lambda number: labels_of(offset + number))

    def run_some(self) -> None:
        """Start some containers, so that the text of their status changes with every second."""
        wanted = self.containers[: self.scale.running - len(self.running)] if not self.running else []
        with ThreadPoolExecutor(STARTERS) as pool:
            list(pool.map(self.world.start, wanted))
        self.running += wanted

    def new_store(self) -> str:
        """The URL of a SQLite file that does not exist yet."""
        self._stores += 1
        return f"sqlite:///{self._folder.name}/{self._stores}.db"

    @property
    def folder(self) -> Path:
        """For files of the run; on a disk."""
        return Path(self._folder.name)

    def floor(self) -> Floor:
        """A new connection for the bare listing."""
        return Floor(self.engine.socket_path)

    def close(self) -> None:
        """Remove every trace."""
        if self._world is not None:
            self._world.close()
            self.engine.stop()
        self._folder.cleanup()


@dataclass(frozen=True, slots=True)
class Controller:
    """What ticks, without a daemon around it."""

    activation: Activation
    database: Database
    settings: Settings

    def tick(self) -> TickReport:
        """One whole pass.

        :raises RuntimeError: it wrote nothing, so its time says nothing.
        """
        return _complete(run_tick(self.activation, CLOCK))


def settings_for(url: str, host: str = HOST) -> Settings:
    """Settings of a controller of the benchmark."""
    return Settings(host=host, database_url=url, listen="127.0.0.1:0", interval_seconds=30.0)


def prepare_store(settings: Settings, endpoint: str) -> Database:
    """A migrated store with the stacks and the host in it."""
    database = open_store(settings)
    apply_workloads(database, stacks(), CLOCK.now())
    register_host(database, settings, endpoint)
    return database


@contextlib.contextmanager
def controller_of(
    endpoint: str, url: str, host: str = HOST, database: Database | None = None
) -> Iterator[Controller]:
    """A controller whose first pass is done.

    :param database: a prepared store to share; its own without it.
    """
    settings = settings_for(url, host)
    own = database or prepare_store(settings, endpoint)
    if database is not None:
        register_host(database, settings, endpoint)
    client = EngineClient(endpoint_from({"DOCKER_HOST": endpoint}))
    keeper = LeaseKeeper(own, Candidate(host, f"bench-{host}", _LEASE_SECONDS), CLOCK.monotonic)
    controller = Controller(
        first_activation(settings, own, client, keeper.current, registry=load_registry(), clock=CLOCK), own, settings
    )
    try:
        controller.tick()
        settle_memory()  # as the daemon does after its first pass
        yield controller
    finally:
        client.close()
        if database is None:
            own.close()


def _complete(report: TickReport) -> TickReport:
    if not report.complete:
        raise RuntimeError(f"the pass failed: {report.outcome}: {'; '.join(report.errors)}")
    return report


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def interleaved(rounds: int, calls: Sequence[Callable[[], object]]) -> list[list[float]]:
    """Seconds of each call, in rounds, so that what slows the machine down slows all of them.

    Every other round goes backwards: nobody is always the one who comes after a certain other.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    for number in range(rounds):
        order = range(len(calls)) if number % 2 == 0 else range(len(calls) - 1, -1, -1)
        for index in order:
            seconds[index].append(timed(calls[index]))
    return seconds
